/** The endpoints of a cluster, by locality. Source: envoy.config.endpoint.v3.ClusterLoadAssignment. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { HealthStatus } from "../../../gen/envoy/config/core/v3/health_check_pb.ts";
import type { LocalityLbEndpointsSchema } from "../../../gen/envoy/config/endpoint/v3/endpoint_components_pb.ts";
import { type ClusterLoadAssignment, ClusterLoadAssignmentSchema } from "../../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import type { Endpoint } from "../../../model/service.ts";
import { ISTIO_METADATA, TRANSPORT_SOCKET_METADATA } from "../metadata.ts";
import { address } from "../pack.ts";

/** All that a load assignment depends on. */
export interface LoadAssignmentInput {
  readonly clusterName: string;
  /** Of the cluster's port and subset, in the order of their addresses. */
  readonly endpoints: readonly Endpoint[];
  /** For each endpoint, whether it is spoken to in mutual TLS where the cluster leaves the choice. */
  readonly mutualTls: readonly boolean[];
  /** The cluster that endpoints are said to be in, for metrics. */
  readonly clusterId: string;
}

/** The EDS resource. */
export function buildLoadAssignment(input: LoadAssignmentInput): ClusterLoadAssignment {
  return create(ClusterLoadAssignmentSchema, { clusterName: input.clusterName, endpoints: buildLocalities(input) });
}

/** Endpoints grouped by locality, in the order of the localities' names; a group weighs as much as its members. */
export function buildLocalities({
  endpoints,
  mutualTls,
  clusterId,
}: LoadAssignmentInput): MessageInitShape<typeof LocalityLbEndpointsSchema>[] {
  const groups = new Map<string, { readonly first: Endpoint; weight: number; readonly members: ReturnType<typeof buildEndpoint>[] }>();
  endpoints.forEach((endpoint, i) => {
    const { region, zone, subzone } = endpoint.locality;
    const key = `${region}/${zone}/${subzone}`;
    const group = groups.get(key) ?? { first: endpoint, weight: 0, members: [] };
    groups.set(key, group);
    group.weight = Math.min(group.weight + Math.max(1, endpoint.weight), 0xffff_ffff);
    group.members.push(buildEndpoint(endpoint, { mutualTls: mutualTls[i] === true, clusterId }));
  });
  return [...groups.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, { first, weight, members }]) => ({
      locality: { region: first.locality.region, zone: first.locality.zone, subZone: first.locality.subzone },
      lbEndpoints: members,
      loadBalancingWeight: weight,
    }));
}

function buildEndpoint(endpoint: Endpoint, { mutualTls, clusterId }: { readonly mutualTls: boolean; readonly clusterId: string }) {
  return {
    hostIdentifier: { case: "endpoint" as const, value: { address: address(endpoint.address, endpoint.port) } },
    healthStatus: HealthStatus.HEALTHY,
    loadBalancingWeight: Math.max(1, endpoint.weight),
    metadata: {
      filterMetadata: {
        ...(mutualTls ? { [TRANSPORT_SOCKET_METADATA]: { tlsMode: "istio" } } : {}),
        [ISTIO_METADATA]: { workload: workloadLabels(endpoint, clusterId) },
      },
    },
  };
}

/** "workload;namespace;canonical service;revision;cluster": what a client's metrics say of the server. The revision "latest" is left out. */
function workloadLabels({ labels, workloadName, namespace }: Endpoint, clusterId: string): string {
  const name = labels["service.istio.io/canonical-name"] ?? labels["app.kubernetes.io/name"] ?? labels["app"] ?? workloadName;
  const revision = labels["service.istio.io/canonical-revision"] ?? labels["app.kubernetes.io/version"] ?? labels["version"] ?? "latest";
  return [workloadName, namespace, name, revision === "latest" ? "" : revision, clusterId].join(";");
}
