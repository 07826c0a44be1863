import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeOf, worldOf } from "../../../../test/golden/world.ts";
import type { MeshConfig } from "../../config/types.ts";
import { sidecarHosts } from "./sidecar-hosts.ts";

const service = (host: string, { namespace = "default", protocol = "HTTP", port = 80, address = "" } = {}) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: "${host.replaceAll("*", "all")}-${port}", namespace: ${namespace}}
spec:
  hosts: ["${host}"]
  ${address ? `addresses: [${address}]` : ""}
  location: MESH_INTERNAL
  resolution: ${host.startsWith("*") ? "NONE" : "STATIC"}
  ports: [{number: ${port}, name: p, protocol: ${protocol}}]
  ${host.startsWith("*") ? "" : "endpoints: [{address: 10.0.0.9}]"}
`;
const virtualService = (name: string, hosts: string, more = "") => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: default}
spec: {hosts: ${hosts}, ${more}http: [{directResponse: {status: 200, body: {string: ${name}}}}]}
`;

/** What answers for each domain: the VirtualService that the first route is from, or "service". */
function answers(documents: readonly string[], port = 80, mesh: Partial<MeshConfig> = {}): Record<string, string> {
  const world = worldOf(documents.join("---"), mesh);
  const { namespace, labels } = nodeOf({});
  const hosts = sidecarHosts({
    port,
    client: { namespace, labels, domain: "cluster.local" },
    services: world.visibleServices(namespace),
    virtualServices: world.meshVirtualServices(namespace),
    meshRetries: undefined,
  });
  const found: Record<string, string> = {};
  for (const { domains, routes } of hosts) {
    for (const domain of domains) {
      assert.ok(!(domain in found), `${domain} stands in two virtual hosts: Envoy would refuse all of them`);
      const [first] = routes;
      found[domain] = first?.kind === "virtual-service" ? first.virtualService : "service";
    }
  }
  return found;
}

const rows: readonly { name: string; documents: readonly string[]; port?: number; want: Record<string, string> }[] = [
  {
    name: "a service without rules is served under its names",
    documents: [service("a.example.com")],
    want: { "a.example.com": "service", "a.example.com.": "service" },
  },
  {
    name: "a rule takes the service's place under all its names",
    documents: [service("a.example.com", { address: "240.0.0.1" }), virtualService("vs", "[a.example.com]")],
    want: { "a.example.com": "vs", "a.example.com.": "vs", "240.0.0.1": "vs" },
  },
  {
    name: "the older of two rules for one host holds",
    documents: [service("a.example.com"), virtualService("old", "[a.example.com]"), virtualService("young", "[a.example.com]")],
    want: { "a.example.com": "old", "a.example.com.": "old" },
  },
  {
    name: "a closer rule beats a wildcard, however old",
    documents: [
      service("a.example.com"),
      service("b.example.com"),
      virtualService("wide", '["*.example.com"]'),
      virtualService("close", "[a.example.com]"),
    ],
    want: { "a.example.com": "close", "a.example.com.": "close", "b.example.com": "wide", "b.example.com.": "wide" },
  },
  {
    name: "hosts that no service has are served on port 80",
    documents: [virtualService("vs", '[no.example.com, "*.none.example.com"]')],
    want: { "no.example.com": "vs", "*.none.example.com": "vs" },
  },
  {
    name: "and on no other port",
    documents: [service("a.example.com", { port: 8080 }), virtualService("vs", "[no.example.com]")],
    port: 8080,
    want: { "a.example.com": "service", "a.example.com.": "service" },
  },
  {
    name: "a rule without a route for this client leaves the service as it is",
    documents: [
      service("a.example.com"),
      `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: default}
spec:
  hosts: [a.example.com]
  http: [{match: [{sourceNamespace: elsewhere}], directResponse: {status: 200}}]
`,
    ],
    want: { "a.example.com": "service", "a.example.com.": "service" },
  },
  { name: "a TCP service has no virtual host", documents: [service("a.example.com", { protocol: "TCP" })], want: {} },
  {
    name: "a name that is short for one service is left to the service that is really called so",
    documents: [service("a.default.svc.cluster.local"), service("a.default")],
    want: {
      "a.default.svc.cluster.local": "service",
      "a.default.svc.cluster.local.": "service",
      a: "service",
      "a.default.svc": "service",
      "a.default": "service",
      "a.default.": "service",
    },
  },
];

for (const { name, documents, port, want } of rows) {
  test(`sidecarHosts: ${name}`, () => assert.deepEqual(answers(documents, port), want));
}
