import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { FakeClock, settle } from "../../test/kit/fake-clock.ts";
import { MemoryGrpc } from "../../test/kit/grpc-pair.ts";
import { FakeSource, fakeResource, shortType, versionIn } from "../../test/kit/xds-source.ts";
import { silentLog } from "../base/log.ts";
import { createSeededRandom, type Random, randomInt } from "../base/random.ts";
import { NodeSchema } from "../gen/envoy/config/core/v3/base_pb.ts";
import { GrpcError, GrpcStatus, type GrpcStream } from "../net/grpc/types.ts";
import { createXdsClient } from "./client.ts";
import type { XdsSubscriber, XdsUpdate } from "./client-types.ts";
import { decodeDeltaRequest, decodeSotwRequest, type XdsRequest } from "./request-codec.ts";
import { encodeDeltaResponse, encodeSotwResponse, type XdsResponse } from "./response-codec.ts";
import { createXdsServer } from "./server.ts";
import { ADS } from "./services.ts";
import { TypeUrl } from "./types.ts";

const NODE = toBinary(NodeSchema, create(NodeSchema, { id: "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local" }));
const L = TypeUrl.listener;
const E = TypeUrl.endpoint;

/** A server whose every message the test writes. */
class HandServer {
  readonly requests: XdsRequest[] = [];
  readonly grpc: MemoryGrpc;
  readonly #isDelta: boolean;
  #stream: GrpcStream | undefined;
  streams = 0;

  constructor(mode: "delta" | "sotw") {
    this.#isDelta = mode === "delta";
    this.grpc = new MemoryGrpc({
      bidi: {
        [this.#isDelta ? ADS.deltaMethod : ADS.sotwMethod]: (_call, stream) => {
          this.#stream = stream;
          this.streams += 1;
          return {
            onMessage: (bytes) => this.requests.push(this.#isDelta ? decodeDeltaRequest(bytes) : decodeSotwRequest(bytes)),
            onEnd() {},
          };
        },
      },
    });
  }

  async send(response: Partial<XdsResponse> & { readonly typeUrl: string; readonly nonce: string }): Promise<void> {
    const whole = { version: "v", resources: [], removed: [], controlPlane: "", ...response };
    await this.raw(this.#isDelta ? encodeDeltaResponse(whole) : encodeSotwResponse(whole));
  }

  async raw(bytes: Uint8Array): Promise<void> {
    this.#stream?.send(bytes);
    await settle();
  }

  /** What was asked since the last call, as text. */
  take(): string[] {
    return this.requests.splice(0).map((request) => {
      const { names } = request;
      const parts = [shortType(request.typeUrl)];
      if (names.kind === "all") parts.push(...names.names, ...(names.version ? [`version=${names.version}`] : []));
      else {
        parts.push(...names.subscribe.map((name) => `+${name}`), ...names.unsubscribe.map((name) => `-${name}`));
        parts.push(...Object.entries(names.initialVersions).map(([name, version]) => `${name}@${version}`));
      }
      if (request.nonce) parts.push(`nonce=${request.nonce}`);
      if (request.error !== undefined) parts.push(`error=${request.error}`);
      if (request.node) parts.push("node");
      return parts.join(" ");
    });
  }
}

/** Keeps what it is given. */
class Kept implements XdsSubscriber {
  readonly state = new Map<string, string>();
  readonly updates: XdsUpdate[] = [];
  refuse: ((update: XdsUpdate) => string | undefined) | undefined;

  onUpdate(update: XdsUpdate): string | undefined {
    const refusal = this.refuse?.(update);
    if (refusal !== undefined) return refusal;
    this.updates.push(update);
    if (update.isFullState) this.state.clear();
    for (const resource of update.resources) this.state.set(resource.name, versionIn(resource));
    for (const name of update.removed) this.state.delete(name);
    return undefined;
  }
}

function setUp(mode: "delta" | "sotw", options: { nodeOnce?: boolean; random?: Random } = {}) {
  const server = new HandServer(mode);
  const clock = new FakeClock();
  const client = createXdsClient({
    openChannel: () => server.grpc.channel(),
    node: NODE,
    mode,
    setNodeOnFirstMessageOnly: options.nodeOnce ?? true,
    clock,
    random: options.random ?? createSeededRandom(1),
    log: silentLog,
  });
  const kept = new Kept();
  return { server, clock, client, kept };
}

test("delta: a wildcard is asked for without names, and acknowledged by nonce", async () => {
  const { server, client, kept } = setUp("delta");
  client.subscribe(L, { wildcard: true }, kept);
  assert.equal(client.isConnected, false);
  client.start();
  await settle();
  assert.deepEqual(server.take(), ["Listener node"]);
  await server.send({ typeUrl: L, nonce: "n1", resources: [fakeResource("a", "1")] });
  assert.deepEqual(server.take(), ["Listener nonce=n1"]);
  assert.deepEqual([...kept.state], [["a", "1"]]);
  assert.equal(client.isConnected, true);
});

test("delta: names are joined and parted, several changes of one turn in one request", async () => {
  const { server, client, kept } = setUp("delta");
  const subscription = client.subscribe(E, { wildcard: false }, kept);
  client.start();
  await settle();
  assert.deepEqual(server.take(), [], "nothing is asked for while there is nothing to ask");
  subscription.update({ add: ["a"] });
  subscription.update({ add: ["b", "c"], remove: ["c"] });
  subscription.update({ remove: ["c"] });
  await settle();
  assert.deepEqual(server.take(), ["ClusterLoadAssignment +a +b node"]);
  subscription.update({ add: ["d"], remove: ["a"] });
  await settle();
  assert.deepEqual(server.take(), ["ClusterLoadAssignment +d -a"]);
  subscription.update({ add: ["b"] });
  await settle();
  assert.deepEqual(server.take(), ["ClusterLoadAssignment +b"], "a name that is there is asked for anew");
  subscription.close();
  await settle();
  assert.deepEqual(server.take(), ["ClusterLoadAssignment -b -d"]);
});

test("sotw: each request repeats all names, the accepted version and the last nonce", async () => {
  const { server, client, kept } = setUp("sotw");
  const subscription = client.subscribe(E, { wildcard: false }, kept);
  subscription.update({ add: ["a"] });
  client.start();
  await settle();
  assert.deepEqual(server.take(), ["ClusterLoadAssignment a node"]);
  await server.send({ typeUrl: E, nonce: "n1", version: "v1", resources: [fakeResource("a", "1")] });
  assert.deepEqual(server.take(), ["ClusterLoadAssignment a version=v1 nonce=n1"]);
  subscription.update({ add: ["b"] });
  await settle();
  assert.deepEqual(server.take(), ["ClusterLoadAssignment a b version=v1 nonce=n1"]);
  assert.equal(kept.updates[0]?.isFullState, false);
});

test("sotw: a response of listeners is the full state", async () => {
  const { server, client, kept } = setUp("sotw");
  client.subscribe(L, { wildcard: true }, kept);
  client.start();
  await settle();
  await server.send({ typeUrl: L, nonce: "1", version: "v1", resources: [fakeResource("a", "1"), fakeResource("b", "1")] });
  await server.send({ typeUrl: L, nonce: "2", version: "v2", resources: [fakeResource("b", "1")] });
  assert.deepEqual([...kept.state.keys()], ["b"]);
});

for (const mode of ["delta", "sotw"] as const) {
  test(`${mode}: what the subscriber refuses is refused in its words, and versions stay`, async () => {
    const { server, client, clock, kept } = setUp(mode);
    client.subscribe(L, { wildcard: true }, kept);
    client.start();
    await settle();
    await server.send({ typeUrl: L, nonce: "1", version: "v1", resources: [fakeResource("a", "1")] });
    server.take();
    kept.refuse = () => "a: no such filter";
    await server.send({ typeUrl: L, nonce: "2", version: "v2", resources: [fakeResource("a", "2")] });
    assert.deepEqual(server.take(), [
      mode === "delta" ? "Listener nonce=2 error=a: no such filter" : "Listener version=v1 nonce=2 error=a: no such filter",
    ]);
    kept.refuse = () => {
      throw new Error("boom");
    };
    await server.send({ typeUrl: L, nonce: "3", version: "v3", resources: [fakeResource("a", "3")] });
    assert.match(server.take().join(), /nonce=3 error=the update could not be applied: boom/);
    server.grpc.cut();
    await clock.advance(500);
    assert.deepEqual(server.take(), [mode === "delta" ? "Listener a@1 node" : "Listener version=v1 node"]);
  });

  test(`${mode}: a cut stream is opened again with what was accepted, without old nonces`, async () => {
    const { server, client, clock, kept } = setUp(mode);
    client.subscribe(E, { wildcard: false }, kept).update({ add: ["a", "b"] });
    client.start();
    await settle();
    await server.send({ typeUrl: E, nonce: "1", version: "v1", resources: [fakeResource("a", "1"), fakeResource("b", "2")] });
    if (mode === "delta") await server.send({ typeUrl: E, nonce: "2", removed: ["b"] });
    server.take();
    server.grpc.cut();
    await settle();
    assert.equal(client.isConnected, false);
    await clock.advance(500);
    assert.equal(server.streams, 2);
    assert.deepEqual(server.take(), [
      mode === "delta" ? "ClusterLoadAssignment +a +b a@1 node" : "ClusterLoadAssignment a b version=v1 node",
    ]);
  });

  test(`${mode}: garbage ends the stream; what was accepted stays and the client comes again`, async () => {
    const rows: readonly Uint8Array[] = [
      Uint8Array.of(0xff, 0xff, 0xff),
      encodeDeltaResponse({
        typeUrl: L,
        version: "",
        nonce: "9",
        resources: [fakeResource("a", "2")],
        removed: [],
        controlPlane: "",
      }).subarray(0, 40),
    ];
    const { server, client, clock, kept } = setUp(mode);
    client.subscribe(L, { wildcard: true }, kept);
    client.start();
    await settle();
    await server.send({ typeUrl: L, nonce: "1", resources: [fakeResource("a", "1")] });
    for (const [at, bytes] of rows.entries()) {
      await server.raw(bytes);
      assert.equal(client.isConnected, false);
      assert.deepEqual([...kept.state], [["a", "1"]]);
      await clock.advance(1000);
      assert.equal(server.streams, at + 2);
    }
  });

  test(`${mode}: a resource of another type than its response ends the stream`, async () => {
    const { server, client, kept } = setUp(mode);
    client.subscribe(L, { wildcard: true }, kept);
    client.start();
    await settle();
    const foreign = (typeUrl: string) =>
      Buffer.from(
        (mode === "delta" ? encodeDeltaResponse : encodeSotwResponse)({
          typeUrl,
          version: "v",
          nonce: "1",
          resources: [fakeResource("a", "1")],
          removed: [],
          controlPlane: "",
        }),
      );
    const mixed = foreign(L);
    const at = mixed.indexOf("envoy.config.listener.v3.Listener");
    mixed.write("envoy.config.listener.v3.Listenex", at);
    await server.raw(mixed);
    assert.equal(client.isConnected, false);
    assert.equal(kept.state.size, 0);
  });

  test(`${mode}: the node comes once a stream, or with every request, as asked`, async () => {
    for (const nodeOnce of [true, false]) {
      const { server, client, kept } = setUp(mode, { nodeOnce });
      client.subscribe(L, { wildcard: true }, kept);
      client.start();
      await settle();
      await server.send({ typeUrl: L, nonce: "1" });
      const [first, second] = server.take();
      assert.match(first ?? "", /node$/);
      assert.equal(/node$/.test(second ?? ""), !nodeOnce);
    }
  });
}

test("a response of a type that nobody asked for is ignored; one of a closed subscription is acknowledged", async () => {
  const { server, client, kept } = setUp("delta");
  const subscription = client.subscribe(L, { wildcard: true }, kept);
  client.start();
  await settle();
  server.take();
  await server.send({ typeUrl: E, nonce: "1", resources: [fakeResource("a", "1")] });
  assert.deepEqual(server.take(), []);
  subscription.close();
  await settle();
  assert.deepEqual(server.take(), ["Listener -*"]);
  await server.send({ typeUrl: L, nonce: "2", resources: [fakeResource("a", "1")] });
  assert.deepEqual(server.take(), ["Listener nonce=2"]);
  assert.equal(kept.state.size, 0);
});

test("a type has one subscriber", () => {
  const { client, kept } = setUp("delta");
  client.subscribe(L, { wildcard: true }, kept);
  assert.throws(() => client.subscribe(L, { wildcard: true }, kept), /subscriber already/);
});

test("waits grow to 30 s while nobody answers, and begin anew after an answer", async () => {
  const { server, client, clock, kept } = setUp("delta", { random: { next: () => 0.999999, uuid: () => "" } });
  const { service } = server.grpc;
  server.grpc.service = undefined;
  client.subscribe(L, { wildcard: true }, kept);
  client.start();
  await clock.advance(500 + 1000 + 2000 + 4000 + 8000 + 16_000 + 30_000 + 10);
  server.grpc.service = service;
  await clock.advance(29_000);
  assert.equal(server.streams, 0);
  await clock.advance(1000);
  assert.equal(server.streams, 1);
  await server.send({ typeUrl: L, nonce: "1" });
  server.grpc.cut();
  await clock.advance(500);
  assert.equal(server.streams, 2);
});

test("a closed client hangs up and does not come again", async () => {
  const { server, client, clock, kept } = setUp("delta");
  client.subscribe(L, { wildcard: true }, kept);
  client.start();
  await settle();
  client.close();
  await clock.advance(60_000);
  assert.equal(server.streams, 1);
  assert.equal(client.isConnected, false);
});

for (const mode of ["delta", "sotw"] as const) {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    test(`${mode}: whatever changes, is refused and is cut, client and source agree in the end (seed ${seed})`, async () => {
      const random = createSeededRandom(seed);
      const clock = new FakeClock();
      const source = new FakeSource();
      source.childrenOf = (type, name) =>
        type === TypeUrl.cluster ? [{ typeUrl: E, name }] : type === L ? [{ typeUrl: TypeUrl.route, name }] : [];
      const server = createXdsServer({ source, clock, log: silentLog, limits: { drainMs: 200 } });
      const grpc = new MemoryGrpc(server.service);
      const client = createXdsClient({
        openChannel: () => grpc.channel(),
        node: NODE,
        mode,
        setNodeOnFirstMessageOnly: true,
        clock,
        random,
        log: silentLog,
      });
      const clusters = new Kept();
      const listeners = new Kept();
      const named = { [E]: new Kept(), [TypeUrl.route]: new Kept() };
      const full = { [TypeUrl.cluster]: clusters, [L]: listeners };
      const violations: string[] = [];
      for (const [parent, kept, childType, own] of [
        [TypeUrl.cluster, clusters, E, named[E]],
        [L, listeners, TypeUrl.route, named[TypeUrl.route]],
      ] as const) {
        const subscription = client.subscribe(childType, { wildcard: false }, own);
        kept.refuse = (update) =>
          update.resources.some((resource) => versionIn(resource) === "bad")
            ? `${update.resources.find((resource) => versionIn(resource) === "bad")?.name} is bad`
            : undefined;
        const apply = kept.onUpdate.bind(kept);
        const had = new Set<string>();
        client.subscribe(
          parent,
          { wildcard: true },
          {
            onUpdate(update) {
              const refusal = apply(update);
              if (refusal !== undefined) return refusal;
              const now = new Set(kept.state.keys());
              // A listener whose cluster was taken away would fail its requests.
              if (kept === clusters) for (const name of listeners.state.keys()) if (!now.has(name) && had.has(name)) violations.push(name);
              const gone = [...had].filter((name) => !now.has(name));
              subscription.update({ add: [...now].filter((name) => !had.has(name)), remove: gone });
              for (const name of gone) own.state.delete(name);
              had.clear();
              for (const name of now) had.add(name);
              return undefined;
            },
          },
        );
      }
      client.start();
      const NAMES = ["a", "b", "c", "d", "e"];
      const versions = new Map([TypeUrl.cluster, E, L, TypeUrl.route].map((type) => [type as string, new Map<string, string>()]));
      let hasLostState = false;
      for (let step = 0; step < 60; step++) {
        const names = NAMES.filter(() => random.next() < 0.6);
        for (const [type, own] of versions) {
          if (random.next() < 0.7)
            for (const name of names)
              if (random.next() < 0.5) own.set(name, type in full && random.next() < 0.1 ? "bad" : `${randomInt(random, 4)}`);
          source.set(type, Object.fromEntries(names.map((name) => [name, own.get(name) ?? "0"])));
        }
        for (const session of server.sessions) void session.push(`v${step}`);
        if (random.next() < 0.15) {
          grpc.cut();
          // A resumed client of state of the world does not say what it has: nothing can be held back for it.
          hasLostState ||= mode === "sotw";
        }
        await clock.advance(randomInt(random, 400));
        if (!hasLostState) assert.deepEqual(violations, [], `step ${step}, seed ${seed}`);
      }
      const want = Object.fromEntries(NAMES.slice(1).map((name) => [name, `last-${name}`]));
      for (const type of [TypeUrl.cluster, E, L, TypeUrl.route]) source.set(type, want);
      for (const session of server.sessions) void session.push("last");
      await clock.advance(40_000);
      for (const session of server.sessions) void session.push("last");
      await clock.advance(40_000);
      assert.equal(server.sessions.size, 1);
      for (const [type, kept] of [...Object.entries(full), ...Object.entries(named)]) {
        assert.deepEqual(Object.fromEntries([...kept.state].sort()), want, `${shortType(type)}: replay with seed ${seed}`);
      }
    });
  }
}

test("an error of the server ends in a new try, not in a throw", async () => {
  const { server, client, clock, kept } = setUp("delta");
  server.grpc.service = {
    bidi: {
      [ADS.deltaMethod]: () => {
        throw new GrpcError(GrpcStatus.PERMISSION_DENIED, "no");
      },
    },
  };
  client.subscribe(L, { wildcard: true }, kept);
  client.start();
  await clock.advance(10_000);
  assert.equal(client.isConnected, false);
});
