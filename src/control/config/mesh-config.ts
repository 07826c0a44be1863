/**
 * Istio's MeshConfig from YAML. What Lateen acts on is taken; what only Istio acts on is warned of by name, so that the mesh
 * config of an existing mesh loads; what nobody knows is refused. Source: Istio mesh/v1alpha1 MeshConfig and its defaults.
 */
import { Findings, formatPath, type Path, type Problem } from "./finding.ts";
import { normaliseRetry } from "./kinds/virtual-service/normalise.ts";
import { type RawRetry, retrySchema } from "./kinds/virtual-service/schema.ts";
import { checkRetries } from "./kinds/virtual-service/validate-action.ts";
import { checkExportTo, isDnsLabel } from "./rules/names.ts";
import { checkDuration, durationMs } from "./rules/values.ts";
import { checkShape, durationSchema, fields, flagSchema, type JsonSchema, listOf, oneOfWords, textSchema, withoutNulls } from "./schema.ts";
import type { MeshConfig } from "./types.ts";
import { FILE_BYTES_MAX, parseYaml } from "./yaml-text.ts";

/** Istio's defaults. */
export function defaultMeshConfig(domain = "cluster.local"): MeshConfig {
  return {
    trustDomain: "cluster.local",
    trustDomainAliases: [],
    rootNamespace: "istio-system",
    outboundTrafficPolicy: "ALLOW_ANY",
    enableAutoMtls: true,
    accessLogFile: "",
    accessLogEncoding: "TEXT",
    accessLogFormat: "",
    connectTimeoutMs: 10_000,
    defaultHttpRetryPolicy: undefined,
    protocolDetectionTimeoutMs: 0,
    pathNormalization: "BASE",
    defaultServiceExportTo: ["*"],
    defaultVirtualServiceExportTo: ["*"],
    defaultDestinationRuleExportTo: ["*"],
    tlsMinProtocolVersion: "TLSV1_2",
    tcpKeepaliveMs: undefined,
    domain,
  };
}

/** A mesh config, or why there is none. */
export interface MeshConfigResult {
  /** Undefined when there are errors. */
  readonly mesh: MeshConfig | undefined;
  readonly errors: readonly Problem[];
  readonly warnings: readonly Problem[];
}

interface RawMeshConfig {
  readonly trustDomain?: string;
  readonly trustDomainAliases?: readonly string[];
  readonly rootNamespace?: string;
  readonly outboundTrafficPolicy?: { readonly mode?: MeshConfig["outboundTrafficPolicy"] };
  readonly enableAutoMtls?: boolean;
  readonly accessLogFile?: string;
  readonly accessLogEncoding?: MeshConfig["accessLogEncoding"];
  readonly accessLogFormat?: string;
  readonly connectTimeout?: string;
  readonly defaultHttpRetryPolicy?: RawRetry;
  readonly protocolDetectionTimeout?: string;
  readonly pathNormalization?: { readonly normalization?: MeshConfig["pathNormalization"] | "DEFAULT" };
  readonly defaultServiceExportTo?: readonly string[];
  readonly defaultVirtualServiceExportTo?: readonly string[];
  readonly defaultDestinationRuleExportTo?: readonly string[];
  readonly meshMTLS?: { readonly minProtocolVersion?: "TLS_AUTO" | MeshConfig["tlsMinProtocolVersion"] };
  readonly tcpKeepalive?: { readonly time?: string };
}

/** Keys that Istio acts on and Lateen does not yet: each is warned of. */
const NOT_ACTED_ON: readonly string[] = [
  "ca",
  "caCertificates",
  "certificates",
  "configSources",
  "defaultConfig",
  "defaultProviders",
  "defaultTrafficPolicy",
  "defaultInboundHttpRetryPolicy",
  "disableEnvoyListenerLog",
  "discoverySelectors",
  "dnsRefreshRate",
  "enableEnvoyAccessLogService",
  "enablePrometheusMerge",
  "enableTracing",
  "extensionProviders",
  "h2UpgradePolicy",
  "hboneIdleTimeout",
  "inboundClusterStatName",
  "inboundTrafficPolicy",
  "ingressClass",
  "ingressControllerMode",
  "ingressSelector",
  "ingressService",
  "localityLbSetting",
  "outboundClusterStatName",
  "proxyHttpPort",
  "proxyInboundListenPort",
  "proxyListenPort",
  "serviceEntryVisibility",
  "serviceScopeConfigs",
  "serviceSettings",
  "tlsDefaults",
  "verifyCertificateAtClient",
  "zoneAwareLbSetting",
];

/** Parts of keys that are acted on otherwise. */
const PARTS_NOT_ACTED_ON: readonly (readonly [string, string])[] = [
  ["meshMTLS", "ecdhCurves"],
  ["meshMTLS", "cipherSuites"],
  ["tcpKeepalive", "probes"],
  ["tcpKeepalive", "interval"],
];

const anything: JsonSchema = {};

/** The schema of the file. */
export const meshConfigSchema: JsonSchema = fields({
  trustDomain: textSchema,
  trustDomainAliases: listOf(textSchema),
  rootNamespace: textSchema,
  outboundTrafficPolicy: fields({ mode: oneOfWords(["ALLOW_ANY", "REGISTRY_ONLY"], ["ALLOW_ANY_DYNAMIC_DNS"]) }),
  enableAutoMtls: flagSchema,
  accessLogFile: textSchema,
  accessLogEncoding: oneOfWords(["TEXT", "JSON"]),
  accessLogFormat: textSchema,
  connectTimeout: durationSchema,
  defaultHttpRetryPolicy: retrySchema,
  protocolDetectionTimeout: durationSchema,
  pathNormalization: fields({ normalization: oneOfWords(["DEFAULT", "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]) }),
  defaultServiceExportTo: listOf(textSchema),
  defaultVirtualServiceExportTo: listOf(textSchema),
  defaultDestinationRuleExportTo: listOf(textSchema),
  meshMTLS: fields({ minProtocolVersion: oneOfWords(["TLS_AUTO", "TLSV1_2", "TLSV1_3"]), ecdhCurves: anything, cipherSuites: anything }),
  tcpKeepalive: fields({ time: durationSchema, probes: anything, interval: anything }),
  ...Object.fromEntries(NOT_ACTED_ON.map((name) => [name, anything])),
});

/** Reads the text of a mesh config (a file's, or given inline). An empty one is all defaults. */
export function parseMeshConfig(text: string, options: { readonly file: string; readonly domain?: string }): MeshConfigResult {
  const problem = (
    severity: Problem["severity"],
    message: string,
    hint: string | undefined,
    path: Path,
    at: { line: number; column: number },
  ): Problem => {
    return {
      severity,
      path: formatPath(path),
      message,
      ...(hint === undefined ? {} : { hint }),
      object: "MeshConfig",
      position: { file: options.file, ...at },
    };
  };
  const start = { line: 1, column: 1 };
  const refuse = (message: string, hint?: string, at = start): MeshConfigResult => ({
    mesh: undefined,
    errors: [problem("error", message, hint, [], at)],
    warnings: [],
  });
  if (Buffer.byteLength(text) > FILE_BYTES_MAX) return refuse(`the mesh config is larger than ${FILE_BYTES_MAX} bytes`);
  const documents = parseYaml(text);
  const document = documents[0];
  if (documents.length > 1) return refuse("a mesh config is one document, and this file has more");
  if (!document || (document.kind === "value" && document.value === undefined))
    return { mesh: defaultMeshConfig(options.domain), errors: [], warnings: [] };
  if (document.kind === "fault") return refuse(document.message, document.hint, document.at);
  const findings = new Findings();
  const value = withoutNulls(meshConfigSchema, document.value);
  let mesh: MeshConfig | undefined;
  if (checkShape(meshConfigSchema, value, [], findings)) {
    // The schema has just been checked.
    const raw = value as RawMeshConfig & Readonly<Record<string, unknown>>;
    warnOfInactive(raw, findings);
    validate(raw, findings);
    if (!findings.hasErrors) mesh = normalise(raw, options.domain);
  }
  const problems = findings.list.map(({ severity, message, hint, path }) => problem(severity, message, hint, path, document.locate(path)));
  return { mesh, errors: problems.filter((p) => p.severity === "error"), warnings: problems.filter((p) => p.severity === "warning") };
}

const NOT_ACTED_ON_MESSAGE = "this version of Lateen does not act on it";

function warnOfInactive(raw: Readonly<Record<string, unknown>>, findings: Findings): void {
  for (const name of NOT_ACTED_ON) if (raw[name] !== undefined) findings.warn([name], NOT_ACTED_ON_MESSAGE);
  for (const [name, part] of PARTS_NOT_ACTED_ON) {
    const value = raw[name];
    if (typeof value === "object" && value !== null && Object.hasOwn(value, part)) findings.warn([name, part], NOT_ACTED_ON_MESSAGE);
  }
}

function validate(raw: RawMeshConfig, findings: Findings): void {
  checkTrustDomain(raw.trustDomain, ["trustDomain"], findings);
  for (const [i, alias] of (raw.trustDomainAliases ?? []).entries()) checkTrustDomain(alias, ["trustDomainAliases", i], findings);
  if (raw.rootNamespace && !isDnsLabel(raw.rootNamespace)) findings.error(["rootNamespace"], `"${raw.rootNamespace}" is no namespace`);
  checkDuration(raw.connectTimeout, ["connectTimeout"], findings);
  if ((durationMs(raw.connectTimeout) ?? 0) > 3_600_000) findings.error(["connectTimeout"], "must be at most 1h");
  checkDuration(raw.protocolDetectionTimeout, ["protocolDetectionTimeout"], findings, { zero: true });
  checkDuration(raw.tcpKeepalive?.time, ["tcpKeepalive", "time"], findings);
  checkRetries(raw.defaultHttpRetryPolicy, ["defaultHttpRetryPolicy"], findings);
  for (const name of ["defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo"] as const) {
    checkExportTo(raw[name], { namespace: ".", path: [name], allowNobody: name === "defaultServiceExportTo" }, findings);
  }
  if (raw.accessLogFormat && raw.accessLogEncoding === "JSON") checkJsonFormat(raw.accessLogFormat, findings);
}

function checkTrustDomain(domain: string | undefined, path: Path, findings: Findings): void {
  if (domain === undefined) return;
  if (!/^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$/.test(domain))
    findings.error(path, `"${domain}" is no trust domain`, "lower-case letters, digits, dots and dashes");
}

function checkJsonFormat(format: string, findings: Findings): void {
  try {
    const value: unknown = JSON.parse(format);
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  } catch {
    // Said below, with the field's name.
  }
  findings.error(["accessLogFormat"], "must be a JSON object where accessLogEncoding is JSON");
}

function normalise(raw: RawMeshConfig, domain: string | undefined): MeshConfig {
  const defaults = defaultMeshConfig(domain);
  const normalization = raw.pathNormalization?.normalization ?? "DEFAULT";
  const minVersion = raw.meshMTLS?.minProtocolVersion ?? "TLS_AUTO";
  return {
    trustDomain: raw.trustDomain ?? defaults.trustDomain,
    trustDomainAliases: raw.trustDomainAliases ?? [],
    rootNamespace: raw.rootNamespace || defaults.rootNamespace,
    outboundTrafficPolicy: raw.outboundTrafficPolicy?.mode ?? defaults.outboundTrafficPolicy,
    enableAutoMtls: raw.enableAutoMtls ?? defaults.enableAutoMtls,
    accessLogFile: raw.accessLogFile ?? "",
    accessLogEncoding: raw.accessLogEncoding ?? "TEXT",
    accessLogFormat: raw.accessLogFormat ?? "",
    connectTimeoutMs: durationMs(raw.connectTimeout) ?? defaults.connectTimeoutMs,
    defaultHttpRetryPolicy: raw.defaultHttpRetryPolicy && normaliseRetry(raw.defaultHttpRetryPolicy),
    protocolDetectionTimeoutMs: durationMs(raw.protocolDetectionTimeout) ?? defaults.protocolDetectionTimeoutMs,
    pathNormalization: normalization === "DEFAULT" ? defaults.pathNormalization : normalization,
    defaultServiceExportTo: raw.defaultServiceExportTo ?? defaults.defaultServiceExportTo,
    defaultVirtualServiceExportTo: raw.defaultVirtualServiceExportTo ?? defaults.defaultVirtualServiceExportTo,
    defaultDestinationRuleExportTo: raw.defaultDestinationRuleExportTo ?? defaults.defaultDestinationRuleExportTo,
    tlsMinProtocolVersion: minVersion === "TLS_AUTO" ? "TLSV1_2" : minVersion,
    tcpKeepaliveMs: durationMs(raw.tcpKeepalive?.time),
    domain: defaults.domain,
  };
}
