/** What the world answers: visibility, routes, rules, gateways, mutual TLS, a workload's ports; and that what stays is the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { silentLog } from "../../base/log.ts";
import { hostname } from "../../model/host.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import { defaultMeshConfig } from "../config/mesh-config.ts";
import { createConfigReader } from "../config/read.ts";
import { createMemorySource } from "../config/sources/memory.ts";
import { createConfigStore } from "../config/store.ts";
import type { MeshConfig } from "../config/types.ts";
import { diffSnapshots } from "./diff.ts";
import { buildSnapshot, type World } from "./snapshot.ts";

const reader = createConfigReader({ domain: "cluster.local" });

/** A mesh whose texts the test changes; each change gives the next world. */
async function createMesh(texts: readonly string[], options: Partial<MeshConfig> = {}) {
  const mesh = { ...defaultMeshConfig(), ...options };
  const source = createMemorySource(reader, { "mesh.yaml": texts.join("---\n") });
  const store = createConfigStore({ sources: [source], mesh, log: silentLog, clock: new FakeClock(), onChange: () => {} });
  assert.deepEqual((await store.open()).problems, []);
  let world = buildSnapshot(undefined, { objects: store.state.objects, mesh });
  return {
    mesh,
    world: () => world,
    next(...next: readonly string[]): World {
      source.set({ "mesh.yaml": next.join("---\n") });
      assert.deepEqual(store.problems, []);
      world = buildSnapshot(world, { objects: store.state.objects, mesh });
      return world;
    },
  };
}

const object = (kind: string, id: string, spec: string, created = ""): string => {
  const [namespace, name] = id.split("/");
  const group = kind === "PeerAuthentication" ? "security.istio.io/v1" : "networking.istio.io/v1";
  const age = created === "" ? "" : `, creationTimestamp: '${created}-01-01T00:00:00Z'`;
  return `apiVersion: ${group}\nkind: ${kind}\nmetadata: {namespace: ${namespace}, name: ${name}${age}}\nspec: ${spec}\n`;
};
const entry = (id: string, host: string, more = ""): string =>
  object(
    "ServiceEntry",
    id,
    `{hosts: [${host}], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]${more}}`,
  );
const workload = (id: string, address: string, more = ""): string =>
  object("WorkloadEntry", id, `{address: ${address}, labels: {app: a}${more}}`);
const route = (id: string, hosts: string, more = "", created = ""): string =>
  object("VirtualService", id, `{hosts: [${hosts}], http: [{directResponse: {status: 200}}]${more}}`, created);
const rule = (id: string, host: string, more = "", created = ""): string =>
  object("DestinationRule", id, `{host: ${host}${more}}`, created);
const auth = (id: string, spec: string, created = ""): string => object("PeerAuthentication", id, spec, created);
const A = hostname("a.shop.svc.cluster.local");

test("a service is seen where it is exported to, and nowhere else", async () => {
  const texts = [
    entry("shop/all", "all.com"),
    entry("shop/own", "own.com", ", exportTo: ['.']"),
    entry("shop/named", "named.com", ", exportTo: [other, '.']"),
    entry("shop/others", "others.com", ", exportTo: [other]"),
    entry("shop/none", "none.com", ", exportTo: ['~']"),
  ];
  const world = (await createMesh(texts)).world();
  const seen = (namespace: string): readonly string[] => world.visibleServices(namespace).map((service) => service.hostname);
  assert.deepEqual(seen("shop"), ["all.com", "named.com", "own.com"]);
  assert.deepEqual(seen("other"), ["all.com", "named.com", "others.com"]);
  assert.deepEqual(seen("third"), ["all.com"]);
  assert.equal(world.findService(hostname("own.com"), "shop")?.namespace, "shop");
  assert.equal(world.findService(hostname("own.com"), "other"), undefined);
  assert.equal(world.findService(hostname("nobody.com"), "shop"), undefined);
});

test("the mesh's default says where a service without exportTo is seen", async () => {
  const world = (
    await createMesh([entry("shop/a", "a.com"), entry("shop/b", "b.com", ", exportTo: ['*']")], { defaultServiceExportTo: ["."] })
  ).world();
  assert.deepEqual(
    world.visibleServices("other").map((service) => service.hostname),
    ["b.com"],
  );
  assert.deepEqual(
    world.visibleServices("shop").map((service) => service.hostname),
    ["a.com", "b.com"],
  );
});

test("routes of the mesh: a namespace's private ones first, then those exported to it, then all; each oldest first", async () => {
  const texts = [
    route("other/public-old", "h.com", "", "2020"),
    route("shop/public-new", "h.com", "", "2022"),
    route("shop/private", "h.com", ", exportTo: ['.']", "2023"),
    route("other/exported", "h.com", ", exportTo: [shop]", "2021"),
    route("other/private", "h.com", ", exportTo: ['.']", "2019"),
    route("shop/gateway-only", "h.com", ", gateways: [gw]", "2018"),
  ];
  const names = (world: World, namespace: string): readonly string[] => world.meshVirtualServices(namespace).map(({ meta }) => meta.name);
  const { world } = await createMesh(texts);
  assert.deepEqual(names(world(), "shop"), ["private", "exported", "public-old", "public-new"]);
  assert.deepEqual(names(world(), "other"), ["private", "public-old", "public-new"]);
  assert.deepEqual(names(world(), "third"), ["public-old", "public-new"]);
});

test("routes of a gateway are those bound to it and exported to its namespace", async () => {
  const texts = [
    route("shop/a", "a.com", ", gateways: [infra/gw]"),
    route("infra/b", "b.com", ", gateways: [gw, mesh]"),
    route("shop/private", "c.com", ", gateways: [infra/gw], exportTo: ['.']"),
    route("shop/other", "d.com", ", gateways: [gw]"),
  ];
  const world = (await createMesh(texts)).world();
  assert.deepEqual(
    world.gatewayVirtualServices("infra/gw").map(({ meta }) => meta.name),
    ["a", "b"],
  );
  assert.deepEqual(
    world.gatewayVirtualServices("shop/gw").map(({ meta }) => meta.name),
    ["other"],
  );
  assert.deepEqual(world.gatewayVirtualServices("nobody/gw"), []);
  assert.deepEqual(
    world.meshVirtualServices("shop").map(({ meta }) => meta.name),
    ["b"],
  );
});

const subset = (name: string): string => `, subsets: [{name: ${name}}]`;
const PRIVATE = ", exportTo: ['.']";

const lookups: readonly {
  name: string;
  rules: readonly string[];
  client?: string;
  labels?: Readonly<Record<string, string>>;
  want: string | undefined;
}[] = [
  { name: "none", rules: [], want: undefined },
  { name: "the service's namespace", rules: [rule("shop/r", A)], want: "shop/r" },
  { name: "the client's beats the service's", rules: [rule("shop/r", A), rule("client/r", A)], want: "client/r" },
  { name: "the service's beats the root's", rules: [rule("shop/r", A), rule("istio-system/r", A)], want: "shop/r" },
  { name: "the root's where there is no other", rules: [rule("istio-system/r", A)], want: "istio-system/r" },
  { name: "a third namespace's holds for nobody", rules: [rule("third/r", A)], want: undefined },
  { name: "the service's is not exported", rules: [rule("shop/r", A, PRIVATE)], want: undefined },
  { name: "not exported, so the root's", rules: [rule("shop/r", A, PRIVATE), rule("istio-system/r", "'*.local'")], want: "istio-system/r" },
  { name: "exported to the client by name", rules: [rule("shop/r", A, ", exportTo: [client]")], want: "shop/r" },
  { name: "the client's own private rule", rules: [rule("client/r", A, PRIVATE)], want: "client/r" },
  { name: "the client's, exported elsewhere only, is not his", rules: [rule("client/r", A, ", exportTo: [other]")], want: undefined },
  { name: "exact beats wildcard", rules: [rule("client/w", "'*.local'"), rule("client/r", A)], want: "client/r" },
  {
    name: "the longer wildcard",
    rules: [rule("client/w", "'*.local'"), rule("client/l", "'*.shop.svc.cluster.local'"), rule("client/all", "'*'")],
    want: "client/l",
  },
  {
    name: "a wildcard of the client beats the service's exact one",
    rules: [rule("client/w", "'*.local'"), rule("shop/r", A)],
    want: "client/w",
  },
  {
    name: "in the root namespace a service's own beats the root's for all",
    rules: [rule("istio-system/r", "'*.local'"), rule("shop/r", A)],
    client: "istio-system",
    want: "shop/r",
  },
  {
    name: "in the root namespace its private one comes first",
    rules: [rule("istio-system/r", A, PRIVATE), rule("shop/r", A)],
    client: "istio-system",
    want: "istio-system/r",
  },
  {
    name: "a selector that matches",
    rules: [rule("client/all", A), rule("client/some", A, ", workloadSelector: {matchLabels: {app: c}}")],
    labels: { app: "c" },
    want: "client/some",
  },
  {
    name: "a selector that does not",
    rules: [rule("client/all", A), rule("client/some", A, ", workloadSelector: {matchLabels: {app: d}}")],
    labels: { app: "c" },
    want: "client/all",
  },
  {
    name: "only a selector that does not, so the service's",
    rules: [rule("shop/r", A), rule("client/some", A, ", workloadSelector: {matchLabels: {app: d}}")],
    labels: { app: "c" },
    want: "shop/r",
  },
  {
    name: "a selector of the service's namespace is nothing to clients",
    rules: [rule("shop/some", A, ", workloadSelector: {matchLabels: {app: c}}")],
    labels: { app: "c" },
    want: undefined,
  },
];

for (const { name, rules, client = "client", labels = {}, want } of lookups) {
  test(`destination rule: ${name}`, async () => {
    const world = (await createMesh([entry("shop/a", A), ...rules])).world();
    const found = world.destinationRule(A, { namespace: client, labels });
    assert.equal(found && `${found.meta.namespace}/${found.meta.name}`, want);
  });
}

test("destination rules for one host are merged: subsets joined, the oldest policy and subset kept", async () => {
  const policy = (simple: string): string => `, trafficPolicy: {loadBalancer: {simple: ${simple}}}`;
  const texts = [
    entry("shop/a", A),
    rule("shop/new", A, `${policy("RANDOM")}${subset("v1").replace("v1}", "v1, labels: {x: new}}")}`, "2022"),
    rule("shop/old", A, subset("v1"), "2020"),
    rule("shop/mid", A, `${policy("ROUND_ROBIN")}${subset("v2")}`, "2021"),
  ];
  const { world, next } = await createMesh(texts);
  const found = world().destinationRule(A, { namespace: "x", labels: {} });
  assert.deepEqual(
    found?.spec.subsets.map(({ name, labels }) => [name, labels]),
    [
      ["v1", {}],
      ["v2", {}],
    ],
  );
  assert.equal(found?.spec.trafficPolicy.loadBalancer, "ROUND_ROBIN");
  assert.equal(found?.meta.name, "old");
  assert.equal(world().destinationRule(A, { namespace: "y", labels: {} }), found, "one object for all who see the same");
  assert.equal(next(...texts, entry("shop/b", "b.com")).destinationRule(A, { namespace: "x", labels: {} }), found, "and in the next world");
});

test("gateways are those whose selector is among the labels", async () => {
  const gateway = (id: string, selector: string): string =>
    object("Gateway", id, `{selector: ${selector}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}`);
  const world = (
    await createMesh([gateway("a/one", "{istio: ingress}"), gateway("b/two", "{istio: ingress, app: x}"), gateway("c/any", "{}")])
  ).world();
  const names = (labels: Readonly<Record<string, string>>): readonly string[] => world.gateways(labels).map(({ meta }) => meta.name);
  assert.deepEqual(names({ istio: "ingress" }), ["any", "one"]);
  assert.deepEqual(names({ istio: "ingress", app: "x" }), ["any", "one", "two"]);
  assert.deepEqual(names({}), ["any"]);
});

const FOR_A = "selector: {matchLabels: {app: a}}";
const modes: readonly { name: string; policies: readonly string[]; want: string; namespace?: string }[] = [
  { name: "no policy is PERMISSIVE", policies: [], want: "PERMISSIVE" },
  { name: "the mesh's", policies: [auth("istio-system/d", "{mtls: {mode: STRICT}}")], want: "STRICT" },
  {
    name: "the namespace's beats the mesh's",
    policies: [auth("istio-system/d", "{mtls: {mode: STRICT}}"), auth("shop/d", "{mtls: {mode: DISABLE}}")],
    want: "DISABLE",
  },
  {
    name: "UNSET of the namespace inherits the mesh's",
    policies: [auth("istio-system/d", "{mtls: {mode: STRICT}}"), auth("shop/d", "{}")],
    want: "STRICT",
  },
  {
    name: "the workload's beats the namespace's",
    policies: [auth("shop/d", "{mtls: {mode: DISABLE}}"), auth("shop/a", `{${FOR_A}, mtls: {mode: STRICT}}`)],
    want: "STRICT",
  },
  {
    name: "UNSET of the workload inherits the namespace's",
    policies: [auth("shop/d", "{mtls: {mode: DISABLE}}"), auth("shop/a", `{${FOR_A}, mtls: {mode: UNSET}}`)],
    want: "DISABLE",
  },
  {
    name: "another workload's is nothing",
    policies: [auth("shop/b", "{selector: {matchLabels: {app: b}}, mtls: {mode: STRICT}}")],
    want: "PERMISSIVE",
  },
  { name: "another namespace's is nothing", policies: [auth("other/d", "{mtls: {mode: STRICT}}")], want: "PERMISSIVE" },
  {
    name: "a selector in the root namespace is nothing to others",
    policies: [auth("istio-system/a", `{${FOR_A}, mtls: {mode: STRICT}}`)],
    want: "PERMISSIVE",
  },
  {
    name: "the oldest of a namespace holds",
    policies: [auth("shop/new", "{mtls: {mode: DISABLE}}", "2022"), auth("shop/old", "{mtls: {mode: STRICT}}", "2020")],
    want: "STRICT",
  },
  {
    name: "the oldest of a workload holds",
    policies: [auth("shop/new", `{${FOR_A}, mtls: {mode: DISABLE}}`, "2022"), auth("shop/old", `{${FOR_A}, mtls: {mode: STRICT}}`, "2020")],
    want: "STRICT",
  },
  {
    name: "ports, UNSET as the workload",
    policies: [auth("shop/a", `{${FOR_A}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 9090: {}}}`)],
    want: "STRICT 8080=DISABLE 9090=STRICT",
  },
  {
    name: "ports where the mode is inherited",
    policies: [auth("istio-system/d", "{mtls: {mode: STRICT}}"), auth("shop/a", `{${FOR_A}, portLevelMtls: {8080: {mode: PERMISSIVE}}}`)],
    want: "STRICT 8080=PERMISSIVE",
  },
  {
    name: "a workload of the root namespace has the mesh's",
    policies: [auth("istio-system/d", "{mtls: {mode: STRICT}}")],
    namespace: "istio-system",
    want: "STRICT",
  },
];

for (const { name, policies, want, namespace = "shop" } of modes) {
  test(`mutual TLS: ${name}`, async () => {
    const { default: mode, ports } = (await createMesh(policies)).world().mtlsMode(namespace, { app: "a", version: "v1" });
    assert.equal([mode, ...[...ports].map(([port, own]) => `${port}=${own}`)].join(" "), want);
  });
}

function node(namespace: string, ip: string, labels: Readonly<Record<string, string>> = {}): ProxyNode {
  const locality = { region: "", zone: "", subzone: "" };
  return {
    id: "",
    kind: "sidecar",
    ip,
    name: "p",
    namespace,
    labels,
    serviceAccount: "",
    workloadName: "",
    clusterId: "",
    network: "",
    locality,
    interception: "REDIRECT",
    isLateen: true,
  };
}

test("a workload's ports are those of the endpoints with its address in its namespace", async () => {
  const texts = [
    entry("shop/b", "b.shop.svc.cluster.local", ", workloadSelector: {labels: {app: a}}"),
    entry("shop/a", A, ", workloadSelector: {labels: {app: a}}"),
    workload("shop/a1", "10.0.0.1", ", ports: {http: 9000}"),
    workload("shop/a2", "10.0.0.2"),
    entry("other/c", "c.com", ", endpoints: [{address: 10.0.0.1}]"),
  ];
  const world = (await createMesh(texts)).world();
  const ports = (...args: Parameters<typeof node>): readonly string[] =>
    world.workloadPorts(node(...args)).map(({ port, service, servicePort }) => `${port} ${service.hostname} ${servicePort.number}`);
  assert.deepEqual(ports("shop", "10.0.0.1"), [`9000 ${A} 80`, "9000 b.shop.svc.cluster.local 80"]);
  assert.deepEqual(ports("shop", "10.0.0.2"), [`8080 ${A} 80`, "8080 b.shop.svc.cluster.local 80"]);
  assert.deepEqual(ports("other", "10.0.0.1"), ["8080 c.com 80"]);
  assert.deepEqual(ports("shop", "10.0.0.3"), []);
});

test("workloads that share an address are told apart by their labels", async () => {
  const texts = ["a", "b"].map((app, i) =>
    entry(`shop/${app}`, `${app}.com`, `, endpoints: [{address: 127.0.0.1, ports: {http: 900${i}}, labels: {app: ${app}}}]`),
  );
  const world = (await createMesh(texts)).world();
  assert.deepEqual(
    world.workloadPorts(node("shop", "127.0.0.1", { app: "b", version: "v1" })).map(({ port }) => port),
    [9001],
  );
  assert.deepEqual(
    world.workloadPorts(node("shop", "127.0.0.1")).map(({ port }) => port),
    [9000, 9001],
    "a proxy without labels serves all",
  );
});

const base: readonly string[] = [
  entry("shop/a", A, ", workloadSelector: {labels: {app: a}}"),
  entry("shop/b", "b.com", ", endpoints: [{address: 10.0.1.1}]"),
  object(
    "ServiceEntry",
    "shop/d",
    "{hosts: [d.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {dns: d}}}",
  ),
  workload("shop/a1", "10.0.0.1"),
  route("shop/v", "b.com"),
  rule("shop/r", A, subset("v1")),
  auth("shop/p", "{mtls: {mode: STRICT}}"),
];

/** The base with the object that begins with these words changed. */
const withChange = (kind: string, id: string, change: (text: string) => string): readonly string[] => {
  const name = id.split("/")[1];
  return base.map((text) => (text.includes(`kind: ${kind}\n`) && text.includes(`name: ${name}}`) ? change(text) : text));
};

const diffs: readonly {
  name: string;
  next: readonly string[];
  want: { config: boolean; endpoints: readonly string[]; workloads?: readonly string[]; objects: readonly string[] };
}[] = [
  { name: "nothing", next: base, want: { config: false, endpoints: [], objects: [] } },
  { name: "a comment", next: ["# moved\n", ...base], want: { config: false, endpoints: [], objects: [] } },
  {
    name: "a weight is a matter of endpoints",
    next: withChange("WorkloadEntry", "shop/a1", (text) => text.replace("labels:", "weight: 5, labels:")),
    want: { config: false, endpoints: [A], objects: ["WorkloadEntry/shop/a1"] },
  },
  {
    name: "a label is a matter of endpoints",
    next: withChange("WorkloadEntry", "shop/a1", (text) => text.replace("app: a", "app: a, version: v2")),
    want: { config: false, endpoints: [A], objects: ["WorkloadEntry/shop/a1"] },
  },
  {
    name: "a new workload has listeners of its own, and is an endpoint to others",
    next: [...base, workload("shop/a2", "10.0.0.2")],
    want: { config: false, endpoints: [A], workloads: ["shop/10.0.0.2"], objects: ["WorkloadEntry/shop/a2"] },
  },
  {
    name: "a workload that goes",
    next: base.filter((text) => !text.includes("WorkloadEntry")),
    want: { config: false, endpoints: [A], workloads: ["shop/10.0.0.1"], objects: ["WorkloadEntry/shop/a1"] },
  },
  {
    name: "an account is one of those that clients accept",
    next: withChange("WorkloadEntry", "shop/a1", (text) => text.replace("labels:", "serviceAccount: s, labels:")),
    want: { config: true, endpoints: [A], objects: ["WorkloadEntry/shop/a1"] },
  },
  {
    name: "a workload of a service of names",
    next: [...base, workload("shop/x", "x.com", "").replace("app: a", "dns: d")],
    want: { config: true, endpoints: ["d.com"], workloads: ["shop/x.com"], objects: ["WorkloadEntry/shop/x"] },
  },
  {
    name: "a workload of no service",
    next: [...base, workload("shop/x", "10.0.0.9").replace("app: a", "app: z")],
    want: { config: false, endpoints: [], objects: ["WorkloadEntry/shop/x"] },
  },
  {
    name: "a route",
    next: withChange("VirtualService", "shop/v", (text) => text.replace("200", "201")),
    want: { config: true, endpoints: [], objects: ["VirtualService/shop/v"] },
  },
  {
    name: "a rule",
    next: base.filter((text) => !text.includes("DestinationRule")),
    want: { config: true, endpoints: [], objects: ["DestinationRule/shop/r"] },
  },
  {
    name: "a policy",
    next: [...base, auth("other/p", "{}")],
    want: { config: true, endpoints: [], objects: ["PeerAuthentication/other/p"] },
  },
  {
    name: "a service's port",
    next: withChange("ServiceEntry", "shop/b", (text) => text.replace("number: 80", "number: 81")),
    want: { config: true, endpoints: [], objects: ["ServiceEntry/shop/b"] },
  },
  {
    name: "a service that goes",
    next: base.filter((text) => !text.includes("b.com")),
    want: { config: true, endpoints: ["b.com"], workloads: ["shop/10.0.1.1"], objects: ["ServiceEntry/shop/b", "VirtualService/shop/v"] },
  },
];

for (const { name, next, want } of diffs) {
  test(`diff: ${name}`, async () => {
    const mesh = await createMesh(base);
    const before = mesh.world();
    const { config, endpoints, workloads, objects } = diffSnapshots(before, mesh.next(...next));
    assert.deepEqual({ config, endpoints: [...endpoints], workloads: [...workloads], objects }, { workloads: [], ...want });
  });
}

test("diff: the first snapshot is all new", async () => {
  const { world } = await createMesh(base);
  const { config, endpoints, objects } = diffSnapshots(undefined, world());
  assert.equal(config, true);
  assert.equal(endpoints.size, 3);
  assert.equal(objects.length, base.length);
});

test("what a change leaves alone is the same object in the next snapshot, and versions grow", async () => {
  const mesh = await createMesh(base);
  const before = mesh.world();
  const seen = [
    before.visibleServices("shop"),
    before.meshVirtualServices("shop"),
    before.destinationRule(A, { namespace: "shop", labels: {} }),
  ];
  const after = mesh.next(...base, workload("shop/a2", "10.0.0.2"));
  assert.deepEqual([before.version, after.version], ["1", "2"]);
  const again = [
    after.visibleServices("shop"),
    after.meshVirtualServices("shop"),
    after.destinationRule(A, { namespace: "shop", labels: {} }),
  ];
  for (const [i, value] of seen.entries()) assert.equal(again[i], value);
  assert.equal(after.services.get(A), before.services.get(A));
  assert.equal(after.endpoints(hostname("b.com")), before.endpoints(hostname("b.com")));
  assert.equal(after.endpoints(A)[0], before.endpoints(A)[0]);
  assert.equal(before.endpoints(A).length, 1, "the snapshot before stays as it was");
});
