/** The types that an Any in our config may hold: what reading and writing JSON needs to know. */
import { createRegistry, type Registry } from "@bufbuild/protobuf";
import { BoolValueSchema, DurationSchema, StringValueSchema, StructSchema, UInt32ValueSchema, ValueSchema } from "@bufbuild/protobuf/wkt";
import { file_envoy_admin_v3_config_dump } from "../../gen/envoy/admin/v3/config_dump_pb.ts";
import { file_envoy_config_bootstrap_v3_bootstrap } from "../../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { file_envoy_config_cluster_v3_cluster } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { file_envoy_config_endpoint_v3_endpoint } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { file_envoy_config_listener_v3_listener } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { file_envoy_config_rbac_v3_rbac } from "../../gen/envoy/config/rbac/v3/rbac_pb.ts";
import { file_envoy_config_route_v3_route } from "../../gen/envoy/config/route/v3/route_pb.ts";
import { file_envoy_extensions_access_loggers_file_v3_file } from "../../gen/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import { file_envoy_extensions_access_loggers_stream_v3_stream } from "../../gen/envoy/extensions/access_loggers/stream/v3/stream_pb.ts";
import { file_envoy_extensions_filters_http_cors_v3_cors } from "../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { file_envoy_extensions_filters_http_fault_v3_fault } from "../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { file_envoy_extensions_filters_http_grpc_stats_v3_config } from "../../gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { file_envoy_extensions_filters_http_rbac_v3_rbac } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { file_envoy_extensions_filters_http_router_v3_router } from "../../gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import { file_envoy_extensions_filters_http_set_filter_state_v3_set_filter_state } from "../../gen/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state_pb.ts";
import { file_envoy_extensions_filters_listener_http_inspector_v3_http_inspector } from "../../gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts";
import { file_envoy_extensions_filters_listener_original_dst_v3_original_dst } from "../../gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts";
import { file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector } from "../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts";
import { file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { file_envoy_extensions_filters_network_rbac_v3_rbac } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts";
import { file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { file_envoy_extensions_retry_host_previous_hosts_v3_previous_hosts } from "../../gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.ts";
import { file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer } from "../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts";
import { file_envoy_extensions_transport_sockets_tls_v3_secret } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { file_envoy_extensions_transport_sockets_tls_v3_tls } from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import { file_envoy_extensions_upstreams_http_v3_http_protocol_options } from "../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import { file_envoy_extensions_upstreams_tcp_generic_v3_generic_connection_pool } from "../../gen/envoy/extensions/upstreams/tcp/generic/v3/generic_connection_pool_pb.ts";
import { file_udpa_type_v1_typed_struct } from "../../gen/udpa/type/v1/typed_struct_pb.ts";
import { file_xds_type_v3_typed_struct } from "../../gen/xds/type/v3/typed_struct_pb.ts";

let registry: Registry | undefined;

/** All of them. Made once. */
export function anyTypes(): Registry {
  registry ??= createRegistry(
    file_envoy_admin_v3_config_dump,
    file_envoy_config_bootstrap_v3_bootstrap,
    file_envoy_config_cluster_v3_cluster,
    file_envoy_config_endpoint_v3_endpoint,
    file_envoy_config_listener_v3_listener,
    file_envoy_config_rbac_v3_rbac,
    file_envoy_config_route_v3_route,
    file_envoy_extensions_access_loggers_file_v3_file,
    file_envoy_extensions_access_loggers_stream_v3_stream,
    file_envoy_extensions_filters_http_cors_v3_cors,
    file_envoy_extensions_filters_http_fault_v3_fault,
    file_envoy_extensions_filters_http_grpc_stats_v3_config,
    file_envoy_extensions_filters_http_rbac_v3_rbac,
    file_envoy_extensions_filters_http_router_v3_router,
    file_envoy_extensions_filters_http_set_filter_state_v3_set_filter_state,
    file_envoy_extensions_filters_listener_http_inspector_v3_http_inspector,
    file_envoy_extensions_filters_listener_original_dst_v3_original_dst,
    file_envoy_extensions_filters_listener_tls_inspector_v3_tls_inspector,
    file_envoy_extensions_filters_network_http_connection_manager_v3_http_connection_manager,
    file_envoy_extensions_filters_network_rbac_v3_rbac,
    file_envoy_extensions_filters_network_tcp_proxy_v3_tcp_proxy,
    file_envoy_extensions_retry_host_previous_hosts_v3_previous_hosts,
    file_envoy_extensions_transport_sockets_raw_buffer_v3_raw_buffer,
    file_envoy_extensions_transport_sockets_tls_v3_secret,
    file_envoy_extensions_transport_sockets_tls_v3_tls,
    file_envoy_extensions_upstreams_http_v3_http_protocol_options,
    file_envoy_extensions_upstreams_tcp_generic_v3_generic_connection_pool,
    file_udpa_type_v1_typed_struct,
    file_xds_type_v3_typed_struct,
    BoolValueSchema,
    DurationSchema,
    StringValueSchema,
    StructSchema,
    UInt32ValueSchema,
    ValueSchema,
  );
  return registry;
}
