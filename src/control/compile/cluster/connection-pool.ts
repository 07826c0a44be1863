/** Limits and timeouts of a cluster's connections. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Duration } from "@bufbuild/protobuf/wkt";
import type { CircuitBreakersSchema } from "../../../gen/envoy/config/cluster/v3/circuit_breaker_pb.ts";
import type { UpstreamConnectionOptionsSchema } from "../../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import type { ConnectionPool } from "../../config/types.ts";
import { durationFromMs } from "../pack.ts";

/** What every cluster takes from the mesh config. */
export interface MeshConnections {
  readonly connectTimeoutMs: number;
  readonly tcpKeepaliveMs: number | undefined;
}

/** Without limits of a rule there are none: retries, too, are unlimited while pods come and go. */
const UNLIMITED = 0xffff_ffff;

/** The members of a cluster that limit its connections. 0 means "not set", as in Istio's API. */
export function buildConnections(
  mesh: MeshConnections,
  pool: ConnectionPool | undefined,
): {
  readonly connectTimeout: Duration;
  readonly circuitBreakers: MessageInitShape<typeof CircuitBreakersSchema>;
  readonly upstreamConnectionOptions?: MessageInitShape<typeof UpstreamConnectionOptionsSchema>;
} {
  return {
    connectTimeout: durationFromMs(pool?.connectTimeoutMs ?? mesh.connectTimeoutMs),
    circuitBreakers: {
      thresholds: [
        {
          maxConnections: pool?.maxConnections || UNLIMITED,
          maxPendingRequests: pool?.http1MaxPendingRequests || UNLIMITED,
          maxRequests: pool?.http2MaxRequests || UNLIMITED,
          maxRetries: pool?.maxRetries || UNLIMITED,
        },
      ],
    },
    ...(mesh.tcpKeepaliveMs === undefined
      ? {}
      : { upstreamConnectionOptions: { tcpKeepalive: { keepaliveTime: Math.max(1, Math.round(mesh.tcpKeepaliveMs / 1000)) } } }),
  };
}
