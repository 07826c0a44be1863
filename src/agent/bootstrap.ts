/**
 * The bootstrap that starts a sidecar or a gateway, Lateen's own or a stock Envoy alike. Source: envoy.config.bootstrap.v3.Bootstrap, as Istio's
 * agent renders it.
 */
import type { ExplicitAddresses } from "../model/proxy-node.ts";
import { SidecarPorts } from "./capture-rules.ts";

/** Whose proxy it is and where its control plane is. */
export interface BootstrapOptions {
  readonly kind: "sidecar" | "router";
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly domain: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly workloadName: string;
  readonly clusterId: string;
  readonly meshId: string;
  readonly locality?: { readonly region: string; readonly zone: string; readonly subzone: string };
  /** The control plane's secure port. */
  readonly xds: { readonly host: string; readonly port: number; readonly serverName: string };
  /** Unix socket of the SDS server. */
  readonly sdsPath: string;
  /** Where readiness of the application is asked of it, for /app-health/ready on 15020. */
  readonly appProbe?: { readonly port: number; readonly path: string } | undefined;
  /** Mark of the proxy's own connections, where capture goes by mark. */
  readonly socketMark?: number | undefined;
  /** The only address to listen on, for the admin interface too: where proxies share a network. Default: 127.0.0.1 for it, all for the others. */
  readonly bind?: string | undefined;
  /** Where the proxy listens when nothing is captured. */
  readonly explicit?: ExplicitAddresses | undefined;
}

const HTTP2 = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    explicit_http_config: { http2_protocol_options: { connection_keepalive: { interval: "30s", timeout: "10s" } } },
  },
};
const ROUTER = {
  name: "envoy.filters.http.router",
  typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
};

/** The bootstrap as JSON, to be written into the file that `-c` names. */
export function buildBootstrap(options: BootstrapOptions): Record<string, unknown> {
  const admin = tcp(options.bind ?? "127.0.0.1", SidecarPorts.admin);
  const bind = options.bind ?? "0.0.0.0";
  return {
    node: buildNode(options),
    admin: { address: admin },
    dynamic_resources: {
      lds_config: { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" },
      cds_config: { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" },
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: "xds-grpc" } }],
      },
    },
    static_resources: {
      clusters: [
        staticCluster("sds-grpc", { pipe: { path: options.sdsPath } }, { typed_extension_protocol_options: HTTP2 }),
        // The workload's own certificate proves to the control plane who asks.
        staticCluster("xds-grpc", tcp(options.xds.host, options.xds.port), {
          typed_extension_protocol_options: HTTP2,
          transport_socket: meshTls(options.xds.serverName),
          ...upstreamMark(options.socketMark),
        }),
        staticCluster("prometheus_stats", admin),
        staticCluster("agent", admin),
        ...(options.appProbe
          ? [staticCluster("app_probe", tcp("127.0.0.1", options.appProbe.port), upstreamMark(options.socketMark))]
          : []),
      ],
      listeners: [
        httpListener("prometheus", bind, SidecarPorts.prometheus, [
          { match: { prefix: "/stats" }, route: { cluster: "prometheus_stats" } },
        ]),
        httpListener("health", bind, SidecarPorts.health, [
          { match: { path: "/healthz/ready" }, route: { cluster: "agent", prefix_rewrite: "/ready" } },
        ]),
        ...(options.appProbe
          ? [
              httpListener("app_probe", bind, SidecarPorts.appProbe, [
                { match: { path: "/app-health/ready" }, route: { cluster: "app_probe", prefix_rewrite: options.appProbe.path } },
              ]),
            ]
          : []),
      ],
    },
    // Envoy's: its own connections carry the mark that capture lets through.
    ...(options.socketMark === undefined ? {} : { cluster_manager: { upstream_bind_config: markOnly(options.socketMark) } }),
  };
}

function buildNode(options: BootstrapOptions): Record<string, unknown> {
  return {
    id: `${options.kind}~${options.ip}~${options.name}.${options.namespace}~${options.namespace}.svc.${options.domain}`,
    cluster: `${options.labels["app"] ?? options.workloadName}.${options.namespace}`,
    locality: options.locality ? { region: options.locality.region, zone: options.locality.zone, sub_zone: options.locality.subzone } : {},
    metadata: {
      CLUSTER_ID: options.clusterId,
      INSTANCE_IPS: options.ip,
      INTERCEPTION_MODE: options.explicit ? "NONE" : "REDIRECT",
      LABELS: options.labels,
      LATEEN_PEER_METADATA: true,
      MESH_ID: options.meshId,
      NAME: options.name,
      NAMESPACE: options.namespace,
      SERVICE_ACCOUNT: options.serviceAccount,
      WORKLOAD_NAME: options.workloadName,
      ...(options.explicit
        ? { LATEEN_SERVICE_ADDRESSES: options.explicit.serviceAddresses, LATEEN_APP_PORTS: options.explicit.appPorts }
        : {}),
      ...(options.explicit?.httpProxyPort === undefined ? {} : { HTTP_PROXY_PORT: String(options.explicit.httpProxyPort) }),
    },
  };
}

function tcp(address: string, port: number): Record<string, unknown> {
  return { socket_address: { protocol: "TCP", address, port_value: port } };
}

function staticCluster(name: string, address: Record<string, unknown>, extra: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    name,
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
    ...extra,
  };
}

function markOnly(mark: number): Record<string, unknown> {
  return { socket_options: [{ description: "capture exemption", level: 1, name: 36, int_value: mark, state: "STATE_PREBIND" }] }; // SOL_SOCKET, SO_MARK
}

function upstreamMark(mark: number | undefined): Record<string, unknown> {
  return mark === undefined ? {} : { upstream_bind_config: markOnly(mark) };
}

function meshTls(serverName: string): Record<string, unknown> {
  const sds = {
    api_config_source: { api_type: "GRPC", transport_api_version: "V3", grpc_services: [{ envoy_grpc: { cluster_name: "sds-grpc" } }] },
    resource_api_version: "V3",
  };
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
      sni: serverName,
      common_tls_context: {
        alpn_protocols: ["h2"],
        tls_params: { tls_minimum_protocol_version: "TLSv1_2", tls_maximum_protocol_version: "TLSv1_3" },
        tls_certificate_sds_secret_configs: [{ name: "default", sds_config: sds }],
        combined_validation_context: {
          default_validation_context: { match_typed_subject_alt_names: [{ san_type: "DNS", matcher: { exact: serverName } }] },
          validation_context_sds_secret_config: { name: "ROOTCA", sds_config: sds },
        },
      },
    },
  };
}

function httpListener(name: string, host: string, port: number, routes: readonly Record<string, unknown>[]): Record<string, unknown> {
  return {
    name,
    address: tcp(host, port),
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.http_connection_manager",
            typed_config: {
              "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              stat_prefix: name,
              codec_type: "AUTO",
              http_filters: [ROUTER],
              route_config: { name, virtual_hosts: [{ name, domains: ["*"], routes }] },
            },
          },
        ],
      },
    ],
  };
}
