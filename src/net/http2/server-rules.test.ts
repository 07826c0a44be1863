/** What a server does with frames and messages that are wrong, and with clients that mean harm. Source: RFC 9113; reliability, attack classes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { channelPair } from "../../../test/kit/channel-pair.ts";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { block, frame, Http2Peer, requestBlock, words } from "../../../test/kit/http2-peer.ts";
import { HeaderList } from "../http/headers.ts";
import { MESH_HTTP_LIMITS, type RequestHead, type ServerStream } from "../http/stream.ts";
import { createHttp2ServerConnection } from "./server-connection.ts";

const END_STREAM = 1;
const END_HEADERS = 4;
const BOTH = END_STREAM | END_HEADERS;

interface Rig {
  readonly peer: Http2Peer;
  readonly clock: FakeClock;
  readonly heads: RequestHead[];
  readonly errors: string[];
  readonly resets: string[];
}

/** A server that answers each request with 200 when it is complete, or that never does. */
function serve(options: { readonly answers?: boolean; readonly concurrentStreamsMax?: number; readonly greets?: boolean } = {}): Rig {
  const { answers = true } = options;
  const pair = channelPair();
  const clock = new FakeClock();
  const heads: RequestHead[] = [];
  const errors: string[] = [];
  const resets: string[] = [];
  const limits = { ...MESH_HTTP_LIMITS, concurrentStreamsMax: options.concurrentStreamsMax ?? 100 };
  createHttp2ServerConnection(
    pair.server,
    { limits, clock },
    {
      onRequest(stream: ServerStream, head, endStream) {
        heads.push(head);
        const answer = (): void => {
          if (answers) stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/2" }, true);
        };
        stream.handler = {
          onData(_buffer, _start, _end, isEnd) {
            if (isEnd) answer();
          },
          onTrailers: answer,
          onReset: (reset) => resets.push(`${reset.kind} ${reset.detail}`),
          onDrain() {},
        };
        if (endStream) answer();
      },
      onCodecError: (error) => errors.push(`${error.status} ${error.details}`),
      onClose() {},
    },
  );
  return { peer: new Http2Peer(pair.client, { isClient: true, greets: options.greets }), clock, heads, errors, resets };
}

const MALFORMED = "rstStream 1 PROTOCOL_ERROR";

/** One request each: what comes back. */
const requests: readonly {
  readonly name: string;
  readonly fields: readonly (readonly [string, string])[];
  readonly want: string;
  readonly bare?: true;
}[] = [
  { name: "a good one", fields: [["accept", "*/*"]], want: "headers 1 :status=200 end" },
  { name: "te: trailers", fields: [["te", "trailers"]], want: "headers 1 :status=200 end" },
  { name: "te: gzip", fields: [["te", "gzip"]], want: MALFORMED },
  { name: "connection", fields: [["connection", "close"]], want: MALFORMED },
  { name: "transfer-encoding", fields: [["transfer-encoding", "chunked"]], want: MALFORMED },
  { name: "upgrade", fields: [["upgrade", "h2c"]], want: MALFORMED },
  { name: "http2-settings", fields: [["http2-settings", "AAMAAABk"]], want: MALFORMED },
  { name: "an upper-case name", fields: [["X-Thing", "1"]], want: MALFORMED },
  { name: "a name with a space", fields: [["x thing", "1"]], want: MALFORMED },
  { name: "a name with a colon inside", fields: [["x:thing", "1"]], want: MALFORMED },
  { name: "an empty name", fields: [["", "1"]], want: MALFORMED },
  { name: "CR LF in a value", fields: [["x-thing", "a\r\nb: c"]], want: MALFORMED },
  { name: "NUL in a value", fields: [["x-thing", "a\0b"]], want: MALFORMED },
  { name: "a space in front of a value", fields: [["x-thing", " a"]], want: MALFORMED },
  { name: "bytes above ASCII in a value", fields: [["x-thing", "\xff\x80"]], want: "headers 1 :status=200 end" },
  { name: "an unknown pseudo-header field", fields: [[":thing", "1"]], want: MALFORMED },
  { name: ":status", fields: [[":status", "200"]], want: MALFORMED },
  { name: "a second :path", fields: [[":path", "/b"]], want: MALFORMED },
  { name: ":protocol without CONNECT", fields: [[":protocol", "websocket"]], want: MALFORMED },
  {
    name: "a pseudo-header field behind a regular one",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GET"],
      [":scheme", "http"],
      ["a", "b"],
      [":path", "/"],
    ],
  },
  {
    name: "an empty :path",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", ""],
    ],
  },
  {
    name: "a :path without slash",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "a.B/C"],
    ],
  },
  {
    name: "a :path with a space",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/a b"],
    ],
  },
  {
    name: "no :method",
    bare: true,
    want: MALFORMED,
    fields: [
      [":scheme", "http"],
      [":path", "/"],
    ],
  },
  {
    name: "no :scheme",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GET"],
      [":path", "/"],
    ],
  },
  {
    name: "a bad :method",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GE T"],
      [":scheme", "http"],
      [":path", "/"],
    ],
  },
  {
    name: "CONNECT with :path",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "CONNECT"],
      [":path", "/"],
      [":authority", "a:1"],
    ],
  },
  { name: "CONNECT without :authority", bare: true, want: MALFORMED, fields: [[":method", "CONNECT"]] },
  {
    name: "CONNECT",
    bare: true,
    want: "headers 1 :status=200 end",
    fields: [
      [":method", "CONNECT"],
      [":authority", "a.example:443"],
    ],
  },
  {
    name: "user information in :authority",
    bare: true,
    want: MALFORMED,
    fields: [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "me@a.example"],
    ],
  },
  { name: "host that says the same", fields: [["host", "A.example"]], want: "headers 1 :status=200 end" },
  { name: "host that says otherwise", fields: [["host", "b.example"]], want: "headers 1 :status=400 end" },
  {
    name: "two host fields",
    fields: [
      ["host", "a.example"],
      ["host", "a.example"],
    ],
    want: "headers 1 :status=400 end",
  },
  { name: "content-length without a body", fields: [["content-length", "1"]], want: MALFORMED },
  {
    name: "two content-length that differ",
    fields: [
      ["content-length", "0"],
      ["content-length", "1"],
    ],
    want: MALFORMED,
  },
  { name: "a content-length that is no number", fields: [["content-length", "+1"]], want: MALFORMED },
  { name: "101 fields", fields: Array.from({ length: 97 }, (_, i) => [`x-${i}`, "1"] as const), want: "headers 1 :status=431 end" },
  { name: "100 fields", fields: Array.from({ length: 96 }, (_, i) => [`x-${i}`, "1"] as const), want: "headers 1 :status=200 end" },
];

for (const { name, fields, want, bare } of requests) {
  test(`a request with ${name}: ${want}`, async () => {
    const { peer, heads, errors } = serve();
    peer.send(frame("headers", BOTH, 1, bare ? block(fields) : requestBlock(...fields)));
    await settle();
    assert.deepEqual(peer.answers, [want]);
    const isServed = want.includes("200");
    assert.equal(heads.length, isServed ? 1 : 0);
    assert.equal(errors.length, isServed ? 0 : 1);
    peer.send(frame("headers", BOTH, 3, requestBlock()));
    await settle();
    assert.deepEqual(peer.answers.slice(1), ["headers 3 :status=200 end"], "the connection lives on");
  });
}

test("host is the authority where there is none, and never a header", async () => {
  const { peer, heads } = serve();
  peer.send(
    frame(
      "headers",
      BOTH,
      1,
      block([
        [":method", "GET"],
        [":scheme", "http"],
        [":path", "/"],
        ["host", "b.example"],
      ]),
    ),
  );
  peer.send(frame("headers", BOTH, 3, requestBlock(["host", "a.example"], ["x", "1"])));
  await settle();
  assert.deepEqual(
    heads.map((head) => [head.authority, head.headers.flat]),
    [
      ["b.example", []],
      ["a.example", ["x", "1"]],
    ],
  );
});

test("cookie crumbs are one field again", async () => {
  const { peer, heads } = serve();
  peer.send(frame("headers", BOTH, 1, requestBlock(["cookie", "a=1"], ["x", "1"], ["cookie", "b=2"], ["cookie", "c=3"])));
  await settle();
  assert.deepEqual(heads[0]?.headers.flat, ["cookie", "a=1; b=2; c=3", "x", "1"]);
});

test("a head of more than 60 KiB is 431, counted with 32 bytes a field", async () => {
  for (const [length, status] of [
    [30_600, "200"],
    [30_700, "431"],
  ] as const) {
    const { peer } = serve();
    const bytes = requestBlock(["x-a", "a".repeat(30_500)], ["x-b", "b".repeat(length)]);
    const parts = [bytes.subarray(0, 16_384), bytes.subarray(16_384, 32_768), bytes.subarray(32_768, 49_152), bytes.subarray(49_152)];
    peer.send(
      ...parts.map((part, i) =>
        frame(i === 0 ? "headers" : "continuation", (i === 0 ? END_STREAM : 0) | (i === 3 ? END_HEADERS : 0), 1, part),
      ),
    );
    await settle();
    assert.deepEqual(peer.answers, [`headers 1 :status=${status} end`]);
  }
});

const bodies: readonly { readonly name: string; readonly frames: readonly Buffer[]; readonly want: readonly string[] }[] = [
  { name: "shorter than content-length", frames: [frame("data", END_STREAM, 1, Buffer.alloc(4))], want: [MALFORMED] },
  { name: "longer than content-length", frames: [frame("data", 0, 1, Buffer.alloc(6))], want: [MALFORMED] },
  {
    name: "shorter, and trailers",
    frames: [frame("data", 0, 1, Buffer.alloc(4)), frame("headers", BOTH, 1, block([["a", "b"]]))],
    want: [MALFORMED],
  },
  { name: "as long as content-length", frames: [frame("data", END_STREAM, 1, Buffer.alloc(5))], want: ["headers 1 :status=200 end"] },
  {
    name: "as long, behind padding",
    frames: [frame("data", END_STREAM | 8, 1, Buffer.from("\x03hello\0\0\0"))],
    want: ["headers 1 :status=200 end"],
  },
  {
    name: "as long, and trailers",
    frames: [frame("data", 0, 1, Buffer.alloc(5)), frame("headers", BOTH, 1, block([["a", "b"]]))],
    want: ["headers 1 :status=200 end"],
  },
  {
    name: "followed by trailers with a pseudo-header field",
    frames: [frame("data", 0, 1, Buffer.alloc(5)), frame("headers", BOTH, 1, block([[":path", "/"]]))],
    want: [MALFORMED],
  },
  {
    name: "followed by trailers without END_STREAM",
    frames: [frame("data", 0, 1, Buffer.alloc(5)), frame("headers", END_HEADERS, 1, block([["a", "b"]]))],
    want: [MALFORMED],
  },
];

for (const { name, frames, want } of bodies) {
  test(`a body ${name}: ${want}`, async () => {
    const { peer } = serve();
    peer.send(frame("headers", END_HEADERS, 1, requestBlock(["content-length", "5"])), ...frames);
    await settle();
    assert.deepEqual(peer.answers, want);
  });
}

test("frames cut anywhere are the same frames", async () => {
  const bytes = Buffer.concat([
    frame("headers", END_HEADERS, 1, requestBlock(["content-length", "5"])),
    frame("data", 8, 1, Buffer.from("\x02he\0\0")),
    frame("data", 0, 1, Buffer.from("llo")),
    frame("data", END_STREAM, 1),
    frame("headers", 0, 3, requestBlock().subarray(0, 10)),
    frame("continuation", END_HEADERS, 3, requestBlock().subarray(10)),
    frame("data", END_STREAM | 8, 3, Buffer.from("\x01\0")),
  ]);
  for (let size = 1; size < 40; size++) {
    const { peer } = serve();
    await settle();
    for (let at = 0; at < bytes.length; at += size) {
      peer.send(bytes.subarray(at, at + size));
      await settle();
    }
    assert.deepEqual(peer.answers, ["headers 1 :status=200 end", "headers 3 :status=200 end"], `pieces of ${size}`);
  }
});

test("more streams than allowed are refused, to be sent again", async () => {
  const { peer, heads } = serve({ answers: false, concurrentStreamsMax: 2 });
  for (const id of [1, 3, 5]) peer.send(frame("headers", BOTH, id, requestBlock()));
  await settle();
  assert.deepEqual(peer.answers, ["rstStream 5 REFUSED_STREAM"]);
  assert.equal(heads.length, 2);
});

test("an answer waits for the window, and a window of nothing changes nothing", async () => {
  const { peer, heads } = serve();
  peer.send(frame("headers", BOTH, 1, requestBlock()), frame("windowUpdate", 0, 1, words(0)));
  await settle();
  assert.equal(heads.length, 1);
  assert.deepEqual(peer.answers, ["headers 1 :status=200 end", "rstStream 1 PROTOCOL_ERROR"]);
});

// ---- Attacks: each sends its unit until the server has enough.

const UNITS_MAX = 2000;
const empty = frame("data", 0, 1);

const attacks: readonly {
  readonly name: string;
  readonly unitsMax?: number;
  readonly before?: Buffer;
  readonly unit: (i: number) => Buffer;
  readonly answers?: boolean;
  readonly served?: number;
}[] = [
  {
    name: "rapid reset",
    unitsMax: 200,
    answers: false,
    served: 200,
    unit: (i) => Buffer.concat([frame("headers", BOTH, 2 * i + 1, requestBlock()), frame("rstStream", 0, 2 * i + 1, words(8))]),
  },
  {
    name: "resets that the server is made to send, by a window of nothing",
    unitsMax: 200,
    answers: false,
    served: 200,
    unit: (i) => Buffer.concat([frame("headers", BOTH, 2 * i + 1, requestBlock()), frame("windowUpdate", 0, 2 * i + 1, words(0))]),
  },
  {
    name: "resets that the server is made to send, by DATA after the end",
    unitsMax: 200,
    answers: false,
    served: 200,
    unit: (i) => Buffer.concat([frame("headers", BOTH, 2 * i + 1, requestBlock()), frame("data", 0, 2 * i + 1, Buffer.from("x"))]),
  },
  { name: "malformed requests", unitsMax: 200, served: 0, unit: (i) => frame("headers", BOTH, 2 * i + 1, requestBlock(["te", "x"])) },
  {
    name: "heads that are too large",
    served: 0,
    unit: (i) => frame("headers", BOTH, 2 * i + 1, requestBlock(...Array.from({ length: 100 }, () => ["a", "b"] as const))),
  },
  {
    name: "CONTINUATION without end",
    unitsMax: 10,
    served: 0,
    before: frame("headers", 0, 1, requestBlock()),
    unit: () => frame("continuation", 0, 1, block([["a", "b"]])),
  },
  {
    name: "CONTINUATION of nothing",
    unitsMax: 10,
    served: 0,
    before: frame("headers", 0, 1, requestBlock()),
    unit: () => frame("continuation", 0, 1),
  },
  { name: "PING", unit: () => frame("ping", 0, 0, Buffer.alloc(8)) },
  { name: "PING ACK", unit: () => frame("ping", 1, 0, Buffer.alloc(8)) },
  { name: "SETTINGS", unit: () => frame("settings", 0, 0) },
  { name: "SETTINGS ACK", unit: () => frame("settings", 1, 0) },
  { name: "SETTINGS that change windows", unit: (i) => frame("settings", 0, 0, Buffer.from([0, 4, 0, 0, i & 255, 0])) },
  { name: "PRIORITY", unit: (i) => frame("priority", 0, 2 * i + 1, Buffer.alloc(5)) },
  { name: "empty DATA", before: frame("headers", END_HEADERS, 1, requestBlock()), served: 1, unit: () => empty },
  {
    name: "DATA of nothing but padding",
    before: frame("headers", END_HEADERS, 1, requestBlock()),
    served: 1,
    unit: () => frame("data", 8, 1, Buffer.from([0])),
  },
  {
    name: "DATA for a stream that is done",
    before: frame("headers", BOTH, 1, requestBlock()),
    served: 1,
    unit: () => frame("data", 0, 1, Buffer.alloc(10)),
  },
  { name: "WINDOW_UPDATE", unit: () => frame("windowUpdate", 0, 0, words(1)) },
  {
    name: "WINDOW_UPDATE for a stream",
    before: frame("headers", END_HEADERS, 1, requestBlock()),
    served: 1,
    unit: () => frame("windowUpdate", 0, 1, words(1)),
  },
  {
    name: "RST_STREAM for a stream that is done",
    before: frame("headers", BOTH, 1, requestBlock()),
    served: 1,
    unit: () => frame("rstStream", 0, 1, words(8)),
  },
  { name: "frames of unknown types", unit: () => frame(99, 0, 0, Buffer.alloc(3)) },
  { name: "GOAWAY", unit: () => frame("goaway", 0, 0, words(0, 0)) },
  {
    name: "streams above the limit",
    answers: false,
    before: Buffer.concat(Array.from({ length: 100 }, (_, i) => frame("headers", BOTH, 2 * i + 1, requestBlock()))),
    served: 100,
    unit: (i) => frame("headers", BOTH, 2 * i + 201, requestBlock()),
  },
];

for (const { name, unitsMax = UNITS_MAX, before, unit, answers, served } of attacks) {
  test(`attack: ${name} ends the connection within ${unitsMax} units`, async () => {
    const { peer, heads } = serve({ answers });
    if (before) peer.send(before);
    await settle();
    let sent = 0;
    const isOver = (): boolean => peer.seen.some((line) => line.startsWith("goaway"));
    while (!isOver() && sent < 20_000) {
      for (let i = 0; i < 10; i++) peer.send(unit(sent++));
      await settle();
    }
    assert.ok(sent <= unitsMax + 10, `${sent} units were taken`);
    assert.ok(
      peer.seen.some((line) => /^goaway \d+ ENHANCE_YOUR_CALM$/.test(line)),
      peer.seen.slice(-3).join(),
    );
    assert.ok(heads.length <= (served ?? 0), `${heads.length} requests were served`);
  });
}

test("attack: a client that never reads the answers to its PINGs is closed", async () => {
  const { peer } = serve();
  peer.channel.pause();
  // Excused by much DATA, as the PINGs of a client that measures the path are; still it must read.
  for (let i = 0; i < 400; i++)
    peer.send(
      ...Array.from({ length: 100 }, (_, k) => frame("headers", BOTH, 2 * (i * 100 + k) + 1, requestBlock())),
      ...Array.from({ length: 350 }, () => frame("ping", 0, 0, Buffer.alloc(8))),
    );
  await settle();
  await settle();
  peer.channel.resume();
  await settle();
  assert.ok(peer.seen.includes("goaway") || peer.seen.some((line) => /^(goaway|closed|end)/.test(line)));
});

const honest: readonly { readonly name: string; readonly unit: (i: number) => Buffer; readonly pauseMs: number }[] = [
  {
    name: "cancels requests that take longer than a moment",
    pauseMs: 300,
    unit: (i) =>
      Buffer.concat([
        frame("headers", BOTH, 2 * i + 1, requestBlock()),
        i > 0 ? frame("rstStream", 0, 2 * i - 1, words(8)) : Buffer.alloc(0),
      ]),
  },
  { name: "sends a PING now and then", pauseMs: 20, unit: () => frame("ping", 0, 0, Buffer.alloc(8)) },
];

for (const { name, unit, pauseMs } of honest) {
  test(`a client that ${name} is served on`, async () => {
    const { peer, clock } = serve({ answers: false });
    for (let i = 0; i < 1500; i++) {
      peer.send(unit(i));
      await clock.advance(pauseMs);
    }
    assert.deepEqual(
      peer.seen.filter((line) => /goaway|closed/.test(line)),
      [],
    );
  });
}

test("a client that resets some of many requests at once is served on", async () => {
  const { peer } = serve();
  let id = 1;
  for (let i = 0; i < 500; i++) {
    for (let k = 0; k < 3; k++, id += 2) peer.send(frame("headers", BOTH, id, requestBlock()));
    peer.send(frame("headers", END_HEADERS, id, requestBlock()), frame("rstStream", 0, id, words(8)));
    id += 2;
    await settle();
  }
  assert.deepEqual(
    peer.seen.filter((line) => /goaway|closed/.test(line)),
    [],
  );
});

test("what is no HTTP/2 is told so", async () => {
  const { peer, errors } = serve({ greets: false });
  peer.channel.writeLatin1("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  await settle();
  assert.ok(peer.seen.includes("goaway 0 PROTOCOL_ERROR"));
  assert.deepEqual(errors, ["400 http2.protocol_error"]);
});
