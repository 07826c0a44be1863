/**
 * Config as the control plane holds it: Istio's resources after schema, validation and normalisation. Short names are full
 * names here, durations are milliseconds, defaults are filled in where Istio defines one. Everything is immutable.
 */
import type { Hostname } from "../../model/host.ts";
import type { Protocol, Resolution } from "../../model/service.ts";

/** The kinds that Lateen takes, by apiVersion group. */
export type Kind = "ServiceEntry" | "WorkloadEntry" | "VirtualService" | "DestinationRule" | "Gateway" | "PeerAuthentication";

/** Where a document stands, for messages: "shop/routes.yaml:12:3". */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Name, place and age of an object. */
export interface Meta {
  readonly kind: Kind;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** creationTimestamp in ms since 1970, 0 where the source has none: older objects win conflicts, those of one age by name. */
  readonly createdAt: number;
  /** Where the object stood when it last changed; the store's `locate` tells where it stands now. */
  readonly position: SourcePosition;
}

/** An object of config. */
export interface ConfigObject<K extends Kind = Kind, S = unknown> {
  readonly meta: Meta & { readonly kind: K };
  readonly spec: S;
}

export type ServiceEntry = ConfigObject<"ServiceEntry", ServiceEntrySpec>;
export type WorkloadEntry = ConfigObject<"WorkloadEntry", WorkloadEntrySpec>;
export type VirtualService = ConfigObject<"VirtualService", VirtualServiceSpec>;
export type DestinationRule = ConfigObject<"DestinationRule", DestinationRuleSpec>;
export type Gateway = ConfigObject<"Gateway", GatewaySpec>;
export type PeerAuthentication = ConfigObject<"PeerAuthentication", PeerAuthenticationSpec>;
export type AnyConfig = ServiceEntry | WorkloadEntry | VirtualService | DestinationRule | Gateway | PeerAuthentication;

/** Source: Istio networking/v1 ServiceEntry. */
export interface ServiceEntrySpec {
  readonly hosts: readonly Hostname[];
  readonly addresses: readonly string[];
  readonly ports: readonly {
    readonly name: string;
    readonly number: number;
    readonly protocol: Protocol;
    readonly targetPort: number | undefined;
  }[];
  readonly meshExternal: boolean;
  readonly resolution: Resolution;
  readonly endpoints: readonly WorkloadEntrySpec[];
  readonly workloadSelector: Readonly<Record<string, string>> | undefined;
  readonly exportTo: readonly string[];
  readonly subjectAltNames: readonly string[];
}

/** Source: Istio networking/v1 WorkloadEntry. */
export interface WorkloadEntrySpec {
  readonly address: string;
  /** Service port name -> this workload's port. */
  readonly ports: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly network: string;
  readonly locality: string;
  readonly weight: number;
  readonly serviceAccount: string | undefined;
}

/** Source: Istio networking/v1 VirtualService. */
export interface VirtualServiceSpec {
  readonly hosts: readonly Hostname[];
  /** "mesh" or "namespace/name"; never empty. */
  readonly gateways: readonly string[];
  readonly http: readonly HttpRoute[];
  readonly exportTo: readonly string[];
}

export interface HttpRoute {
  readonly name: string | undefined;
  /** Empty matches everything. */
  readonly match: readonly HttpMatch[];
  readonly route: readonly HttpRouteDestination[];
  readonly redirect: HttpRedirect | undefined;
  readonly directResponse: { readonly status: number; readonly body: string | undefined } | undefined;
  readonly rewrite: HttpRewrite | undefined;
  /** Undefined: no timeout. */
  readonly timeoutMs: number | undefined;
  /** Undefined: the mesh's default policy. attempts 0 means none. */
  readonly retries: HttpRetry | undefined;
  readonly fault: HttpFault | undefined;
  readonly headers: HeaderOperations;
}

export type StringMatch =
  | { readonly exact: string }
  | { readonly prefix: string }
  | { readonly regex: string }
  | { readonly present: true };

export interface HttpMatch {
  readonly name: string | undefined;
  readonly uri: StringMatch | undefined;
  readonly ignoreUriCase: boolean;
  readonly scheme: StringMatch | undefined;
  readonly method: StringMatch | undefined;
  readonly authority: StringMatch | undefined;
  readonly headers: Readonly<Record<string, StringMatch>>;
  readonly withoutHeaders: Readonly<Record<string, StringMatch>>;
  readonly queryParams: Readonly<Record<string, StringMatch>>;
  readonly port: number | undefined;
  readonly sourceLabels: Readonly<Record<string, string>>;
  readonly sourceNamespace: string | undefined;
  /** Replaces the VirtualService's gateways for this match when not empty. */
  readonly gateways: readonly string[];
}

export interface HttpRouteDestination {
  readonly destination: Destination;
  /** As written; a single destination without a weight has 100. */
  readonly weight: number;
  readonly headers: HeaderOperations;
}

export interface Destination {
  readonly host: Hostname;
  readonly subset: string | undefined;
  readonly port: number | undefined;
}

export interface HttpRedirect {
  readonly uri: string | undefined;
  readonly authority: string | undefined;
  readonly port: number | undefined;
  readonly derivePort: "FROM_PROTOCOL_DEFAULT" | "FROM_REQUEST_PORT" | undefined;
  readonly scheme: string | undefined;
  readonly redirectCode: number;
}

export interface HttpRewrite {
  readonly uri: string | undefined;
  readonly authority: string | undefined;
  readonly uriRegexRewrite: { readonly match: string; readonly rewrite: string } | undefined;
}

export interface HttpRetry {
  readonly attempts: number;
  readonly perTryTimeoutMs: number | undefined;
  readonly backoffMs: number | undefined;
  /** Envoy's comma-separated conditions and status codes; empty means the default set. */
  readonly retryOn: string;
  readonly retryRemoteLocalities: boolean | undefined;
  readonly retryIgnorePreviousHosts: boolean;
}

export interface HttpFault {
  readonly delay: { readonly fixedDelayMs: number; readonly percentage: number } | undefined;
  readonly abort:
    | { readonly httpStatus: number | undefined; readonly grpcStatus: number | undefined; readonly percentage: number }
    | undefined;
}

export interface HeaderOperations {
  readonly request: HeaderOperation;
  readonly response: HeaderOperation;
}

export interface HeaderOperation {
  readonly set: Readonly<Record<string, string>>;
  readonly add: Readonly<Record<string, string>>;
  readonly remove: readonly string[];
}

/** Source: Istio networking/v1 DestinationRule. */
export interface DestinationRuleSpec {
  readonly host: Hostname;
  readonly trafficPolicy: TrafficPolicy;
  readonly subsets: readonly Subset[];
  readonly exportTo: readonly string[];
  readonly workloadSelector: Readonly<Record<string, string>> | undefined;
}

export interface Subset {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly trafficPolicy: TrafficPolicy;
}

/** Absent members inherit: mesh, then rule, then subset, then port. */
export interface TrafficPolicy {
  readonly loadBalancer: LoadBalancer | undefined;
  readonly connectionPool: ConnectionPool | undefined;
  readonly tls: ClientTlsSettings | undefined;
  readonly portLevelSettings: readonly { readonly port: number; readonly policy: Omit<TrafficPolicy, "portLevelSettings"> }[];
}

export type LoadBalancer = "ROUND_ROBIN" | "LEAST_REQUEST" | "RANDOM" | "PASSTHROUGH";

export interface ConnectionPool {
  readonly maxConnections: number | undefined;
  readonly connectTimeoutMs: number | undefined;
  readonly tcpIdleTimeoutMs: number | undefined;
  readonly http1MaxPendingRequests: number | undefined;
  readonly http2MaxRequests: number | undefined;
  readonly maxRequestsPerConnection: number | undefined;
  readonly maxRetries: number | undefined;
  readonly httpIdleTimeoutMs: number | undefined;
  readonly maxConcurrentStreams: number | undefined;
  readonly h2UpgradePolicy: "DEFAULT" | "DO_NOT_UPGRADE" | "UPGRADE" | undefined;
  readonly useClientProtocol: boolean | undefined;
}

/** ISTIO_MUTUAL: the mesh's certificates; SIMPLE: verify a server of outside. */
export interface ClientTlsSettings {
  readonly mode: "DISABLE" | "SIMPLE" | "ISTIO_MUTUAL";
  readonly sni: string | undefined;
  readonly subjectAltNames: readonly string[];
  readonly caCertificates: string | undefined;
  readonly insecureSkipVerify: boolean;
}

/** Source: Istio networking/v1 Gateway. */
export interface GatewaySpec {
  readonly selector: Readonly<Record<string, string>>;
  readonly servers: readonly GatewayServer[];
}

export interface GatewayServer {
  readonly port: { readonly number: number; readonly name: string; readonly protocol: Protocol };
  readonly bind: string | undefined;
  /** Without their namespace part; `namespaces[i]` belongs to `hosts[i]`: "*" any, "." the gateway's own, or a name. */
  readonly hosts: readonly Hostname[];
  readonly hostNamespaces: readonly string[];
  readonly httpsRedirect: boolean;
}

/** Source: Istio security/v1 PeerAuthentication. */
export interface PeerAuthenticationSpec {
  /** Undefined: the whole namespace (in the root namespace: the whole mesh). */
  readonly selector: Readonly<Record<string, string>> | undefined;
  readonly mode: MtlsMode | "UNSET";
  readonly portLevel: ReadonlyMap<number, MtlsMode | "UNSET">;
}

export type MtlsMode = "STRICT" | "PERMISSIVE" | "DISABLE";

/** Istio's MeshConfig as far as Lateen acts on it. Source: Istio mesh/v1alpha1 MeshConfig. */
export interface MeshConfig {
  readonly trustDomain: string;
  readonly trustDomainAliases: readonly string[];
  readonly rootNamespace: string;
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly enableAutoMtls: boolean;
  /** Empty: off. "/dev/stdout" prints. */
  readonly accessLogFile: string;
  readonly accessLogEncoding: "TEXT" | "JSON";
  /** Empty: the default format. */
  readonly accessLogFormat: string;
  readonly connectTimeoutMs: number;
  /** Undefined: Istio's default (2 attempts). */
  readonly defaultHttpRetryPolicy: HttpRetry | undefined;
  readonly protocolDetectionTimeoutMs: number;
  readonly pathNormalization: "NONE" | "BASE" | "MERGE_SLASHES" | "DECODE_AND_MERGE_SLASHES";
  readonly defaultServiceExportTo: readonly string[];
  readonly defaultVirtualServiceExportTo: readonly string[];
  readonly defaultDestinationRuleExportTo: readonly string[];
  readonly tlsMinProtocolVersion: "TLSV1_2" | "TLSV1_3";
  readonly tcpKeepaliveMs: number | undefined;
  /** The DNS suffix of services: "cluster.local". From the command line, not from MeshConfig. */
  readonly domain: string;
}
