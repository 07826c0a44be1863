import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { createClusterContext, recordingHandler, requestHead } from "../../../test/kit/proxy-parts.ts";
import { MESH_HTTP_LIMITS } from "../../net/http/stream.ts";
import type { UpstreamStream } from "../types.ts";
import { CircuitBreaker } from "./breaker.ts";
import type { BreakerConfig } from "./cluster-config.ts";
import { createClusterStats } from "./cluster-stats.ts";
import { HttpPool, type PoolOptions } from "./http-pool.ts";

const WIDE: BreakerConfig = { connectionsMax: 1024, pendingMax: 1024, requestsMax: 1024, retriesMax: 3, retryBudget: undefined };

function setUp(options: { readonly breaker?: Partial<BreakerConfig>; readonly pool?: Partial<PoolOptions> } = {}) {
  const clock = new FakeClock();
  const context = createClusterContext(clock);
  const breaker = new CircuitBreaker({ ...WIDE, ...options.breaker });
  const host = {
    activeRequests: 0,
    activeConnections: 0,
    connectionsTotal: 0,
    connectFailures: 0,
    requestsTotal: 0,
    requestSuccesses: 0,
    requestErrors: 0,
  };
  const pool = new HttpPool({
    clock,
    dialer: context.network.dialer,
    dialOptions: () => ({ to: { host: "10.0.0.9", port: 80 }, timeoutMs: 5000 }),
    protocol: "http1",
    codecs: context.codecs,
    limits: { ...MESH_HTTP_LIMITS, concurrentStreamsMax: 2 },
    bufferBytesMax: 10,
    idleTimeoutMs: 1000,
    connectionDurationMaxMs: undefined,
    requestsPerConnectionMax: undefined,
    host,
    breaker,
    stats: createClusterStats(context.metrics, "c"),
    ...options.pool,
  });
  const send = (): { handler: ReturnType<typeof recordingHandler>; stream: UpstreamStream } => {
    const handler = recordingHandler();
    return { handler, stream: pool.openStream({ head: requestHead(), endStream: true, downstreamIsHttp2: false }, handler) };
  };
  return { clock, context, breaker, host, pool, send };
}

test("a request waits for its connection, and the next one finds it", async () => {
  const { context, send, host } = setUp();
  const first = send();
  assert.equal(context.dials.length, 1);
  context.dials[0]?.connect();
  await settle();
  context.connections[0]?.answer();
  assert.deepEqual(first.handler.heard, ["connected", "response 200"]);
  const second = send();
  assert.deepEqual(second.handler.heard, [], "nothing is told from inside openStream");
  await settle();
  assert.deepEqual(second.handler.heard, ["connected"]);
  assert.equal(context.dials.length, 1, "the connection was used again");
  assert.equal(host.activeRequests, 1);
});

test("HTTP/1.1: the connection used last is used next", async () => {
  const { context, send } = setUp();
  send();
  send();
  for (const dial of context.dials) dial.connect();
  const [a, b] = context.connections;
  a?.answer();
  b?.answer();
  send();
  assert.deepEqual([a?.streams.length, b?.streams.length], [1, 2]);
});

test("HTTP/2: streams share a connection until it is full", async () => {
  const { context, send } = setUp({ pool: { protocol: "http2" } });
  for (let i = 0; i < 3; i++) send();
  assert.equal(context.dials.length, 2, "one connection takes two streams");
  for (const dial of context.dials) dial.connect();
  assert.deepEqual(
    context.connections.map(({ streams }) => streams.length),
    [2, 1],
  );
});

test("a connection that drains takes no more, and those in line get another", async () => {
  const { context, send } = setUp({ pool: { protocol: "http2" } });
  send();
  context.dials[0]?.connect();
  context.connections[0]?.drain();
  send();
  assert.equal(context.dials.length, 2);
});

test("a refused connection fails all in line, later", async () => {
  const { context, send, breaker } = setUp();
  const requests = [send(), send()];
  context.dials[0]?.fail("connect", "ECONNREFUSED");
  assert.deepEqual(requests[0]?.handler.heard, []);
  await settle();
  for (const { handler } of requests) {
    assert.deepEqual(handler.heard, ["failure connect-failure UF"]);
    assert.equal(handler.failure?.detail, "delayed connect error: Connection refused");
  }
  assert.equal(breaker.pending, 0);
});

const failures = [
  { name: "a timeout", phase: "timeout", want: "failure connect-timeout UF" },
  { name: "a failed handshake", phase: "tls", want: "failure tls-failure UF" },
] as const;
for (const { name, phase, want } of failures) {
  test(`${name} is told as what it is`, async () => {
    const { context, send } = setUp();
    const { handler } = send();
    context.dials[0]?.fail(phase);
    await settle();
    assert.deepEqual(handler.heard, [want]);
  });
}

const resets = [
  {
    name: "a connection that dies before the first answer on it is not stale",
    reused: false,
    want: { kind: "reset", flag: "UC", stale: false },
    reset: "connection-closed",
  },
  {
    name: "a connection that has served and dies without an answer is stale",
    reused: true,
    want: { kind: "reset", flag: "UC", stale: true },
    reset: "connection-closed",
  },
  { name: "a refused stream may be repeated", reused: true, want: { kind: "refused", flag: "UR", stale: false }, reset: "refused" },
  { name: "a peer's reset", reused: true, want: { kind: "reset", flag: "UR", stale: false }, reset: "remote-reset" },
  {
    name: "a peer that breaks the protocol",
    reused: false,
    want: { kind: "protocol-error", flag: "UPE", stale: false },
    reset: "protocol-error",
  },
] as const;
for (const { name, reused, want, reset } of resets) {
  test(name, async () => {
    const { context, send } = setUp();
    let { handler } = send();
    context.dials[0]?.connect();
    const [connection] = context.connections;
    if (reused) {
      connection?.answer();
      handler = send().handler;
    }
    connection?.resetStream({ kind: reset, detail: "x" });
    await settle();
    assert.deepEqual(handler.heard.at(-1), `failure ${want.kind} ${want.flag}`);
    assert.equal(handler.failure?.isStaleConnection, want.stale);
  });
}

test("more than max_pending_requests overflow", async () => {
  const { send } = setUp({ breaker: { pendingMax: 1 } });
  const kept = send();
  const shed = send();
  await settle();
  assert.deepEqual(kept.handler.heard, []);
  assert.deepEqual(shed.handler.heard, ["failure overflow UO"]);
});

test("max_connections holds requests in line, but a host without any gets one", async () => {
  const { context, send } = setUp({ breaker: { connectionsMax: 1 } });
  send();
  const second = send();
  assert.equal(context.dials.length, 1);
  context.dials[0]?.connect();
  context.connections[0]?.answer();
  await settle();
  assert.deepEqual(second.handler.heard, ["connected"], "it took the place of the first");
});

test("max_requests overflows what would run beside the others", async () => {
  const { context, send } = setUp({ breaker: { requestsMax: 1 }, pool: { protocol: "http2" } });
  send();
  context.dials[0]?.connect();
  const second = send();
  await settle();
  assert.deepEqual(second.handler.heard, ["failure overflow UO"]);
});

test("a request that gave up while in line is not sent and not told of", async () => {
  const { context, send, breaker } = setUp();
  const { handler, stream } = send();
  stream.reset();
  context.dials[0]?.connect();
  await settle();
  assert.deepEqual(handler.heard, []);
  assert.equal(context.connections[0]?.streams.length, 0);
  assert.equal(breaker.pending, 0);
});

test("a body sent before the connection stands is kept up to a limit, then sent", async () => {
  const { context, pool } = setUp();
  const handler = recordingHandler();
  const stream = pool.openStream({ head: requestHead(), endStream: false, downstreamIsHttp2: false }, handler);
  const bytes = Buffer.from("0123456789");
  assert.equal(stream.writeData(bytes, 0, 5, false), true);
  assert.equal(stream.writeData(bytes, 5, 10, true), false, "the limit is reached: stop");
  bytes.fill(0);
  context.dials[0]?.connect();
  await settle();
  assert.deepEqual(context.connections[0]?.streams[0]?.written, ["01234", "56789"]);
  assert.deepEqual(handler.heard, ["connected", "drain"]);
});

test("max_requests_per_connection closes a connection after its last", async () => {
  const { context, send } = setUp({ pool: { requestsPerConnectionMax: 1 } });
  send();
  context.dials[0]?.connect();
  context.connections[0]?.answer();
  assert.equal(context.connections[0]?.isClosed, true);
  send();
  assert.equal(context.dials.length, 2);
});

test("an idle connection closes after the idle timeout, a busy one does not", async () => {
  const { clock, context, send } = setUp();
  send();
  send();
  for (const dial of context.dials) dial.connect();
  context.connections[0]?.answer();
  await clock.advance(2500);
  assert.deepEqual(
    context.connections.map(({ isClosed }) => isClosed),
    [true, false],
  );
});

test("a drained pool keeps what runs and reuses nothing", async () => {
  const { context, send, pool, breaker, host } = setUp();
  send();
  send();
  for (const dial of context.dials) dial.connect();
  context.connections[0]?.answer();
  pool.drain();
  assert.deepEqual(
    context.connections.map(({ isClosed }) => isClosed),
    [true, false],
  );
  context.connections[1]?.answer();
  assert.equal(context.connections[1]?.isClosed, true);
  assert.deepEqual([breaker.connections, breaker.requests, host.activeConnections, host.activeRequests], [0, 0, 0, 0]);
});
