/** The clusters that every proxy has, whatever the mesh holds. */
import { create } from "@bufbuild/protobuf";
import { type Cluster, Cluster_DiscoveryType, Cluster_LbPolicy, ClusterSchema } from "../../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { BLACK_HOLE_CLUSTER, INBOUND_PASSTHROUGH_CLUSTER, type PASSTHROUGH_CLUSTER } from "../../../model/cluster-name.ts";
import { durationFromMs } from "../pack.ts";
import { buildConnections, type MeshConnections } from "./connection-pool.ts";
import { buildPassthroughHttpOptions } from "./http-options.ts";

/** Which of them. */
export type FixedClusterName = typeof BLACK_HOLE_CLUSTER | typeof PASSTHROUGH_CLUSTER | typeof INBOUND_PASSTHROUGH_CLUSTER;

/** All that a fixed cluster depends on. */
export interface FixedClusterInput {
  readonly name: FixedClusterName;
  readonly mesh: MeshConnections;
  /** Source address of connections to the workload: capture lets it through. */
  readonly inboundSource: string;
}

/** The source address by which capture knows connections of the proxy to its own workload. Source: Istio, iptables rules. */
export function inboundSource(ip: string): string {
  return ip.includes(":") ? "::6" : "127.0.0.6";
}

/** Builds one. */
export function buildFixedCluster({ name, mesh, inboundSource: source }: FixedClusterInput): Cluster {
  if (name === BLACK_HOLE_CLUSTER) {
    return create(ClusterSchema, {
      name,
      altStatName: `${name};`,
      clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
      connectTimeout: durationFromMs(mesh.connectTimeoutMs),
      lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
    });
  }
  return create(ClusterSchema, {
    name,
    altStatName: `${name};`,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    ...buildConnections(mesh, undefined),
    typedExtensionProtocolOptions: buildPassthroughHttpOptions(),
    ...(name === INBOUND_PASSTHROUGH_CLUSTER ? { upstreamBindConfig: bindTo(source) } : {}),
  });
}

/** Connections come from that address, any port. */
export function bindTo(source: string) {
  return { sourceAddress: { address: source, portSpecifier: { case: "portValue" as const, value: 0 } } };
}
