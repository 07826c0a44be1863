import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { silentLog } from "../../base/log.ts";
import { createMetricsRegistry } from "../../telemetry/registry.ts";
import type { XdsSession } from "../../xds/server-types.ts";
import { TypeUrl } from "../../xds/types.ts";
import { createCompiler } from "../compile/compiler.ts";
import { defaultMeshConfig } from "../config/mesh-config.ts";
import { createConfigReader } from "../config/read.ts";
import { createMemorySource } from "../config/sources/memory.ts";
import { createConfigStore } from "../config/store.ts";
import { type ConnectedProxy, compileType } from "../push/generators.ts";
import { readProxyNode } from "../push/proxy-node.ts";
import { createResourceCache } from "../push/resource-cache.ts";
import { buildSnapshot } from "../snapshot/snapshot.ts";
import { PushLog } from "../status/pushes.ts";
import { type AdminContext, answerAdmin } from "./debug.ts";

const YAML = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payment, namespace: shop}
spec:
  hosts: [payment.shop.svc.cluster.local]
  addresses: [10.1.0.1]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.0.0.1}]
`;

async function setUp(options: Partial<AdminContext> = {}) {
  const clock = new FakeClock();
  const mesh = defaultMeshConfig();
  const source = createMemorySource(createConfigReader({ domain: "cluster.local" }), { "shop.yaml": YAML });
  const config = createConfigStore({ sources: [source], mesh, clock, log: silentLog, onChange() {} });
  assert.deepEqual((await config.open()).problems, []);
  const world = buildSnapshot(undefined, { objects: config.state.objects, mesh });
  const xdsNode = {
    id: "sidecar~10.0.0.1~payment-0.shop~shop.svc.cluster.local",
    cluster: "payment",
    metadata: { NAMESPACE: "shop", CLUSTER_ID: "here" },
    userAgentName: "envoy",
    userAgentVersion: "1.40.0",
    locality: { region: "", zone: "", subZone: "" },
  };
  const session: XdsSession = {
    id: "payment-1",
    node: xdsNode,
    call: { method: "", metadata: {}, tls: undefined, peer: "10.0.0.1:4000" },
    delta: true,
    connectedAtMs: clock.nowMs(),
    subscriptions: new Map([[TypeUrl.cluster, { wildcard: true, names: new Set<string>() }]]),
    status: new Map([
      [
        TypeUrl.cluster,
        { sentLabel: "t/2", ackedLabel: "t/1", state: "nacked", nackMessage: "no", sentAtMs: 0, answeredAtMs: 0, resources: 3 },
      ],
    ]),
    push: async () => {},
    close() {},
  };
  const proxy: ConnectedProxy = { session, node: readProxyNode(xdsNode, undefined), snapshot: world, label: "t/2" };
  const compiler = createCompiler();
  const cache = createResourceCache();
  const context: AdminContext = {
    version: "1.2.3",
    nowMs: () => clock.nowMs(),
    unready: () => undefined,
    metrics: createMetricsRegistry(),
    proxies: () => [proxy],
    resources: (one, typeUrl) =>
      compileType(compiler, cache, one, typeUrl, {
        wildcard: true,
        names: new Set([`outbound|8080||payment.shop.svc.cluster.local`, "8080"]),
      }),
    pushes: new PushLog({ clock, isConnected: () => true, onFinish() {} }),
    world: () => world,
    config,
    debugToken: undefined,
    ...options,
  };
  return (path: string, remote = "127.0.0.1", token?: string) => {
    const url = new URL(path, "http://x");
    return answerAdmin(context, { path: url.pathname, query: url.searchParams, remote, token });
  };
}

const statusRows: readonly {
  rule: string;
  path: string;
  remote?: string;
  token?: string;
  options?: Partial<AdminContext>;
  want: number;
}[] = [
  { rule: "ready is 200 when ready", path: "/ready", want: 200 },
  { rule: "ready is 503 before", path: "/ready", options: { unready: () => "not yet" }, want: 503 },
  { rule: "metrics are 503 before", path: "/metrics", options: { unready: () => "not yet" }, want: 503 },
  { rule: "metrics are for everybody", path: "/metrics", remote: "10.0.0.9", want: 200 },
  { rule: "debug is for loopback", path: "/debug/mesh", want: 200 },
  { rule: "IPv6's loopback is one", path: "/debug/mesh", remote: "::1", want: 200 },
  { rule: "a mapped loopback is one", path: "/debug/mesh", remote: "::ffff:127.0.0.1", want: 200 },
  { rule: "debug is not for others", path: "/debug/mesh", remote: "10.0.0.9", want: 403 },
  { rule: "nor with any token where none is set", path: "/debug/mesh", remote: "10.0.0.9", token: "x", want: 403 },
  { rule: "the token opens it", path: "/debug/mesh", remote: "10.0.0.9", token: "secret", options: { debugToken: "secret" }, want: 200 },
  { rule: "another does not", path: "/debug/mesh", remote: "10.0.0.9", token: "secre", options: { debugToken: "secret" }, want: 403 },
  { rule: "the list of pages", path: "/debug/", want: 200 },
  { rule: "a page that is not there", path: "/debug/nothing", want: 404 },
  { rule: "a name of JavaScript's is no page", path: "/debug/constructor", want: 404 },
  { rule: "elsewhere is nothing", path: "/etc/passwd", want: 404 },
  { rule: "a dump of nobody", path: "/debug/config_dump", want: 400 },
  { rule: "a dump of a stranger", path: "/debug/config_dump?proxyID=x.y", want: 404 },
];

for (const { rule, path, remote, token, options, want } of statusRows) {
  test(`${want}: ${rule}`, async () => {
    const answer = (await setUp(options))(path, remote, token);
    assert.equal(answer.status, want, answer.body);
  });
}

test("pages are JSON that has what their readers look for", async () => {
  const get = await setUp();
  const json = (path: string): unknown => JSON.parse(get(path).body);
  const rows: readonly { path: string; has: RegExp }[] = [
    { path: "/debug/adsz", has: /"totalClients":1.*"watches":\{"[^"]*Cluster":\["\*"\]\}/ },
    { path: "/debug/connections", has: /"connectionId":"payment-1"/ },
    { path: "/debug/configz", has: /"kind":"ServiceEntry".*"position":\{"file":"shop.yaml","line":1/ },
    { path: "/debug/registryz", has: /"hostname":"payment.shop.svc.cluster.local".*"port":8080,"protocol":"HTTP"/ },
    { path: "/debug/endpointz", has: /"svc":"payment.shop.svc.cluster.local:http","ep":\[\{"address":"10.0.0.1"/ },
    { path: "/debug/mesh", has: /"trustDomain":"cluster.local"/ },
    { path: "/debug/push_status", has: /"last":null/ },
    { path: "/debug/pushz", has: /"problems":\[\].*"pushes":\[\]/ },
    {
      path: "/debug/syncz",
      has: /"proxy":"payment-0.shop".*"cluster_sent":"t\/2","cluster_acked":"t\/1".*"CDS":\{"state":"NACK".*"message":"no"/,
    },
  ];
  for (const { path, has } of rows) assert.match(JSON.stringify(json(path)), has, path);
});

test("a config dump has every type as an Envoy's has it, with no message left encoded", async () => {
  const get = await setUp();
  const { body } = get("/debug/config_dump?proxyID=payment-0.shop");
  for (const wanted of ["dynamic_active_clusters", "dynamic_endpoint_configs", "dynamic_listeners", "dynamic_route_configs"])
    assert.ok(body.includes(`"${wanted}"`), wanted);
  for (const wanted of ["outbound|8080||payment.shop.svc.cluster.local", "PassthroughCluster", "virtualOutbound", "virtualInbound"])
    assert.ok(body.includes(wanted), wanted);
  assert.ok(!body.includes("dump error"), body.slice(body.indexOf("dump error") - 200, body.indexOf("dump error") + 400));
});

test("metrics are Prometheus text", async () => {
  const answer = (await setUp())("/metrics");
  assert.match(answer.contentType, /^text\/plain; version=0\.0\.4/);
});
