/** The bootstraps of the scenarios: Envoy v3, static, the same for every proxy under test. */

/** Ports and certificates of one run. */
export interface Places {
  readonly listen: number;
  /** A second listener, between the two sidecars of a pair. */
  readonly between: number;
  readonly admin: number;
  readonly backend: number;
  readonly certificates: string;
}

type Json = Record<string, unknown>;

const type = (name: string): string => `type.googleapis.com/envoy.${name}`;
const address = (port: number): Json => ({ socket_address: { address: "127.0.0.1", port_value: port } });
const spiffe = (name: string): string => `spiffe://cluster.local/ns/default/sa/${name}`;
const ROUTER = { name: "envoy.filters.http.router", typed_config: { "@type": type("extensions.filters.http.router.v3.Router") } };
const RETRY = { retry_on: "connect-failure,refused-stream,unavailable,cancelled", num_retries: 2 };
const ACCESS_LOG = [
  {
    name: "envoy.access_loggers.file",
    typed_config: { "@type": type("extensions.access_loggers.file.v3.FileAccessLog"), path: "/dev/null" },
  },
];
const RBAC = {
  name: "envoy.filters.http.rbac",
  typed_config: {
    "@type": type("extensions.filters.http.rbac.v3.RBAC"),
    rules: {
      action: "ALLOW",
      policies: {
        bench: {
          permissions: [{ and_rules: { rules: [{ url_path: { path: { prefix: "/" } } }] } }],
          principals: [{ and_ids: { ids: [{ authenticated: { principal_name: { prefix: "spiffe://cluster.local/ns/default/" } } }] } }],
        },
      },
    },
  },
};

function http(
  name: string,
  cluster: string,
  extra: { readonly route?: Json; readonly filters?: readonly Json[]; readonly manager?: Json } = {},
): Json {
  return {
    name: "envoy.filters.network.http_connection_manager",
    typed_config: {
      "@type": type("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
      stat_prefix: name,
      ...extra.manager,
      route_config: {
        name,
        virtual_hosts: [
          { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster, timeout: "0s", ...extra.route } }] },
        ],
      },
      http_filters: [...(extra.filters ?? []), ROUTER],
    },
  };
}

function tcp(name: string, cluster: string): Json {
  return {
    name: "envoy.filters.network.tcp_proxy",
    typed_config: { "@type": type("extensions.filters.network.tcp_proxy.v3.TcpProxy"), stat_prefix: name, cluster },
  };
}

function listener(name: string, port: number, filter: Json, tls?: Json): Json {
  return { name, address: address(port), filter_chains: [{ filters: [filter], ...(tls ? { transport_socket: tls } : {}) }] };
}

function cluster(name: string, port: number, options: { readonly tls?: Json; readonly http2?: boolean } = {}): Json {
  const h2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": type("extensions.upstreams.http.v3.HttpProtocolOptions"),
      explicit_http_config: { http2_protocol_options: { max_concurrent_streams: 100 } },
    },
  };
  return {
    name,
    type: "STATIC",
    connect_timeout: "5s",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: address(port) } }] }] },
    ...(options.tls ? { transport_socket: options.tls } : {}),
    ...(options.http2 ? { typed_extension_protocol_options: h2 } : {}),
  };
}

function tls(places: Places, side: "client" | "server"): Json {
  const own = side === "client" ? "a" : "b";
  const peer = side === "client" ? { exact: spiffe("b") } : { prefix: "spiffe://cluster.local/" };
  const common = {
    alpn_protocols: ["http/1.1"],
    tls_params: { tls_minimum_protocol_version: "TLSv1_2", tls_maximum_protocol_version: "TLSv1_3" },
    tls_certificates: [
      {
        certificate_chain: { filename: `${places.certificates}/${own}.pem` },
        private_key: { filename: `${places.certificates}/${own}.key` },
      },
    ],
    validation_context: {
      trusted_ca: { filename: `${places.certificates}/ca.pem` },
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: peer }],
    },
  };
  const context = side === "client" ? { sni: "outbound_.80_._.b.default.svc.cluster.local" } : { require_client_certificate: true };
  const message = side === "client" ? "UpstreamTlsContext" : "DownstreamTlsContext";
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: { "@type": type(`extensions.transport_sockets.tls.v3.${message}`), ...context, common_tls_context: common },
  };
}

function bootstrap(admin: number, listeners: readonly Json[], clusters: readonly Json[]): Json {
  return {
    node: { id: "sidecar~127.0.0.1~bench.default~default.svc.cluster.local", cluster: "bench.default" },
    admin: { address: address(admin) },
    static_resources: { listeners, clusters },
  };
}

/** One proxy for each bootstrap; the load goes to `places.listen`. */
export const BOOTSTRAPS: Readonly<Record<string, (places: Places) => readonly Json[]>> = {
  "h1-plain-1k-16": (p) => [bootstrap(p.admin, [listener("in", p.listen, http("in", "app"))], [cluster("app", p.backend)])],
  "h2-h2": (p) => [bootstrap(p.admin, [listener("in", p.listen, http("in", "app"))], [cluster("app", p.backend, { http2: true })])],
  "tcp-echo": (p) => [bootstrap(p.admin, [listener("in", p.listen, tcp("in", "app"))], [cluster("app", p.backend)])],
  "h1-mtls-pair": (p) => [
    bootstrap(
      p.admin,
      [listener("out", p.listen, http("out", "server", { route: { retry_policy: RETRY }, manager: { access_log: ACCESS_LOG } }))],
      [cluster("server", p.between, { tls: tls(p, "client") })],
    ),
    bootstrap(
      p.admin + 1,
      [
        listener(
          "in",
          p.between,
          http("in", "app", {
            filters: [RBAC],
            manager: {
              access_log: ACCESS_LOG,
              forward_client_cert_details: "APPEND_FORWARD",
              set_current_client_cert_details: { uri: true, subject: true },
            },
          }),
          tls(p, "server"),
        ),
      ],
      [cluster("app", p.backend)],
    ),
  ],
};
