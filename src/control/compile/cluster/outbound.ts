/** The cluster of a service's port as clients see it. */
import { create } from "@bufbuild/protobuf";
import {
  type Cluster,
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  Cluster_LbPolicy,
  ClusterSchema,
} from "../../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { clusterName } from "../../../model/cluster-name.ts";
import type { ServicePort } from "../../../model/service.ts";
import type { LoadBalancer } from "../../config/types.ts";
import { buildLocalities, type LoadAssignmentInput } from "../endpoint/load-assignment.ts";
import { istioMetadata, type ServiceLabels } from "../metadata.ts";
import { adsSource, durationFromMs } from "../pack.ts";
import { buildConnections, type MeshConnections } from "./connection-pool.ts";
import { alwaysHttp2, buildHttpOptions } from "./http-options.ts";
import type { EffectivePolicy } from "./traffic-policy.ts";
import { buildUpstreamTls, takesNamesFromRequest, type UpstreamTls } from "./upstream-tls.ts";

/** Where a cluster's endpoints come from. */
export type Discovery =
  /** From the control plane. */
  | { readonly kind: "eds" }
  /** From DNS: every address of every name, or (logical) the first address of the one name. */
  | { readonly kind: "dns"; readonly logical: boolean; readonly lookup: "v4" | "v6"; readonly endpoints: LoadAssignmentInput }
  /** Where the connection was going. */
  | { readonly kind: "original-destination" };

/** All that an outbound cluster depends on. Its digest is the cache key, so nothing else may be read below. */
export interface OutboundClusterInput {
  readonly service: ServiceLabels;
  readonly meshExternal: boolean;
  readonly port: ServicePort;
  /** Undefined means every endpoint of the service. */
  readonly subset: string | undefined;
  readonly discovery: Discovery;
  readonly policy: EffectivePolicy;
  readonly tls: UpstreamTls;
  readonly mesh: MeshConnections;
  /** The rule that was applied, as metadata shows it. */
  readonly ruleConfig: string | undefined;
}

/** Builds the CDS cluster "outbound|<port>|<subset>|<hostname>". */
export function buildOutboundCluster(input: OutboundClusterInput): Cluster {
  const { service, port, subset, discovery, policy, tls } = input;
  const name = clusterName({ direction: "outbound", port: port.number, subset, hostname: service.host });
  const isOriginalDst = discovery.kind === "original-destination";
  const names = takesNamesFromRequest(tls);
  return create(ClusterSchema, {
    name,
    altStatName: `${name};`,
    commonLbConfig: {},
    ...buildDiscovery(name, discovery),
    lbPolicy: isOriginalDst ? Cluster_LbPolicy.CLUSTER_PROVIDED : lbPolicy(policy.loadBalancer),
    ...buildConnections(input.mesh, policy.connectionPool),
    ...buildHttpOptions({ protocol: port.protocol, pool: policy.connectionPool, autoSni: names.sni, autoSan: names.san }),
    ...buildUpstreamTls(tls, { isHttp2: alwaysHttp2({ protocol: port.protocol, pool: policy.connectionPool }), isOriginalDst }),
    metadata: istioMetadata({
      services: [{ ...service }],
      ...(input.meshExternal && subset === undefined ? { external: true } : {}),
      ...(input.ruleConfig === undefined ? {} : { config: input.ruleConfig }),
      ...(subset === undefined ? {} : { subset }),
    }),
  });
}

function buildDiscovery(name: string, discovery: Discovery) {
  switch (discovery.kind) {
    case "eds":
      return {
        clusterDiscoveryType: typeOf(Cluster_DiscoveryType.EDS),
        edsClusterConfig: { serviceName: name, edsConfig: adsSource() },
      };
    case "original-destination":
      return { clusterDiscoveryType: typeOf(Cluster_DiscoveryType.ORIGINAL_DST) };
    case "dns":
      return {
        clusterDiscoveryType: typeOf(discovery.logical ? Cluster_DiscoveryType.LOGICAL_DNS : Cluster_DiscoveryType.STRICT_DNS),
        dnsLookupFamily: discovery.lookup === "v6" ? Cluster_DnsLookupFamily.V6_ONLY : Cluster_DnsLookupFamily.V4_ONLY,
        dnsRefreshRate: durationFromMs(DNS_REFRESH_MS),
        respectDnsTtl: true,
        loadAssignment: { clusterName: name, endpoints: buildLocalities(discovery.endpoints) },
      };
  }
}

/** How often a name is asked for again when its answer has no lifetime. Source: Istio MeshConfig.dnsRefreshRate. */
const DNS_REFRESH_MS = 60_000;

function typeOf(value: Cluster_DiscoveryType) {
  return { case: "type" as const, value };
}

function lbPolicy(loadBalancer: LoadBalancer | undefined): Cluster_LbPolicy {
  switch (loadBalancer) {
    case "ROUND_ROBIN":
      return Cluster_LbPolicy.ROUND_ROBIN;
    case "RANDOM":
      return Cluster_LbPolicy.RANDOM;
    case "PASSTHROUGH":
      return Cluster_LbPolicy.CLUSTER_PROVIDED;
    case "LEAST_REQUEST":
    case undefined:
      return Cluster_LbPolicy.LEAST_REQUEST;
  }
}
