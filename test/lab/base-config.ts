/** What every case has: the mesh's services as Istio YAML, and the marker that shows which version of the config a proxy has. */
import { PODS, type Pod } from "./topology.ts";

/** A service of the mesh. Its address exists for proxies alone. */
export interface Service {
  readonly host: string;
  readonly namespace: string;
  readonly vip: string;
  /** The `app` label of its workloads. */
  readonly app: string;
  readonly isGateway: boolean;
}

type PortRow = readonly [name: string, number: number, target: number, protocol: string];

const PORTS: readonly PortRow[] = [
  ["http", 80, 8080, "HTTP"],
  ["http-alt", 8081, 8081, "HTTP"],
  ["grpc", 9090, 9090, "GRPC"],
  ["tcp", 9000, 9000, "TCP"],
  ["tcp-banner", 9001, 9001, "TCP"],
  ["https", 443, 8443, "HTTPS"],
  ["tls", 9443, 9443, "TLS"],
];
const GATEWAY_PORTS: readonly PortRow[] = [
  ["http", 80, 80, "HTTP"],
  ["tls", 443, 443, "TLS"],
  ["https", 15443, 15443, "TLS"],
  ["tcp", 9000, 9000, "TCP"],
];

/** The services by the name that cases call them. */
export const SERVICES: Readonly<Record<string, Service>> = {
  reviews: { host: "reviews.default.svc.cluster.local", namespace: "default", vip: "240.0.0.1", app: "reviews", isGateway: false },
  ratings: { host: "ratings.default.svc.cluster.local", namespace: "default", vip: "240.0.0.2", app: "ratings", isGateway: false },
  client: { host: "client.default.svc.cluster.local", namespace: "default", vip: "240.0.0.3", app: "client", isGateway: false },
  legacy: { host: "legacy.legacy.svc.cluster.local", namespace: "legacy", vip: "240.0.0.4", app: "legacy", isGateway: false },
  egress: {
    host: "istio-egressgateway.istio-system.svc.cluster.local",
    namespace: "istio-system",
    vip: "240.0.0.6",
    app: "istio-egressgateway",
    isGateway: true,
  },
};

/** Where the marker answers: sidecars at its address, gateways on a port of their own. */
export const MARKER = { host: "marker.lab.internal", vip: "240.0.255.1", port: 80, gatewayPort: 15999 };
const ANY_ENDPOINT = "198.18.0.51"; // The marker answers by itself; an endpoint is there since a service has one.

/** Services and workloads as YAML. */
export function baseConfig(): string {
  const isServed = (pod: Pod): boolean =>
    Object.values(SERVICES).some(({ app, namespace }) => app === pod.labels["app"] && namespace === pod.namespace);
  return joinDocuments([
    ...Object.entries(SERVICES).map(([name, service]) => serviceEntry(name, service)),
    ...PODS.filter(isServed).map(workloadEntry),
  ]);
}

/** A route whose direct response is the generation's number, for sidecars and gateways. */
export function markerConfig(generation: number): string {
  const gateways = PODS.filter(({ proxy }) => proxy === "router");
  const references = ["mesh", ...gateways.map(({ name }) => `istio-system/marker-${name}`)];
  return joinDocuments([
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: marker, namespace: lab-marker}
spec:
  hosts: [${MARKER.host}]
  addresses: [${MARKER.vip}]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: ${MARKER.port}, name: http, protocol: HTTP}]
  endpoints: [{address: ${ANY_ENDPOINT}}]
`,
    `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker, namespace: lab-marker}
spec:
  hosts: [${MARKER.host}]
  gateways: [${references.join(", ")}]
  http:
  - directResponse: {status: 200, body: {string: "${generation}"}}
`,
    ...gateways.map(markerGateway),
  ]);
}

/** Documents of YAML as one file. */
export function joinDocuments(documents: readonly string[]): string {
  return documents.filter((text) => text.trim() !== "").join("---\n");
}

function serviceEntry(name: string, { host, namespace, vip, app, isGateway }: Service): string {
  const ports = (isGateway ? GATEWAY_PORTS : PORTS).map(
    ([port, number, target, protocol]) => `  - {number: ${number}, name: ${port}, protocol: ${protocol}, targetPort: ${target}}\n`,
  );
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  hosts: [${host}]
  addresses: [${vip}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
${ports.join("")}  workloadSelector:
    labels: {app: ${app}}
`;
}

/** A service account alone makes clients use mutual TLS, so a workload without a sidecar has none. */
function workloadEntry({ name, namespace, ip, labels, serviceAccount, proxy }: Pod): string {
  const isMeshed = proxy !== "none";
  const all = { ...labels, ...(isMeshed ? { "security.istio.io/tlsMode": "istio" } : {}) };
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  address: ${ip}
${isMeshed ? `  serviceAccount: ${serviceAccount}\n` : ""}  labels: {${Object.entries(all)
    .map(([key, value]) => `${key}: "${value}"`)
    .join(", ")}}
`;
}

function markerGateway({ name, labels }: Pod): string {
  return `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: marker-${name}, namespace: istio-system}
spec:
  selector: {app: ${labels["app"]}}
  servers:
  - port: {number: ${MARKER.gatewayPort}, name: http-marker, protocol: HTTP}
    hosts: ["lab-marker/${MARKER.host}"]
`;
}
