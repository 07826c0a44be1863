import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../test/kit/fake-clock.ts";
import { FakeSource, HandClient, type Said } from "../../test/kit/xds-source.ts";
import { silentLog } from "../base/log.ts";
import { GrpcError, GrpcStatus } from "../net/grpc/types.ts";
import { createXdsServer } from "./server.ts";
import type { XdsServerLimits } from "./server-limits.ts";
import { TypeUrl } from "./types.ts";

const C = TypeUrl.cluster;
const E = TypeUrl.endpoint;
const L = TypeUrl.listener;
const R = TypeUrl.route;

function setUp(mode: "delta" | "sotw", limits: Partial<XdsServerLimits> = {}) {
  const source = new FakeSource();
  const clock = new FakeClock();
  const server = createXdsServer({ source, clock, log: silentLog, limits });
  const client = new HandClient(server, mode);
  const session = () => {
    const [first] = server.sessions;
    assert.ok(first, "a session is open");
    return first;
  };
  return { source, clock, server, client, session };
}

/** One step: the client says something, acknowledges or refuses the last response, or the source changes; then what arrives. */
type Step =
  | { readonly say: Said; readonly get: readonly string[] }
  | { readonly ack: true; readonly get: readonly string[] }
  | { readonly nack: string; readonly get: readonly string[] }
  | { readonly push: Readonly<Record<string, Readonly<Record<string, string>>>>; readonly get: readonly string[] };

interface Row {
  readonly rule: string;
  readonly start: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly steps: readonly Step[];
}

const deltaRows: readonly Row[] = [
  {
    rule: "a first request without names is a wildcard",
    start: { [C]: { a: "1", b: "1" } },
    steps: [{ say: {}, get: ["Cluster a@1 b@1"] }],
  },
  {
    rule: "an explicit wildcard is a wildcard",
    start: { [C]: { a: "1" } },
    steps: [{ say: { subscribe: ["*"] }, get: ["Cluster a@1"] }],
  },
  {
    rule: "a wildcard over nothing is answered with nothing, so that the client need not wait",
    start: {},
    steps: [{ say: {}, get: ["Cluster"] }],
  },
  {
    rule: "a first request with names gives those names alone, and says which do not exist",
    start: { [C]: { a: "1", b: "1" } },
    steps: [{ say: { subscribe: ["a", "x"] }, get: ["Cluster a@1 -x"] }],
  },
  {
    rule: "a name that appears later is sent then",
    start: { [E]: {} },
    steps: [
      { say: { type: E, subscribe: ["a"] }, get: ["ClusterLoadAssignment -a"] },
      { ack: true, get: [] },
      { push: { [E]: { a: "1" } }, get: ["ClusterLoadAssignment a@1"] },
    ],
  },
  {
    rule: "a push sends what changed, and nothing when nothing did",
    start: { [C]: { a: "1", b: "1" } },
    steps: [
      { say: {}, get: ["Cluster a@1 b@1"] },
      { ack: true, get: [] },
      { push: { [C]: { a: "1", b: "2" } }, get: ["Cluster b@2"] },
      { ack: true, get: [] },
      { push: { [C]: { a: "1", b: "2" } }, get: [] },
    ],
  },
  {
    rule: "a resumed client is sent what it lacks",
    start: { [L]: { a: "1", b: "2", c: "1" } },
    steps: [{ say: { type: L, initial: { a: "1", b: "1", d: "1" } }, get: ["Listener b@2 c@1 -d"] }],
  },
  {
    rule: "a client resumed with names is not sent what it has, and is told what is gone",
    start: { [R]: { a: "1", b: "2" } },
    steps: [
      { say: { type: R, subscribe: ["a", "b", "x", "y"], initial: { a: "1", b: "1", x: "1" } }, get: ["RouteConfiguration b@2 -y -x"] },
    ],
  },
  {
    rule: "a resumed client that has everything is told so",
    start: { [C]: { a: "1" } },
    steps: [{ say: { initial: { a: "1" } }, get: ["Cluster"] }],
  },
  {
    rule: "a name subscribed again is sent again",
    start: { [E]: { a: "1" } },
    steps: [
      { say: { type: E, subscribe: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
      { ack: true, get: [] },
      { say: { type: E, subscribe: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
    ],
  },
  {
    rule: "an unsubscribed name is not sent any more",
    start: { [E]: { a: "1", b: "1" } },
    steps: [
      { say: { type: E, subscribe: ["a", "b"] }, get: ["ClusterLoadAssignment a@1 b@1"] },
      { ack: true, get: [] },
      { say: { type: E, unsubscribe: ["a"] }, get: [] },
      { push: { [E]: { a: "2", b: "2" } }, get: ["ClusterLoadAssignment b@2"] },
    ],
  },
  {
    rule: "names beside a legacy wildcard leave the wildcard in place until it is unsubscribed",
    start: { [L]: { a: "1", b: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1 b@1"] },
      { ack: true, get: [] },
      { say: { type: L, subscribe: ["a"] }, get: ["Listener a@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "2", b: "2" } }, get: ["Listener a@2 b@2"] },
      { ack: true, get: [] },
      { say: { type: L, unsubscribe: ["*"] }, get: [] },
      { push: { [L]: { a: "3", b: "3" } }, get: ["Listener a@3"] },
    ],
  },
  {
    rule: "a name unsubscribed under a wildcard is answered: the client cannot know whether it is part of everything",
    start: { [L]: { a: "1" } },
    steps: [
      { say: { type: L, subscribe: ["*", "a", "x"] }, get: ["Listener a@1 -x"] },
      { ack: true, get: [] },
      { say: { type: L, unsubscribe: ["a", "x"] }, get: ["Listener a@1 -x"] },
    ],
  },
  {
    rule: "a listener that is gone is removed at once",
    start: { [L]: { a: "1", b: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1 b@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "1" } }, get: ["Listener -b"] },
    ],
  },
  {
    rule: "an unanswered type is sent nothing more; all that changed meanwhile follows the answer as one",
    start: { [L]: { a: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1"] },
      { push: { [L]: { a: "2" } }, get: [] },
      { push: { [L]: { a: "3", b: "1" } }, get: [] },
      { say: { type: L, nonce: "0" }, get: [] },
      { ack: true, get: ["Listener a@3 b@1"] },
    ],
  },
  {
    rule: "subscriptions count even with a stale nonce",
    start: { [E]: { a: "1", b: "1" } },
    steps: [
      { say: { type: E, subscribe: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
      { ack: true, get: [] },
      { say: { type: E, subscribe: ["b"], nonce: "77" }, get: ["ClusterLoadAssignment b@1"] },
    ],
  },
  {
    rule: "a refused version is not sent again until it changes",
    start: { [L]: { a: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "bad" } }, get: ["Listener a@bad"] },
      { nack: "listener a: no", get: [] },
      { push: { [L]: { a: "bad" } }, get: [] },
      { push: { [L]: { a: "3" } }, get: ["Listener a@3"] },
    ],
  },
  {
    rule: "what a refusal does not name goes out once more by itself",
    start: { [L]: { a: "1", "80": "1" } },
    steps: [
      { say: { type: L }, get: ["Listener 80@1 a@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "bad", "80": "2", "8080": "1" } }, get: ["Listener 80@2 8080@1 a@bad"] },
      { nack: "Error adding/updating listener(s) a: no", get: ["Listener 80@2 8080@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "3", "80": "2", "8080": "1" } }, get: ["Listener a@3"] },
    ],
  },
  {
    rule: "a refusal that names nothing freezes the same response, and a change sends all of it",
    start: { [L]: { a: "1", b: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1 b@1"] },
      { nack: "no", get: [] },
      { push: { [L]: { a: "1", b: "1" } }, get: [] },
      { push: { [L]: { a: "1", b: "2" } }, get: ["Listener a@1 b@2"] },
    ],
  },
];

const sotwRows: readonly Row[] = [
  {
    rule: "a first request without names is a wildcard",
    start: { [C]: { a: "1", b: "1" } },
    steps: [
      { say: {}, get: ["Cluster a@1 b@1"] },
      { ack: true, get: [] },
      { push: { [C]: { a: "1", b: "2" } }, get: ["Cluster a@1 b@2"] },
      { ack: true, get: [] },
      { push: { [C]: { a: "1", b: "2" } }, get: [] },
    ],
  },
  {
    rule: "no names after names means nothing, not everything",
    start: { [C]: { a: "1", b: "1" } },
    steps: [
      { say: { names: ["a"] }, get: ["Cluster a@1"] },
      { ack: true, get: [] },
      { say: { names: [], nonce: "1" }, get: [] },
      { push: { [C]: { a: "2", b: "2" } }, get: ["Cluster"] },
    ],
  },
  {
    rule: "an explicit wildcard beside a name is everything, and the name alone is itself",
    start: { [L]: { a: "1", b: "1" } },
    steps: [
      { say: { type: L, names: ["*", "a"] }, get: ["Listener a@1 b@1"] },
      { ack: true, get: [] },
      { say: { type: L, names: ["a"], nonce: "1" }, get: [] },
      { push: { [L]: { a: "2", b: "2" } }, get: ["Listener a@2"] },
    ],
  },
  {
    rule: "listeners that are gone are absent from the next response",
    start: { [L]: { a: "1", b: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1 b@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "1" } }, get: ["Listener a@1"] },
    ],
  },
  {
    rule: "endpoints are partial: a response holds what changed",
    start: { [E]: { a: "1", b: "1" } },
    steps: [
      { say: { type: E, names: ["a", "b", "x"] }, get: ["ClusterLoadAssignment a@1 b@1"] },
      { ack: true, get: [] },
      { push: { [E]: { a: "1", b: "2" } }, get: ["ClusterLoadAssignment b@2"] },
      { ack: true, get: [] },
      { push: { [E]: { a: "1", b: "2", x: "1" } }, get: ["ClusterLoadAssignment x@1"] },
    ],
  },
  {
    rule: "a new name on a subscription is answered although nothing changed",
    start: { [E]: { a: "1", b: "1" } },
    steps: [
      { say: { type: E, names: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
      { ack: true, get: [] },
      { say: { type: E, names: ["a", "b"], nonce: "1" }, get: ["ClusterLoadAssignment b@1"] },
    ],
  },
  {
    rule: "the same request once more is answered again: a cluster that was made anew waits for its endpoints",
    start: { [E]: { a: "1" } },
    steps: [
      { say: { type: E, names: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
      { ack: true, get: [] },
      { say: { type: E, names: ["a"], nonce: "1" }, get: ["ClusterLoadAssignment a@1"] },
      { ack: true, get: [] },
    ],
  },
  {
    rule: "a request with a stale nonce is ignored, names and all",
    start: { [E]: { a: "1", b: "1" } },
    steps: [
      { say: { type: E, names: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
      { ack: true, get: [] },
      { push: { [E]: { a: "2", b: "1" } }, get: ["ClusterLoadAssignment a@2"] },
      { say: { type: E, names: ["a", "b"], nonce: "1" }, get: [] },
      { say: { type: E, names: ["a", "b"], nonce: "2" }, get: ["ClusterLoadAssignment b@1"] },
    ],
  },
  {
    rule: "names that come before the first response was seen are answered after it",
    start: { [E]: { a: "1", b: "1" } },
    steps: [
      { say: { type: E, names: ["a"] }, get: ["ClusterLoadAssignment a@1"] },
      { say: { type: E, names: ["a", "b"] }, get: [] },
      { ack: true, get: ["ClusterLoadAssignment b@1"] },
    ],
  },
  {
    rule: "what was refused by name stays as the client has it, and the rest goes out",
    start: { [L]: { a: "1", b: "1" } },
    steps: [
      { say: { type: L }, get: ["Listener a@1 b@1"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "bad", b: "2" } }, get: ["Listener a@bad b@2"] },
      { nack: "listener a: no", get: ["Listener a@1 b@2"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "bad", b: "3" } }, get: ["Listener a@1 b@3"] },
      { ack: true, get: [] },
      { push: { [L]: { a: "4", b: "3" } }, get: ["Listener a@4 b@3"] },
    ],
  },
];

for (const [mode, rows] of [
  ["delta", deltaRows],
  ["sotw", sotwRows],
] as const) {
  for (const { rule, start, steps } of rows) {
    test(`${mode}: ${rule}`, async () => {
      const { source, client, session } = setUp(mode, { drainMs: 0 });
      for (const [type, versions] of Object.entries(start)) source.set(type, versions);
      let last = client.received[0];
      for (const [at, step] of steps.entries()) {
        if ("say" in step) client.say(step.say);
        else if ("push" in step) {
          for (const [type, versions] of Object.entries(step.push)) source.set(type, versions);
          void session().push(`p${at}`);
        } else {
          assert.ok(last, "there is a response to answer");
          client.answer(last, "nack" in step ? step.nack : undefined);
        }
        await settle();
        last = client.received.at(-1) ?? last;
        assert.deepEqual(client.take(), step.get, `step ${at}`);
      }
      assert.equal(client.ended, undefined);
    });
  }
}

/** Subscribes to everything that an Envoy has and acknowledges it all. */
async function subscribeAll(client: HandClient, mode: "delta" | "sotw", names: readonly string[]): Promise<void> {
  client.auto = () => undefined;
  const named = mode === "delta" ? { subscribe: names } : { names };
  for (const said of [{ type: C }, { type: E, ...named }, { type: L }, { type: R, ...named }]) client.say(said);
  await settle();
  client.take();
}

for (const mode of ["delta", "sotw"] as const) {
  test(`${mode}: a push goes clusters with their endpoints behind them, then listeners, then routes, each after the answers to those before`, async () => {
    const { source, client, session } = setUp(mode);
    for (const type of [C, E, L, R]) source.set(type, { a: "1" });
    await subscribeAll(client, mode, ["a"]);
    client.auto = undefined;
    for (const type of [C, E, L, R]) source.set(type, { a: "2" });
    let isDone = false;
    const push = session()
      .push("v2")
      .then(() => {
        isDone = true;
      });
    // Envoy answers clusters once their endpoints have warmed them: the answers come the other way round.
    for (const want of [["Cluster a@2", "ClusterLoadAssignment a@2"], ["Listener a@2"], ["RouteConfiguration a@2"]]) {
      await settle();
      assert.equal(isDone, false);
      const responses = client.received.slice(-want.length);
      assert.deepEqual(client.take(), want);
      for (const response of responses.toReversed()) {
        await settle();
        client.answer(response);
      }
    }
    await push;
    for (const type of [C, E, L, R]) {
      const status = session().status.get(type);
      assert.equal(status?.state, "acked");
      assert.equal(status?.ackedLabel, "v2");
    }
  });

  test(`${mode}: a cluster is removed when routes and listeners were acknowledged and the drain time has passed`, async () => {
    const { source, client, clock, session } = setUp(mode, { drainMs: 5000 });
    for (const type of [C, E, L, R]) source.set(type, { a: "1", b: "1" });
    await subscribeAll(client, mode, ["a", "b"]);
    source.set(C, { a: "1" });
    source.set(L, { a: "2", b: "1" });
    await session().push("v2");
    assert.deepEqual(client.take(), mode === "delta" ? ["Listener a@2"] : ["Listener a@2 b@1"]);
    await clock.advance(4000);
    assert.deepEqual(client.take(), []);
    await clock.advance(1100);
    assert.deepEqual(client.take(), mode === "delta" ? ["Cluster -b"] : ["Cluster a@1"]);
  });

  test(`${mode}: a refusal of anything freezes removals until it is mended`, async () => {
    const { source, client, clock, session } = setUp(mode, { drainMs: 100 });
    for (const type of [C, E, L, R]) source.set(type, { a: "1", b: "1" });
    await subscribeAll(client, mode, ["a", "b"]);
    client.auto = (response) =>
      response.resources.some((resource) => Buffer.from(resource.bytes).includes("bad")) ? "route a: bad" : undefined;
    source.set(C, { a: "1" });
    source.set(R, { a: "bad", b: "2" });
    await session().push("v2");
    assert.deepEqual(client.take(), ["RouteConfiguration a@bad b@2", "RouteConfiguration b@2"]);
    assert.equal(session().status.get(R)?.state, "nacked");
    assert.equal(session().status.get(R)?.nackMessage, "route a: bad");
    await clock.advance(10_000);
    await session().push("v3");
    await clock.advance(10_000);
    assert.deepEqual(client.take(), []);
    source.set(R, { a: "3", b: "2" });
    await session().push("v4");
    await clock.advance(200);
    assert.deepEqual(client.take(), ["RouteConfiguration a@3", mode === "delta" ? "Cluster -b" : "Cluster a@1"]);
  });

  test(`${mode}: a cluster that comes back within the drain time is never removed`, async () => {
    const { source, client, clock, session } = setUp(mode, { drainMs: 5000 });
    source.set(C, { a: "1", b: "1" });
    await subscribeAll(client, mode, []);
    source.set(C, { a: "1" });
    await session().push("v2");
    source.set(C, { a: "1", b: "1" });
    await session().push("v3");
    await clock.advance(20_000);
    assert.deepEqual(client.take(), []);
  });

  test(`${mode}: a revert to what the client has mends a refusal without a word`, async () => {
    const { source, client, session } = setUp(mode);
    source.set(L, { a: "1" });
    await subscribeAll(client, mode, []);
    client.auto = () => "no";
    source.set(L, { a: "bad" });
    await session().push("v2");
    assert.deepEqual(client.take(), ["Listener a@bad"]);
    source.set(L, { a: "1" });
    await session().push("v3");
    assert.deepEqual(client.take(), []);
    assert.equal(session().status.get(L)?.state, "acked");
    assert.equal(session().status.get(L)?.ackedLabel, "v3");
  });

  test(`${mode}: endpoints of a changed cluster are sent again though they did not change`, async () => {
    const { source, client, session } = setUp(mode);
    source.childrenOf = (type, name) => (type === C ? [{ typeUrl: E, name }] : []);
    for (const type of [C, E]) source.set(type, { a: "1", b: "1" });
    await subscribeAll(client, mode, ["a", "b"]);
    source.set(C, { a: "1", b: "2" });
    await session().push("v2");
    assert.deepEqual(client.take(), [mode === "delta" ? "Cluster b@2" : "Cluster a@1 b@2", "ClusterLoadAssignment b@1"]);
  });

  test(`${mode}: a push waits for a new cluster's endpoints before it sends what routes to it`, async () => {
    const { source, client, clock, session } = setUp(mode);
    source.childrenOf = (type, name) => (type === C ? [{ typeUrl: E, name }] : []);
    for (const type of [C, E, L, R]) source.set(type, { a: "1" });
    await subscribeAll(client, mode, ["a"]);
    for (const type of [C, E, L, R]) source.set(type, { a: "1", n: "1" });
    const push = session().push("v2");
    await settle();
    assert.deepEqual(client.take(), [mode === "delta" ? "Cluster n@1" : "Cluster a@1 n@1"]);
    client.say(mode === "delta" ? { type: E, subscribe: ["n"] } : { type: E, names: ["a", "n"], nonce: client.nonces.get(E) ?? "" });
    await settle();
    assert.deepEqual(client.take(), ["ClusterLoadAssignment n@1", mode === "delta" ? "Listener n@1" : "Listener a@1 n@1"]);
    await push;

    for (const type of [C, E, L]) source.set(type, { a: "1", n: "1", m: "1" });
    const second = session().push("v3");
    await settle();
    assert.equal(client.take().length, 1, "only the cluster");
    await clock.advance(1000);
    assert.match(client.take().join(), /Listener/, "a client that never asks is not waited for longer than a second");
    await second;
  });

  test(`${mode}: pushes that come while one is under way are merged into one`, async () => {
    const { source, client, session } = setUp(mode);
    source.set(L, { a: "1" });
    await subscribeAll(client, mode, []);
    client.auto = undefined;
    source.set(L, { a: "2" });
    const first = session().push("v2");
    await settle();
    const response = client.received.at(-1);
    client.take();
    const later = [3, 4, 5].map((n) => {
      source.set(L, { a: `${n}` });
      return session().push(`v${n}`);
    });
    await settle();
    assert.deepEqual(client.take(), []);
    client.auto = () => undefined;
    assert.ok(response);
    client.answer(response);
    await Promise.all([first, ...later]);
    assert.deepEqual(client.take(), ["Listener a@5"]);
    assert.equal(session().status.get(L)?.ackedLabel, "v5");
  });

  test(`${mode}: a push of some types leaves the others alone`, async () => {
    const { source, client, session } = setUp(mode);
    for (const type of [C, E, L, R]) source.set(type, { a: "1" });
    await subscribeAll(client, mode, ["a"]);
    for (const type of [C, E, L, R]) source.set(type, { a: "2" });
    await session().push("v2", new Set([E]));
    assert.deepEqual(client.take(), ["ClusterLoadAssignment a@2"]);
  });

  test(`${mode}: a type that is not answered keeps others back for a while only, and removals until it is`, async () => {
    const { source, client, clock, session } = setUp(mode, { answerTimeoutMs: 5000, drainMs: 0 });
    for (const type of [C, L]) source.set(type, { a: "1", b: "1" });
    await subscribeAll(client, mode, []);
    // As an Envoy with a cluster that does not warm.
    client.auto = (response) => (response.typeUrl === C ? "silent" : undefined);
    client.silent = "silent";
    source.set(C, { a: "2", n: "1" });
    source.set(L, { a: "2" });
    let isDone = false;
    void session()
      .push("v2")
      .then(() => {
        isDone = true;
      });
    await clock.advance(4999);
    assert.deepEqual(client.take(), [mode === "delta" ? "Cluster a@2 n@1" : "Cluster a@2 n@1 b@1"]);
    await clock.advance(1);
    assert.deepEqual(client.take(), [mode === "delta" ? "Listener a@2 -b" : "Listener a@2"]);
    assert.equal(isDone, true);

    source.set(C, { a: "3" });
    await session().push("v3");
    assert.deepEqual(client.take(), [mode === "delta" ? "Cluster a@3" : "Cluster a@3 b@1"], "its mending is not kept back");
    source.set(C, { a: "4" });
    void session().push("v4");
    await clock.advance(4000);
    assert.deepEqual(client.take(), [], "nothing more than one response in that time");
    client.auto = () => undefined;
    const last = client.last(C);
    assert.ok(last);
    client.answer(last);
    await clock.advance(10_000);
    const got = client.take();
    assert.equal(got[0], mode === "delta" ? "Cluster a@4" : "Cluster a@4 b@1");
    // What was sent in vain is taken back for certain.
    assert.ok(mode === "sotw" || (got.join().includes("-b") && got.join().includes("-n")), got.join());
    assert.equal(session().status.get(C)?.ackedLabel, "v4");
  });

  test(`${mode}: a push resolves when the stream ends`, async () => {
    const { source, client, session } = setUp(mode);
    source.set(L, { a: "1" });
    await subscribeAll(client, mode, []);
    client.auto = undefined;
    source.set(L, { a: "2" });
    const first = session().push("v2");
    const second = session().push("v3");
    await settle();
    client.hangUp();
    await Promise.all([first, second]);
    assert.equal(source.connected, 0);
  });
}

for (const mode of ["delta", "sotw"] as const) {
  test(`${mode}: a client that resumes is sent the endpoints of a cluster that changed, which it has`, async () => {
    const { source, client, server } = setUp(mode);
    source.childrenOf = (type, name) => (type === C ? [{ typeUrl: E, name }] : []);
    source.set(C, { a: "1", b: "1" });
    source.set(E, { a: "1", b: "1" });
    await subscribeAll(client, mode, ["a", "b"]);
    const versions = new Map([C, E].map((type) => [type, client.last(type)?.version ?? ""]));
    client.hangUp();
    source.set(C, { a: "1", b: "2" });
    const again = new HandClient(server, mode);
    again.auto = () => undefined;
    again.say(mode === "delta" ? { initial: { a: "1", b: "1" } } : { version: versions.get(C) });
    again.say(
      mode === "delta"
        ? { type: E, subscribe: ["a", "b"], initial: { a: "1", b: "1" } }
        : { type: E, names: ["a", "b"], version: versions.get(E) },
    );
    await settle();
    assert.deepEqual(
      again.take(),
      mode === "delta" ? ["Cluster b@2", "ClusterLoadAssignment b@1"] : ["Cluster a@1 b@2", "ClusterLoadAssignment a@1 b@1"],
    );
  });
}

test("delta: a resumed client's cluster that is gone is removed after the drain time", async () => {
  const { source, client, clock } = setUp("delta", { drainMs: 5000 });
  source.set(C, { a: "1" });
  client.auto = () => undefined;
  client.say({ initial: { a: "1", old: "1" } });
  await settle();
  assert.deepEqual(client.take(), ["Cluster"]);
  await clock.advance(20_000);
  assert.deepEqual(client.take(), ["Cluster -old"]);
});

test("sotw: a client that resumes with the version there still is, is sent nothing", async () => {
  const { source, client, server } = setUp("sotw");
  source.set(C, { a: "1" });
  client.say({});
  await settle();
  const [response] = client.received;
  assert.ok(response);
  const again = new HandClient(server, "sotw");
  again.say({ version: response.version });
  await settle();
  assert.deepEqual(again.take(), []);
  source.set(C, { a: "2" });
  for (const session of server.sessions) void session.push("v2");
  await settle();
  assert.deepEqual(again.take(), ["Cluster a@2"]);
});

test("the version of a state-of-the-world response is that of its content; a delta response carries the push's label", async () => {
  const { source, server } = setUp("sotw");
  source.set(C, { a: "1" });
  const versions: string[] = [];
  for (const mode of ["sotw", "sotw", "delta"] as const) {
    const client = new HandClient(server, mode);
    client.say({});
    await settle();
    versions.push(client.received[0]?.version ?? "none");
  }
  assert.equal(versions[0], versions[1]);
  assert.match(versions[0] ?? "", /^[0-9a-f]{32}$/);
  assert.equal(versions[2], "start");
});

test("the node need come with the first message only, and must come with it", async () => {
  const { client, server } = setUp("delta");
  client.say({});
  client.say({ type: L, node: false });
  await settle();
  assert.equal(client.take().length, 2);
  const silent = new HandClient(server, "delta");
  silent.say({ node: false });
  await settle();
  assert.ok(silent.ended instanceof GrpcError && silent.ended.code === GrpcStatus.INVALID_ARGUMENT);
});

test("a client that the source refuses is sent nothing but the status", async () => {
  const { source, client, server } = setUp("delta");
  source.set(C, { a: "1" });
  source.refusal = new GrpcError(GrpcStatus.PERMISSION_DENIED, "not yours");
  client.say({});
  client.say({ type: L });
  await settle();
  assert.deepEqual(client.take(), []);
  assert.ok(client.ended instanceof GrpcError && client.ended.code === GrpcStatus.PERMISSION_DENIED);
  assert.equal(server.sessions.size, 0);
});

const limitRows: readonly { rule: string; limits: Partial<XdsServerLimits>; act: (client: HandClient) => void; code: number }[] = [
  { rule: "a message that is no request", limits: {}, act: (c) => c.raw(Uint8Array.of(0x0a, 0xff)), code: GrpcStatus.INVALID_ARGUMENT },
  { rule: "a message that is too long", limits: { requestBytesMax: 10 }, act: (c) => c.say({}), code: GrpcStatus.RESOURCE_EXHAUSTED },
  {
    rule: "too many names",
    limits: { namesMax: 2 },
    act: (c) => c.say({ subscribe: ["a", "b", "c"] }),
    code: GrpcStatus.RESOURCE_EXHAUSTED,
  },
  {
    rule: "a name that is too long",
    limits: { nameBytesMax: 80 },
    act: (c) => c.say({ subscribe: ["a".repeat(81)] }),
    code: GrpcStatus.RESOURCE_EXHAUSTED,
  },
  {
    rule: "too many types",
    limits: { typesMax: 2 },
    act: (c) => {
      for (const type of [C, L, R]) c.say({ type });
    },
    code: GrpcStatus.RESOURCE_EXHAUSTED,
  },
  {
    rule: "requests without end",
    limits: { requestsBurst: 20 },
    act: (c) => {
      for (let i = 0; i < 25; i++) c.say({ subscribe: ["a"] });
    },
    code: GrpcStatus.RESOURCE_EXHAUSTED,
  },
];

for (const { rule, limits, act, code } of limitRows) {
  test(`${rule} ends the stream`, async () => {
    const { client } = setUp("delta", limits);
    act(client);
    await settle();
    assert.ok(client.ended instanceof GrpcError);
    assert.equal(client.ended.code, code);
  });
}

test("a stream that says nothing ends", async () => {
  const { client, clock } = setUp("delta", { firstRequestTimeoutMs: 15_000 });
  await clock.advance(15_000);
  assert.ok(client.ended instanceof GrpcError && client.ended.code === GrpcStatus.DEADLINE_EXCEEDED);
});

test("a long refusal is kept in part", async () => {
  const { source, client, session } = setUp("delta", { nackMessageMax: 100 });
  source.set(L, { a: "1" });
  client.auto = () => "x".repeat(5000);
  client.say({ type: L });
  await settle();
  assert.equal(session().status.get(L)?.nackMessage?.length, 101);
});

test("a server that closes ends its streams and takes no more", async () => {
  const { client, server } = setUp("delta");
  client.say({});
  await settle();
  server.close();
  assert.ok(client.ended instanceof GrpcError && client.ended.code === GrpcStatus.UNAVAILABLE);
  assert.throws(() => new HandClient(server, "delta"), { code: GrpcStatus.UNAVAILABLE });
});
