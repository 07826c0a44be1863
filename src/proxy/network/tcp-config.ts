/** TcpProxy's config as ours. */
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Random } from "../../base/random.ts";
import type { AccessLog } from "../../gen/envoy/config/accesslog/v3/accesslog_pb.ts";
import type { Metadata } from "../../gen/envoy/config/core/v3/base_pb.ts";
import { type TcpProxy, TcpProxySchema } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { ConfigRefused } from "../config/address.ts";
import { unsupportedFields } from "../config/fields.ts";

const IDLE_TIMEOUT_MS = 3_600_000;

/** A tcp_proxy that can be run. */
export interface TcpProxyConfig {
  readonly statPrefix: string;
  readonly chooseCluster: (random: Random) => string;
  readonly metadataMatch: Readonly<Record<string, string>> | undefined;
  /** Undefined: none. */
  readonly idleTimeoutMs: number | undefined;
  readonly connectAttemptsMax: number;
  readonly connectionDurationMaxMs: number | undefined;
  readonly accessLogs: readonly AccessLog[];
}

const SUPPORTED: ReadonlySet<string> = new Set([
  "statPrefix",
  "cluster",
  "weightedClusters",
  "metadataMatch",
  "idleTimeout",
  "accessLog",
  "maxConnectAttempts",
  "maxDownstreamConnectionDuration",
]);

/** Reads the config. Throws ConfigRefused: a field that is not carried out is refused by name. */
export function readTcpProxy(message: TcpProxy): TcpProxyConfig {
  const unknown = unsupportedFields(TcpProxySchema, message, SUPPORTED);
  if (unknown.length > 0) throw new ConfigRefused(`${unknown.join(", ")} not supported`);
  return {
    statPrefix: message.statPrefix,
    chooseCluster: readClusters(message),
    metadataMatch: readMetadataMatch(message.metadataMatch),
    idleTimeoutMs: message.idleTimeout ? durationMs(message.idleTimeout) || undefined : IDLE_TIMEOUT_MS,
    connectAttemptsMax: message.maxConnectAttempts ?? 1,
    connectionDurationMaxMs: message.maxDownstreamConnectionDuration ? durationMs(message.maxDownstreamConnectionDuration) : undefined,
    accessLogs: message.accessLog,
  };
}

function readClusters({ clusterSpecifier }: TcpProxy): (random: Random) => string {
  switch (clusterSpecifier.case) {
    case "cluster":
      return () => clusterSpecifier.value;
    case "weightedClusters": {
      const { clusters } = clusterSpecifier.value;
      const total = clusters.reduce((sum, { weight }) => sum + weight, 0);
      if (clusters.length === 0 || total === 0) throw new ConfigRefused("weighted_clusters: weights must add up to more than 0");
      if (clusters.some(({ metadataMatch }) => metadataMatch)) throw new ConfigRefused("weighted_clusters.metadata_match not supported");
      return (random) => {
        let left = random.next() * total;
        for (const { name, weight } of clusters) {
          left -= weight;
          if (left < 0) return name;
        }
        return clusters.at(-1)?.name ?? "";
      };
    }
    default:
      throw new ConfigRefused("cluster or weighted_clusters is needed");
  }
}

/** Source: filter_metadata "envoy.lb". */
function readMetadataMatch(metadata: Metadata | undefined): Readonly<Record<string, string>> | undefined {
  const values = metadata?.filterMetadata["envoy.lb"];
  if (!values) return undefined;
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]));
}
