/** What a ServiceEntry and its WorkloadEntries give. Source: Istio networking/v1 ServiceEntry. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultMeshConfig } from "../config/mesh-config.ts";
import { createConfigReader } from "../config/read.ts";
import type { AnyConfig } from "../config/types.ts";
import { buildRegistry, EMPTY_REGISTRY } from "./aggregate.ts";

const mesh = defaultMeshConfig();
const reader = createConfigReader({ domain: "cluster.local" });

function objects(text: string): readonly AnyConfig[] {
  const { objects: read, errors } = reader.read("r.yaml", text);
  assert.deepEqual(errors, []);
  return read.map(({ object }) => object);
}

const entry = (name: string, spec: string, namespace = "shop"): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
const workload = (name: string, spec: string, namespace = "shop"): string =>
  `---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
const PORTS = "ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]";
const A = "a.shop.svc.cluster.local";

/** Endpoints as "address:port name workload identity tls". */
function endpoints(text: string, host = A): readonly string[] {
  const registry = buildRegistry(EMPTY_REGISTRY, objects(text), mesh);
  return ([...registry.endpoints].find(([name]) => name === host)?.[1] ?? []).map((endpoint) => {
    const { address, port, servicePortName, workloadName, identity, tlsReady } = endpoint;
    return `${address}:${port} ${servicePortName} ${workloadName} ${identity ?? "-"} ${tlsReady ? "tls" : "plain"}`;
  });
}

const selected = entry("a", `{hosts: [${A}], resolution: STATIC, ${PORTS}, workloadSelector: {labels: {app: a}}}`);

const rows: readonly { name: string; text: string; host?: string; want: readonly string[] }[] = [
  {
    name: "a selector takes the workloads of its namespace whose labels match, by address",
    text:
      selected +
      workload("a2", "{address: 10.0.0.2, labels: {app: a, version: v2}}") +
      workload("a1", "{address: 10.0.0.1, labels: {app: a}}") +
      workload("b", "{address: 10.0.0.3, labels: {app: b}}") +
      workload("a3", "{address: 10.0.0.4, labels: {app: a}}", "other"),
    want: ["10.0.0.1:8080 http a1 - plain", "10.0.0.2:8080 http a2 - plain"],
  },
  {
    name: "an account is an identity and means mutual TLS, label or not",
    text: selected + workload("a", "{address: 10.0.0.1, labels: {app: a}, serviceAccount: pay}"),
    want: ["10.0.0.1:8080 http a spiffe://cluster.local/ns/shop/sa/pay tls"],
  },
  {
    name: "the label tlsMode istio means mutual TLS, and is no identity",
    text: selected + workload("a", "{address: 10.0.0.1, labels: {app: a, security.istio.io/tlsMode: istio}}"),
    want: ["10.0.0.1:8080 http a - tls"],
  },
  {
    name: "the label tlsMode disabled wins over an account",
    text: selected + workload("a", "{address: 10.0.0.1, labels: {app: a, security.istio.io/tlsMode: disabled}, serviceAccount: pay}"),
    want: ["10.0.0.1:8080 http a spiffe://cluster.local/ns/shop/sa/pay plain"],
  },
  {
    name: "a workload's own port beats targetPort, which beats the number",
    text:
      entry(
        "a",
        `{hosts: [${A}], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 90, name: grpc, protocol: GRPC}], workloadSelector: {labels: {app: a}}}`,
      ) + workload("a", "{address: 10.0.0.1, labels: {app: a}, ports: {http: 1234}}"),
    want: ["10.0.0.1:90 grpc a - plain", "10.0.0.1:1234 http a - plain"],
  },
  {
    name: "inline endpoints are named after their entry",
    text: entry(
      "a",
      `{hosts: [${A}], resolution: STATIC, ${PORTS}, endpoints: [{address: 10.0.0.2}, {address: 10.0.0.1, ports: {http: 1}}]}`,
    ),
    want: ["10.0.0.1:1 http a-1 - plain", "10.0.0.2:8080 http a-0 - plain"],
  },
  {
    name: "a Unix socket has no port",
    text: entry("a", `{hosts: [${A}], resolution: STATIC, ${PORTS}, endpoints: [{address: "unix:///run/a"}]}`),
    want: ["/run/a:0 http a-0 - plain"],
  },
  {
    name: "a name without endpoints is looked up itself",
    text: entry("a", `{hosts: [a.com], resolution: DNS, ${PORTS}}`),
    host: "a.com",
    want: ["a.com:8080 http a - plain"],
  },
  {
    name: "endpoints with names",
    text: entry("a", `{hosts: [a.com], resolution: DNS, ${PORTS}, endpoints: [{address: b.com}]}`),
    host: "a.com",
    want: ["b.com:8080 http a-0 - plain"],
  },
  { name: "without resolution there are no endpoints", text: entry("a", `{hosts: [a.com], ${PORTS}}`), host: "a.com", want: [] },
  {
    name: "a selector of STATIC leaves workloads with names alone, one of DNS takes them",
    text:
      selected +
      entry("d", `{hosts: [d.com], resolution: DNS, ${PORTS}, workloadSelector: {labels: {app: a}}}`) +
      workload("n", "{address: n.com, labels: {app: a}}"),
    want: [],
  },
  { name: "a selector that selects nobody", text: selected, want: [] },
];

for (const { name, text, host, want } of rows) {
  test(`registry: ${name}`, () => assert.deepEqual(endpoints(text, host), want));
}

test("registry: an entry of several hosts gives a service each", () => {
  const registry = buildRegistry(
    EMPTY_REGISTRY,
    objects(entry("a", `{hosts: [b.com, ${A}], addresses: [240.0.0.1], location: MESH_INTERNAL, ${PORTS}, exportTo: ["."]}`)),
    mesh,
  );
  assert.deepEqual(
    [...registry.services.values()],
    [
      {
        hostname: A,
        namespace: "shop",
        name: "a",
        addresses: ["240.0.0.1"],
        ports: [{ name: "http", number: 80, protocol: "http", targetPort: 8080 }],
        resolution: "none",
        meshExternal: false,
        exportTo: ["."],
        subjectAltNames: [],
        createdAt: 0,
      },
      { ...[...registry.services.values()][0], hostname: "b.com", name: "b.com" },
    ],
  );
});

test("registry: entries of one namespace for one host are joined", () => {
  const text =
    entry("a", `{hosts: [${A}], addresses: [240.0.0.1], resolution: STATIC, ${PORTS}, endpoints: [{address: 10.0.0.2}]}`) +
    entry(
      "b",
      `{hosts: [${A}], addresses: [240.0.0.2], resolution: STATIC, ports: [{number: 80, name: http, protocol: TCP}, {number: 90, name: grpc, protocol: GRPC}], endpoints: [{address: 10.0.0.1}]}`,
    );
  const registry = buildRegistry(EMPTY_REGISTRY, objects(text), mesh);
  const [service] = registry.services.values();
  assert.deepEqual(service?.addresses, ["240.0.0.1", "240.0.0.2"]);
  assert.deepEqual(
    service?.ports.map(({ number, protocol }) => [number, protocol]),
    [
      [80, "http"],
      [90, "grpc"],
    ],
  );
  assert.deepEqual(endpoints(text), ["10.0.0.1:80 http b-0 - plain", "10.0.0.1:90 grpc b-0 - plain", "10.0.0.2:8080 http a-0 - plain"]);
});

const claims: readonly { name: string; text: string; host: string; want: string }[] = [
  {
    name: "a host belongs to its own namespace, whoever is older",
    text:
      entry("a", `{hosts: [${A}], ${PORTS}}`, "tenant").replace(
        "namespace: tenant",
        "namespace: tenant, creationTimestamp: '2020-01-01T00:00:00Z'",
      ) + entry("a", `{hosts: [${A}], ${PORTS}}`),
    host: A,
    want: "shop",
  },
  {
    name: "a host of outside belongs to the entry that all may see",
    text: entry("a", `{hosts: [x.com], ${PORTS}, exportTo: ["."]}`, "aaa") + entry("b", `{hosts: [x.com], ${PORTS}}`, "bbb"),
    host: "x.com",
    want: "bbb",
  },
  {
    name: "among equals the older, which the order of objects tells",
    text: entry("a", `{hosts: [x.com], ${PORTS}}`, "bbb") + entry("b", `{hosts: [x.com], ${PORTS}}`, "aaa"),
    host: "x.com",
    want: "bbb",
  },
];

for (const { name, text, host, want } of claims) {
  test(`registry: ${name}`, () => {
    const registry = buildRegistry(EMPTY_REGISTRY, objects(text), mesh);
    assert.equal([...registry.services.values()].find(({ hostname }) => hostname === host)?.namespace, want);
  });
}

test("registry: what did not change is the same object", () => {
  const text = `${selected}${entry("b", `{hosts: [b.com], resolution: STATIC, ${PORTS}, endpoints: [{address: 10.0.0.9}]}`)}${workload("a1", "{address: 10.0.0.1, labels: {app: a}}")}`;
  const first = buildRegistry(EMPTY_REGISTRY, objects(text), mesh);
  const second = buildRegistry(first, objects(`${text}${workload("a2", "{address: 10.0.0.2, labels: {app: a}}")}`), mesh);
  const [a, b] = [...first.services.keys()];
  assert.ok(a && b);
  assert.equal(second.services.get(a), first.services.get(a));
  assert.equal(second.endpoints.get(b), first.endpoints.get(b));
  assert.notEqual(second.endpoints.get(a), first.endpoints.get(a));
  assert.equal(second.endpoints.get(a)?.[0], first.endpoints.get(a)?.[0], "the endpoint that stayed");
});
