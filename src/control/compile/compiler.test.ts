import assert from "node:assert/strict";
import { test } from "node:test";
import { compileAll, countingCache, nodeOf, worldOf } from "../../../test/golden/world.ts";
import { parseClusterName } from "../../model/cluster-name.ts";
import { createCompiler } from "./compiler.ts";

const service = (name: string, endpoint: string) => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: default}
spec:
  hosts: [${name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}]
  endpoints: [{address: ${endpoint}, serviceAccount: ${name}}]
`;
const subsets = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: default}
spec: {host: b, subsets: [{name: v1, labels: {version: v1}}]}
`;
const MESH = [service("a", "10.0.0.1"), service("b", "10.0.0.2")];

test("what was compiled once is not compiled again for proxies of another workload", () => {
  const cache = countingCache();
  const compiler = createCompiler();
  const world = worldOf(MESH.join("---"));
  compileAll(world, nodeOf({ name: "one", ip: "10.1.0.1" }), compiler, cache);
  const before = cache.builds.length;
  compileAll(world, nodeOf({ name: "two", ip: "10.1.0.2" }), compiler, cache);
  assert.equal(cache.builds.length, before);
});

test("a changed endpoint is one load assignment a port, and nothing else", () => {
  const cache = countingCache();
  const compiler = createCompiler();
  const first = worldOf(MESH.join("---"));
  compileAll(first, nodeOf({}), compiler, cache);
  const before = cache.builds.length;
  compileAll(worldOf([service("a", "10.0.0.1"), service("b", "10.0.0.3")].join("---"), {}, first), nodeOf({}), compiler, cache);
  assert.deepEqual(cache.builds.slice(before), ["outbound|80||b.default.svc.cluster.local", "outbound|81||b.default.svc.cluster.local"]);
});

test("a new rule changes the clusters of its host alone", () => {
  const cache = countingCache();
  const compiler = createCompiler();
  const first = worldOf(MESH.join("---"));
  compileAll(first, nodeOf({}), compiler, cache);
  const before = cache.builds.length;
  compileAll(worldOf([...MESH, subsets].join("---"), {}, first), nodeOf({}), compiler, cache);
  const changed = cache.builds.slice(before);
  assert.ok(changed.length > 0);
  for (const name of changed) assert.equal(parseClusterName(name)?.hostname, "b.default.svc.cluster.local");
});

test("two compilers give the same versions and the same bytes", () => {
  const world = worldOf([...MESH, subsets].join("---"));
  const [one, two] = [0, 1].map(() => {
    const cache = countingCache();
    const compiler = createCompiler();
    return [...compiler.clusters(world, nodeOf({}), cache), ...compiler.listeners(world, nodeOf({}), cache)];
  });
  assert.deepEqual(one, two);
});

test("resources of one type have names of their own", () => {
  const compiler = createCompiler();
  const world = worldOf([...MESH, subsets].join("---"));
  for (const type of ["clusters", "listeners"] as const) {
    const names = compiler[type](world, nodeOf({}), countingCache()).map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
  }
});

const asked: readonly { name: string; cluster: string; want: number | undefined }[] = [
  { name: "all of a service", cluster: "outbound|80||b.default.svc.cluster.local", want: 1 },
  { name: "a subset that nobody is in", cluster: "outbound|80|v1|b.default.svc.cluster.local", want: 0 },
  { name: "a subset that nobody defined", cluster: "outbound|80|v7|b.default.svc.cluster.local", want: undefined },
  { name: "a port that the service has not", cluster: "outbound|82||b.default.svc.cluster.local", want: undefined },
  { name: "a service that is none", cluster: "outbound|80||c.default.svc.cluster.local", want: undefined },
  { name: "an inbound cluster", cluster: "inbound|80||", want: undefined },
  { name: "no cluster name", cluster: "BlackHoleCluster", want: undefined },
];

for (const { name, cluster, want } of asked) {
  test(`endpoints: ${name}`, () => {
    const world = worldOf([...MESH, subsets].join("---"));
    const got = createCompiler().endpoints(world, nodeOf({}), new Set([cluster]), countingCache());
    assert.equal(got.length, want === undefined ? 0 : 1);
    if (want === undefined) return;
    const { endpoints } = compileAll(world, nodeOf({}));
    const assignment = endpoints.get(cluster);
    if (assignment) assert.equal(assignment.endpoints.flatMap(({ lbEndpoints }) => lbEndpoints).length, want);
  });
}

test("a sidecar's routes are for ports only; a gateway's that are gone find nothing", () => {
  const world = worldOf(MESH.join("---"));
  const compiler = createCompiler();
  const names = (kind: "sidecar" | "router", asked: readonly string[]) =>
    compiler.routes(world, nodeOf({ kind }), new Set(asked), countingCache()).map(({ name }) => name);
  assert.deepEqual(names("sidecar", ["80", "9999", "0", "http.80", "x"]), ["80", "9999"]);
  assert.deepEqual(names("router", ["80", "http.80"]), ["http.80"]);
});
