import assert from "node:assert/strict";
import { test } from "node:test";
import { createSeededRandom } from "../../base/random.ts";
import type { LoadBalancerContext } from "../types.ts";
import { Host, type HostHealth, type HostUpdate } from "./host.ts";
import { type BalancerOptions, LoadBalancer, SubsetBalancer } from "./load-balancer.ts";
import { computePriorityLoad } from "./priority-load.ts";

const NOTHING: LoadBalancerContext = { originalDestination: undefined, triedHosts: undefined, hash: undefined, metadataMatch: undefined };

function host(name: string, more: Partial<HostUpdate> = {}): Host {
  return new Host({
    address: { host: name, port: 80 },
    hostname: "",
    weight: 1,
    health: "healthy",
    priority: 0,
    locality: { region: "", zone: "", subZone: "" },
    localityWeight: 0,
    peer: undefined,
    lbMetadata: {},
    socketMetadata: {},
    ...more,
  });
}

function options(more: Partial<BalancerOptions> = {}): BalancerOptions {
  return {
    lb: "round-robin",
    leastRequestChoices: 2,
    leastRequestBias: 1,
    localityWeighted: false,
    panicThresholdPercent: 50,
    overprovisioningPercent: 140,
    random: createSeededRandom(7),
    ...more,
  };
}

/** How often each host was chosen, in percent. */
function shares(balancer: LoadBalancer, picks = 10_000): Record<string, number> {
  const counts: Record<string, number> = {};
  for (let i = 0; i < picks; i++) {
    const name = balancer.choose(NOTHING)?.address.host ?? "none";
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [name, Math.round((count * 100) / picks)]));
}

const zone = (name: string): HostUpdate["locality"] => ({ region: "r", zone: name, subZone: "" });
const rows: readonly { name: string; hosts: readonly Host[]; options?: Partial<BalancerOptions>; want: Record<string, number> }[] = [
  { name: "round robin goes round", hosts: [host("a"), host("b"), host("c"), host("d")], want: { a: 25, b: 25, c: 25, d: 25 } },
  { name: "round robin weighs", hosts: [host("a", { weight: 9 }), host("b", { weight: 1 })], want: { a: 90, b: 10 } },
  { name: "random is even", hosts: [host("a"), host("b")], options: { lb: "random" }, want: { a: 50, b: 50 } },
  { name: "random weighs", hosts: [host("a", { weight: 3 }), host("b", { weight: 1 })], options: { lb: "random" }, want: { a: 75, b: 25 } },
  {
    name: "least request without load weighs",
    hosts: [host("a", { weight: 4 }), host("b", { weight: 1 })],
    options: { lb: "least-request" },
    want: { a: 80, b: 20 },
  },
  { name: "the unhealthy get nothing", hosts: [host("a"), host("b"), host("c", { health: "unhealthy" })], want: { a: 50, b: 50 } },
  {
    name: "the degraded serve when nobody is healthy",
    hosts: [host("a", { health: "degraded" }), host("b", { health: "unhealthy" })],
    options: { panicThresholdPercent: 0 },
    want: { a: 100 },
  },
  {
    name: "panic: fewer than half healthy, all get traffic",
    hosts: [host("a"), ...["b", "c"].map((name) => host(name, { health: "unhealthy" }))],
    want: { a: 33, b: 33, c: 33 },
  },
  {
    name: "no panic where the threshold is 0",
    hosts: [host("a"), ...["b", "c"].map((name) => host(name, { health: "unhealthy" }))],
    options: { panicThresholdPercent: 0 },
    want: { a: 100 },
  },
  {
    name: "nobody healthy and no panic: none",
    hosts: [host("a", { health: "unhealthy" })],
    options: { panicThresholdPercent: 0 },
    want: { none: 100 },
  },
  { name: "the second priority waits", hosts: [host("a"), host("b", { priority: 1 })], want: { a: 100 } },
  {
    name: "the second priority helps out: 1 of 2 healthy x 1.4 = 70 %",
    hosts: [host("a"), host("a2", { health: "unhealthy" }), host("b", { priority: 1 })],
    want: { a: 70, b: 30 },
  },
  {
    name: "localities get their weights",
    hosts: [host("a", { locality: zone("z1"), localityWeight: 3 }), host("b", { locality: zone("z2"), localityWeight: 1 })],
    options: { localityWeighted: true },
    want: { a: 75, b: 25 },
  },
  { name: "nobody is there", hosts: [], want: { none: 100 } },
];
for (const row of rows) {
  test(`balancer: ${row.name}`, () => {
    const got = shares(new LoadBalancer(row.hosts, options(row.options)));
    assert.deepEqual(Object.keys(got).sort(), Object.keys(row.want).sort());
    for (const [name, percent] of Object.entries(row.want))
      assert.ok(Math.abs((got[name] ?? 0) - percent) <= 2, `${name}: ${got[name]} % instead of ${percent} %`);
  });
}

test("least request takes the less busy of two", () => {
  const busy = host("busy");
  busy.activeRequests = 100;
  const got = shares(new LoadBalancer([busy, host("a"), host("b")], options({ lb: "least-request" })));
  assert.ok((got["busy"] ?? 0) <= 12, `the busy one got ${got["busy"]} %`);
});

test("weighted round robin spreads: no more than the weight in a row", () => {
  const balancer = new LoadBalancer([host("a", { weight: 3 }), host("b", { weight: 1 })], options());
  const order = Array.from({ length: 400 }, () => balancer.choose(NOTHING)?.address.host).join("");
  assert.doesNotMatch(order, /aaaaa|bb/);
});

test("a host that was tried is passed over while there is another", () => {
  const [a, b] = [host("a"), host("b")];
  const balancer = new LoadBalancer([a, b], options());
  for (let i = 0; i < 20; i++) assert.equal(balancer.choose({ ...NOTHING, triedHosts: new Set([a]) }), b);
  assert.ok(balancer.choose({ ...NOTHING, triedHosts: new Set([a, b]) }), "when all were tried one of them is better than none");
});

test("a hash finds its host again, and one that leaves moves only its own", () => {
  const hosts = ["a", "b", "c", "d"].map((name) => host(name));
  const whole = new LoadBalancer(hosts, options({ lb: "hash" }));
  const less = new LoadBalancer(hosts.slice(0, 3), options({ lb: "hash" }));
  let moved = 0;
  for (let hash = 0; hash < 1000; hash++) {
    const at = whole.choose({ ...NOTHING, hash: hash * 7919 })?.address.host;
    assert.equal(whole.choose({ ...NOTHING, hash: hash * 7919 })?.address.host, at);
    const then = less.choose({ ...NOTHING, hash: hash * 7919 })?.address.host;
    if (at !== "d") assert.equal(then, at);
    else moved += 1;
  }
  assert.ok(moved > 180 && moved < 320, `${moved} of 1000 were with the one that left`);
});

const subsets: readonly {
  name: string;
  fallback: "none" | "any" | "default";
  match: Record<string, string> | undefined;
  want: readonly string[];
}[] = [
  { name: "a subset takes its own", fallback: "none", match: { version: "v1" }, want: ["a"] },
  { name: "an unknown value falls back to nothing", fallback: "none", match: { version: "v9" }, want: ["none"] },
  { name: "an unknown value falls back to any", fallback: "any", match: { version: "v9" }, want: ["a", "b"] },
  { name: "keys that no selector has fall back", fallback: "none", match: { colour: "red" }, want: ["none"] },
  { name: "without a match the default subset serves", fallback: "default", match: undefined, want: ["b"] },
];
for (const { name, fallback, match, want } of subsets) {
  test(`subset: ${name}`, () => {
    const hosts = [host("a", { lbMetadata: { version: "v1", colour: "red" } }), host("b", { lbMetadata: { version: "v2" } })];
    const balancer = new SubsetBalancer(hosts, { selectors: [["version"]], fallback, defaultSubset: { version: "v2" } }, options());
    const seen = new Set(Array.from({ length: 20 }, () => balancer.choose({ ...NOTHING, metadataMatch: match })?.address.host ?? "none"));
    assert.deepEqual([...seen].sort(), want);
  });
}

const loads: readonly {
  name: string;
  health: readonly (readonly [hosts: number, healthy: number])[];
  want: readonly number[];
  panic?: readonly boolean[];
}[] = [
  {
    name: "all healthy",
    health: [
      [10, 10],
      [10, 10],
    ],
    want: [100, 0],
  },
  {
    name: "71 % healthy still take all",
    health: [
      [100, 72],
      [10, 10],
    ],
    want: [100, 0],
  },
  {
    name: "half healthy",
    health: [
      [10, 5],
      [10, 10],
    ],
    want: [70, 30],
  },
  {
    name: "both short: shares by health",
    health: [
      [10, 2],
      [10, 2],
    ],
    want: [50, 50],
    panic: [true, true],
  },
  {
    name: "an empty first priority",
    health: [
      [0, 0],
      [4, 4],
    ],
    want: [0, 100],
  },
  {
    name: "nobody healthy: by hosts",
    health: [
      [3, 0],
      [1, 0],
    ],
    want: [75, 25],
    panic: [true, true],
  },
];
for (const { name, health, want, panic } of loads) {
  test(`priority load: ${name}`, () => {
    const got = computePriorityLoad(
      health.map(([hosts, healthy]) => ({ hosts, healthy })),
      { overprovisioningPercent: 140, panicThresholdPercent: 50 },
    );
    assert.deepEqual(
      got.map(({ percent }) => percent),
      want,
    );
    assert.deepEqual(
      got.map(({ isPanic }) => isPanic),
      panic ?? want.map(() => false),
    );
  });
}
void ("healthy" satisfies HostHealth);
