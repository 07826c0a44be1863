/** Starts a pod's proxy, Lateen's or Envoy, with the bootstrap that Istio's agent writes; beside it `lateen agent`, which gets the certificate. */
import type { ChildProcess } from "node:child_process";
import { chownSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { TOKEN_ISSUER } from "./control-plane.ts";
import type { Pki } from "./pki.ts";
import { CONTROL_PLANE_IP, type Pod, PROXY_UID, type Topology } from "./topology.ts";

/** Which data plane a pod has. */
export type ProxyKind = "lateen" | "envoy";

/** What proxies are started from. */
export interface ProxyOptions {
  readonly topology: Topology;
  readonly pki: Pki;
  readonly lateen: string;
  readonly envoy: string;
  /** Delta xDS; else state of the world. */
  readonly isDelta: boolean;
}

/** The admin port of every proxy. */
export const ADMIN_PORT = 15000;

const SECRETS = "var/run/secrets";
const SOCKET = `${SECRETS}/workload-spiffe-uds/socket`;
const SOCKET_WAIT_MS = 20_000;
const HTTP2 = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    explicit_http_config: { http2_protocol_options: {} },
  },
};

/**
 * Starts the agent, then, once its socket is there, the proxy: a proxy whose first call for secrets is refused waits many seconds for the
 * next. `isAgain` starts a proxy that has ended, beside the agent that is still there.
 */
export async function startProxy(kind: ProxyKind, pod: Pod, options: ProxyOptions & { readonly isAgain: boolean }): Promise<ChildProcess> {
  const { topology, lateen, envoy, isDelta, isAgain } = options;
  const directory = join(topology.runDirectory, pod.name);
  if (!isAgain) startAgent(pod, directory, options);
  await socketReady(join(directory, SOCKET));

  const bootstrap = bootstrapOf(pod, isDelta);
  writeFileSync(join(directory, "bootstrap.json"), JSON.stringify(bootstrap, null, 2));
  const flags = [
    ...["-c", "bootstrap.json", "--service-node", bootstrap.node.id, "--service-cluster", bootstrap.node.cluster],
    ...["--drain-time-s", "2", "--drain-strategy", "immediate", "--local-address-ip-version", "v4", "--disable-hot-restart"],
    ...["--allow-unknown-static-fields", "-l", "warning", "--concurrency", "1"],
  ];
  return topology.spawn({
    pod: pod.name,
    job: "proxy",
    command: kind === "envoy" ? [envoy, ...flags] : [lateen, "proxy", ...flags],
    env: { ...process.env, LATEEN_NODE: process.execPath },
    directory,
    asProxy: true,
  });
}

function startAgent(pod: Pod, directory: string, { topology, pki, lateen }: ProxyOptions): void {
  for (const folder of ["", "tokens", "istio", "workload-spiffe-uds"].map((name) => join(directory, SECRETS, name))) {
    mkdirSync(folder, { recursive: true });
    chownSync(folder, PROXY_UID, PROXY_UID);
  }
  chownSync(directory, PROXY_UID, PROXY_UID);
  copyFileSync(join(pki.mesh, "root-cert.pem"), join(directory, SECRETS, "istio/root-cert.pem"));
  const subject = `system:serviceaccount:${pod.namespace}:${pod.serviceAccount}`;
  const token = pki.token({ key: "sa", iss: TOKEN_ISSUER, aud: ["istio-ca"], sub: subject, expIn: 86_400 });
  writeFileSync(join(directory, SECRETS, "tokens/istio-token"), token);
  topology.spawn({
    pod: pod.name,
    job: "agent",
    command: [lateen, "agent", "--sds-only"],
    directory,
    asProxy: true,
    env: {
      PATH: process.env["PATH"],
      HOME: "/tmp",
      LATEEN_NODE: process.execPath,
      POD_NAME: pod.name,
      POD_NAMESPACE: pod.namespace,
      INSTANCE_IP: pod.ip,
      SERVICE_ACCOUNT: pod.serviceAccount,
      CA_ADDR: `${CONTROL_PLANE_IP}:15012`,
      TRUST_DOMAIN: "cluster.local",
      ISTIOD_SAN: "istiod.istio-system.svc",
      PROXY_CONFIG: JSON.stringify({ discoveryAddress: `${CONTROL_PLANE_IP}:15012`, concurrency: 1 }),
    },
  });
}

async function socketReady(path: string): Promise<void> {
  for (const end = Date.now() + SOCKET_WAIT_MS; !existsSync(path); await sleep(20)) {
    if (Date.now() > end) throw new Error(`no socket for secrets appeared at ${path}: see the agent's log`);
  }
}

/** Istio's bootstrap, less statistics, with ADS directly over the plaintext port. Source: Envoy config.bootstrap.v3.Bootstrap. */
function bootstrapOf(pod: Pod, isDelta: boolean): { readonly node: { readonly id: string; readonly cluster: string } } {
  const overAds = { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" };
  const bootstrap = {
    node: {
      id: `${pod.proxy}~${pod.ip}~${pod.name}.${pod.namespace}~${pod.namespace}.svc.cluster.local`,
      cluster: `${pod.labels["app"]}.${pod.namespace}`,
      locality: {},
      metadata: {
        CLUSTER_ID: "Kubernetes",
        INSTANCE_IPS: pod.ip,
        INTERCEPTION_MODE: "REDIRECT",
        ISTIO_VERSION: "1.28.0",
        LABELS: pod.labels,
        MESH_ID: "cluster.local",
        NAME: pod.name,
        NAMESPACE: pod.namespace,
        NODE_NAME: "lab",
        PROXY_CONFIG: { discoveryAddress: `${CONTROL_PLANE_IP}:15012`, proxyAdminPort: ADMIN_PORT, concurrency: 1 },
        SERVICE_ACCOUNT: pod.serviceAccount,
        WORKLOAD_NAME: pod.name,
        WORKLOAD_IDENTITY_SOCKET_FILE: "socket",
      },
    },
    layered_runtime: {
      layers: [
        {
          name: "global config",
          static_layer: { "envoy.reloadable_features.http_reject_path_with_fragment": false, "re2.max_program_size.error_level": "32768" },
        },
        { name: "admin", admin_layer: {} },
      ],
    },
    admin: { address: tcpAddress("127.0.0.1", ADMIN_PORT) },
    dynamic_resources: {
      lds_config: overAds,
      cds_config: overAds,
      ads_config: {
        api_type: isDelta ? "DELTA_GRPC" : "GRPC",
        set_node_on_first_message_only: true,
        transport_api_version: "V3",
        grpc_services: [{ envoy_grpc: { cluster_name: "xds-grpc" } }],
      },
    },
    static_resources: {
      clusters: [
        staticCluster("sds-grpc", { pipe: { path: `./${SOCKET}` } }),
        staticCluster("xds-grpc", tcpAddress(CONTROL_PLANE_IP, 15010)),
      ],
    },
    cluster_manager: { enable_deferred_cluster_creation: true },
    deferred_stat_options: { enable_deferred_creation_stats: true },
  };
  return bootstrap;
}

function staticCluster(name: string, address: object): object {
  return {
    name,
    alt_stat_name: `${name};`,
    type: "STATIC",
    connect_timeout: "1s",
    lb_policy: "ROUND_ROBIN",
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }] },
    typed_extension_protocol_options: HTTP2,
  };
}

function tcpAddress(address: string, port: number): object {
  return { socket_address: { protocol: "TCP", address, port_value: port } };
}
