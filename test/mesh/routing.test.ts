/** Where requests go, and what comes back when they cannot. */
import assert from "node:assert/strict";
import { meshRules, meshTest } from "../kit/mesh-test.ts";
import type { Mesh } from "../kit/mesh-world.ts";

const WORKLOADS = [
  { name: "web" },
  { name: "payment-v1", service: "payment", labels: { version: "v1" } },
  { name: "payment-v2", service: "payment", labels: { version: "v2" } },
];

const SUBSETS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: shop }
spec:
  host: payment
  subsets:
    - { name: v1, labels: { version: v1 } }
    - { name: v2, labels: { version: v2 } }
`;

/** Routes to payment: `http` as YAML's flow style. */
function routes(http: string): string {
  return `${SUBSETS}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: shop }
spec:
  hosts: [payment]
  http: ${http}
`;
}

const toV1 = "route: [{ destination: { host: payment, subset: v1 } }]";
const toV2 = "route: [{ destination: { host: payment, subset: v2 } }]";

interface Match {
  readonly name: string;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly want: "payment-v1" | "payment-v2" | 404;
}

const MATCHES: readonly Match[] = [
  { name: "a prefix takes what begins with it", path: "/prefix/a", want: "payment-v2" },
  { name: "a prefix is text, not path segments", path: "/prefixed", want: "payment-v2" },
  { name: "an exact path takes itself", path: "/exact", want: "payment-v2" },
  { name: "an exact path takes itself with a query", path: "/exact?a=1", want: "payment-v2" },
  { name: "an exact path takes nothing longer", path: "/exact/more", want: "payment-v1" },
  { name: "case matters", path: "/EXACT", want: "payment-v1" },
  { name: "case does not matter where the route says so", path: "/AnyCase", want: "payment-v2" },
  { name: "a regex has to match the whole path", path: "/items/12", want: "payment-v2" },
  { name: "a regex that matches a part matches not", path: "/items/12/x", want: "payment-v1" },
  { name: "a header and a path have both to match", path: "/both", headers: { "x-user": "anna" }, want: "payment-v2" },
  { name: "another value of the header does not match", path: "/both", headers: { "x-user": "ben" }, want: "payment-v1" },
  { name: "a header that must be there may have any value", path: "/there", headers: { "x-there": "" }, want: "payment-v2" },
  { name: "a header that must be there is missed", path: "/there", want: "payment-v1" },
  { name: "a header that must not be there keeps others out", path: "/without", headers: { "x-bad": "1" }, want: "payment-v1" },
  { name: "a header that must not be there and is not", path: "/without", want: "payment-v2" },
  { name: "a query parameter decides", path: "/query?tier=gold&a=b", want: "payment-v2" },
  { name: "another value of the query parameter does not", path: "/query?tier=goldish", want: "payment-v1" },
  { name: "the method decides", path: "/method", method: "POST", want: "payment-v2" },
  { name: "another method does not", path: "/method", method: "GET", want: "payment-v1" },
  { name: "the first of two routes that match wins", path: "/first/second", want: "payment-v2" },
];

meshRules(
  "routes choose the subset",
  {
    workloads: WORKLOADS,
    yaml: routes(`
    - match:
        - uri: { prefix: /prefix }
        - uri: { exact: /exact }
        - { uri: { exact: /anycase }, ignoreUriCase: true }
        - uri: { regex: "/items/[0-9]+" }
        - { uri: { exact: /both }, headers: { x-user: { exact: anna } } }
        - { uri: { exact: /there }, headers: { x-there: {} } }
        - { uri: { exact: /without }, withoutHeaders: { x-bad: {} } }
        - { uri: { exact: /query }, queryParams: { tier: { exact: gold } } }
        - { uri: { exact: /method }, method: { exact: POST } }
        - uri: { prefix: /first }
      ${toV2}
    - match: [{ uri: { prefix: /first/second } }]
      ${toV1}
    - ${toV1}`),
  },
  MATCHES,
  async (mesh, { path, method = "GET", headers = {}, want }) => {
    const answer = await mesh.client("web").ask({ url: `http://payment${path}`, method, headers });
    assert.equal(answer.status, 200, answer.error);
    assert.equal(answer.app, want);
  },
);

meshTest(
  "a weighted route splits 1,000 requests 90 to 10",
  {
    workloads: WORKLOADS,
    yaml: routes(`
    - route:
        - { destination: { host: payment, subset: v1 }, weight: 90 }
        - { destination: { host: payment, subset: v2 }, weight: 10 }`),
  },
  async (mesh) => {
    const counts = await countApps(mesh, "http://payment/", 1000);
    // Six standard deviations of a binomial on each side: no seed may miss it.
    assert.ok((counts["payment-v2"] ?? 0) > 43 && (counts["payment-v2"] ?? 0) < 157, JSON.stringify(counts));
    assert.equal((counts["payment-v1"] ?? 0) + (counts["payment-v2"] ?? 0), 1000, JSON.stringify(counts));
  },
);

meshTest(
  "a weight of nought takes nothing",
  {
    workloads: WORKLOADS,
    yaml: routes(`
    - route:
        - { destination: { host: payment, subset: v1 }, weight: 100 }
        - { destination: { host: payment, subset: v2 }, weight: 0 }`),
  },
  async (mesh) => {
    assert.deepEqual(await countApps(mesh, "http://payment/", 100), { "payment-v1": 100 });
  },
);

meshTest("a service without routes of its own is spread over all its endpoints", { workloads: WORKLOADS }, async (mesh) => {
  const counts = await countApps(mesh, "http://payment/", 200);
  for (const name of ["payment-v1", "payment-v2"]) assert.ok((counts[name] ?? 0) > 50, JSON.stringify(counts));
});

meshTest(
  "a rewrite, header operations, redirects and direct answers do what they say",
  {
    workloads: WORKLOADS,
    yaml: routes(`
    - match: [{ uri: { prefix: /old/ } }]
      rewrite: { uri: /new/, authority: elsewhere.example }
      headers: { request: { set: { x-set: "1" }, remove: [x-gone] }, response: { add: { x-added: "2" } } }
      ${toV1}
    - match: [{ uri: { exact: /moved } }]
      redirect: { uri: /here, authority: new.example, redirectCode: 308 }
    - match: [{ uri: { exact: /tea } }]
      directResponse: { status: 418, body: { string: teapot } }
    - ${toV1}`),
  },
  async (mesh) => {
    const web = mesh.client("web");
    const rewritten = await web.get("http://payment/old/a?b=c", { "x-gone": "1", "x-kept": "1" });
    const [request] = mesh.app("payment-v1").requests;
    assert.equal(rewritten.headers["x-added"], "2");
    assert.equal(request?.path, "/new/a?b=c");
    assert.equal(request?.authority, "elsewhere.example");
    assert.equal(request?.headers["x-set"], "1");
    assert.equal(request?.headers["x-kept"], "1");
    assert.equal(request?.headers["x-gone"], undefined);
    const moved = await web.get("http://payment/moved");
    assert.deepEqual([moved.status, moved.headers["location"]], [308, "http://new.example/here"]);
    const tea = await web.get("http://payment/tea");
    assert.deepEqual([tea.status, tea.body], [418, "teapot"]);
  },
);

meshTest("a body goes there and another comes back", { workloads: WORKLOADS }, async (mesh) => {
  const body = "x".repeat(700_000);
  for (const app of mesh.apps("payment")) app.answer = (request) => ({ body: `${request.body.length} ${request.body}` });
  const answer = await mesh.client("web").ask({ url: "http://payment/", method: "POST", body });
  assert.equal(answer.status, 200, answer.error);
  assert.equal(answer.body, `700000 ${body}`);
});

meshTest(
  "an answer that does not come in time is 504 with UT",
  {
    workloads: WORKLOADS,
    yaml: routes(`
    - timeout: 2s
      ${toV1}`),
  },
  async (mesh) => {
    mesh.app("payment-v1").answer = ({ path }) => (path === "/never" ? "hang" : { afterMs: 1900 });
    const begunMs = mesh.clock.monotonicMs();
    const answer = await mesh.client("web").get("http://payment/never");
    const tookMs = mesh.clock.monotonicMs() - begunMs;
    assert.deepEqual([answer.status, answer.body], [504, "upstream request timeout"]);
    assert.ok(tookMs >= 2000 && tookMs < 2200, `${tookMs} ms`);
    assert.equal(mesh.accessLog("web").at(-1)?.["response_flags"], "UT");
    assert.equal((await mesh.client("web").get("http://payment/late")).status, 200, "just in time is in time");
  },
);

meshTest(
  "an endpoint that refuses connections is passed over for one that works",
  { workloads: [...WORKLOADS, { name: "payment-v3", service: "payment" }] },
  async (mesh) => {
    // The machine of payment-v1 is gone: nobody listens there any more.
    mesh.proxy("payment-v1").close();
    mesh.host("payment-v1").crash();
    const counts = await countApps(mesh, "http://payment/", 60);
    assert.equal((counts["payment-v2"] ?? 0) + (counts["payment-v3"] ?? 0), 60, JSON.stringify(counts));
  },
);

meshTest("503 of an application is its answer and not tried again, unless the route says so", { workloads: WORKLOADS }, async (mesh) => {
  for (const app of mesh.apps("payment")) app.answer = () => ({ status: 503, body: "busy" });
  assert.equal((await mesh.client("web").get("http://payment/")).body, "busy");
  assert.equal(
    mesh.apps("payment").reduce((sum, app) => sum + app.requests.length, 0),
    1,
  );
  await mesh.edit(
    routes(`
    - retries: { attempts: 3, retryOn: 5xx }
      route: [{ destination: { host: payment } }]`),
  );
  assert.equal((await mesh.client("web").get("http://payment/")).status, 503);
  assert.equal(
    mesh.apps("payment").reduce((sum, app) => sum + app.requests.length, 0),
    1 + 4,
  );
});

meshTest(
  "a subset without endpoints is 503 with UH",
  {
    workloads: WORKLOADS,
    yaml: `${SUBSETS.replace("version: v2", "version: v9")}---
${routes(`
    - ${toV2}`).slice(SUBSETS.length + 4)}`,
  },
  async (mesh) => {
    const answer = await mesh.client("web").get("http://payment/");
    assert.deepEqual([answer.status, answer.body], [503, "no healthy upstream"]);
    assert.equal(mesh.accessLog("web").at(-1)?.["response_flags"], "UH");
  },
);

meshTest(
  "what no service takes goes on to where it was going",
  {
    workloads: [...WORKLOADS, { name: "legacy", sidecar: false, ports: [{ number: 80, name: "http", protocol: "HTTP", targetPort: 80 }] }],
  },
  async (mesh) => {
    mesh.network.setName("legacy.example", [...mesh.host("legacy").ips]);
    const answer = await mesh.client("web").get("http://legacy.example/x");
    assert.deepEqual([answer.status, answer.body], [200, "legacy /x"]);
    assert.equal(mesh.accessLog("web").at(-1)?.["upstream_cluster"], "PassthroughCluster");
  },
);

meshTest(
  "under REGISTRY_ONLY what no service takes is 502",
  {
    workloads: [...WORKLOADS, { name: "legacy", sidecar: false, ports: [{ number: 80, name: "http", protocol: "HTTP", targetPort: 80 }] }],
    mesh: { outboundTrafficPolicy: "REGISTRY_ONLY" },
  },
  async (mesh) => {
    mesh.network.setName("legacy.example", [...mesh.host("legacy").ips]);
    assert.equal((await mesh.client("web").get("http://legacy.example/x")).status, 502);
    assert.equal(mesh.app("legacy").requests.length, 0);
    assert.equal((await mesh.client("web").get("http://payment/")).status, 200, "what a service takes goes on");
  },
);

/** How many of `count` requests each application answered; an answer that is no 200 counts by its status. */
async function countApps(mesh: Mesh, url: string, count: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  const web = mesh.client("web");
  for (let i = 0; i < count; i++) {
    const { app, status, error } = await web.get(url);
    const key = status === 200 ? (app ?? "nobody") : `${status} ${error}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}
