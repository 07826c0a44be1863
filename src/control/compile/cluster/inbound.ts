/** The cluster of a workload's own port, by which a sidecar hands requests to its application. */
import { create } from "@bufbuild/protobuf";
import { type Cluster, Cluster_DiscoveryType, Cluster_LbPolicy, ClusterSchema } from "../../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { clusterName } from "../../../model/cluster-name.ts";
import type { Protocol } from "../../../model/service.ts";
import type { ConnectionPool } from "../../config/types.ts";
import { istioMetadata, type ServiceLabels } from "../metadata.ts";
import { address, durationFromMs } from "../pack.ts";
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
  /** Where on 127.0.0.1 the application listens, where nothing is captured; undefined: where the connection was going. */
  readonly appPort?: number | undefined;
}

/** An original-destination cluster forgets idle destinations; there is only one here, so it need not look for them (292 years). */
const NEVER_CLEAN_UP_MS = 9_223_372_035_000;

/** Builds "inbound|8080||": to where the connection was going, from the address that capture lets through. */
export function buildInboundCluster(input: InboundClusterInput): Cluster {
  const name = clusterName({ direction: "inbound", port: input.port, hostname: "" });
  return create(ClusterSchema, {
    name,
    altStatName: `${name};`,
    ...(input.appPort === undefined ? originalDestination() : onLocalhost(name, input.appPort)),
    commonLbConfig: {},
    ...buildConnections(input.mesh, input.pool),
    // An upgrade that a rule asks of clients says nothing of what the application speaks.
    ...buildHttpOptions({
      protocol: input.protocol,
      pool: input.pool && { ...input.pool, h2UpgradePolicy: undefined },
      autoSni: false,
      autoSan: false,
    }),
    upstreamBindConfig: input.appPort === undefined ? bindTo(input.inboundSource) : undefined,
    metadata: istioMetadata({
      services: input.services.map((service) => ({ ...service })),
      ...(input.ruleConfig === undefined ? {} : { config: input.ruleConfig }),
    }),
  });
}

function originalDestination() {
  return {
    clusterDiscoveryType: { case: "type" as const, value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    cleanupInterval: durationFromMs(NEVER_CLEAN_UP_MS),
  };
}

function onLocalhost(name: string, port: number) {
  return {
    clusterDiscoveryType: { case: "type" as const, value: Cluster_DiscoveryType.STATIC },
    lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
    loadAssignment: {
      clusterName: name,
      endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: "endpoint" as const, value: { address: address("127.0.0.1", port) } } }] }],
    },
  };
}
