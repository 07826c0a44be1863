/** Both ends of our HTTP/2 joined in memory: what one owner writes the other one reads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { channelPair } from "../../../test/kit/channel-pair.ts";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { HeaderList } from "../http/headers.ts";
import {
  type ClientConnection,
  type ClientStream,
  type HttpLimits,
  MESH_HTTP_LIMITS,
  type RequestHead,
  type ServerConnection,
  type ServerStream,
} from "../http/stream.ts";
import { createHttp2ClientConnection } from "./client-connection.ts";
import { createHttp2ServerConnection } from "./server-connection.ts";

interface Served {
  readonly stream: ServerStream;
  readonly head: RequestHead;
  readonly events: string[];
  body: string;
}

interface Joined {
  readonly client: ClientConnection;
  readonly server: ServerConnection;
  readonly clock: FakeClock;
  readonly served: Served[];
  readonly events: string[];
}

function request(over: Partial<RequestHead> = {}): RequestHead {
  return {
    method: "GET",
    path: "/",
    authority: "shop.example",
    scheme: "http",
    headers: new HeaderList(),
    version: "HTTP/2",
    upgrade: undefined,
    ...over,
  };
}

function ok(headers: Record<string, string> = {}): { status: number; headers: HeaderList; version: "HTTP/2" } {
  return { status: 200, headers: HeaderList.of(headers), version: "HTTP/2" };
}

function join(limits: Partial<HttpLimits> = {}, onRequest: (served: Served, endStream: boolean) => void = () => {}): Joined {
  const clock = new FakeClock();
  const served: Served[] = [];
  const events: string[] = [];
  const pair = channelPair();
  const keepalive = { intervalMs: 30_000, timeoutMs: 10_000 };
  const options = { limits: { ...MESH_HTTP_LIMITS, ...limits }, clock, keepalive };
  const server = createHttp2ServerConnection(pair.server, options, {
    onRequest(stream, head, endStream) {
      const one: Served = { stream, head, events: [], body: "" };
      served.push(one);
      stream.handler = {
        onData(buffer, start, end, isEnd) {
          one.body += buffer.toString("latin1", start, end);
          if (isEnd) one.events.push("end");
        },
        onTrailers: (trailers) => one.events.push(`trailers ${trailers.flat.join("=")}`),
        onReset: (reset) => one.events.push(`reset ${reset.kind} ${reset.detail}`),
        onDrain: () => one.events.push("drain"),
      };
      onRequest(one, endStream);
    },
    onCodecError: (error) => events.push(`server error ${error.status} ${error.details}`),
    onClose: () => events.push("server closed"),
  });
  const client = createHttp2ClientConnection(pair.client, options, {
    onAvailable() {},
    onDraining: () => events.push("client draining"),
    onClose: (reason) => events.push(`client closed ${reason.detail}`),
  });
  return { client, server, clock, served, events };
}

interface Asked {
  readonly stream: ClientStream;
  readonly events: string[];
  readonly body: () => string;
}

function ask(client: ClientConnection, head: RequestHead, endStream = true): Asked {
  const events: string[] = [];
  let body = "";
  const stream = client.openStream(head, endStream, {
    onInformational: (informational) => events.push(`informational ${informational.status}`),
    onResponse: (response, isEnd) => events.push(`response ${response.status} ${response.headers.flat.join("=")}${isEnd ? " end" : ""}`),
    onData(buffer, start, end, isEnd) {
      body += buffer.toString("latin1", start, end);
      if (isEnd) events.push("end");
    },
    onTrailers: (trailers) => events.push(`trailers ${trailers.flat.join("=")}`),
    onReset: (reset) => events.push(`reset ${reset.kind} ${reset.detail}`),
    onDrain: () => events.push("drain"),
  });
  return { stream, events, body: () => body };
}

test("a request and its answer arrive as they were written", async () => {
  const { client, served } = join();
  const headers = HeaderList.of({ "content-type": "text/plain", "x-thing": "h\xe4", te: "trailers", cookie: "a=1; b=2" });
  const asked = ask(client, request({ method: "POST", path: "/a?b", headers }), false);
  asked.stream.writeData(Buffer.from("hello "), 0, 6, false);
  asked.stream.writeData(Buffer.from("world"), 0, 5, true);
  await settle();
  const [one] = served;
  assert.ok(one);
  assert.deepEqual(
    { ...one.head, headers: one.head.headers.flat },
    { ...request({ method: "POST", path: "/a?b" }), headers: headers.flat },
  );
  assert.equal(one.body, "hello world");
  assert.deepEqual(one.events, ["end"]);
  one.stream.writeInformational({ ...ok(), status: 103 });
  one.stream.writeHead(ok({ "x-answer": "1" }), false);
  one.stream.writeData(Buffer.from("bytes"), 0, 5, false);
  one.stream.writeTrailers(HeaderList.of({ "grpc-status": "0" }));
  await settle();
  assert.deepEqual(asked.events, ["informational 103", "response 200 x-answer=1", "trailers grpc-status=0"]);
  assert.equal(asked.body(), "bytes");
  assert.equal(client.activeStreams, 0);
  assert.equal(client.isReused, true);
});

test("fields that repeat are indexed, so a second request is a few bytes long", async () => {
  const pair = channelPair();
  const sizes: number[] = [];
  const writeBytes = pair.client.writeBytes.bind(pair.client);
  pair.client.writeBytes = (bytes) => {
    sizes.push(bytes.length);
    return writeBytes(bytes);
  };
  const options = { limits: MESH_HTTP_LIMITS, clock: new FakeClock() };
  createHttp2ServerConnection(pair.server, options, {
    onRequest: (stream) => stream.writeHead(ok(), true),
    onCodecError() {},
    onClose() {},
  });
  const client = createHttp2ClientConnection(pair.client, options, { onAvailable() {}, onDraining() {}, onClose() {} });
  for (let i = 0; i < 4; i++) {
    const headers = HeaderList.of({ "x-long-name": "a value that is long", "user-agent": "a client of some kind", "x-id": `${i}` });
    const asked = ask(client, request({ path: "/a/path", headers }));
    await settle();
    assert.deepEqual(asked.events, ["response 200  end"]);
  }
  const last = sizes.at(-1) ?? 0;
  assert.ok(last <= 9 + 10, `the fourth request took ${last} bytes`);
});

test("a large body goes through windows smaller than itself, and the writer is told to wait", async () => {
  const { client, served } = join({ streamWindowBytes: 70_000, connectionWindowBytes: 100_000 });
  const chunk = Buffer.alloc(50_000, "x");
  const asked = ask(client, request({ method: "POST" }), false);
  await settle();
  let writes = 0;
  while (asked.stream.writeData(chunk, 0, chunk.length, false)) {
    writes += 1;
    assert.ok(writes < 10, "the writer was never told to wait");
  }
  served[0]?.stream.pauseReading();
  await settle();
  served[0]?.stream.resumeReading();
  await settle();
  assert.deepEqual(asked.events, ["drain"]);
  asked.stream.writeData(chunk, 0, 10, true);
  await settle();
  assert.equal(served[0]?.body.length, (writes + 1) * 50_000 + 10);
  assert.deepEqual(served[0]?.events, ["end"]);
});

test("a reader that pauses gets no more than a window, and does not stop other streams", async () => {
  const { client, served } = join({ streamWindowBytes: 65_536, connectionWindowBytes: 1_000_000 });
  const big = Buffer.alloc(500_000, "x");
  const slow = ask(client, request({ method: "POST", path: "/slow" }), false);
  await settle();
  served[0]?.stream.pauseReading();
  slow.stream.writeData(big, 0, big.length, true);
  await settle();
  assert.equal(served[0]?.body.length, 65_536);
  const fast = ask(client, request({ method: "POST", path: "/fast" }), false);
  fast.stream.writeData(big, 0, big.length, true);
  await settle();
  assert.equal(served[1]?.body.length, big.length);
  served[0]?.stream.resumeReading();
  await settle();
  assert.equal(served[0]?.body.length, big.length);
});

test("what a stream withheld returns to the connection when it is reset", async () => {
  const { client, served } = join({ streamWindowBytes: 65_536, connectionWindowBytes: 65_536 });
  const big = Buffer.alloc(200_000, "x");
  for (let i = 0; i < 5; i++) {
    const asked = ask(client, request({ method: "POST" }), false);
    await settle();
    served[i]?.stream.pauseReading();
    asked.stream.writeData(big, 0, big.length, true);
    await settle();
    assert.equal(served[i]?.body.length, 65_536, `stream ${i}`);
    served[i]?.stream.reset();
    await settle();
    assert.deepEqual(asked.events, ["reset remote-reset CANCEL"]);
  }
});

test("trailers wait for the body in front of them", async () => {
  const { client, served } = join({ streamWindowBytes: 65_536 });
  const big = Buffer.alloc(100_000, "x");
  const asked = ask(client, request({ method: "POST" }), false);
  await settle();
  served[0]?.stream.pauseReading();
  asked.stream.writeData(big, 0, big.length, false);
  asked.stream.writeTrailers(HeaderList.of({ done: "yes" }));
  await settle();
  assert.deepEqual(served[0]?.events, []);
  served[0]?.stream.resumeReading();
  await settle();
  assert.deepEqual(served[0]?.events, ["trailers done=yes"]);
  assert.equal(served[0]?.body.length, big.length);
});

test("a reset reaches the other side with its code, both ways", async () => {
  const { client, served } = join();
  const asked = ask(client, request());
  await settle();
  asked.stream.reset();
  await settle();
  assert.deepEqual(served[0]?.events, ["reset remote-reset CANCEL"]);
  const refused = ask(client, request());
  await settle();
  served[1]?.stream.reset("refused");
  await settle();
  assert.deepEqual(refused.events, ["reset refused REFUSED_STREAM"]);
  assert.deepEqual(asked.events, [], "who resets hears nothing");
  assert.equal(client.activeStreams, 0);
});

test("an answer before the request's end stops the upload without an error", async () => {
  const { client, served } = join({}, (one) => {
    one.stream.writeHead({ ...ok(), status: 413 }, true);
    one.stream.reset();
  });
  const asked = ask(client, request({ method: "POST" }), false);
  await settle();
  assert.deepEqual(asked.events, ["response 413  end"]);
  assert.equal(served.length, 1);
  assert.equal(asked.stream.writeData(Buffer.alloc(10), 0, 10, false), true, "writes to a stream that is gone do nothing");
});

test("no more streams than the server allows are available", async () => {
  const { client } = join({ concurrentStreamsMax: 2 });
  await settle();
  assert.equal(client.availableStreams, 2);
  const first = ask(client, request());
  ask(client, request());
  assert.equal(client.availableStreams, 0);
  first.stream.reset();
  assert.equal(client.availableStreams, 1);
});

test("a server that drains serves what is under way, then closes", async () => {
  const { client, server, served, events } = join();
  const before = ask(client, request());
  await settle();
  server.drain();
  const racing = ask(client, request());
  await settle();
  assert.ok(events.includes("client draining"));
  assert.equal(client.availableStreams, 0);
  assert.equal(served.length, 2, "a request that crossed the GOAWAY is served");
  for (const one of served) one.stream.writeHead(ok(), true);
  await settle();
  assert.deepEqual(before.events, ["response 200  end"]);
  assert.deepEqual(racing.events, ["response 200  end"]);
  assert.ok(events.includes("server closed"));
});

test("streams above GOAWAY's last are refused, so that they may be sent elsewhere", async () => {
  const { client, server, clock, events } = join();
  await settle();
  server.drain();
  await clock.advance(2000);
  assert.deepEqual(events.slice(0, 1), ["client draining"]);
  const late = ask(client, request());
  await settle();
  assert.deepEqual(late.events, ["reset refused the connection takes no more streams"]);
});

test("a client that drains closes when its last stream is done", async () => {
  const { client, served, events } = join();
  const asked = ask(client, request());
  await settle();
  client.drain();
  await settle();
  assert.deepEqual(events, ["client draining"]);
  served[0]?.stream.writeHead(ok(), true);
  await settle();
  assert.deepEqual(asked.events, ["response 200  end"]);
  assert.ok(events.includes("server closed"));
});

test("streams of a connection that goes are reset on both sides", async () => {
  const { client, server, served, events } = join();
  const asked = ask(client, request());
  await settle();
  server.destroy();
  await settle();
  assert.equal(asked.events.length, 1);
  assert.match(asked.events[0] ?? "", /^reset connection-closed /);
  assert.deepEqual(served[0]?.events, ["reset local-reset closed by us"]);
  assert.ok(events.includes("server closed"));
  assert.equal(client.availableStreams, 0);
});

test("websocket: extended CONNECT waits for SETTINGS, is a GET with upgrade to the owner, and 200 is its 101", async () => {
  const { client, served } = join();
  const asked = ask(client, request({ upgrade: "websocket", path: "/chat" }), false);
  asked.stream.writeData(Buffer.from("early"), 0, 5, false);
  await settle();
  const [one] = served;
  assert.ok(one);
  assert.equal(one.head.method, "GET");
  assert.equal(one.head.upgrade, "websocket");
  assert.equal(one.head.path, "/chat");
  assert.equal(one.body, "early");
  one.stream.writeHead({ ...ok(), status: 101 }, false);
  one.stream.writeData(Buffer.from("pong"), 0, 4, false);
  await settle();
  assert.deepEqual(asked.events, ["response 101 "]);
  assert.equal(asked.body(), "pong");
});

test("websocket: an answer that merely went well does not open a tunnel", async () => {
  const { client } = join({}, (one) => one.stream.writeHead(ok(), true));
  const asked = ask(client, request({ upgrade: "websocket" }), false);
  await settle();
  assert.deepEqual(asked.events, ["response 502  end"]);
});

test("a peer that falls silent is found out by PING", async () => {
  const pair = channelPair();
  const clock = new FakeClock();
  const closed: string[] = [];
  const client = createHttp2ClientConnection(
    pair.client,
    { limits: MESH_HTTP_LIMITS, clock, keepalive: { intervalMs: 30_000, timeoutMs: 10_000 } },
    { onAvailable() {}, onDraining() {}, onClose: (reason) => closed.push(reason.detail) },
  );
  pair.server.handler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };
  const asked = ask(client, request());
  await clock.advance(39_000);
  assert.deepEqual(closed, []);
  await clock.advance(2_000);
  assert.deepEqual(closed, ["no answer to PING"]);
  assert.deepEqual(asked.events, ["reset connection-closed no answer to PING"]);
});

test("a peer that answers PINGs stays", async () => {
  const { client, served, clock, events } = join();
  const asked = ask(client, request());
  await clock.advance(120_000);
  assert.deepEqual(events, []);
  served[0]?.stream.writeHead(ok(), true);
  await settle();
  assert.deepEqual(asked.events, ["response 200  end"]);
});
