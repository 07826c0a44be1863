/** What one proxy is given, as the JSON that istioctl reads from an Envoy. Source: envoy.admin.v3.ConfigDump. */
import { createRegistry, type DescMessage, fromBinary, type JsonValue, type Registry, toJson } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.ts";
import { FileAccessLogSchema } from "../../gen/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import { StderrAccessLogSchema, StdoutAccessLogSchema } from "../../gen/envoy/extensions/access_loggers/stream/v3/stream_pb.ts";
import { CorsPolicySchema, CorsSchema } from "../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { HTTPFaultSchema } from "../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { FilterConfigSchema as GrpcStatsSchema } from "../../gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { RBACSchema as HttpRbacSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { RouterSchema } from "../../gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import { ConfigSchema as SetFilterStateSchema } from "../../gen/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state_pb.ts";
import { HttpInspectorSchema } from "../../gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts";
import { OriginalDstSchema } from "../../gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts";
import { TlsInspectorSchema } from "../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts";
import { HttpConnectionManagerSchema } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { RBACSchema as NetworkRbacSchema } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts";
import { TcpProxySchema } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { PreviousHostsPredicateSchema } from "../../gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.ts";
import { RawBufferSchema } from "../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts";
import { DownstreamTlsContextSchema, UpstreamTlsContextSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import { HttpProtocolOptionsSchema } from "../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import { TypeUrl, type XdsResource } from "../../xds/types.ts";

/** All messages that stand inside an Any of what the compiler makes. */
const SCHEMAS: readonly DescMessage[] = [
  CorsPolicySchema,
  CorsSchema,
  DownstreamTlsContextSchema,
  FileAccessLogSchema,
  GrpcStatsSchema,
  HttpConnectionManagerSchema,
  HttpInspectorSchema,
  HttpProtocolOptionsSchema,
  HttpRbacSchema,
  HTTPFaultSchema,
  NetworkRbacSchema,
  OriginalDstSchema,
  PreviousHostsPredicateSchema,
  RawBufferSchema,
  RouterSchema,
  SetFilterStateSchema,
  StderrAccessLogSchema,
  StdoutAccessLogSchema,
  TcpProxySchema,
  TlsInspectorSchema,
  UpstreamTlsContextSchema,
];

/** One type of resources in a dump: which part of it, and under which names. */
interface Part {
  readonly typeUrl: string;
  readonly schema: DescMessage;
  readonly dump: string;
  readonly list: string;
  readonly wrap: (resource: XdsResource, json: JsonValue) => JsonValue;
}

const PARTS: readonly Part[] = [
  part(TypeUrl.cluster, ClusterSchema, "ClustersConfigDump", "dynamic_active_clusters", ({ version }, cluster) => ({
    version_info: version,
    cluster,
  })),
  part(
    TypeUrl.endpoint,
    ClusterLoadAssignmentSchema,
    "EndpointsConfigDump",
    "dynamic_endpoint_configs",
    ({ version }, endpoint_config) => ({
      version_info: version,
      endpoint_config,
    }),
  ),
  part(TypeUrl.listener, ListenerSchema, "ListenersConfigDump", "dynamic_listeners", ({ name, version }, listener) => ({
    name,
    active_state: { version_info: version, listener },
  })),
  part(TypeUrl.route, RouteConfigurationSchema, "RoutesConfigDump", "dynamic_route_configs", ({ version }, route_config) => ({
    version_info: version,
    route_config,
  })),
];

/** The dump: `resources` gives what the proxy sees of each type. */
export function buildConfigDump(resources: (typeUrl: string) => readonly XdsResource[]): JsonValue {
  const registry = createRegistry(...SCHEMAS);
  const configs = PARTS.map(({ typeUrl, schema, dump, list, wrap }) => ({
    "@type": `type.googleapis.com/envoy.admin.v3.${dump}`,
    [list]: resources(typeUrl).map((resource) => wrap(resource, { "@type": typeUrl, ...resourceJson(schema, registry, resource) })),
  }));
  return { configs };
}

function part(typeUrl: string, schema: DescMessage, dump: string, list: string, wrap: Part["wrap"]): Part {
  return { typeUrl, schema, dump, list, wrap };
}

function resourceJson(schema: DescMessage, registry: Registry, resource: XdsResource): Record<string, JsonValue> {
  try {
    return toJson(schema, fromBinary(schema, resource.bytes), { registry, useProtoFieldName: true }) as Record<string, JsonValue>;
  } catch (error) {
    // An extension that this dump does not know: the rest is worth showing.
    return { name: resource.name, "dump error": messageOf(error) };
  }
}
