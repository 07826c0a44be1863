/**
 * A CDS cluster as plain config. What cannot be carried out and would change where or how traffic goes is refused; what is left
 * out with less harm is named in `warnings`. Source: envoy.config.cluster.v3.Cluster.
 */
import { durationMs } from "@bufbuild/protobuf/wkt";
import { messageOf } from "../../base/errors.ts";
import { type CircuitBreakers_Thresholds, CircuitBreakers_ThresholdsSchema } from "../../gen/envoy/config/cluster/v3/circuit_breaker_pb.ts";
import {
  type Cluster,
  Cluster_CommonLbConfigSchema,
  Cluster_LbSubsetConfigSchema,
  ClusterSchema,
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as DnsFamily,
  Cluster_LbPolicy as LbPolicy,
  Cluster_LbSubsetConfig_LbSubsetFallbackPolicy as SubsetFallback,
} from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import type { BindConfig } from "../../gen/envoy/config/core/v3/address_pb.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import type { ClusterLoadAssignment } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import {
  type HttpProtocolOptions,
  HttpProtocolOptionsSchema,
} from "../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import { ConfigRefused, type DataSourceReader, readSocketOptions } from "../config/address.ts";
import { isOfType, unpackAny } from "../config/any.ts";
import { unsupportedFields } from "../config/fields.ts";
import { readUpstreamSocket, type UpstreamTlsConfig } from "../config/tls-config.ts";

/** How a host is chosen. */
export type LbKind = "round-robin" | "least-request" | "random" | "hash";

/** Where the hosts come from. */
export type DiscoveryConfig =
  | { readonly kind: "static"; readonly assignment: ClusterLoadAssignment | undefined }
  | {
      readonly kind: "dns";
      readonly isLogical: boolean;
      readonly assignment: ClusterLoadAssignment | undefined;
      readonly refreshMs: number;
      readonly failureRefreshMs: number;
      readonly respectTtl: boolean;
      readonly family: 4 | 6 | "any";
    }
  | {
      readonly kind: "eds";
      readonly serviceName: string;
      readonly source: ConfigSource | undefined;
      readonly initialFetchTimeoutMs: number;
    }
  | { readonly kind: "original-dst"; readonly portOverride: number | undefined; readonly cleanupMs: number };

/** Which wire format a request takes. */
export type UpstreamProtocol = "http1" | "http2" | "downstream" | "alpn";

/** Limits of one cluster. Source: envoy.config.cluster.v3.CircuitBreakers.Thresholds. */
export interface BreakerConfig {
  readonly connectionsMax: number;
  readonly pendingMax: number;
  readonly requestsMax: number;
  readonly retriesMax: number;
  /** Replaces retriesMax: a part of the requests under way. */
  readonly retryBudget: { readonly percent: number; readonly concurrencyMin: number } | undefined;
}

/** One socket of several, chosen by an endpoint's metadata. */
export interface SocketMatchConfig {
  readonly name: string;
  readonly match: Readonly<Record<string, unknown>>;
  readonly tls: UpstreamTlsConfig | undefined;
}

/** Subset load balancing. */
export interface SubsetConfig {
  readonly selectors: readonly (readonly string[])[];
  readonly fallback: "none" | "any" | "default";
  readonly defaultSubset: Readonly<Record<string, unknown>>;
}

/** How requests are sent to a cluster. */
interface HttpOptions {
  readonly protocol: UpstreamProtocol;
  /** TLS asks for the name of each request. */
  readonly usesRequestName: boolean;
  readonly http2StreamsMax: number;
  readonly http2StreamWindowBytes: number | undefined;
  readonly http2ConnectionWindowBytes: number | undefined;
  readonly headerFieldsMax: number | undefined;
  readonly idleTimeoutMs: number | undefined;
  readonly connectionDurationMaxMs: number | undefined;
  readonly streamDurationMaxMs: number | undefined;
  readonly requestsPerConnectionMax: number | undefined;
}

/** A cluster that can be run. */
export interface ClusterConfig extends HttpOptions {
  readonly name: string;
  readonly statName: string;
  readonly discovery: DiscoveryConfig;
  readonly lb: LbKind;
  readonly leastRequestChoices: number;
  readonly leastRequestBias: number;
  readonly localityWeighted: boolean;
  readonly panicThresholdPercent: number;
  readonly subset: SubsetConfig | undefined;
  readonly connectTimeoutMs: number;
  readonly bufferBytes: number | undefined;
  readonly breaker: BreakerConfig;
  readonly sockets: readonly SocketMatchConfig[];
  /** For endpoints that match none of `sockets`. */
  readonly socket: UpstreamTlsConfig | undefined;
  readonly bind: { readonly from: string | undefined; readonly mark: number | undefined };
  readonly destinationService: { readonly host: string; readonly name: string; readonly namespace: string } | undefined;
  /** A change of hosts ends the use of all connections. */
  readonly drainsOnHostChange: boolean;
}

/** What reading gives. */
export interface ReadCluster {
  readonly config: ClusterConfig;
  /** Names of fields that are set and do nothing here. */
  readonly warnings: readonly string[];
}

/** What a cluster takes from its surroundings. */
export interface ReadClusterOptions {
  readonly reader: DataSourceReader;
  /** The bootstrap's cluster_manager.upstream_bind_config. */
  readonly bind: BindConfig | undefined;
  /** SO_MARK of all connections unless the config says otherwise. */
  readonly mark: number | undefined;
}

/** Reads a cluster. Throws ConfigRefused with the first reason why it cannot be run. */
export function readCluster(cluster: Cluster, options: ReadClusterOptions): ReadCluster {
  if (cluster.name === "") throw new ConfigRefused("a cluster needs a name");
  const warnings = unsupportedFields(ClusterSchema, cluster, SUPPORTED);
  const warn = (field: string): void => void warnings.push(field);
  const connectTimeoutMs = cluster.connectTimeout ? durationMs(cluster.connectTimeout) : 5000;
  if (connectTimeoutMs <= 0) throw new ConfigRefused("connect_timeout must be more than 0");
  const http = readHttpOptions(cluster, warn);
  const common = cluster.commonLbConfig;
  if (common) for (const field of unsupportedFields(Cluster_CommonLbConfigSchema, common, COMMON_LB)) warn(`common_lb_config.${field}`);
  const discovery = readDiscovery(cluster);
  const config: ClusterConfig = {
    name: cluster.name,
    statName: (cluster.altStatName.replace(/;$/, "") || cluster.name).replaceAll(":", "_"),
    discovery,
    lb: readPolicy(cluster, discovery),
    leastRequestChoices: cluster.lbConfig.case === "leastRequestLbConfig" ? (cluster.lbConfig.value.choiceCount ?? 2) : 2,
    leastRequestBias: cluster.lbConfig.case === "leastRequestLbConfig" ? (cluster.lbConfig.value.activeRequestBias?.defaultValue ?? 1) : 1,
    localityWeighted: common?.localityConfigSpecifier.case === "localityWeightedLbConfig",
    panicThresholdPercent: common?.healthyPanicThreshold ? common.healthyPanicThreshold.value : 50,
    subset: readSubset(cluster, warn),
    connectTimeoutMs,
    bufferBytes: cluster.perConnectionBufferLimitBytes,
    ...http,
    breaker: readBreaker(cluster, warn),
    sockets: cluster.transportSocketMatches.map((match) => ({
      name: match.name,
      match: match.match ?? {},
      tls: readUpstreamSocket(match.transportSocket, options.reader, warn),
    })),
    socket: readUpstreamSocket(cluster.transportSocket, options.reader, warn),
    bind: readBind(cluster, options, warn),
    destinationService: readDestinationService(cluster),
    drainsOnHostChange: common?.closeConnectionsOnHostSetChange ?? false,
  };
  if (cluster.lbConfig.case && cluster.lbConfig.case !== "leastRequestLbConfig" && cluster.lbConfig.case !== "originalDstLbConfig") {
    if (cluster.lbConfig.case !== "roundRobinLbConfig" || cluster.lbConfig.value.slowStartConfig)
      warn(`${cluster.lbConfig.case} (its sizes and slow start)`);
  }
  return { config, warnings: [...new Set(warnings)] };
}

const SUPPORTED: ReadonlySet<string> = new Set([
  "name",
  "altStatName",
  "type",
  "edsClusterConfig",
  "connectTimeout",
  "perConnectionBufferLimitBytes",
  "lbPolicy",
  "loadAssignment",
  "maxRequestsPerConnection",
  "circuitBreakers",
  "commonHttpProtocolOptions",
  "httpProtocolOptions",
  "http2ProtocolOptions",
  "typedExtensionProtocolOptions",
  "dnsRefreshRate",
  "dnsFailureRefreshRate",
  "respectDnsTtl",
  "dnsLookupFamily",
  "cleanupInterval",
  "upstreamBindConfig",
  "lbSubsetConfig",
  "ringHashLbConfig",
  "maglevLbConfig",
  "originalDstLbConfig",
  "leastRequestLbConfig",
  "roundRobinLbConfig",
  "commonLbConfig",
  "transportSocket",
  "transportSocketMatches",
  "metadata",
  "protocolSelection",
  "ignoreHealthOnHostRemoval",
  "waitForWarmOnInit",
  // Keep-alive is on for every connection; the statistics are made anyway.
  "upstreamConnectionOptions",
  "trackClusterStats",
  "trackTimeoutBudgets",
]);
const COMMON_LB: ReadonlySet<string> = new Set([
  "healthyPanicThreshold",
  "localityWeightedLbConfig",
  "zoneAwareLbConfig",
  "closeConnectionsOnHostSetChange",
  "updateMergeWindow",
]);

function readDiscovery(cluster: Cluster): DiscoveryConfig {
  const type = cluster.clusterDiscoveryType;
  if (type.case === "clusterType") throw new ConfigRefused(`cluster_type "${type.value.name}" is not supported`);
  const kind = type.value ?? DiscoveryType.STATIC;
  switch (kind) {
    case DiscoveryType.STATIC:
      return { kind: "static", assignment: cluster.loadAssignment };
    case DiscoveryType.STRICT_DNS:
    case DiscoveryType.LOGICAL_DNS: {
      const refreshMs = cluster.dnsRefreshRate ? durationMs(cluster.dnsRefreshRate) : 5000;
      const failure = cluster.dnsFailureRefreshRate?.baseInterval;
      return {
        kind: "dns",
        isLogical: kind === DiscoveryType.LOGICAL_DNS,
        assignment: cluster.loadAssignment,
        refreshMs,
        failureRefreshMs: failure ? durationMs(failure) : refreshMs,
        respectTtl: cluster.respectDnsTtl,
        family: cluster.dnsLookupFamily === DnsFamily.V4_ONLY ? 4 : cluster.dnsLookupFamily === DnsFamily.V6_ONLY ? 6 : "any",
      };
    }
    case DiscoveryType.EDS: {
      const eds = cluster.edsClusterConfig;
      if (!eds?.edsConfig) throw new ConfigRefused("an EDS cluster needs eds_cluster_config.eds_config");
      const timeout = eds.edsConfig.initialFetchTimeout;
      return {
        kind: "eds",
        serviceName: eds.serviceName || cluster.name,
        source: eds.edsConfig,
        initialFetchTimeoutMs: timeout ? durationMs(timeout) : 15_000,
      };
    }
    case DiscoveryType.ORIGINAL_DST: {
      const lb = cluster.lbConfig.case === "originalDstLbConfig" ? cluster.lbConfig.value : undefined;
      if (lb?.useHttpHeader || lb?.metadataKey)
        throw new ConfigRefused("original_dst_lb_config: use_http_header and metadata_key are not supported");
      return {
        kind: "original-dst",
        portOverride: lb?.upstreamPortOverride,
        cleanupMs: cluster.cleanupInterval ? durationMs(cluster.cleanupInterval) : 5000,
      };
    }
    default:
      throw new ConfigRefused(`discovery type ${kind} is not known`);
  }
}

function readPolicy(cluster: Cluster, discovery: DiscoveryConfig): LbKind {
  if (cluster.loadBalancingPolicy) throw new ConfigRefused("load_balancing_policy is not supported: give lb_policy");
  switch (cluster.lbPolicy) {
    case LbPolicy.ROUND_ROBIN:
      return "round-robin";
    case LbPolicy.LEAST_REQUEST:
      return "least-request";
    case LbPolicy.RANDOM:
      return "random";
    case LbPolicy.RING_HASH:
    case LbPolicy.MAGLEV:
      return "hash";
    case LbPolicy.CLUSTER_PROVIDED:
      if (discovery.kind !== "original-dst") throw new ConfigRefused("lb_policy CLUSTER_PROVIDED is for ORIGINAL_DST clusters");
      return "random";
    default:
      throw new ConfigRefused(`lb_policy ${cluster.lbPolicy} is not supported`);
  }
}

function readSubset(cluster: Cluster, warn: (field: string) => void): SubsetConfig | undefined {
  const config = cluster.lbSubsetConfig;
  if (!config) return undefined;
  for (const field of unsupportedFields(
    Cluster_LbSubsetConfigSchema,
    config,
    new Set(["fallbackPolicy", "defaultSubset", "subsetSelectors"]),
  ))
    warn(`lb_subset_config.${field}`);
  return {
    selectors: config.subsetSelectors.map(({ keys }) => [...keys].sort()),
    fallback:
      config.fallbackPolicy === SubsetFallback.ANY_ENDPOINT
        ? "any"
        : config.fallbackPolicy === SubsetFallback.DEFAULT_SUBSET
          ? "default"
          : "none",
    defaultSubset: config.defaultSubset ?? {},
  };
}

function readBreaker(cluster: Cluster, warn: (field: string) => void): BreakerConfig {
  const thresholds: CircuitBreakers_Thresholds | undefined = cluster.circuitBreakers?.thresholds.find(({ priority }) => priority === 0);
  if (cluster.circuitBreakers?.perHostThresholds.length) warn("circuit_breakers.per_host_thresholds");
  if (cluster.circuitBreakers?.thresholds.some(({ priority }) => priority !== 0)) warn("circuit_breakers.thresholds of priority HIGH");
  if (thresholds) {
    for (const field of unsupportedFields(CircuitBreakers_ThresholdsSchema, thresholds, THRESHOLDS)) warn(`circuit_breakers.${field}`);
  }
  const budget = thresholds?.retryBudget;
  return {
    connectionsMax: thresholds?.maxConnections ?? 1024,
    pendingMax: thresholds?.maxPendingRequests ?? 1024,
    requestsMax: thresholds?.maxRequests ?? 1024,
    retriesMax: thresholds?.maxRetries ?? 3,
    retryBudget: budget && { percent: budget.budgetPercent?.value ?? 20, concurrencyMin: budget.minRetryConcurrency ?? 3 },
  };
}

const THRESHOLDS: ReadonlySet<string> = new Set([
  "priority",
  "maxConnections",
  "maxPendingRequests",
  "maxRequests",
  "maxRetries",
  "retryBudget",
  "trackRemaining",
]);

function readHttpOptions(cluster: Cluster, warn: (field: string) => void): HttpOptions {
  let typed: HttpProtocolOptions | undefined;
  for (const [key, any] of Object.entries(cluster.typedExtensionProtocolOptions)) {
    if (!isOfType(any, HttpProtocolOptionsSchema))
      throw new ConfigRefused(`typed_extension_protocol_options "${key}" (${any.typeUrl}) is not supported`);
    typed = unpackAny(any, HttpProtocolOptionsSchema);
  }
  if (typed) for (const field of unsupportedFields(HttpProtocolOptionsSchema, typed, TYPED)) warn(`http_protocol_options.${field}`);
  const named = typed?.upstreamHttpProtocolOptions;
  // Without it any certificate that the authority signed would do: a cluster that asks for more is not taken.
  if (named?.autoSanValidation) throw new ConfigRefused("upstream_http_protocol_options.auto_san_validation is not supported");
  if (named?.overrideAutoSniHeader) throw new ConfigRefused("upstream_http_protocol_options.override_auto_sni_header is not supported");
  const choice = typed?.upstreamProtocolOptions;
  const common = typed?.commonHttpProtocolOptions ?? cluster.commonHttpProtocolOptions;
  const explicit = choice?.case === "explicitHttpConfig" ? choice.value.protocolConfig : undefined;
  if (explicit?.case === "http3ProtocolOptions") throw new ConfigRefused("http3_protocol_options: HTTP/3 is not supported");
  const http2 =
    explicit?.case === "http2ProtocolOptions"
      ? explicit.value
      : choice?.case === "useDownstreamProtocolConfig" || choice?.case === "autoConfig"
        ? choice.value.http2ProtocolOptions
        : cluster.http2ProtocolOptions;
  let protocol: UpstreamProtocol = "http1";
  if (choice?.case === "useDownstreamProtocolConfig") protocol = "downstream";
  else if (choice?.case === "autoConfig") protocol = "alpn";
  else if (explicit ? explicit.case === "http2ProtocolOptions" : !typed && cluster.http2ProtocolOptions) protocol = "http2";
  if (!typed && cluster.protocolSelection === 1) protocol = "downstream";
  const idle = common?.idleTimeout;
  return {
    protocol,
    usesRequestName: named?.autoSni ?? false,
    http2StreamsMax: http2?.maxConcurrentStreams ?? 1024,
    http2StreamWindowBytes: http2?.initialStreamWindowSize,
    http2ConnectionWindowBytes: http2?.initialConnectionWindowSize,
    headerFieldsMax: common?.maxHeadersCount,
    // 0 switches it off; the default is an hour.
    idleTimeoutMs: idle ? durationMs(idle) || undefined : 3_600_000,
    connectionDurationMaxMs: common?.maxConnectionDuration ? durationMs(common.maxConnectionDuration) || undefined : undefined,
    streamDurationMaxMs: common?.maxStreamDuration ? durationMs(common.maxStreamDuration) || undefined : undefined,
    requestsPerConnectionMax: common?.maxRequestsPerConnection ?? cluster.maxRequestsPerConnection,
  };
}

const TYPED: ReadonlySet<string> = new Set([
  "upstreamHttpProtocolOptions",
  "commonHttpProtocolOptions",
  "explicitHttpConfig",
  "useDownstreamProtocolConfig",
  "autoConfig",
]);

function readBind(
  cluster: Cluster,
  options: ReadClusterOptions,
  warn: (field: string) => void,
): { from: string | undefined; mark: number | undefined } {
  const bind = cluster.upstreamBindConfig ?? options.bind;
  const { mark, unsupported } = readSocketOptions(bind?.socketOptions ?? []);
  for (const name of unsupported) warn(`upstream_bind_config.${name}`);
  if (bind?.sourceAddress?.portSpecifier.value) warn("upstream_bind_config.source_address.port_value");
  if (bind && (bind.extraSourceAddresses.length > 0 || bind.additionalSourceAddresses.length > 0 || bind.localAddressSelector))
    warn("upstream_bind_config: more than one source address");
  const from = bind?.sourceAddress?.address;
  return { from: !from || from === "0.0.0.0" || from === "::" ? undefined : from, mark: mark ?? options.mark };
}

/** Which service a cluster stands for. Source: Istio's cluster metadata istio.services. */
function readDestinationService(cluster: Cluster): ClusterConfig["destinationService"] {
  try {
    const services: unknown = cluster.metadata?.filterMetadata["istio"]?.["services"];
    const first: unknown = Array.isArray(services) ? services[0] : undefined;
    if (typeof first !== "object" || first === null) return undefined;
    const { host, name, namespace } = first as Readonly<Record<string, unknown>>;
    if (typeof host !== "string" || typeof name !== "string" || typeof namespace !== "string") return undefined;
    return { host, name, namespace };
  } catch (error) {
    throw new ConfigRefused(`metadata istio.services: ${messageOf(error)}`);
  }
}
