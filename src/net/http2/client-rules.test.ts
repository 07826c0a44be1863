/** What a client does with a server that is wrong or hostile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { channelPair } from "../../../test/kit/channel-pair.ts";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { block, frame, Http2Peer, words } from "../../../test/kit/http2-peer.ts";
import { HeaderList } from "../http/headers.ts";
import { type ClientConnection, type ClientStream, MESH_HTTP_LIMITS } from "../http/stream.ts";
import { createHttp2ClientConnection } from "./client-connection.ts";

const END_STREAM = 1;
const END_HEADERS = 4;
const BOTH = END_STREAM | END_HEADERS;

interface Rig {
  readonly peer: Http2Peer;
  readonly client: ClientConnection;
  readonly events: string[];
}

function connect(): Rig {
  const pair = channelPair();
  const events: string[] = [];
  const client = createHttp2ClientConnection(
    pair.client,
    { limits: MESH_HTTP_LIMITS, clock: new FakeClock() },
    { onAvailable() {}, onDraining: () => events.push("draining"), onClose: ({ detail }) => events.push(`closed ${detail}`) },
  );
  return { peer: new Http2Peer(pair.server, { isClient: false }), client, events };
}

function get(
  client: ClientConnection,
  over: { method?: string; upgrade?: string } = {},
  endStream = true,
): { stream: ClientStream; events: string[] } {
  const events: string[] = [];
  const head = {
    method: "GET",
    path: "/",
    authority: "a",
    scheme: "http",
    headers: new HeaderList(),
    version: "HTTP/2" as const,
    upgrade: undefined,
    ...over,
  };
  const stream = client.openStream(head, endStream, {
    onInformational: ({ status }) => events.push(`informational ${status}`),
    onResponse: ({ status }, isEnd) => events.push(`response ${status}${isEnd ? " end" : ""}`),
    onData: (_buffer, start, end, isEnd) => events.push(`data ${end - start}${isEnd ? " end" : ""}`),
    onTrailers: (trailers) => events.push(`trailers ${trailers.flat.join("=")}`),
    onReset: (reset) => events.push(`reset ${reset.kind}`),
    onDrain() {},
  });
  return { stream, events };
}

const status = (code: string, ...more: readonly (readonly [string, string])[]): Buffer => block([[":status", code], ...more]);
const BROKEN = ["reset protocol-error"];

const answers: readonly {
  readonly name: string;
  readonly frames: readonly Buffer[];
  readonly want: readonly string[];
  readonly method?: string;
}[] = [
  {
    name: "a head and a body",
    frames: [frame("headers", END_HEADERS, 1, status("200")), frame("data", END_STREAM, 1, Buffer.alloc(3))],
    want: ["response 200", "data 3 end"],
  },
  {
    name: "trailers",
    frames: [frame("headers", END_HEADERS, 1, status("200")), frame("headers", BOTH, 1, block([["a", "b"]]))],
    want: ["response 200", "trailers a=b"],
  },
  {
    name: "103 in front",
    frames: [frame("headers", END_HEADERS, 1, status("103")), frame("headers", BOTH, 1, status("200"))],
    want: ["informational 103", "response 200 end"],
  },
  { name: "101", frames: [frame("headers", END_HEADERS, 1, status("101"))], want: BROKEN },
  { name: "103 and the end", frames: [frame("headers", BOTH, 1, status("103"))], want: BROKEN },
  { name: "no :status", frames: [frame("headers", BOTH, 1, block([["a", "b"]]))], want: BROKEN },
  { name: "two :status", frames: [frame("headers", BOTH, 1, status("200", [":status", "200"]))], want: BROKEN },
  { name: "a :status that is no status", frames: [frame("headers", BOTH, 1, status("20"))], want: BROKEN },
  { name: ":path", frames: [frame("headers", BOTH, 1, status("200", [":path", "/"]))], want: BROKEN },
  { name: "connection", frames: [frame("headers", BOTH, 1, status("200", ["connection", "close"]))], want: BROKEN },
  { name: "a line break in a value", frames: [frame("headers", BOTH, 1, status("200", ["a", "b\r\nc"]))], want: BROKEN },
  {
    name: "a body longer than content-length",
    frames: [frame("headers", END_HEADERS, 1, status("200", ["content-length", "2"])), frame("data", END_STREAM, 1, Buffer.alloc(3))],
    want: ["response 200", ...BROKEN],
  },
  {
    name: "a body shorter than content-length",
    frames: [frame("headers", END_HEADERS, 1, status("200", ["content-length", "2"])), frame("data", END_STREAM, 1, Buffer.alloc(1))],
    want: ["response 200", ...BROKEN],
  },
  { name: "content-length and no body", frames: [frame("headers", BOTH, 1, status("200", ["content-length", "2"]))], want: BROKEN },
  {
    name: "content-length and no body, to HEAD",
    method: "HEAD",
    frames: [frame("headers", BOTH, 1, status("200", ["content-length", "2"]))],
    want: ["response 200 end"],
  },
  {
    name: "a body, to HEAD",
    method: "HEAD",
    frames: [frame("headers", END_HEADERS, 1, status("200")), frame("data", END_STREAM, 1, Buffer.alloc(1))],
    want: ["response 200", ...BROKEN],
  },
  {
    name: "a body with 304",
    frames: [frame("headers", END_HEADERS, 1, status("304")), frame("data", END_STREAM, 1, Buffer.alloc(1))],
    want: ["response 304", ...BROKEN],
  },
  {
    name: "more than 16 informational heads",
    frames: Array.from({ length: 17 }, () => frame("headers", END_HEADERS, 1, status("103"))),
    want: [...Array.from({ length: 16 }, () => "informational 103"), ...BROKEN],
  },
  {
    name: "a head of 101 fields",
    frames: [frame("headers", BOTH, 1, status("200", ...Array.from({ length: 100 }, () => ["a", "b"] as const)))],
    want: BROKEN,
  },
];

for (const { name, frames, want, method } of answers) {
  test(`an answer with ${name}: ${want.at(-1)}`, async () => {
    const { peer, client, events: connection } = connect();
    const { events } = get(client, method === undefined ? {} : { method });
    await settle();
    peer.send(...frames);
    await settle();
    assert.deepEqual(events, want);
    const next = get(client);
    await settle();
    peer.send(frame("headers", BOTH, 3, status("200")));
    await settle();
    assert.deepEqual(next.events, ["response 200 end"], "other streams go on");
    assert.deepEqual(connection, []);
  });
}

const fatal: readonly { readonly name: string; readonly frames: readonly Buffer[]; readonly want: string }[] = [
  {
    name: "PUSH_PROMISE",
    frames: [frame("pushPromise", END_HEADERS, 1, Buffer.concat([words(2), status("200")]))],
    want: "goaway 0 PROTOCOL_ERROR",
  },
  {
    name: "HEADERS for a stream that was never opened",
    frames: [frame("headers", BOTH, 3, status("200"))],
    want: "goaway 0 PROTOCOL_ERROR",
  },
  { name: "HEADERS for a stream of its own", frames: [frame("headers", BOTH, 2, status("200"))], want: "goaway 0 PROTOCOL_ERROR" },
  { name: "DATA for a stream that was never opened", frames: [frame("data", 0, 5, Buffer.alloc(1))], want: "goaway 0 PROTOCOL_ERROR" },
  { name: "ENABLE_PUSH", frames: [frame("settings", 0, 0, Buffer.from([0, 2, 0, 0, 0, 1]))], want: "goaway 0 PROTOCOL_ERROR" },
  { name: "a frame above 16 KiB", frames: [frame("data", 0, 1, Buffer.alloc(16_385))], want: "goaway 0 FRAME_SIZE_ERROR" },
  {
    name: "CONTINUATION without end",
    frames: [frame("headers", 0, 1, status("200")), ...Array.from({ length: 20 }, () => frame("continuation", 0, 1, block([["a", "b"]])))],
    want: "goaway 0 ENHANCE_YOUR_CALM",
  },
  {
    name: "PINGs without end",
    frames: Array.from({ length: 1500 }, () => frame("ping", 0, 0, Buffer.alloc(8))),
    want: "goaway 0 ENHANCE_YOUR_CALM",
  },
  {
    name: "more DATA than the window",
    frames: [
      frame("headers", END_HEADERS, 1, status("200")),
      ...Array.from({ length: 80 }, () => frame("data", 0, 1, Buffer.alloc(16_384))),
    ],
    want: "rstStream 1 FLOW_CONTROL_ERROR",
  },
];

for (const { name, frames, want } of fatal) {
  test(`a server that sends ${name}: ${want}`, async () => {
    const { peer, client, events: connection } = connect();
    const { stream, events } = get(client);
    stream.pauseReading();
    await settle();
    peer.send(...frames);
    await settle();
    assert.ok(peer.answers.includes(want), peer.answers.slice(-3).join());
    assert.deepEqual(events.slice(-1), BROKEN);
    if (!want.startsWith("goaway")) return;
    assert.equal(client.availableStreams, 0);
    assert.equal(connection[0], "draining", "its owner hears of it before it is closed");
  });
}

test("GOAWAY refuses streams above its last alone, and those below end well", async () => {
  const { peer, client, events: connection } = connect();
  const below = get(client);
  const above = get(client);
  await settle();
  peer.send(frame("goaway", 0, 0, words(1, 0)));
  await settle();
  assert.deepEqual(above.events, ["reset refused"]);
  assert.deepEqual(below.events, []);
  assert.deepEqual(connection, ["draining"]);
  peer.send(frame("headers", BOTH, 1, status("200")));
  await settle();
  assert.deepEqual(below.events, ["response 200 end"]);
  assert.ok(peer.answers.includes("end") || peer.answers.includes("closed"), "the connection is closed then");
});

test("extended CONNECT is not sent to a server that does not take it", async () => {
  const { peer, client } = connect();
  const { events } = get(client, { upgrade: "websocket" }, false);
  await settle();
  assert.deepEqual(events, ["reset local-reset"]);
  assert.deepEqual(peer.answers, []);
});

test("late frames of a stream that we reset are no fault", async () => {
  const { peer, client, events: connection } = connect();
  const { stream, events } = get(client);
  await settle();
  stream.reset();
  peer.send(
    frame("headers", END_HEADERS, 1, status("200")),
    frame("data", END_STREAM, 1, Buffer.alloc(100)),
    frame("rstStream", 0, 1, words(0)),
  );
  await settle();
  assert.deepEqual(events, []);
  assert.deepEqual(connection, []);
  assert.deepEqual(peer.answers, [`headers 1 :method=GET :scheme=http :authority=a :path=/ end`, "rstStream 1 CANCEL"]);
});

test("an early answer ends the stream once its upload is given up", async () => {
  const { peer, client } = connect();
  const { stream, events } = get(client, { method: "POST" }, false);
  await settle();
  peer.send(frame("headers", BOTH, 1, status("413")), frame("rstStream", 0, 1, words(0)));
  await settle();
  assert.deepEqual(events, ["response 413 end"]);
  assert.equal(client.activeStreams, 0);
  assert.equal(stream.writeData(Buffer.alloc(1), 0, 1, true), true);
});
