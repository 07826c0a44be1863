import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeChannel } from "../../../test/kit/fake-channel.ts";
import { settle } from "../../../test/kit/fake-clock.ts";
import { HeaderList } from "../http/headers.ts";
import {
  type ClientConnection,
  type ClientStream,
  type ClientStreamHandler,
  MESH_HTTP_LIMITS,
  type RequestHead,
  type ResponseHead,
} from "../http/stream.ts";
import { createHttp1ClientConnection } from "./client-connection.ts";

/** A response as its owner saw it, as text: "200 name value {body} +trailers !reset", "..." while it goes on. */
class SeenResponse implements ClientStreamHandler {
  readonly informational: number[] = [];
  head: ResponseHead | undefined;
  body = "";
  isOver = false;
  trailers: string | undefined;
  reset: string | undefined;
  drains = 0;

  onInformational(head: ResponseHead): void {
    assert.equal(this.head, undefined);
    this.informational.push(head.status);
  }

  onResponse(head: ResponseHead, endStream: boolean): void {
    assert.equal(this.head, undefined, "two heads");
    this.head = head;
    this.isOver = endStream;
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    assert.ok(this.head && !this.isOver && this.reset === undefined, "data at a wrong time");
    this.body += buffer.toString("latin1", start, end);
    this.isOver = endStream;
  }

  onTrailers(trailers: HeaderList): void {
    assert.equal(this.isOver, false);
    this.isOver = true;
    this.trailers = trailers.flat.join(" ");
  }

  onReset(reset: { kind: string; detail: string }): void {
    assert.equal(this.reset, undefined);
    assert.equal(this.isOver, false, "reset after the end");
    this.reset = reset.kind;
  }

  onDrain(): void {
    this.drains += 1;
  }

  get text(): string {
    const parts = this.informational.map(String);
    if (this.head) parts.push(String(this.head.status), ...this.head.headers.flat);
    if (this.body) parts.push(`{${this.body}}`);
    if (this.trailers !== undefined) parts.push(`+${this.trailers}`);
    if (this.reset) parts.push(`!${this.reset}`);
    else if (!this.isOver) parts.push("...");
    return parts.join(" ");
  }
}

class Client {
  readonly channel = new FakeChannel();
  readonly connection: ClientConnection;
  readonly events: string[] = [];

  constructor() {
    this.connection = createHttp1ClientConnection(
      this.channel,
      { limits: MESH_HTTP_LIMITS },
      {
        onAvailable: () => this.events.push("available"),
        onDraining: () => this.events.push("draining"),
        onClose: () => this.events.push("close"),
      },
    );
  }

  send(head: Partial<RequestHead> = {}, endStream = true): { readonly stream: ClientStream; readonly seen: SeenResponse } {
    const seen = new SeenResponse();
    const stream = this.connection.openStream(request(head), endStream, seen);
    return { stream, seen };
  }
}

function request(head: Partial<RequestHead>): RequestHead {
  return {
    method: "GET",
    path: "/",
    authority: "a",
    scheme: "http",
    headers: new HeaderList(),
    version: "HTTP/1.1",
    upgrade: undefined,
    ...head,
  };
}

function fields(...flat: string[]): HeaderList {
  return new HeaderList(flat);
}

interface Written {
  readonly name: string;
  readonly head: Partial<RequestHead>;
  readonly body?: readonly string[];
  readonly trailers?: readonly string[];
  readonly bytes: string;
}

const written: readonly Written[] = [
  { name: "a GET has no length", head: {}, bytes: "GET / HTTP/1.1\r\nhost: a\r\n\r\n" },
  {
    name: "a GET with a body has one framing",
    head: {},
    body: ["x"],
    bytes: "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
  },
  { name: "a POST of nothing says so", head: { method: "POST" }, bytes: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n" },
  { name: "so does PUT", head: { method: "PUT" }, bytes: "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n" },
  { name: "so does PATCH", head: { method: "PATCH" }, bytes: "PATCH / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n" },
  { name: "DELETE need not", head: { method: "DELETE" }, bytes: "DELETE / HTTP/1.1\r\nhost: a\r\n\r\n" },
  {
    name: "a known length stays",
    head: { method: "POST", headers: fields("content-length", "3") },
    body: ["a", "bc"],
    bytes: "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
  },
  {
    name: "a length that promises bytes which never come",
    head: { headers: fields("content-length", "3") },
    bytes: "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
  },
  {
    name: "two lengths",
    head: { method: "POST", headers: fields("content-length", "1", "content-length", "1") },
    body: ["a"],
    bytes: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
  },
  {
    name: "trailers",
    head: { method: "POST" },
    body: ["a"],
    trailers: ["x", "1"],
    bytes: "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: 1\r\n\r\n",
  },
  {
    name: "fields in order, names in lower case",
    head: { headers: fields("X-B", "2", "x-a", "1") },
    bytes: "GET / HTTP/1.1\r\nhost: a\r\nx-b: 2\r\nx-a: 1\r\n\r\n",
  },
  {
    name: "te: trailers alone",
    head: { headers: fields("te", "trailers", "te", "gzip") },
    bytes: "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n",
  },
  {
    name: "fields of the connection are the codec's own",
    head: {
      headers: fields(
        "host",
        "b",
        "connection",
        "close",
        "transfer-encoding",
        "chunked",
        "upgrade",
        "h2c",
        "http2-settings",
        "x",
        "keep-alive",
        "1",
      ),
    },
    bytes: "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
  },
  {
    name: "what could end a line is not written",
    head: { headers: fields("x", "1\r\ny: 2", "z\n", "3", "ok", "4") },
    bytes: "GET / HTTP/1.1\r\nhost: a\r\nok: 4\r\n\r\n",
  },
  { name: "an empty authority", head: { authority: "" }, bytes: "GET / HTTP/1.1\r\nhost: \r\n\r\n" },
  {
    name: "an upgrade",
    head: { upgrade: "websocket", headers: fields("sec-websocket-key", "k") },
    bytes: "GET / HTTP/1.1\r\nhost: a\r\nsec-websocket-key: k\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
  },
  { name: "CONNECT", head: { method: "CONNECT", path: "", authority: "b:1" }, bytes: "CONNECT b:1 HTTP/1.1\r\nhost: b:1\r\n\r\n" },
  {
    name: "OPTIONS of the server",
    head: { method: "OPTIONS", path: "*" },
    bytes: "OPTIONS * HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
  },
];

for (const { name, head, body, trailers, bytes } of written) {
  test(`a request as written: ${name}`, () => {
    const client = new Client();
    const isTunnel = head.upgrade !== undefined || head.method === "CONNECT";
    const { stream } = client.send(head, body === undefined && !isTunnel);
    for (const [i, part] of (body ?? []).entries()) {
      const data = Buffer.from(part, "latin1");
      stream.writeData(data, 0, data.length, trailers === undefined && i === (body?.length ?? 0) - 1);
    }
    if (trailers) stream.writeTrailers(new HeaderList([...trailers]));
    assert.equal(client.channel.take(), bytes);
    assert.equal(client.connection.availableStreams, 0);
  });
}

const unwritable: readonly { readonly name: string; readonly head: Partial<RequestHead> }[] = [
  { name: "a path with a space", head: { path: "/a b" } },
  { name: "a path with CRLF", head: { path: "/ HTTP/1.1\r\nx: y" } },
  { name: "an empty path", head: { path: "" } },
  { name: "a method with a space", head: { method: "GET /x" } },
  { name: "an empty method", head: { method: "" } },
  { name: "an authority with CRLF", head: { authority: "a\r\nx: y" } },
  { name: "an upgrade with CRLF", head: { upgrade: "a\r\nx: y" } },
];

for (const { name, head } of unwritable) {
  test(`never written: ${name}`, async () => {
    const client = new Client();
    const { seen } = client.send(head);
    assert.equal(seen.reset, undefined, "not from inside openStream");
    await settle();
    assert.equal(seen.reset, "local-reset");
    assert.equal(client.channel.take(), "");
    assert.equal(client.channel.isOpen, false);
  });
}

interface Read {
  readonly name: string;
  readonly method?: string;
  readonly upgrade?: string;
  readonly bytes: string;
  readonly sees: string;
  /** Whether the connection may be used again. */
  readonly reusable?: boolean;
  /** Then the server ends. */
  readonly ends?: boolean;
}

const OK = "HTTP/1.1 200 OK\r\n";
const CH = `${OK}transfer-encoding: chunked\r\n\r\n`;

/** Each row is also split at every byte. */
const responses: readonly Read[] = [
  {
    name: "a body by length",
    bytes: `${OK}Content-Length: 5\r\nX-A:  b \r\n\r\nhello`,
    sees: "200 content-length 5 x-a b {hello}",
    reusable: true,
  },
  { name: "an empty body", bytes: `${OK}Content-Length: 0\r\n\r\n`, sees: "200 content-length 0", reusable: true },
  { name: "chunks", bytes: `${CH}2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n`, sees: "200 {hello}", reusable: true },
  { name: "chunks with trailers", bytes: `${CH}2\r\nhe\r\n0\r\ngrpc-status: 0\r\n\r\n`, sees: "200 {he} +grpc-status 0", reusable: true },
  { name: "no reason", bytes: "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", sees: "200 content-length 0", reusable: true },
  { name: "an empty reason", bytes: "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", sees: "200 content-length 0", reusable: true },
  { name: "204 has no body", bytes: "HTTP/1.1 204 No Content\r\n\r\n", sees: "204", reusable: true },
  {
    name: "304 has no body, whatever its length",
    bytes: "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
    sees: "304 content-length 5",
    reusable: true,
  },
  {
    name: "HEAD has no body, whatever its length",
    method: "HEAD",
    bytes: `${OK}content-length: 5\r\n\r\n`,
    sees: "200 content-length 5",
    reusable: true,
  },
  { name: "HEAD has no chunks", method: "HEAD", bytes: CH, sees: "200", reusable: true },
  {
    name: "100 and 103 first",
    bytes: `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n${OK}content-length: 1\r\n\r\nx`,
    sees: "100 103 200 content-length 1 {x}",
    reusable: true,
  },
  { name: "the server closes", bytes: `${OK}Connection: close\r\nContent-Length: 1\r\n\r\nx`, sees: "200 content-length 1 {x}" },
  { name: "HTTP/1.0 closes", bytes: "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", sees: "200 content-length 1 {x}" },
  {
    name: "HTTP/1.0 that stays",
    bytes: "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx",
    sees: "200 content-length 1 {x}",
    reusable: true,
  },
  { name: "a body that the close ends", bytes: `${OK}\r\nhello`, ends: true, sees: "200 {hello}" },
  { name: "an empty body that the close ends", bytes: `${OK}\r\n`, ends: true, sees: "200" },
  { name: "a body that the close ends is not over before", bytes: `${OK}\r\nhello`, sees: "200 {hello} ..." },
  {
    name: "fields of the connection are taken out",
    bytes: `${OK}Connection: keep-alive, x-drop\r\nKeep-Alive: 5\r\nX-Drop: 1\r\nUpgrade: h2c\r\nProxy-Connection: x\r\ncontent-length: 0\r\n\r\n`,
    sees: "200 content-length 0",
    reusable: true,
  },
  {
    name: "connection cannot strip cookies",
    bytes: `${OK}Connection: set-cookie, content-length\r\nset-cookie: 1\r\ncontent-length: 0\r\n\r\n`,
    sees: "200 set-cookie 1 content-length 0",
    reusable: true,
  },
  {
    name: "bytes behind the response are nobody's",
    bytes: `${OK}content-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison`,
    sees: "200 content-length 2 {ok}",
  },
  { name: "a body behind HEAD is nobody's", method: "HEAD", bytes: `${OK}content-length: 2\r\n\r\nok`, sees: "200 content-length 2" },
  { name: "a body behind 204 is nobody's", bytes: "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok", sees: "204 content-length 2" },
  { name: "the server ends before the head", bytes: "HTTP/1.1 200 O", ends: true, sees: "!connection-closed" },
  { name: "the server ends without a byte", bytes: "", ends: true, sees: "!connection-closed" },
  {
    name: "the server ends within the body",
    bytes: `${OK}content-length: 5\r\n\r\nab`,
    ends: true,
    sees: "200 content-length 5 {ab} !connection-closed",
  },
  { name: "the server ends within the chunks", bytes: `${CH}5\r\nab`, ends: true, sees: "200 {ab} !connection-closed" },
  { name: "the server ends before the last chunk", bytes: `${CH}2\r\nab\r\n`, ends: true, sees: "200 {ab} !connection-closed" },
  { name: "length and chunks", bytes: `${OK}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`, sees: "!protocol-error" },
  { name: "two lengths", bytes: `${OK}content-length: 3\r\ncontent-length: 4\r\n\r\nabc`, sees: "!protocol-error" },
  { name: "two equal lengths", bytes: `${OK}content-length: 3\r\ncontent-length: 3\r\n\r\nabc`, sees: "!protocol-error" },
  { name: "a length that is none", bytes: `${OK}content-length: 3a\r\n\r\nabc`, sees: "!protocol-error" },
  { name: "another transfer-encoding", bytes: `${OK}transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, sees: "!protocol-error" },
  { name: "chunks in HTTP/1.0", bytes: "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", sees: "!protocol-error" },
  {
    name: "101 that was not asked for",
    bytes: "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    sees: "!protocol-error",
  },
  {
    name: "101 to another protocol",
    upgrade: "websocket",
    bytes: "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    sees: "!protocol-error",
  },
  { name: "101 that names none", upgrade: "websocket", bytes: "HTTP/1.1 101 Switching Protocols\r\n\r\n", sees: "!protocol-error" },
  { name: "1xx without end", bytes: "HTTP/1.1 100 Continue\r\n\r\n".repeat(17), sees: `${"100 ".repeat(16)}!protocol-error` },
  { name: "1xx with a body", bytes: "HTTP/1.1 103 Early Hints\r\ncontent-length: 3\r\n\r\nabc", sees: "!protocol-error" },
  { name: "bare LF", bytes: "HTTP/1.1 200 OK\ncontent-length: 0\n\n", sees: "!protocol-error" },
  { name: "bare LF behind a field", bytes: `${OK}content-length: 0\n\r\n`, sees: "!protocol-error" },
  { name: "a folded value", bytes: `${OK}x: a\r\n b\r\n\r\n`, sees: "!protocol-error" },
  { name: "space before the colon", bytes: `${OK}content-length : 0\r\n\r\n`, sees: "!protocol-error" },
  { name: "NUL in a value", bytes: `${OK}x: \0\r\n\r\n`, sees: "!protocol-error" },
  { name: "a status of two digits", bytes: "HTTP/1.1 20 OK\r\n\r\n", sees: "!protocol-error" },
  { name: "a status of four digits", bytes: "HTTP/1.1 2000 OK\r\n\r\n", sees: "!protocol-error" },
  { name: "a status below 100", bytes: "HTTP/1.1 099 OK\r\n\r\n", sees: "!protocol-error" },
  { name: "HTTP/2.0", bytes: "HTTP/2.0 200 OK\r\n\r\n", sees: "!protocol-error" },
  { name: "what is no HTTP", bytes: "SSH-2.0-OpenSSH_9.2\r\n", sees: "!protocol-error" },
  { name: "a broken chunk", bytes: `${CH}2\r\nabc\r\n`, sees: "200 {ab} !protocol-error" },
  { name: "a head beyond the limit", bytes: `${OK}x: ${"y".repeat(62 * 1024)}\r\n\r\n`, sees: "!protocol-error" },
  { name: "too many fields", bytes: `${OK}${"x: 1\r\n".repeat(101)}\r\n`, sees: "!protocol-error" },
];

for (const { name, method, upgrade, bytes, sees, reusable, ends } of responses) {
  test(`a response: ${name}, however it is split`, async () => {
    const step = Math.max(1, Math.floor(bytes.length / 100));
    for (let split = 0; split <= Math.max(0, bytes.length - 1); split += step) {
      const client = new Client();
      const { seen } = client.send({ method: method ?? "GET", upgrade });
      client.channel.take();
      if (split > 0) client.channel.feed(bytes.slice(0, split));
      if (bytes.length > split) client.channel.feed(bytes.slice(split));
      if (ends && client.channel.isOpen) client.channel.handler.onEnd();
      // Chunk by chunk or at once: what was seen joins to the same.
      assert.equal(seen.text, sees, `split at ${split}`);
      assert.equal(client.connection.availableStreams, reusable ? 1 : 0, `split at ${split}`);
      if (sees.endsWith("...")) continue;
      await settle();
      assert.deepEqual(client.events.at(-1), reusable ? "available" : "close", `split at ${split}`);
      assert.equal(client.connection.activeStreams, 0);
    }
  });
}

test("one connection serves one request after another, and says that it did", () => {
  const client = new Client();
  assert.equal(client.connection.isReused, false);
  for (let i = 0; i < 3; i++) {
    const { seen } = client.send({ path: `/${i}` });
    assert.equal(client.connection.availableStreams, 0);
    assert.throws(() => client.send());
    client.channel.feed(`${OK}content-length: 1\r\n\r\n${i}`);
    assert.equal(seen.body, String(i));
    assert.equal(client.connection.isReused, true);
  }
  assert.deepEqual(client.events, ["available", "available", "available"]);
});

test("bytes without a request close the connection, before any request can take them for its answer", async () => {
  const client = new Client();
  client.channel.feed(`${OK}content-length: 0\r\n\r\n`);
  assert.equal(client.connection.availableStreams, 0);
  assert.equal(client.channel.isOpen, false);
  await settle();
  assert.deepEqual(client.events, ["draining", "close"]);
});

test("an answer before the request is over: it is delivered, and the connection not used again", async () => {
  const client = new Client();
  const { stream, seen } = client.send({ method: "POST" }, false);
  stream.writeData(Buffer.from("abc"), 0, 3, false);
  client.channel.feed(`HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n`);
  assert.equal(seen.text, "413 content-length 0");
  client.channel.take();
  stream.writeData(Buffer.from("def"), 0, 3, true);
  assert.equal(client.channel.take(), "");
  await settle();
  assert.equal(client.channel.isOpen, false);
});

test("a body that is not as long as it said resets the stream", async () => {
  for (const body of ["ab", "abcd"]) {
    const client = new Client();
    const { stream, seen } = client.send({ method: "POST", headers: fields("content-length", "3") }, false);
    stream.writeData(Buffer.from(body), 0, body.length, true);
    assert.equal(client.channel.take().split("\r\n\r\n")[1], body.slice(0, 3));
    await settle();
    assert.equal(seen.reset, "local-reset");
    assert.equal(client.channel.isOpen, false);
  }
});

test("101 opens a tunnel both ways, which ends half by half", async () => {
  const client = new Client();
  const { stream, seen } = client.send({ upgrade: "websocket" }, false);
  client.channel.take();
  stream.writeData(Buffer.from("too early"), 0, 9, false);
  assert.equal(client.channel.take(), "", "nothing before 101");
  client.channel.feed(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nsec-websocket-accept: x\r\n\r\nfirst",
  );
  assert.equal(seen.text, "101 sec-websocket-accept x {first} ...");
  stream.writeData(Buffer.from("up"), 0, 2, false);
  assert.equal(client.channel.take(), "up");
  assert.equal(client.connection.availableStreams, 0);
  stream.writeData(Buffer.from("last"), 0, 4, true);
  assert.equal(client.channel.take(), "last");
  assert.equal(client.channel.isEnded, true);
  client.channel.feed("more");
  client.channel.handler.onEnd();
  assert.equal(seen.text, "101 sec-websocket-accept x {firstmore}");
  client.channel.handler.onClose({ code: undefined, message: "closed" });
  assert.equal(seen.reset, undefined);
});

test("an upgrade that is refused is a plain answer, and the connection goes on", () => {
  const client = new Client();
  const { stream, seen } = client.send({ upgrade: "websocket" }, false);
  client.channel.take();
  client.channel.feed(`${OK}content-length: 2\r\n\r\nno`);
  assert.equal(seen.text, "200 content-length 2 {no}");
  stream.writeData(Buffer.from("GET /smuggled HTTP/1.1\r\n\r\n"), 0, 26, false);
  assert.equal(client.channel.take(), "");
  assert.equal(client.connection.availableStreams, 1);
});

test("CONNECT is a tunnel after 2xx", () => {
  const client = new Client();
  const { seen } = client.send({ method: "CONNECT", path: "", authority: "b:1" }, false);
  client.channel.feed(`${OK}content-length: 9\r\n\r\nbytes`);
  assert.equal(seen.text, "200 content-length 9 {bytes} ...");
});

test("draining: an open stream goes on, then the connection closes; an idle one closes at once", async () => {
  const client = new Client();
  const { seen } = client.send();
  client.connection.drain();
  assert.equal(client.channel.isOpen, true);
  client.channel.feed(`${OK}content-length: 2\r\n\r\nok`);
  assert.equal(seen.body, "ok");
  await settle();
  assert.deepEqual(client.events, ["draining", "close"]);
  const idle = new Client();
  idle.connection.drain();
  assert.equal(idle.connection.availableStreams, 0);
  await settle();
  assert.deepEqual(idle.events, ["draining", "close"]);
});

test("a connection that breaks resets its stream with the system's code, once", async () => {
  const client = new Client();
  const { seen } = client.send();
  let detail = "";
  seen.onReset = (reset) => {
    detail += `${reset.kind} ${reset.detail}`;
  };
  client.channel.isOpen = false;
  client.channel.handler.onClose({ code: "ECONNRESET", message: "read ECONNRESET" });
  await settle();
  assert.equal(detail, "connection-closed ECONNRESET");
  assert.deepEqual(client.events, ["close"]);
});

test("reset by the owner closes the connection and tells the stream nothing", async () => {
  const client = new Client();
  const { stream, seen } = client.send();
  stream.reset();
  client.channel.feed(`${OK}content-length: 0\r\n\r\n`);
  await settle();
  assert.equal(seen.text, "...");
  assert.deepEqual(client.events, ["draining", "close"]);
});

test("reset from inside an event ends the reading there", () => {
  const client = new Client();
  const { stream, seen } = client.send();
  const onResponse = seen.onResponse.bind(seen);
  seen.onResponse = (head, endStream) => {
    onResponse(head, endStream);
    stream.reset();
  };
  client.channel.feed(`${CH}2\r\nab\r\n0\r\n\r\n`);
  assert.equal(seen.text, "200 ...");
});

test("pausing is the channel's, and does not outlive its stream", () => {
  const client = new Client();
  const { stream } = client.send();
  client.channel.feed(`${OK}content-length: 4\r\n\r\nab`);
  stream.pauseReading();
  assert.equal(client.channel.isPaused, true);
  client.channel.feed("cd");
  assert.equal(client.channel.isPaused, false);
  stream.pauseReading();
  assert.equal(client.channel.isPaused, false);
});
