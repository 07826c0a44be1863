/** The cluster of a workload's own port, by which a sidecar hands requests to its application. */
import { create } from "@bufbuild/protobuf";
import { type Cluster, Cluster_DiscoveryType, Cluster_LbPolicy, ClusterSchema } from "../../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { clusterName } from "../../../model/cluster-name.ts";
import type { Protocol } from "../../../model/service.ts";
import type { ConnectionPool } from "../../config/types.ts";
import { istioMetadata, type ServiceLabels } from "../metadata.ts";
import { durationFromMs } from "../pack.ts";
import { buildConnections, type MeshConnections } from "./connection-pool.ts";
import { bindTo } from "./fixed.ts";
import { buildHttpOptions } from "./http-options.ts";

/** All that an inbound cluster depends on. */
export interface InboundClusterInput {
  /** The workload's port. */
  readonly port: number;
  readonly protocol: Protocol;
  /** The services that reach this port by the same service port, oldest first. */
  readonly services: readonly ServiceLabels[];
  /** Limits that a rule sets for clients hold here too, so that the server has room for what they may send. */
  readonly pool: ConnectionPool | undefined;
  /** The rule that `pool` comes from. */
  readonly ruleConfig: string | undefined;
  readonly mesh: MeshConnections;
  readonly inboundSource: string;
}

/** An original-destination cluster forgets idle destinations; there is only one here, so it need not look for them (292 years). */
const NEVER_CLEAN_UP_MS = 9_223_372_035_000;

/** Builds "inbound|8080||": to where the connection was going, from the address that capture lets through. */
export function buildInboundCluster(input: InboundClusterInput): Cluster {
  const name = clusterName({ direction: "inbound", port: input.port, hostname: "" });
  return create(ClusterSchema, {
    name,
    altStatName: `${name};`,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    cleanupInterval: durationFromMs(NEVER_CLEAN_UP_MS),
    commonLbConfig: {},
    ...buildConnections(input.mesh, input.pool),
    // An upgrade that a rule asks of clients says nothing of what the application speaks.
    ...buildHttpOptions({
      protocol: input.protocol,
      pool: input.pool && { ...input.pool, h2UpgradePolicy: undefined },
      autoSni: false,
      autoSan: false,
    }),
    upstreamBindConfig: bindTo(input.inboundSource),
    metadata: istioMetadata({
      services: input.services.map((service) => ({ ...service })),
      ...(input.ruleConfig === undefined ? {} : { config: input.ruleConfig }),
    }),
  });
}
