import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { silentLog } from "../../base/log.ts";
import { defaultMeshConfig } from "../config/mesh-config.ts";
import { createConfigReader } from "../config/read.ts";
import { createMemorySource } from "../config/sources/memory.ts";
import { createConfigStore } from "../config/store.ts";
import { MeshState, type Publication } from "./state.ts";

const SERVICE = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payment, namespace: shop}
spec:
  hosts: [payment.shop.svc.cluster.local]
  addresses: [10.1.0.1]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: payment}}
`;
const workload = (name: string, address: string): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: shop}
spec: {address: ${address}, labels: {app: payment}, serviceAccount: payment}
`;
const rule = (subset: string): string => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: payment, namespace: shop}
spec: {host: payment.shop.svc.cluster.local, subsets: [{name: ${subset}, labels: {version: v1}}]}
`;

async function setUp() {
  const clock = new FakeClock();
  const source = createMemorySource(createConfigReader({ domain: "cluster.local" }), {
    service: SERVICE,
    w1: workload("w1", "10.0.0.1"),
    rule: rule("v1"),
  });
  const published: Publication[] = [];
  const mesh = defaultMeshConfig();
  let state: MeshState | undefined;
  const store = createConfigStore({
    sources: [source],
    mesh,
    clock,
    log: silentLog,
    onChange: (next, { changed }) => state?.change(next.objects, changed),
  });
  assert.deepEqual((await store.open()).problems, []);
  state = new MeshState({
    objects: store.state.objects,
    mesh,
    clock,
    log: silentLog,
    publish: (publication) => published.push(publication),
  });
  return { clock, source, published, state };
}

test("config is published when it has been quiet for 100 ms, all changes as one", async () => {
  const { clock, source, published, state } = await setUp();
  assert.match(state.label, /^2026-01-01T00:00:00Z\/1$/);
  for (const subset of ["a", "b", "c"]) {
    source.set({ rule: rule(subset) });
    await clock.advance(60);
  }
  assert.equal(published.length, 0);
  await clock.advance(40);
  assert.equal(published.length, 1);
  assert.equal(published[0]?.diff.config, true);
  assert.deepEqual(published[0]?.diff.objects, ["DestinationRule/shop/payment"]);
  assert.equal(published[0]?.changes, 3);
  assert.match(published[0]?.label ?? "", /Z\/2$/);
  assert.equal(state.label, published[0]?.label);
});

test("config that never rests is published after 10 s", async () => {
  const { clock, source, published } = await setUp();
  for (let at = 0; at < 10_050; at += 50) {
    source.set({ rule: rule(`s${at}`) });
    await clock.advance(50);
  }
  assert.equal(published.length, 1);
});

test("endpoints are published at once", async () => {
  const { clock, source, published } = await setUp();
  source.set({ w2: workload("w2", "10.0.0.2") });
  await clock.advance(10);
  assert.equal(published.length, 1);
  assert.equal(published[0]?.diff.config, false);
  assert.deepEqual([...(published[0]?.diff.endpoints ?? [])], ["payment.shop.svc.cluster.local"]);
});

test("endpoints do not wait for config, nor carry it with them", async () => {
  const { clock, source, published, state } = await setUp();
  source.set({ rule: rule("v9") });
  await clock.advance(50);
  source.set({ w2: workload("w2", "10.0.0.2") });
  await clock.advance(10);
  assert.equal(published.length, 1);
  assert.equal(published[0]?.diff.config, false);
  const subset = () =>
    state.world.destinationRule("payment.shop.svc.cluster.local" as never, { namespace: "shop", labels: {} })?.spec.subsets[0]?.name;
  assert.equal(subset(), "v1");
  await clock.advance(90);
  assert.equal(published.length, 2);
  assert.equal(published[1]?.diff.config, true);
  assert.equal(subset(), "v9");
  assert.equal(state.world.endpoints("payment.shop.svc.cluster.local" as never).length, 2);
});

test("an entry that makes more than endpoints waits as config does", async () => {
  const { clock, source, published } = await setUp();
  source.set({ service: SERVICE.replace("8080", "9090") });
  await clock.advance(50);
  assert.equal(published.length, 0);
  await clock.advance(60);
  assert.equal(published.length, 1);
  assert.equal(published[0]?.diff.config, true);
});

test("a change that changes nothing is not published", async () => {
  const { clock, source, published } = await setUp();
  source.set({ stray: workload("stray", "10.0.0.9").replace("app: payment", "app: nobody"), rule: `# moved\n${rule("v1")}` });
  await clock.advance(1000);
  assert.equal(published.length, 0);
});

test("a closed state publishes no more", async () => {
  const { clock, source, published, state } = await setUp();
  source.set({ rule: rule("v2"), w1: workload("w1", "10.0.0.9") });
  state.close();
  await clock.advance(1000);
  assert.equal(published.length, 0);
});
