/** From YAML to what an xDS client hears, with the real compiler: pushes, their order, their account. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { HandClient } from "../../../test/kit/xds-source.ts";
import { silentLog } from "../../base/log.ts";
import { GrpcError, GrpcStatus } from "../../net/grpc/types.ts";
import { createMetricsRegistry } from "../../telemetry/registry.ts";
import { createXdsServer } from "../../xds/server.ts";
import { TypeUrl } from "../../xds/types.ts";
import { createCompiler } from "../compile/compiler.ts";
import { defaultMeshConfig } from "../config/mesh-config.ts";
import { createConfigReader } from "../config/read.ts";
import { createMemorySource } from "../config/sources/memory.ts";
import { createConfigStore } from "../config/store.ts";
import { createPilotMetrics } from "../status/pilot-metrics.ts";
import { proxySyncs } from "../status/proxies.ts";
import { createDistributor } from "./distributor.ts";
import { describeChange } from "./reason.ts";
import { createResourceCache } from "./resource-cache.ts";
import { MeshState } from "./state.ts";

const HOST = "payment.shop.svc.cluster.local";
const CLUSTER = `outbound|8080||${HOST}`;
const ROUTE = "8080";

const service = (name: string, ip: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.shop.svc.cluster.local]
  addresses: [${ip}]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: ${name}}}
`;
const workload = (name: string, address: string): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop}
spec: {address: ${address}, labels: {app: payment}, serviceAccount: payment}
`;
const timeout = (value: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: payment, namespace: shop}
spec: {hosts: [${HOST}], http: [{timeout: ${value}, route: [{destination: {host: ${HOST}}}]}]}
`;

async function setUp(mode: "delta" | "sotw") {
  const clock = new FakeClock();
  const source = createMemorySource(createConfigReader({ domain: "cluster.local" }), {
    "payment.yaml": service("payment", "10.1.0.1"),
    "w1.yaml": workload("w1", "10.0.0.1"),
    "routes.yaml": timeout("5s"),
  });
  const mesh = defaultMeshConfig();
  const metrics = createMetricsRegistry();
  const store = createConfigStore({
    sources: [source],
    mesh,
    clock,
    log: silentLog,
    onChange: (next, { changed }) => state.change(next.objects, changed),
  });
  assert.deepEqual((await store.open()).problems, []);
  const state = new MeshState({
    objects: store.state.objects,
    mesh,
    clock,
    log: silentLog,
    publish: (publication) => distributor.distribute(publication, describeChange(publication.diff, store.state.byKey)),
  });
  const distributor = createDistributor({
    state: () => state,
    compiler: createCompiler(),
    cache: createResourceCache(),
    prove: async () => undefined,
    metrics: createPilotMetrics(metrics, "0"),
    clock,
    log: silentLog,
  });
  const server = createXdsServer({ source: distributor.source, clock, log: silentLog, limits: { drainMs: 1000 } });
  const client = new HandClient(server, mode);
  client.auto = () => undefined;
  client.say({ type: TypeUrl.cluster });
  await settle();
  const named = (names: readonly string[]) => (mode === "delta" ? { subscribe: names } : { names });
  client.say({ type: TypeUrl.endpoint, ...named([CLUSTER]) });
  client.say({ type: TypeUrl.listener });
  client.say({ type: TypeUrl.route, ...named([ROUTE]) });
  await settle();
  const first = client.received.splice(0);
  const types = () => client.received.map((response) => response.typeUrl.split(".").at(-1));
  return { clock, source, state, distributor, server, client, metrics, first, types };
}

for (const mode of ["delta", "sotw"] as const) {
  test(`${mode}: a proxy gets its clusters, endpoints, listeners and routes, all under one label`, async () => {
    const { first, distributor, state } = await setUp(mode);
    const names = first.flatMap(({ resources }) => resources.map(({ name }) => name));
    for (const wanted of [CLUSTER, ROUTE, "PassthroughCluster", "BlackHoleCluster"])
      assert.ok(names.includes(wanted), `${wanted} in ${names}`);
    const [row] = proxySyncs(distributor.source.proxies.values(), 0);
    assert.deepEqual(Object.keys(row?.types ?? {}).sort(), ["CDS", "EDS", "LDS", "RDS"]);
    for (const sync of Object.values(row?.types ?? {}))
      assert.deepEqual([sync.state, sync.sent, sync.acked], ["SYNCED", state.label, state.label]);
  });

  test(`${mode}: a route that changes is sent alone, and the push says who took it and how fast`, async () => {
    const { clock, source, client, distributor, types } = await setUp(mode);
    source.set({ "routes.yaml": timeout("9s") });
    await clock.advance(100);
    assert.deepEqual(types(), ["RouteConfiguration"]);
    const record = await distributor.pushes.finished(2);
    assert.deepEqual(
      { ...record, startedMs: 0 },
      {
        version: "2",
        label: record.label,
        reason: "routes.yaml (VirtualService shop/payment)",
        startedMs: 0,
        proxies: 1,
        acknowledged: 1,
        refused: [],
        silent: [],
        gone: 0,
        ms: 100,
        isFinished: true,
      },
    );
    assert.equal(client.received[0]?.version.endsWith("/2"), mode === "delta");
  });

  test(`${mode}: an endpoint that changes is sent alone, without waiting`, async () => {
    const { clock, source, types } = await setUp(mode);
    source.set({ "w2.yaml": workload("w2", "10.0.0.2") });
    await clock.advance(20);
    assert.deepEqual(types(), ["ClusterLoadAssignment"]);
  });

  test(`${mode}: a proxy that refuses is named with its words, and counted`, async () => {
    const { clock, source, client, distributor, metrics } = await setUp(mode);
    client.auto = () => "route 8080: no such thing";
    source.set({ "routes.yaml": timeout("9s") });
    await clock.advance(100);
    const record = await distributor.pushes.finished(2);
    assert.equal(record.acknowledged, 0);
    assert.deepEqual(
      record.refused.map(({ type, message }) => [type, message]),
      [[TypeUrl.route, "route 8080: no such thing"]],
    );
    assert.match(metrics.toPrometheus(), /pilot_total_xds_rejects\{type="rds"\} 1/);
  });

  test(`${mode}: a service that goes takes its listener and route first and its cluster last`, async () => {
    const { clock, source, client, types } = await setUp(mode);
    source.set({ "payment.yaml": undefined, "routes.yaml": undefined });
    await clock.advance(150);
    assert.ok(!types().includes("Cluster"), `${types()}`);
    await clock.advance(2000);
    const clusters = client.received.findLast(({ typeUrl }) => typeUrl === TypeUrl.cluster);
    assert.ok(clusters, "clusters were sent in the end");
    if (mode === "delta") assert.ok(clusters.removed.includes(CLUSTER));
    else assert.ok(!clusters.resources.some(({ name }) => name === CLUSTER));
  });
}

test("types that nobody makes are answered with nothing, and names of theirs as not there", async () => {
  const { client } = await setUp("delta");
  client.say({ type: TypeUrl.secret, subscribe: ["kubernetes://cert"] });
  client.say({ type: TypeUrl.extensionConfig, subscribe: ["x"] });
  client.say({ type: "type.googleapis.com/istio.networking.nds.v1.NameTable" });
  await settle();
  assert.deepEqual(
    client.received.map(({ resources, removed }) => [resources.length, removed]),
    [
      [0, ["kubernetes://cert"]],
      [0, ["x"]],
      [0, []],
    ],
  );
});

test("a proxy that leaves during a push is not waited for", async () => {
  const { clock, source, client, distributor } = await setUp("delta");
  client.auto = undefined;
  source.set({ "routes.yaml": timeout("9s") });
  await clock.advance(100);
  const records = () => distributor.pushes.records.map(({ isFinished, proxies, gone }) => ({ isFinished, proxies, gone }));
  assert.deepEqual(records(), [{ isFinished: false, proxies: 1, gone: 0 }]);
  client.hangUp();
  await settle();
  assert.deepEqual(records(), [{ isFinished: true, proxies: 0, gone: 1 }]);
});

test("a node that is not of the mesh is refused", async () => {
  const { server } = await setUp("delta");
  const stranger = new HandClient(server, "delta", "no-mesh-node");
  stranger.say({});
  await settle();
  assert.ok(stranger.ended instanceof GrpcError && stranger.ended.code === GrpcStatus.INVALID_ARGUMENT);
});
