/** Discovery services of single types, for config sources that name a server of their own. Source: Envoy api v3, envoy.service.*. */
import type { DiscoveryService } from "../../xds/services.ts";
import { TypeUrl } from "../../xds/types.ts";

function service(path: string, noun: string, onlyType: string): DiscoveryService {
  return { sotwMethod: `/envoy.service.${path}/Stream${noun}`, deltaMethod: `/envoy.service.${path}/Delta${noun}`, onlyType };
}

/** Clusters. */
export const CDS: DiscoveryService = service("cluster.v3.ClusterDiscoveryService", "Clusters", TypeUrl.cluster);
/** Endpoints. */
export const EDS: DiscoveryService = service("endpoint.v3.EndpointDiscoveryService", "Endpoints", TypeUrl.endpoint);
/** Listeners. */
export const LDS: DiscoveryService = service("listener.v3.ListenerDiscoveryService", "Listeners", TypeUrl.listener);
/** Route configurations. */
export const RDS: DiscoveryService = service("route.v3.RouteDiscoveryService", "Routes", TypeUrl.route);
/** Virtual hosts: there is no state of the world for them. */
export const VHDS: DiscoveryService = {
  sotwMethod: "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts",
  deltaMethod: "/envoy.service.route.v3.VirtualHostDiscoveryService/DeltaVirtualHosts",
  onlyType: TypeUrl.virtualHost,
};
