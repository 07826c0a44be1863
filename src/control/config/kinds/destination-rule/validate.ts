/** The rules of a DestinationRule. Source: Istio networking/v1 DestinationRule. */
import type { Findings, Path } from "../../finding.ts";
import { isIpAddress } from "../../rules/address.ts";
import { checkExportTo, checkLabels, checkSelector, checkUnique, isDnsLabel, wildcardHostFault } from "../../rules/names.ts";
import { checkDuration, checkPort } from "../../rules/values.ts";
import type { KindContext } from "../kind.ts";
import type { RawClientTls, RawConnectionPool, RawDestinationRule, RawPortPolicy, RawTrafficPolicy } from "./schema.ts";

/** Reports what is wrong with a DestinationRule. */
export function validateDestinationRule(raw: RawDestinationRule, { namespace, path }: KindContext, findings: Findings): void {
  const fault = isIpAddress(raw.host) ? undefined : wildcardHostFault(raw.host);
  if (fault) findings.error([...path, "host"], fault);
  checkTrafficPolicy(raw.trafficPolicy, [...path, "trafficPolicy"], findings);
  const subsets = raw.subsets ?? [];
  checkUnique(
    subsets.map((subset) => subset.name),
    (i) => [...path, "subsets", i, "name"],
    "subset",
    findings,
  );
  for (const [i, subset] of subsets.entries()) {
    const at = [...path, "subsets", i];
    if (!isDnsLabel(subset.name))
      findings.error([...at, "name"], `"${subset.name}" is no subset's name`, "letters, digits and dashes, at most 63");
    checkLabels(subset.labels, [...at, "labels"], findings);
    checkTrafficPolicy(subset.trafficPolicy, [...at, "trafficPolicy"], findings);
  }
  checkExportTo(raw.exportTo, { namespace, path: [...path, "exportTo"], allowNobody: false }, findings);
  if (!raw.workloadSelector) return;
  checkSelector(raw.workloadSelector.matchLabels, [...path, "workloadSelector", "matchLabels"], findings);
  if ((raw.exportTo ?? []).some((entry) => entry !== "." && entry !== namespace)) {
    findings.error([...path, "exportTo"], "a rule with a workloadSelector holds in its own namespace only");
  }
}

function checkTrafficPolicy(policy: RawTrafficPolicy | undefined, path: Path, findings: Findings): void {
  if (!policy) return;
  const ports = policy.portLevelSettings;
  if (!policy.loadBalancer && !policy.connectionPool && !policy.tls && !ports) findings.error(path, "says nothing", "leave it out");
  checkPortPolicy(policy, path, findings);
  for (const [i, { port, ...settings }] of (ports ?? []).entries()) {
    const at = [...path, "portLevelSettings", i];
    checkPort(port?.number, [...at, "port", "number"], findings);
    if (!settings.loadBalancer && !settings.connectionPool && !settings.tls) findings.error(at, "says nothing of its port");
    checkPortPolicy(settings, at, findings);
  }
  const numbers = (ports ?? []).map(({ port }) => String(port?.number));
  checkUnique(numbers, (i) => [...path, "portLevelSettings", i, "port", "number"], "port", findings);
}

function checkPortPolicy(policy: RawPortPolicy, path: Path, findings: Findings): void {
  checkConnectionPool(policy.connectionPool, [...path, "connectionPool"], findings);
  checkTls(policy.tls, [...path, "tls"], findings);
}

function checkConnectionPool(pool: RawConnectionPool | undefined, path: Path, findings: Findings): void {
  if (!pool) return;
  if (!pool.tcp && !pool.http) findings.error(path, "says nothing", "set tcp or http, or leave it out");
  checkDuration(pool.tcp?.connectTimeout, [...path, "tcp", "connectTimeout"], findings);
  checkDuration(pool.tcp?.idleTimeout, [...path, "tcp", "idleTimeout"], findings, { zero: true });
  checkDuration(pool.http?.idleTimeout, [...path, "http", "idleTimeout"], findings);
  if (pool.http?.h2UpgradePolicy === "UPGRADE" && pool.http.useClientProtocol) {
    findings.error([...path, "http", "useClientProtocol"], "useClientProtocol and h2UpgradePolicy UPGRADE exclude each other");
  }
}

function checkTls(tls: RawClientTls | undefined, path: Path, findings: Findings): void {
  if (!tls) return;
  const mode = tls.mode ?? "DISABLE";
  if (mode === "SIMPLE") {
    if (tls.insecureSkipVerify && (tls.caCertificates || tls.subjectAltNames)) {
      findings.error(
        [...path, "insecureSkipVerify"],
        "caCertificates and subjectAltNames are not looked at with insecureSkipVerify",
        "remove one or the other",
      );
    } else if (tls.insecureSkipVerify) findings.warn([...path, "insecureSkipVerify"], "the server's certificate is not verified");
    return;
  }
  for (const name of ["caCertificates", "insecureSkipVerify"] as const) {
    if (tls[name]) findings.warn([...path, name], `has no effect with mode ${mode}`);
  }
}
