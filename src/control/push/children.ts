/**
 * Which resources a client asks for because of another: endpoints of a cluster, routes of a listener. Source: Envoy, warming of clusters
 * (eds_cluster_config) and listeners (rds).
 */
import { fromBinary } from "@bufbuild/protobuf";
import { Lru } from "../../base/lru.ts";
import { Cluster_DiscoveryType, ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import type { FilterChain } from "../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { HttpConnectionManagerSchema } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { XdsChild } from "../../xds/server-types.ts";
import { TypeUrl, type XdsResource } from "../../xds/types.ts";

const REMEMBERED_MAX = 50_000;
const HTTP_CONNECTION_MANAGER = `type.googleapis.com/${HttpConnectionManagerSchema.typeName}`;
const NONE: readonly XdsChild[] = [];

/** Finds children; answers are remembered by version. */
export class ChildFinder {
  readonly #known = new Lru<string, readonly XdsChild[]>(REMEMBERED_MAX);

  /** What a client that takes `resource` will ask for. Empty for types that have no children. */
  children(typeUrl: string, resource: XdsResource): readonly XdsChild[] {
    const find = typeUrl === TypeUrl.cluster ? endpointsOf : typeUrl === TypeUrl.listener ? routesOf : undefined;
    if (!find) return NONE;
    const key = `${resource.version} ${resource.name}`;
    const known = this.#known.get(key);
    if (known) return known;
    const found = find(resource.bytes);
    this.#known.set(key, found);
    return found;
  }
}

function endpointsOf(bytes: Uint8Array): readonly XdsChild[] {
  const { name, clusterDiscoveryType: discovery, edsClusterConfig } = fromBinary(ClusterSchema, bytes);
  if (discovery.case !== "type" || discovery.value !== Cluster_DiscoveryType.EDS) return NONE;
  return [{ typeUrl: TypeUrl.endpoint, name: edsClusterConfig?.serviceName || name }];
}

function routesOf(bytes: Uint8Array): readonly XdsChild[] {
  const listener = fromBinary(ListenerSchema, bytes);
  const chains = listener.defaultFilterChain ? [...listener.filterChains, listener.defaultFilterChain] : listener.filterChains;
  const names = new Set(chains.flatMap(routeNames));
  return [...names].map((name) => ({ typeUrl: TypeUrl.route, name }));
}

function routeNames(chain: FilterChain): string[] {
  return chain.filters.flatMap(({ configType }) => {
    if (configType.case !== "typedConfig" || configType.value.typeUrl !== HTTP_CONNECTION_MANAGER) return [];
    const { routeSpecifier } = fromBinary(HttpConnectionManagerSchema, configType.value.value);
    return routeSpecifier.case === "rds" ? [routeSpecifier.value.routeConfigName] : [];
  });
}
