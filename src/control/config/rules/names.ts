/** Names: DNS labels, host names, label keys. Source: RFC 1123 2.1; Kubernetes labels; Istio pkg/config/labels. */
import { type Findings, formatPath, type Path } from "../finding.ts";

/** Whether the text is one DNS label: letters, digits and inner dashes, at most 63. */
export function isDnsLabel(text: string): boolean {
  return text.length <= 63 && /^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$/.test(text);
}

/** Whether the text may name a Kubernetes object: lower-case DNS labels with dots between, at most 253. */
export function isObjectName(text: string): boolean {
  return text.length <= 253 && text.split(".").every((label) => isDnsLabel(label) && label === label.toLowerCase());
}

/** What is wrong with a full host name; undefined when nothing is. */
export function hostFault(host: string): string | undefined {
  if (host.length === 0) return "a host name must not be empty";
  if (host.length > 255) return `"${host.slice(0, 40)}..." is longer than 255 characters`;
  return labelsFault(host, host);
}

/** The same for names that may begin with "*.", or be "*". */
export function wildcardHostFault(host: string): string | undefined {
  if (host.length === 0 || host.length > 255) return hostFault(host);
  const dot = host.indexOf(".");
  const first = dot === -1 ? host : host.slice(0, dot);
  const rest = dot === -1 ? undefined : host.slice(dot + 1);
  if (!(first === "*" || isDnsLabel(first))) return `"${host}" is no host name (label "${first}")`;
  return rest === undefined ? undefined : labelsFault(host, rest);
}

function labelsFault(host: string, text: string): string | undefined {
  const labels = text.split(".");
  const last = labels[labels.length - 1] ?? "";
  if (/^\d+$/.test(last)) return `"${host}" is no host name (its last label is a number)`;
  for (const [i, label] of labels.entries()) {
    if (i === labels.length - 1 && i > 0 && label === "") return undefined; // "example.com." is a full name.
    if (!isDnsLabel(label)) return `"${host}" is no host name (label "${label}")`;
  }
  return undefined;
}

/** Reports labels whose keys or values Kubernetes would not take. */
export function checkLabels(labels: Readonly<Record<string, string>> | undefined, path: Path, findings: Findings): void {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (!isLabelKey(key)) findings.error([...path, key], `"${key}" is no label key`);
    if (!/^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/.test(value)) findings.error([...path, key], `"${value}" is no label value`);
  }
}

function isLabelKey(key: string): boolean {
  const slash = key.indexOf("/");
  const prefix = slash === -1 ? undefined : key.slice(0, slash);
  const name = key.slice(slash + 1);
  if (prefix !== undefined && (prefix.length > 253 || !prefix.split(".").every(isDnsLabel))) return false;
  return name.length <= 63 && /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(name);
}

/** Reports a workload selector that selects nothing anybody can have. Source: Istio WorkloadSelector. */
export function checkSelector(labels: Readonly<Record<string, string>> | undefined, path: Path, findings: Findings): void {
  for (const [key, value] of Object.entries(labels ?? {})) {
    if (key === "") findings.error(path, "a label's key must not be empty");
    else if (key.includes("*") || value.includes("*"))
      findings.error([...path, key], `"${key}=${value}": wildcards are not allowed in a selector`);
  }
}

/** Reports namespaces that an object cannot be exported to. Source: Istio `exportTo`. */
export function checkExportTo(
  exportTo: readonly string[] | undefined,
  options: { readonly namespace: string; readonly path: Path; readonly allowNobody: boolean },
  findings: Findings,
): void {
  const seen = new Set<string>();
  for (const [i, entry] of (exportTo ?? []).entries()) {
    const path = [...options.path, i];
    const key = entry === "." ? options.namespace : entry;
    if (seen.has(key))
      findings.error(path, entry === key ? `"${entry}" stands twice` : `"." is namespace ${options.namespace}, which is listed already`);
    seen.add(key);
    if (entry === "~" && !options.allowNobody) findings.error(path, '"~" (nobody) is allowed in a ServiceEntry only');
    else if (!["*", ".", "~"].includes(entry) && !isDnsLabel(entry)) findings.error(path, `"${entry}" is neither "*", "." nor a namespace`);
  }
  if (seen.size < 2) return;
  if (seen.has("*")) findings.error(options.path, '"*" is every namespace: list nothing beside it');
  if (seen.has("~")) findings.error(options.path, '"~" is nobody: list nothing beside it');
}

/** Reports references to gateways that are no names. Source: Istio VirtualService `gateways`. */
export function checkGatewayNames(names: readonly string[] | undefined, path: Path, findings: Findings): void {
  for (const [i, name] of (names ?? []).entries()) {
    const at = [...path, i];
    const slash = name.indexOf("/");
    if (slash === -1) {
      const fault = hostFault(name);
      if (fault) findings.error(at, fault, 'write "namespace/name"');
      else if (name.includes(".")) findings.warn(at, `"${name}" is the old form of a gateway's name`, 'write "namespace/name"');
      continue;
    }
    const [namespace, gateway] = [name.slice(0, slash), name.slice(slash + 1)];
    if (namespace !== "." && !isDnsLabel(namespace)) findings.error(at, `"${namespace}" is no namespace`);
    if (!isDnsLabel(gateway)) findings.error(at, `"${gateway}" is no gateway's name`);
  }
}

/** Reports values that stand twice. */
export function checkUnique(values: readonly string[], pathOf: (index: number) => Path, what: string, findings: Findings): void {
  const first = new Map<string, number>();
  for (const [i, value] of values.entries()) {
    const before = first.get(value);
    if (before === undefined) first.set(value, i);
    else findings.error(pathOf(i), `${what} "${value}" stands twice`, `first at ${formatPath(pathOf(before))}`);
  }
}
