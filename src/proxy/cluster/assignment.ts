/** ClusterLoadAssignment as hosts. Source: envoy.config.endpoint.v3. */
import { digestOf } from "../../base/digest.ts";
import type { Metadata } from "../../gen/envoy/config/core/v3/base_pb.ts";
import { HealthStatus } from "../../gen/envoy/config/core/v3/health_check_pb.ts";
import type { LbEndpoint, LocalityLbEndpoints } from "../../gen/envoy/config/endpoint/v3/endpoint_components_pb.ts";
import { type ClusterLoadAssignment, ClusterLoadAssignment_PolicySchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import type { PeerInfo } from "../../telemetry/record.ts";
import { ConfigRefused, readAddress } from "../config/address.ts";
import { unsupportedFields } from "../config/fields.ts";
import type { HostHealth, HostUpdate } from "./host.ts";

/** Endpoints of one assignment. Envoy allows 128 priorities. */
const PRIORITY_MAX = 127;

/** Hosts with what steers the choice among them. */
export interface Assignment {
  readonly hosts: readonly HostUpdate[];
  readonly overprovisioningPercent: number;
  readonly warnings: readonly string[];
}

/** Reads an assignment. Throws ConfigRefused. Addresses may be names: a DNS cluster resolves them. */
export function readAssignment(assignment: ClusterLoadAssignment | undefined): Assignment {
  if (!assignment) return { hosts: [], overprovisioningPercent: 140, warnings: [] };
  const warnings: string[] = [];
  const { policy } = assignment;
  if (policy)
    for (const field of unsupportedFields(ClusterLoadAssignment_PolicySchema, policy, new Set(["overprovisioningFactor"])))
      warnings.push(`policy.${field}`);
  const hosts = assignment.endpoints.flatMap((locality, i) => readLocality(locality, i, warnings));
  return { hosts, overprovisioningPercent: policy?.overprovisioningFactor ?? 140, warnings };
}

function readLocality(locality: LocalityLbEndpoints, at: number, warnings: string[]): HostUpdate[] {
  if (locality.priority > PRIORITY_MAX) throw new ConfigRefused(`endpoints[${at}]: priority ${locality.priority} is over ${PRIORITY_MAX}`);
  if (locality.lbConfig.case === "ledsClusterLocalityConfig")
    throw new ConfigRefused(`endpoints[${at}]: leds_cluster_locality_config is not supported`);
  const endpoints = locality.lbConfig.case === "loadBalancerEndpoints" ? locality.lbConfig.value.lbEndpoints : locality.lbEndpoints;
  const { region = "", zone = "", subZone = "" } = locality.locality ?? {};
  const place = { region, zone, subZone };
  return endpoints.flatMap((endpoint, i) => {
    const health = readHealth(endpoint.healthStatus);
    if (endpoint.hostIdentifier.case === "endpointName")
      throw new ConfigRefused(`endpoints[${at}].lb_endpoints[${i}]: endpoint_name is not supported`);
    if (endpoint.hostIdentifier.value?.additionalAddresses.length) warnings.push("additional_addresses");
    return [
      {
        address: addressOf(endpoint, `endpoints[${at}].lb_endpoints[${i}]`),
        hostname: endpoint.hostIdentifier.value?.hostname ?? "",
        weight: Math.max(1, endpoint.loadBalancingWeight ?? 1),
        health,
        priority: locality.priority,
        locality: place,
        localityWeight: locality.loadBalancingWeight ?? 0,
        peer: readPeer(endpoint.metadata),
        lbMetadata: endpoint.metadata?.filterMetadata["envoy.lb"] ?? NONE,
        socketMetadata: endpoint.metadata?.filterMetadata["envoy.transport_socket_match"] ?? NONE,
      },
    ];
  });
}

const NONE: Readonly<Record<string, unknown>> = {};

function addressOf(endpoint: LbEndpoint, path: string): HostUpdate["address"] {
  try {
    return readAddress(endpoint.hostIdentifier.case === "endpoint" ? endpoint.hostIdentifier.value.address : undefined);
  } catch (error) {
    if (error instanceof ConfigRefused) throw new ConfigRefused(`${path}: ${error.message}`);
    throw error;
  }
}

function readHealth(status: HealthStatus): HostHealth {
  switch (status) {
    case HealthStatus.UNKNOWN:
    case HealthStatus.HEALTHY:
      return "healthy";
    case HealthStatus.DEGRADED:
      return "degraded";
    default:
      return "unhealthy";
  }
}

/** Peers shared by all endpoints that say the same: a workload's name repeats once a replica and cluster. */
const peers = new Map<string, PeerInfo>();
const PEERS_MAX = 4096;

/** Source: Istio's endpoint metadata istio.workload, "name;namespace;canonical service;canonical revision;cluster". */
function readPeer(metadata: Metadata | undefined): PeerInfo | undefined {
  const istio = metadata?.filterMetadata["istio"];
  const text = istio?.["workload"];
  if (typeof text !== "string") return undefined;
  const app = typeof istio?.["app"] === "string" ? istio["app"] : undefined;
  const version = typeof istio?.["version"] === "string" ? istio["version"] : undefined;
  const key = digestOf(JSON.stringify([text, app, version]));
  const known = peers.get(key);
  if (known) return known;
  const [workload, namespace, canonicalService, canonicalRevision, cluster] = text.split(";");
  const peer: PeerInfo = {
    workload: workload || "unknown",
    namespace: namespace || "unknown",
    app: app || canonicalService || "unknown",
    version: version || canonicalRevision || "unknown",
    cluster: cluster || "unknown",
    canonicalService: canonicalService || "unknown",
    canonicalRevision: canonicalRevision || "unknown",
  };
  if (peers.size >= PEERS_MAX) peers.clear();
  peers.set(key, peer);
  return peer;
}
