/** The normal form of a DestinationRule. */
import { resolveHost } from "../../rules/resolve.ts";
import { durationMs } from "../../rules/values.ts";
import type { ClientTlsSettings, ConnectionPool, DestinationRuleSpec, LoadBalancer, TrafficPolicy } from "../../types.ts";
import { defineKind, type KindContext, type KindReader, NETWORKING_VERSIONS } from "../kind.ts";
import {
  destinationRuleSchema,
  type RawClientTls,
  type RawConnectionPool,
  type RawDestinationRule,
  type RawPortPolicy,
  type RawTrafficPolicy,
} from "./schema.ts";
import { validateDestinationRule } from "./validate.ts";

function normaliseDestinationRule(raw: RawDestinationRule, context: KindContext): DestinationRuleSpec {
  return {
    host: resolveHost(raw.host, context),
    trafficPolicy: normalisePolicy(raw.trafficPolicy),
    subsets: (raw.subsets ?? []).map(({ name, labels, trafficPolicy }) => ({
      name,
      labels: labels ?? {},
      trafficPolicy: normalisePolicy(trafficPolicy),
    })),
    exportTo: raw.exportTo ?? [],
    workloadSelector: raw.workloadSelector && (raw.workloadSelector.matchLabels ?? {}),
  };
}

function normalisePolicy(raw: RawTrafficPolicy | undefined): TrafficPolicy {
  const ports = raw?.portLevelSettings ?? [];
  return {
    ...portPolicy(raw),
    portLevelSettings: ports.map((settings) => ({ port: settings.port?.number ?? 0, policy: portPolicy(settings) })),
  };
}

function portPolicy(raw: RawPortPolicy | undefined): Omit<TrafficPolicy, "portLevelSettings"> {
  return {
    loadBalancer: loadBalancer(raw?.loadBalancer?.simple),
    connectionPool: raw?.connectionPool && connectionPool(raw.connectionPool),
    tls: raw?.tls && clientTls(raw.tls),
  };
}

function loadBalancer(simple: NonNullable<RawPortPolicy["loadBalancer"]>["simple"]): LoadBalancer | undefined {
  if (simple === undefined || simple === "UNSPECIFIED") return undefined;
  return simple === "LEAST_CONN" ? "LEAST_REQUEST" : simple;
}

// In protobuf 0 cannot be told from absent: no limit of its own.
function connectionPool({ tcp, http }: RawConnectionPool): ConnectionPool {
  return {
    maxConnections: tcp?.maxConnections || undefined,
    connectTimeoutMs: durationMs(tcp?.connectTimeout),
    tcpIdleTimeoutMs: durationMs(tcp?.idleTimeout),
    http1MaxPendingRequests: http?.http1MaxPendingRequests || undefined,
    http2MaxRequests: http?.http2MaxRequests || undefined,
    maxRequestsPerConnection: http?.maxRequestsPerConnection || undefined,
    maxRetries: http?.maxRetries || undefined,
    httpIdleTimeoutMs: durationMs(http?.idleTimeout),
    maxConcurrentStreams: http?.maxConcurrentStreams || undefined,
    h2UpgradePolicy: http?.h2UpgradePolicy,
    useClientProtocol: http?.useClientProtocol,
  };
}

function clientTls(raw: RawClientTls): ClientTlsSettings {
  return {
    mode: raw.mode ?? "DISABLE",
    sni: raw.sni || undefined,
    subjectAltNames: raw.subjectAltNames ?? [],
    caCertificates: raw.caCertificates || undefined,
    insecureSkipVerify: raw.insecureSkipVerify ?? false,
  };
}

/** DestinationRule. */
export const destinationRuleKind: KindReader = defineKind<RawDestinationRule, DestinationRuleSpec>({
  kind: "DestinationRule",
  apiVersions: NETWORKING_VERSIONS,
  schema: destinationRuleSchema,
  validate: validateDestinationRule,
  normalise: normaliseDestinationRule,
});
