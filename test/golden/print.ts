/** Compiled resources as messages and as YAML. */
import { createRegistry, fromBinary, type JsonValue, type Message, toJson } from "@bufbuild/protobuf";
import { stringify } from "yaml";
import { type Cluster, ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.ts";
import { type ClusterLoadAssignment, ClusterLoadAssignmentSchema } from "../../src/gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { type Listener, ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.ts";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../src/gen/envoy/config/route/v3/route_pb.ts";
import { file_envoy_extensions_access_loggers_file_v3_file } from "../../src/gen/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import { file_envoy_extensions_filters_http_cors_v3_cors } from "../../src/gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { file_envoy_extensions_filters_http_fault_v3_fault } from "../../src/gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { file_envoy_extensions_filters_http_grpc_stats_v3_config } from "../../src/gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { file_envoy_extensions_filters_http_router_v3_router } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import { file_envoy_extensions_filters_listener_http_inspector_v3_http_inspector } from "../../src/gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts";
import { file_envoy_extensions_filters_listener_original_dst_v3_original_dst } from "../../src/gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts";
import { file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector } from "../../src/gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts";
import {
  file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager,
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
} from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy } from "../../src/gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { file_envoy_extensions_retry_host_previous_hosts_v3_previous_hosts } from "../../src/gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.ts";
import { file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer } from "../../src/gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts";
import { file_envoy_extensions_transport_sockets_tls_v3_tls } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import { file_envoy_extensions_upstreams_http_v3_http_protocol_options } from "../../src/gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import type { XdsResource } from "../../src/xds/types.ts";

/** All types that may stand inside an Any. */
const registry = createRegistry(
  file_envoy_extensions_access_loggers_file_v3_file,
  file_envoy_extensions_filters_http_cors_v3_cors,
  file_envoy_extensions_filters_http_fault_v3_fault,
  file_envoy_extensions_filters_http_grpc_stats_v3_config,
  file_envoy_extensions_filters_http_router_v3_router,
  file_envoy_extensions_filters_listener_http_inspector_v3_http_inspector,
  file_envoy_extensions_filters_listener_original_dst_v3_original_dst,
  file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector,
  file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager,
  file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy,
  file_envoy_extensions_retry_host_previous_hosts_v3_previous_hosts,
  file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer,
  file_envoy_extensions_transport_sockets_tls_v3_tls,
  file_envoy_extensions_upstreams_http_v3_http_protocol_options,
);

/** Resources of the four types. */
export interface ProxyResources {
  readonly clusters: readonly XdsResource[];
  readonly endpoints: readonly XdsResource[];
  readonly listeners: readonly XdsResource[];
  readonly routes: readonly XdsResource[];
}

/** Decoded resources by name. */
export interface CompiledProxy {
  readonly clusters: ReadonlyMap<string, Cluster>;
  readonly endpoints: ReadonlyMap<string, ClusterLoadAssignment>;
  readonly listeners: ReadonlyMap<string, Listener>;
  readonly routes: ReadonlyMap<string, RouteConfiguration>;
  /** Names of route configurations that the listeners ask for. */
  readonly routeNames: ReadonlySet<string>;
}

/** The messages. */
export function decodeAll(resources: ProxyResources): CompiledProxy {
  const listeners = new Map(resources.listeners.map(({ name, bytes }) => [name, fromBinary(ListenerSchema, bytes)]));
  return {
    clusters: new Map(resources.clusters.map(({ name, bytes }) => [name, fromBinary(ClusterSchema, bytes)])),
    endpoints: new Map(resources.endpoints.map(({ name, bytes }) => [name, fromBinary(ClusterLoadAssignmentSchema, bytes)])),
    listeners,
    routes: new Map(resources.routes.map(({ name, bytes }) => [name, fromBinary(RouteConfigurationSchema, bytes)])),
    routeNames: new Set(
      [...listeners.values()]
        .flatMap(httpManagers)
        .flatMap(({ routeSpecifier }) => (routeSpecifier.case === "rds" ? [routeSpecifier.value.routeConfigName] : [])),
    ),
  };
}

/** The HTTP connection managers of a listener. */
export function httpManagers(listener: Listener): HttpConnectionManager[] {
  const chains = [...listener.filterChains, ...(listener.defaultFilterChain ? [listener.defaultFilterChain] : [])];
  return chains.flatMap(({ filters }) =>
    filters.flatMap(({ configType }) =>
      configType.case === "typedConfig" && configType.value.typeUrl.endsWith("HttpConnectionManager")
        ? [fromBinary(HttpConnectionManagerSchema, configType.value.value)]
        : [],
    ),
  );
}

/** A message as JSON with Envoy's field names. */
export function json(message: Message): JsonValue {
  return toJson(SCHEMAS[message.$typeName as keyof typeof SCHEMAS], message as never, { registry, useProtoFieldName: true });
}

const SCHEMAS = {
  [ClusterSchema.typeName]: ClusterSchema,
  [ClusterLoadAssignmentSchema.typeName]: ClusterLoadAssignmentSchema,
  [ListenerSchema.typeName]: ListenerSchema,
  [RouteConfigurationSchema.typeName]: RouteConfigurationSchema,
};

/** All of it as YAML: resources by name, fields by name, so that only a change of meaning is a difference. */
export function printAll({ clusters, endpoints, listeners, routes }: CompiledProxy): string {
  const byName = (messages: ReadonlyMap<string, Message>): JsonValue =>
    Object.fromEntries([...messages].map(([name, message]) => [name, json(message)]));
  const all = { clusters: byName(clusters), endpoints: byName(endpoints), listeners: byName(listeners), routes: byName(routes) };
  return stringify(all, { sortMapEntries: true, lineWidth: 0, aliasDuplicateObjects: false });
}
