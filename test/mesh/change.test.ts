/** What changes while requests flow: config, endpoints, the control plane itself. */
import assert from "node:assert/strict";
import { sleep } from "../../src/base/clock.ts";
import { createSeededRandom } from "../../src/base/random.ts";
import { TypeUrl } from "../../src/xds/types.ts";
import { meshTest, SEED } from "../kit/mesh-test.ts";
import type { Mesh } from "../kit/mesh-world.ts";

const WORKLOADS = [
  { name: "web" },
  { name: "payment-v1", service: "payment", labels: { version: "v1" } },
  { name: "payment-v2", service: "payment", labels: { version: "v2" } },
];

/** All requests to one version, through a subset of the given name. */
function through(version: string, subset = version): string {
  return `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: shop }
spec:
  host: payment
  subsets: [{ name: ${subset}, labels: { version: ${version} } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: shop }
spec:
  hosts: [payment]
  http: [{ route: [{ destination: { host: payment, subset: ${subset} } }] }]
`;
}

/** So long a client thinks between two requests, at most. */
const PAUSE_MS_MAX = 20;

/** The next request follows at once, so that some fall into each moment of a push; time hardly goes on meanwhile. */
const DENSE = { pauseMsMax: 0, clients: 4 };
/** So that dense flows need not last long. */
const AT_ONCE = { quietMs: 1, longestMs: 10, endpointsMs: 1 };

/** Requests of several clients at once, until it is stopped. */
class Flow {
  readonly apps: (string | undefined)[] = [];
  readonly failures: string[] = [];
  readonly #mesh: Mesh;
  #isOver = false;
  readonly #done: Promise<unknown>;

  constructor(mesh: Mesh, { pauseMsMax = PAUSE_MS_MAX, clients = 4 } = {}) {
    this.#mesh = mesh;
    const random = createSeededRandom(SEED);
    const flow = async (): Promise<void> => {
      while (!this.#isOver) {
        const { status, error, body, app } = await mesh.client("web").get("http://payment/");
        if (status === 200) this.apps.push(app);
        else
          this.failures.push(`${mesh.clock.monotonicMs()}: ${status} ${error} ${body} ${mesh.accessLog("web").at(-1)?.["response_flags"]}`);
        if (pauseMsMax > 0) await sleep(mesh.clock, random.next() * pauseMsMax);
      }
    };
    this.#done = Promise.all(Array.from({ length: clients }, flow));
  }

  /** Resolves when `count` more have been answered. */
  async more(count: number): Promise<void> {
    const until = this.apps.length + this.failures.length + count;
    await this.#mesh.clock.until(`${count} more requests`, () => this.apps.length + this.failures.length >= until);
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#mesh.clock.run("the last requests", this.#done);
    assert.deepEqual(
      this.failures.slice(0, 10),
      [],
      `${this.failures.length} of ${this.failures.length + this.apps.length} requests failed`,
    );
  }
}

meshTest(
  "20 edits that rename the subset in use cost no request",
  { workloads: WORKLOADS, debounce: AT_ONCE, yaml: through("v1", "s0") },
  async (mesh) => {
    const flow = new Flow(mesh, DENSE);
    await flow.more(20);
    for (let i = 1; i <= 20; i++) {
      const version = i % 2 === 0 ? "v1" : "v2";
      const push = await mesh.edit(through(version, `s${i}`));
      assert.deepEqual([push.proxies, push.acknowledged, push.refused], [3, 3, []]);
      const answer = await mesh.client("web").get("http://payment/");
      assert.equal(answer.app, `payment-${version}`, `edit ${i} is in effect once it is acknowledged`);
      await flow.more(10);
    }
    await flow.stop();
    assert.ok(flow.apps.length > 200);
    await mesh.clock.pass(60_000);
    const subsets = mesh.proxy("web").clusters.names.filter((name) => name.startsWith("outbound|80|s"));
    assert.deepEqual(subsets, ["outbound|80|s20|payment.shop.svc.cluster.local"], "clusters that nobody uses are gone in the end");
  },
);

const PEERS = (mode: string) => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: ${mode} } }
`;
const POLICY = (policy: string) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: shop }
spec: { host: payment, trafficPolicy: { ${policy} } }
`;
const WEIGHT = (v1: number) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: shop }
spec: { host: payment, subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: shop }
spec:
  hosts: [payment]
  http:
    - route:
        - { destination: { host: payment, subset: v1 }, weight: ${v1} }
        - { destination: { host: payment, subset: v2 }, weight: ${100 - v1} }
`;
const TOGGLES = [
  { name: "weights", one: WEIGHT(90), other: WEIGHT(10) },
  { name: "all of the routes, away and back", one: WEIGHT(50), other: "" },
  { name: "the load balancer", one: POLICY("loadBalancer: { simple: RANDOM }"), other: POLICY("loadBalancer: { simple: ROUND_ROBIN }") },
  {
    name: "limits of connections",
    one: POLICY("connectionPool: { http: { idleTimeout: 30s } }"),
    other: POLICY("connectionPool: { http: { idleTimeout: 40s } }"),
  },
  { name: "the protocol between the sidecars", one: POLICY("connectionPool: { http: { h2UpgradePolicy: UPGRADE } }"), other: "" },
  { name: "STRICT and PERMISSIVE", one: PEERS("STRICT"), other: PEERS("PERMISSIVE") },
];
for (const { name, one, other } of TOGGLES) {
  meshTest(`edits cost no request: ${name}`, { workloads: WORKLOADS, debounce: AT_ONCE, yaml: one }, async (mesh) => {
    const flow = new Flow(mesh, DENSE);
    for (let i = 0; i < 6; i++) {
      const push = await mesh.edit(i % 2 === 0 ? other : one);
      assert.deepEqual([push.acknowledged, push.refused], [push.proxies, []]);
      await flow.more(20);
    }
    await flow.stop();
    // What was replaced drains meanwhile, with the connections that hang on it.
    const later = new Flow(mesh, { pauseMsMax: 500, clients: 2 });
    await mesh.clock.pass(60_000);
    await later.stop();
  });
}

meshTest("edits in a row without waiting come out as the last one", { workloads: WORKLOADS, yaml: through("v1") }, async (mesh) => {
  const flow = new Flow(mesh);
  for (let i = 1; i <= 20; i++) {
    mesh.putYaml(through(i % 2 === 0 ? "v1" : "v2", `s${i}`));
    await mesh.clock.pass(i * 3);
  }
  await mesh.edit(through("v2", "last"));
  await flow.more(10);
  assert.equal((await mesh.client("web").get("http://payment/")).app, "payment-v2");
  await flow.stop();
});

const BROKEN = [
  { name: "YAML that is none", yaml: "apiVersion: [" },
  { name: "an unknown field", yaml: through("v2").replace("subset: v2 }", "subset: v2, subst: v2 }") },
  {
    name: "an unknown kind",
    yaml: `${through("v2")}---\napiVersion: networking.istio.io/v1\nkind: VirtualServices\nmetadata: { name: a, namespace: b }\nspec: {}\n`,
  },
];
for (const { name, yaml } of BROKEN) {
  meshTest(`a broken edit keeps the last good config: ${name}`, { workloads: WORKLOADS, yaml: through("v1") }, async (mesh) => {
    const { label } = mesh.controlPlane;
    mesh.putYaml(yaml);
    await mesh.clock.pass(5000);
    assert.equal(mesh.controlPlane.label, label);
    assert.ok(mesh.controlPlane.config.problems.length > 0);
    assert.equal(mesh.controlPlane.config.problems[0]?.position.file, "mesh.yaml");
    assert.equal((await mesh.client("web").get("http://payment/")).app, "payment-v1");
    await mesh.edit(through("v2"));
    assert.equal(mesh.controlPlane.config.problems.length, 0);
    assert.equal((await mesh.client("web").get("http://payment/")).app, "payment-v2", "the mended one takes effect");
  });
}

meshTest(
  "an endpoint that is taken away is used no more once the push is acknowledged, and comes back",
  { workloads: WORKLOADS },
  async (mesh) => {
    const flow = new Flow(mesh);
    await flow.more(50);
    assert.deepEqual(new Set(flow.apps), new Set(["payment-v1", "payment-v2"]));
    const file = mesh.fileOf("payment-v2");
    await mesh.change({ [file]: undefined });
    const served = mesh.app("payment-v2").requests.length;
    await flow.more(50);
    // What was under way when the push arrived may still come in.
    assert.ok(mesh.app("payment-v2").requests.length - served <= 4);
    const later = mesh.app("payment-v2").requests.length;
    await flow.more(50);
    assert.equal(mesh.app("payment-v2").requests.length, later);
    await flow.stop();
  },
);

meshTest(
  "a service that is new can be called, and one that is gone cannot",
  { workloads: [...WORKLOADS, { name: "extra", sidecar: false, ports: [{ number: 80, name: "http", protocol: "HTTP", targetPort: 80 }] }] },
  async (mesh) => {
    mesh.network.setName("extra.example", ["240.250.0.1"]);
    assert.equal((await mesh.client("web").get("http://extra.example/")).status, 503, "nobody is there, and passthrough says so");
    await mesh.edit(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: extra, namespace: shop }
spec:
  hosts: [extra.example]
  addresses: [240.250.0.1]
  resolution: STATIC
  location: MESH_EXTERNAL
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: ${mesh.host("extra").ips[0]} }]
`);
    assert.equal((await mesh.client("web").get("http://extra.example/")).app, "extra");
    await mesh.edit("");
    assert.equal((await mesh.client("web").get("http://extra.example/")).status, 503);
  },
);

for (const how of ["killed", "stopped"] as const) {
  meshTest(
    `a control plane that is ${how} costs no request; when it is back, edits take effect`,
    { workloads: WORKLOADS, yaml: through("v1") },
    async (mesh) => {
      const flow = new Flow(mesh, { pauseMsMax: 200 });
      await flow.more(20);
      if (how === "killed") await mesh.killControlPlane();
      else await mesh.stopControlPlane();
      await mesh.clock.pass(15_000);
      assert.deepEqual(new Set(flow.apps), new Set(["payment-v1"]));
      mesh.putYaml(through("v2"));
      await mesh.startControlPlane();
      await mesh.clock.until("the proxies to come back with what was edited meanwhile", () => flow.apps.at(-1) === "payment-v2", 60_000);
      await mesh.edit(through("v1", "again"));
      await flow.more(20);
      assert.equal(flow.apps.at(-1), "payment-v1");
      await flow.stop();
    },
  );
}

meshTest(
  "what was edited while the control plane was away costs no request when proxies come back",
  { workloads: WORKLOADS, debounce: AT_ONCE, yaml: through("v1", "before") },
  async (mesh) => {
    for (let i = 1; i <= 10; i++) {
      const version = i % 2 === 0 ? "v1" : "v2";
      await mesh.killControlPlane();
      mesh.putYaml(through(version, `away${i}`));
      let flow: Flow | undefined;
      // Dense from the moment in which the client's proxy is back, and before it is answered.
      mesh.onLine = (line) => {
        if (/proxy connected .*web/.test(line)) flow ??= new Flow(mesh, DENSE);
      };
      await mesh.startControlPlane();
      await mesh.clock.until(`edit ${i} to take effect`, () => flow?.apps.at(-1) === `payment-${version}`, 10_000);
      await flow?.more(100);
      await flow?.stop();
    }
  },
);

meshTest(
  "proxies that come back to an unchanged mesh are sent nothing that they have",
  { workloads: WORKLOADS, yaml: through("v1") },
  async (mesh) => {
    const before = Object.fromEntries(mesh.proxy("web").clusters.active.map(({ cluster, updatedAtMs }) => [cluster.name, updatedAtMs]));
    await mesh.killControlPlane();
    await mesh.clock.pass(10_000);
    await mesh.startControlPlane();
    await mesh.clock.pass(60_000);
    const push = await mesh.edit(through("v2", "v1"));
    assert.deepEqual([push.proxies, push.acknowledged], [3, 3]);
    const after = Object.fromEntries(mesh.proxy("web").clusters.active.map(({ cluster, updatedAtMs }) => [cluster.name, updatedAtMs]));
    assert.deepEqual(after, before);
  },
);

meshTest(
  "a proxy that refuses its listeners keeps its clusters until it takes them",
  { workloads: WORKLOADS, yaml: through("v1", "first") },
  async (mesh) => {
    const flow = new Flow(mesh, { pauseMsMax: 2000, clients: 1 });
    const { listeners, clusters } = mesh.proxy("web");
    const real = listeners.validate.bind(listeners);
    listeners.validate = () => ({ config: undefined, violations: ["refused by the test"], warnings: [] });
    const first = "outbound|80|first|payment.shop.svc.cluster.local";
    const push = await mesh.edit(`${through("v2", "second")}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: more, namespace: shop }
spec: { hosts: [more.example], addresses: [240.250.0.2], resolution: STATIC, ports: [{ number: 9000, name: tcp, protocol: TCP }], endpoints: [{ address: 10.7.7.7 }] }
`);
    assert.deepEqual(
      push.refused.map(({ type, message }) => [type, /refused by the test/.test(message)]),
      [[TypeUrl.listener, true]],
    );
    await mesh.clock.pass(300_000);
    assert.ok(clusters.get(first), "nobody knows what the refused listeners would still use");
    listeners.validate = real;
    await mesh.edit(through("v2", "third"));
    await mesh.clock.pass(300_000);
    assert.equal(clusters.get(first), undefined);
    await flow.stop();
  },
);

meshTest("a sidecar that ends tidily costs no request while another endpoint serves", { workloads: WORKLOADS }, async (mesh) => {
  const flow = new Flow(mesh, DENSE);
  await flow.more(50);
  const proxy = mesh.proxy("payment-v1");
  await mesh.clock.run("the drain", new Promise<void>((resolve) => void proxy.drain(5000, resolve)));
  proxy.close();
  const served = mesh.app("payment-v1").requests.length;
  await flow.more(100);
  assert.equal(mesh.app("payment-v1").requests.length, served);
  await flow.stop();
});

meshTest("the client's sidecar that ends tidily answers what it took", { workloads: WORKLOADS }, async (mesh) => {
  for (const app of mesh.apps("payment")) app.answer = () => ({ afterMs: 1000 });
  const proxy = mesh.proxy("web");
  const answers = Promise.all(Array.from({ length: 5 }, () => mesh.client("web").get("http://payment/")));
  await mesh.clock.pass(100);
  await mesh.clock.run("the drain", new Promise<void>((resolve) => void proxy.drain(5000, resolve)));
  proxy.close();
  assert.deepEqual(
    (await answers).map(({ status }) => status),
    [200, 200, 200, 200, 200],
  );
});

meshTest(
  "what is open goes on when other services come and go",
  {
    workloads: [
      { name: "web" },
      { name: "orders", service: "orders" },
      { name: "ledger", service: "ledger", ports: [{ number: 9000, name: "tcp", protocol: "TCP", targetPort: 9000 }] },
    ],
  },
  async (mesh) => {
    const tunnel = await mesh.client("web").upgrade("http://orders/live");
    const connection = await mesh.client("web").tcp("ledger", 9000);
    for (let i = 1; i <= 4; i++) {
      const { acknowledged, proxies } = await mesh.edit(`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: other${i}, namespace: shop }
spec:
  hosts: [other${i}.example]
  addresses: [240.250.0.${i}]
  resolution: STATIC
  location: MESH_EXTERNAL
  ports: [{ number: 80, name: http, protocol: HTTP }, { number: ${9100 + i}, name: tcp, protocol: TCP }]
  endpoints: [{ address: 10.7.7.${i} }]
`);
      assert.equal(acknowledged, proxies);
      await mesh.clock.pass(100_000);
      tunnel.send(`${i}`);
      connection.channel.writeLatin1(`${i}`);
      await mesh.clock.until("both echoes", () => tunnel.text.endsWith(`${i}`) && connection.text.endsWith(`${i}`), 5000);
    }
    assert.equal(tunnel.text, "1234");
    assert.equal(connection.text, "ledger 1234");
  },
);

meshTest("a client that gives up is told to the application, and its sidecar notes it", { workloads: WORKLOADS }, async (mesh) => {
  for (const app of mesh.apps("payment")) app.answer = () => "hang";
  const connection = await mesh.client("web").tcp("payment", 80);
  connection.channel.writeLatin1("GET /long HTTP/1.1\r\nHost: payment\r\n\r\n");
  await mesh.clock.until("the request to arrive", () => mesh.apps("payment").some(({ requests }) => requests.length === 1));
  connection.channel.destroy();
  await mesh.clock.until("both sides to note it", () => mesh.accessLog("web").length === 1);
  const [line] = mesh.accessLog("web");
  assert.deepEqual([line?.["response_code"], line?.["response_flags"]], [0, "DC"]);
  const server = mesh.accessLog("payment-v1")[0] ?? mesh.accessLog("payment-v2")[0];
  assert.deepEqual([server?.["response_code"], server?.["response_flags"]], [0, "DC"]);
});

meshTest(
  "a sidecar that starts while the control plane is away serves nothing until it has its config",
  { workloads: WORKLOADS },
  async (mesh) => {
    await mesh.killControlPlane();
    mesh.proxy("web").close();
    mesh.host("web").crash();
    const { live } = await mesh.startProxy("web");
    await mesh.clock.pass(10_000);
    assert.notEqual(mesh.proxy("web").state, "LIVE");
    assert.equal((await mesh.client("web").get("http://payment/")).status, 0, "nothing goes past the sidecar");
    await mesh.startControlPlane();
    await mesh.clock.run("the proxy to be live", live, 60_000);
    assert.equal((await mesh.client("web").get("http://payment/")).status, 200);
  },
);
