import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeChannel } from "../../../test/kit/fake-channel.ts";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { HeaderList } from "../http/headers.ts";
import { MESH_HTTP_LIMITS, type RequestHead, type ServerConnection, type ServerStream, type StreamHandler } from "../http/stream.ts";
import { createHttp1ServerConnection, type Http1ServerOptions } from "./server-connection.ts";

/** A request as its owner saw it. */
class SeenRequest implements StreamHandler {
  readonly stream: ServerStream;
  readonly head: RequestHead;
  body = "";
  isOver: boolean;
  trailers: string | undefined;
  reset: string | undefined;
  drains = 0;

  constructor(stream: ServerStream, head: RequestHead, endStream: boolean) {
    this.stream = stream;
    this.head = head;
    this.isOver = endStream;
    stream.handler = this;
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    assert.equal(this.isOver, false, "data after the end");
    assert.equal(this.reset, undefined, "data after a reset");
    this.body += buffer.toString("latin1", start, end);
    this.isOver = endStream;
  }

  onTrailers(trailers: HeaderList): void {
    assert.equal(this.isOver, false);
    this.isOver = true;
    this.trailers = trailers.flat.join(" ");
  }

  onReset(reset: { kind: string; detail: string }): void {
    assert.equal(this.reset, undefined, "reset twice");
    this.reset = `${reset.kind}: ${reset.detail}`;
  }

  onDrain(): void {
    this.drains += 1;
  }

  /** "GET /path host [headers] body" */
  get text(): string {
    const { method, path, authority, headers, upgrade } = this.head;
    const parts = [method, path, authority, ...headers.flat.map((value) => value)];
    if (upgrade) parts.push(`^${upgrade}`);
    if (this.body) parts.push(`{${this.body}}`);
    if (this.trailers !== undefined) parts.push(`+${this.trailers}`);
    if (!this.isOver) parts.push("...");
    if (this.reset) parts.push(`!${this.reset}`);
    return parts.join(" ");
  }
}

class Server {
  readonly channel = new FakeChannel();
  readonly clock = new FakeClock();
  readonly requests: SeenRequest[] = [];
  readonly errors: string[] = [];
  readonly connection: ServerConnection;
  closes = 0;
  /** Called with each request. */
  answer: ((request: SeenRequest) => void) | undefined;

  constructor(options: Partial<Http1ServerOptions> = {}) {
    this.connection = createHttp1ServerConnection(
      this.channel,
      { limits: MESH_HTTP_LIMITS, clock: this.clock, ...options },
      {
        onRequest: (stream, head, endStream) => {
          const request = new SeenRequest(stream, head, endStream);
          this.requests.push(request);
          this.answer?.(request);
        },
        onCodecError: ({ status, details }) => {
          this.errors.push(`${status} ${details}`);
        },
        onClose: () => {
          this.closes += 1;
        },
      },
    );
  }

  get last(): SeenRequest {
    const request = this.requests.at(-1);
    assert.ok(request, "no request");
    return request;
  }
}

function answerEmpty(request: SeenRequest): void {
  request.stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/1.1" }, true);
}

const H = "Host: a\r\n";
const P = `POST / HTTP/1.1\r\n${H}`;
const CHUNKED = `${P}Transfer-Encoding: chunked\r\n\r\n`;
const EMPTY = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/** What is taken, and what the owner sees of it. Each row is also split at every byte. */
const good: readonly { readonly name: string; readonly bytes: string; readonly sees: readonly string[]; readonly http10?: boolean }[] = [
  { name: "a plain GET", bytes: `GET / HTTP/1.1\r\n${H}\r\n`, sees: ["GET / a"] },
  {
    name: "names in lower case, values trimmed",
    bytes: `GET /x?y HTTP/1.1\r\nHOST:  a:80\t \r\nX-Foo:\t b c \r\n\r\n`,
    sees: ["GET /x?y a:80 x-foo b c"],
  },
  { name: "an empty value", bytes: `GET / HTTP/1.1\r\n${H}X:\r\n\r\n`, sees: ["GET / a x "] },
  { name: "latin1 in values", bytes: `GET / HTTP/1.1\r\n${H}x: \xe9\xff\r\n\r\n`, sees: ["GET / a x \xe9\xff"] },
  { name: "one empty line before the request", bytes: `\r\nGET / HTTP/1.1\r\n${H}\r\n`, sees: ["GET / a"] },
  { name: "a field on two lines stays two", bytes: `GET / HTTP/1.1\r\n${H}a: 1\r\nA: 2\r\n\r\n`, sees: ["GET / a a 1 a 2"] },
  { name: "a method of one's own", bytes: `M-SEARCH * HTTP/1.1\r\n${H}\r\n`.replace("*", "/"), sees: ["M-SEARCH / a"] },
  { name: "methods keep their case", bytes: `get / HTTP/1.1\r\n${H}\r\n`, sees: ["get / a"] },
  { name: "an empty host", bytes: `GET / HTTP/1.1\r\nHost:\r\n\r\n`, sees: ["GET / "] },
  { name: "an IPv6 host", bytes: `GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n`, sees: ["GET / [::1]:80"] },
  { name: "OPTIONS of the server", bytes: `OPTIONS * HTTP/1.1\r\n${H}\r\n`, sees: ["OPTIONS * a"] },
  { name: "an absolute target names the authority", bytes: `GET http://b:81/x?y HTTP/1.1\r\n${H}\r\n`, sees: ["GET /x?y b:81"] },
  { name: "an absolute target without path", bytes: `GET HTTPS://b HTTP/1.1\r\n${H}\r\n`, sees: ["GET / b"] },
  { name: "an absolute target with query alone", bytes: `GET http://b?q HTTP/1.1\r\n${H}\r\n`, sees: ["GET /?q b"] },
  { name: "an absolute OPTIONS", bytes: `OPTIONS http://b HTTP/1.1\r\n${H}\r\n`, sees: ["OPTIONS * b"] },
  { name: "a body by length", bytes: `${P}Content-Length: 5\r\n\r\nhello`, sees: ["POST / a content-length 5 {hello}"] },
  { name: "an empty body by length", bytes: `${P}Content-Length: 0\r\n\r\n`, sees: ["POST / a content-length 0"] },
  {
    name: "a body with CRLF in it",
    bytes: `${P}Content-Length: 6\r\n\r\n\r\n\r\n\r\n`,
    sees: ["POST / a content-length 6 {\r\n\r\n\r\n}"],
  },
  { name: "a chunked body", bytes: `${CHUNKED}5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n`, sees: ["POST / a {hello!}"] },
  { name: "a chunked body of nothing", bytes: `${CHUNKED}0\r\n\r\n`, sees: ["POST / a"] },
  {
    name: "chunk sizes in either case, with zeros before",
    bytes: `${CHUNKED}00A\r\n0123456789\r\nb\r\n0123456789a\r\n000\r\n\r\n`,
    sees: ["POST / a {01234567890123456789a}"],
  },
  { name: "chunk extensions are dropped", bytes: `${CHUNKED}2;a=b;c="d e"\r\nok\r\n0;x\r\n\r\n`, sees: ["POST / a {ok}"] },
  { name: "trailers", bytes: `${CHUNKED}2\r\nok\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n`, sees: ["POST / a {ok} +x-sum 1 y 2"] },
  {
    name: "trailers that frame or route are dropped",
    bytes: `${CHUNKED}0\r\nHost: b\r\nContent-Length: 4\r\nTransfer-Encoding: x\r\nAuthorization: y\r\n\r\n`,
    sees: ["POST / a"],
  },
  { name: "chunked in any case", bytes: `${P}Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n`, sees: ["POST / a"] },
  { name: "two requests in one read", bytes: `GET /1 HTTP/1.1\r\n${H}\r\nGET /2 HTTP/1.1\r\n${H}\r\n`, sees: ["GET /1 a", "GET /2 a"] },
  {
    name: "requests with bodies behind each other",
    bytes: `${P}Content-Length: 2\r\n\r\nab${CHUNKED}1\r\nc\r\n0\r\n\r\nGET /3 HTTP/1.1\r\n${H}\r\n`,
    sees: ["POST / a content-length 2 {ab}", "POST / a {c}", "GET /3 a"],
  },
  {
    name: "fields of the connection are taken out",
    bytes: `GET / HTTP/1.1\r\n${H}Connection: keep-alive, X-Drop\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nX-Drop: 1\r\nTE: gzip\r\nHTTP2-Settings: x\r\nUpgrade: h2c\r\nx-keep: 1\r\n\r\n`,
    sees: ["GET / a x-keep 1"],
  },
  {
    name: "te stays where it says trailers",
    bytes: `GET / HTTP/1.1\r\n${H}TE: gzip, trailers\r\nConnection: te\r\n\r\n`,
    sees: ["GET / a te trailers"],
  },
  {
    name: "connection cannot strip what proxies rely on",
    bytes: `GET / HTTP/1.1\r\n${H}Connection: host, authorization, x-forwarded-for, X-Envoy-Foo, cookie, content-length, x-request-id\r\nAuthorization: 1\r\nX-Forwarded-For: 2\r\nX-Envoy-Foo: 3\r\nCookie: 4\r\nX-Request-Id: 5\r\n\r\n`,
    sees: ["GET / a authorization 1 x-forwarded-for 2 x-envoy-foo 3 cookie 4 x-request-id 5"],
  },
  {
    name: "expect is passed on",
    bytes: `${P}Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx`,
    sees: ["POST / a expect 100-continue content-length 1 {x}"],
  },
  { name: "an upgrade is not begun by the field alone", bytes: `GET / HTTP/1.1\r\n${H}Upgrade: websocket\r\n\r\n`, sees: ["GET / a"] },
  {
    name: "h2c is never taken up",
    bytes: `GET / HTTP/1.1\r\n${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
    sees: ["GET / a"],
  },
  {
    name: "an upgrade with a body is a plain request",
    bytes: `${P}Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx`,
    sees: ["POST / a content-length 1 {x}"],
  },
  {
    name: "HTTP/1.0 where it is allowed",
    bytes: `GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\nHost: b\r\n\r\n`,
    sees: ["GET / ", "GET /2 b"],
    http10: true,
  },
  { name: "a long head", bytes: `GET / HTTP/1.1\r\n${H}x: ${"y".repeat(20_000)}\r\n\r\n`, sees: [`GET / a x ${"y".repeat(20_000)}`] },
  { name: "a hundred fields", bytes: `GET / HTTP/1.1\r\n${H}${"x: 1\r\n".repeat(99)}\r\n`, sees: [`GET / a${" x 1".repeat(99)}`] },
];

for (const { name, bytes, sees, http10 } of good) {
  test(`taken: ${name}, however it is split`, () => {
    const step = Math.max(1, Math.floor(bytes.length / 400));
    for (let split = 0; split < bytes.length; split += step) {
      const server = new Server({ acceptHttp10: http10 });
      server.answer = (request) => {
        if (request.isOver) answerEmpty(request);
        else {
          const onData = request.onData.bind(request);
          request.onData = (buffer, start, end, endStream) => {
            onData(buffer, start, end, endStream);
            if (endStream) answerEmpty(request);
          };
          const onTrailers = request.onTrailers.bind(request);
          request.onTrailers = (trailers) => {
            onTrailers(trailers);
            answerEmpty(request);
          };
        }
      };
      if (split > 0) server.channel.feed(bytes.slice(0, split));
      server.channel.feed(bytes.slice(split));
      assert.deepEqual(
        server.requests.map((request) => request.text),
        sees,
        `split at ${split}`,
      );
      assert.deepEqual(server.errors, []);
      assert.equal(server.channel.take().split("HTTP/1.").length - 1, sees.length, "one answer each");
    }
  });
}

test("taken: byte by byte", () => {
  for (const { bytes, sees, http10 } of good) {
    if (bytes.length > 1000) continue;
    const server = new Server({ acceptHttp10: http10 });
    server.answer = (request) => {
      const done = (): void => {
        if (request.isOver) answerEmpty(request);
      };
      const { onData, onTrailers } = request;
      request.onData = (...args) => {
        onData.apply(request, args);
        done();
      };
      request.onTrailers = (...args) => {
        onTrailers.apply(request, args);
        done();
      };
      done();
    };
    for (const byte of bytes) server.channel.feed(byte);
    assert.deepEqual(
      server.requests.map((request) => request.text),
      sees,
    );
  }
});

const C400 = "400 http1.codec_error";
/** What is refused before it becomes a request. */
const refused: readonly { readonly name: string; readonly bytes: string; readonly error: string; readonly http10?: boolean }[] = [
  { name: "bare LF everywhere", bytes: "GET / HTTP/1.1\nHost: a\n\n", error: C400 },
  { name: "bare LF after the request line", bytes: `GET / HTTP/1.1\n${H}\r\n`, error: C400 },
  { name: "bare LF after a field", bytes: `GET / HTTP/1.1\r\nHost: a\n\r\n`, error: C400 },
  { name: "bare LF as the empty line", bytes: `GET / HTTP/1.1\r\n${H}\n`, error: C400 },
  { name: "bare LF before the request", bytes: `\nGET / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "two empty lines before the request", bytes: `\r\n\r\nGET / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a bare CR before the request", bytes: `\rGET / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "bare CR in a value", bytes: `GET / HTTP/1.1\r\n${H}x: a\rb\r\n\r\n`, error: "400 http1.invalid_characters" },
  { name: "bare CR as a line's end", bytes: `GET / HTTP/1.1\r\n${H}x: a\ry: b\r\n\r\n`, error: "400 http1.invalid_characters" },
  { name: "a folded value, by space", bytes: `GET / HTTP/1.1\r\n${H}x: a\r\n b\r\n\r\n`, error: C400 },
  { name: "a folded value, by tab", bytes: `GET / HTTP/1.1\r\n${H}x: a\r\n\tb: c\r\n\r\n`, error: C400 },
  { name: "white space before the first field", bytes: `GET / HTTP/1.1\r\n Host: a\r\n\r\n`, error: C400 },
  { name: "space before the colon", bytes: `GET / HTTP/1.1\r\nHost : a\r\n\r\n`, error: C400 },
  { name: "tab before the colon", bytes: `GET / HTTP/1.1\r\n${H}Content-Length\t: 3\r\n\r\nabc`, error: C400 },
  { name: "a space in a name", bytes: `GET / HTTP/1.1\r\n${H}x y: 1\r\n\r\n`, error: C400 },
  { name: "NUL in a name", bytes: `GET / HTTP/1.1\r\n${H}x\0: 1\r\n\r\n`, error: C400 },
  { name: "NUL in a value", bytes: `GET / HTTP/1.1\r\n${H}x: a\0b\r\n\r\n`, error: "400 http1.invalid_characters" },
  { name: "a control character in a value", bytes: `GET / HTTP/1.1\r\n${H}x: a\x01\r\n\r\n`, error: "400 http1.invalid_characters" },
  { name: "DEL in a value", bytes: `GET / HTTP/1.1\r\n${H}x: \x7f\r\n\r\n`, error: "400 http1.invalid_characters" },
  { name: "latin1 in a name", bytes: `GET / HTTP/1.1\r\n${H}\xe9: 1\r\n\r\n`, error: C400 },
  { name: "a name of nothing", bytes: `GET / HTTP/1.1\r\n${H}: 1\r\n\r\n`, error: C400 },
  { name: "a line without colon", bytes: `GET / HTTP/1.1\r\n${H}nonsense\r\n\r\n`, error: C400 },
  { name: "a bracket in a name", bytes: `GET / HTTP/1.1\r\n${H}x[]: 1\r\n\r\n`, error: C400 },
  { name: "two hosts", bytes: `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n`, error: C400 },
  { name: "two equal hosts", bytes: `GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n`, error: C400 },
  { name: "two hosts beside an absolute target", bytes: `GET http://a/ HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n`, error: C400 },
  { name: "no host", bytes: "GET / HTTP/1.1\r\nx: y\r\n\r\n", error: "400 missing_host_header" },
  { name: "no host beside an absolute target", bytes: "GET http://a/ HTTP/1.1\r\n\r\n", error: "400 missing_host_header" },
  { name: "a host with a space", bytes: "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", error: C400 },
  { name: "a host with a slash", bytes: "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", error: C400 },
  { name: "a host with user information", bytes: "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", error: C400 },
  { name: "a list of hosts", bytes: "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", error: C400 },
  {
    name: "length and chunked",
    bytes: `${P}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    error: "400 http1.content_length_and_chunked_not_allowed",
  },
  {
    name: "chunked and length",
    bytes: `${P}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`,
    error: "400 http1.content_length_and_chunked_not_allowed",
  },
  { name: "two lengths that differ", bytes: `${P}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`, error: C400 },
  { name: "two equal lengths", bytes: `${P}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, error: C400 },
  { name: "a list of lengths", bytes: `${P}Content-Length: 3, 3\r\n\r\nabc`, error: C400 },
  { name: "a signed length", bytes: `${P}Content-Length: +3\r\n\r\nabc`, error: C400 },
  { name: "a negative length", bytes: `${P}Content-Length: -3\r\n\r\nabc`, error: C400 },
  { name: "a length in hexadecimal", bytes: `${P}Content-Length: 0x3\r\n\r\nabc`, error: C400 },
  { name: "a length with a space in it", bytes: `${P}Content-Length: 3 3\r\n\r\nabc`, error: C400 },
  { name: "an empty length", bytes: `${P}Content-Length:\r\n\r\n`, error: C400 },
  { name: "a length beyond counting", bytes: `${P}Content-Length: 99999999999999999999\r\n\r\n`, error: C400 },
  { name: "a length with a fraction", bytes: `${P}Content-Length: 3.0\r\n\r\nabc`, error: C400 },
  { name: "gzip, chunked", bytes: `${P}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, error: "501 http1.invalid_transfer_encoding" },
  { name: "identity", bytes: `${P}Transfer-Encoding: identity\r\n\r\n`, error: "501 http1.invalid_transfer_encoding" },
  {
    name: "chunked twice in a list",
    bytes: `${P}Transfer-Encoding: chunked, chunked\r\n\r\n`,
    error: "501 http1.invalid_transfer_encoding",
  },
  {
    name: "chunked twice in two lines",
    bytes: `${P}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    error: "400 http1.invalid_transfer_encoding",
  },
  {
    name: "chunked and identity in two lines",
    bytes: `${P}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n`,
    error: "400 http1.invalid_transfer_encoding",
  },
  { name: "chunked in quotes", bytes: `${P}Transfer-Encoding: "chunked"\r\n\r\n`, error: "501 http1.invalid_transfer_encoding" },
  { name: "chunked with a vertical tab", bytes: `${P}Transfer-Encoding: \x0bchunked\r\n\r\n`, error: "400 http1.invalid_characters" },
  { name: "an empty transfer-encoding", bytes: `${P}Transfer-Encoding:\r\n\r\n`, error: "501 http1.invalid_transfer_encoding" },
  {
    name: "chunked in HTTP/1.0",
    bytes: "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    error: "400 http1.transfer_encoding_not_allowed",
    http10: true,
  },
  { name: "HTTP/1.0", bytes: `GET / HTTP/1.0\r\n${H}\r\n`, error: "426 low_version" },
  { name: "HTTP/1.2", bytes: `GET / HTTP/1.2\r\n${H}\r\n`, error: C400 },
  { name: "HTTP/2.0 by line", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", error: C400 },
  { name: "HTTP/0.9", bytes: "GET /\r\n\r\n", error: C400 },
  { name: "a version in lower case", bytes: `GET / http/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a version with more behind", bytes: `GET / HTTP/1.1 \r\n${H}\r\n`, error: C400 },
  { name: "a version with more digits", bytes: `GET / HTTP/1.10\r\n${H}\r\n`, error: C400 },
  { name: "two spaces before the target", bytes: `GET  / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "two spaces behind the target", bytes: `GET /  HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a tab for a space", bytes: `GET\t/ HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a space in the target", bytes: `GET /a b HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a control character in the target", bytes: `GET /a\x01b HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "NUL in the target", bytes: `GET /a\0b HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a CR in the target", bytes: `GET /a\rb HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a target that is no path", bytes: `GET a HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "a star for GET", bytes: `GET * HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "a star with more", bytes: `OPTIONS *x HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "an absolute target of another scheme", bytes: `GET ftp://b/ HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "an absolute target without authority", bytes: `GET http:///x HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "an absolute target with user information", bytes: `GET http://u:p@b/ HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "an absolute target with a fragment", bytes: `GET http://b/#x HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "CONNECT to a path", bytes: `CONNECT / HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "CONNECT without a port", bytes: `CONNECT b HTTP/1.1\r\n${H}\r\n`, error: "400 http1.invalid_url" },
  { name: "CONNECT with a body", bytes: `CONNECT b:1 HTTP/1.1\r\n${H}Content-Length: 1\r\n\r\nx`, error: "400 http1.body_disallowed" },
  { name: "a method that is no token", bytes: `G(T / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a method of nothing", bytes: ` / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "a method beyond reason", bytes: `${"G".repeat(65)} / HTTP/1.1\r\n${H}\r\n`, error: C400 },
  { name: "TLS", bytes: "\x16\x03\x01\x00\xa5\x01\x00\x00", error: C400 },
  {
    name: "a request line beyond the limit",
    bytes: `GET /${"x".repeat(62 * 1024)} HTTP/1.1\r\n${H}\r\n`,
    error: "431 http1.headers_too_large",
  },
  { name: "a request line without end", bytes: `GET /${"x".repeat(62 * 1024)}`, error: "431 http1.headers_too_large" },
  {
    name: "a field beyond the limit",
    bytes: `GET / HTTP/1.1\r\n${H}x: ${"x".repeat(62 * 1024)}\r\n\r\n`,
    error: "431 http1.headers_too_large",
  },
  {
    name: "fields beyond the limit together",
    bytes: `GET / HTTP/1.1\r\n${H}${`x: ${"y".repeat(1000)}\r\n`.repeat(62)}\r\n`,
    error: "431 http1.headers_too_large",
  },
  { name: "a hundred and one fields", bytes: `GET / HTTP/1.1\r\n${H}${"x: 1\r\n".repeat(100)}\r\n`, error: "431 http1.too_many_headers" },
  { name: "an upgrade that is no protocol", bytes: `GET / HTTP/1.1\r\n${H}Connection: upgrade\r\nUpgrade: a b\r\n\r\n`, error: C400 },
];

for (const { name, bytes, error, http10 } of refused) {
  test(`refused: ${name}, however it is split`, async () => {
    const step = Math.max(1, Math.floor(bytes.length / 100));
    for (let split = 0; split < bytes.length; split += step) {
      const server = new Server({ acceptHttp10: http10 });
      if (split > 0) server.channel.feed(bytes.slice(0, split));
      server.channel.feed(bytes.slice(split));
      assert.deepEqual(server.errors, [error], `split at ${split}`);
      assert.deepEqual(server.requests, []);
      const written = server.channel.take();
      const [line = "", reason = ""] = [written.slice(0, written.indexOf("\r\n")), written.slice(written.indexOf("\r\n\r\n") + 4)];
      assert.ok(line.startsWith(`HTTP/1.1 ${error.slice(0, 3)} `) && line.endsWith(` ${reason}`));
      assert.ok(written.includes(`\r\ncontent-length: ${reason.length}\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n`));
      assert.equal(server.channel.isEnded, true);
      server.channel.feed(`GET /late HTTP/1.1\r\n${H}\r\n`);
      assert.deepEqual([server.requests.length, server.errors.length, server.channel.take()], [0, 1, ""]);
    }
  });
}

/** What breaks a body that is under way. */
const brokenBodies: readonly { readonly name: string; readonly bytes: string; readonly body?: string }[] = [
  { name: "a size that is none", bytes: `${CHUNKED}x\r\n` },
  { name: "an empty size", bytes: `${CHUNKED}\r\n` },
  { name: "a signed size", bytes: `${CHUNKED}+1\r\na\r\n` },
  { name: "a negative size", bytes: `${CHUNKED}-1\r\n` },
  { name: "a size as 0x1", bytes: `${CHUNKED}0x1\r\na\r\n` },
  { name: "a space before the size", bytes: `${CHUNKED} 1\r\na\r\n` },
  { name: "a space behind the size", bytes: `${CHUNKED}1 \r\na\r\n` },
  { name: "a size with an underscore", bytes: `${CHUNKED}1_0\r\n` },
  { name: "a size beyond counting", bytes: `${CHUNKED}ffffffffffffff\r\n` },
  { name: "a size of too many zeros", bytes: `${CHUNKED}${"0".repeat(14)}\r\n` },
  { name: "bare LF behind the size", bytes: `${CHUNKED}1\na\r\n` },
  { name: "bare CR behind the size", bytes: `${CHUNKED}1\ra\r\n` },
  { name: "a chunk that goes on", bytes: `${CHUNKED}1\r\nab\r\n`, body: "a" },
  { name: "a chunk that ends with bare LF", bytes: `${CHUNKED}1\r\na\n0\r\n\r\n`, body: "a" },
  { name: "a chunk that ends with CR alone", bytes: `${CHUNKED}1\r\na\r0\r\n\r\n`, body: "a" },
  { name: "LF in an extension", bytes: `${CHUNKED}1;a\nb\r\na\r\n` },
  { name: "CR in an extension", bytes: `${CHUNKED}1;a\rb\r\na\r\n` },
  { name: "NUL in an extension", bytes: `${CHUNKED}1;a\0\r\na\r\n` },
  { name: "extensions without end", bytes: `${CHUNKED}1;${"x".repeat(5000)}` },
  { name: "a trailer with bare LF", bytes: `${CHUNKED}0\r\nx: 1\n\r\n` },
  { name: "a trailer with space before the colon", bytes: `${CHUNKED}0\r\nx : 1\r\n\r\n` },
  { name: "a folded trailer", bytes: `${CHUNKED}0\r\nx: 1\r\n y\r\n\r\n` },
  { name: "too many trailers", bytes: `${CHUNKED}0\r\n${"x: 1\r\n".repeat(101)}\r\n` },
  { name: "trailers beyond the limit", bytes: `${CHUNKED}0\r\nx: ${"y".repeat(62 * 1024)}\r\n\r\n` },
];

for (const { name, bytes, body } of brokenBodies) {
  test(`a broken body: ${name}: the stream is reset, the answer 4xx, nothing behind it is read`, () => {
    for (const splits of [[], [CHUNKED.length], [CHUNKED.length + 1], [bytes.length - 1]]) {
      const server = new Server();
      let at = 0;
      for (const split of [...splits, bytes.length]) {
        server.channel.feed(bytes.slice(at, split));
        at = split;
      }
      server.channel.feed("0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
      assert.equal(server.requests.length, 1);
      assert.match(server.last.reset ?? "", /^protocol-error: /);
      assert.equal(server.last.body, body ?? "");
      assert.equal(server.last.isOver, false);
      assert.match(server.channel.take(), /^HTTP\/1\.1 4(00|31) [\s\S]*connection: close\r\n\r\n[A-Z][ A-Za-z]+$/);
      assert.deepEqual(server.errors, []);
    }
  });
}

interface Answer {
  readonly name: string;
  readonly request?: string;
  readonly status: number;
  readonly headers?: readonly string[];
  /** Undefined: the head ends the answer. */
  readonly body?: readonly string[];
  readonly trailers?: readonly string[];
  readonly bytes: string;
  readonly closes?: boolean;
  readonly http10?: boolean;
}

const answers: readonly Answer[] = [
  { name: "nothing", status: 200, bytes: EMPTY },
  {
    name: "a body of known length",
    status: 200,
    headers: ["content-length", "5"],
    body: ["he", "llo"],
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
  },
  {
    name: "a body of unknown length",
    status: 200,
    body: ["he", "", "llo"],
    bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
  },
  {
    name: "an empty body of unknown length",
    status: 200,
    body: [""],
    bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
  },
  {
    name: "trailers",
    status: 200,
    body: ["x"],
    trailers: ["X-Sum", "1"],
    bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n",
  },
  {
    name: "trailers where no chunks carry them",
    status: 200,
    headers: ["content-length", "1"],
    body: ["x"],
    trailers: ["x-sum", "1"],
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx",
  },
  {
    name: "HEAD keeps the length as information",
    request: `HEAD / HTTP/1.1\r\n${H}\r\n`,
    status: 200,
    headers: ["content-length", "5"],
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
  },
  {
    name: "HEAD without a length",
    request: `HEAD / HTTP/1.1\r\n${H}\r\n`,
    status: 200,
    bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
  },
  {
    name: "HEAD drops a body",
    request: `HEAD / HTTP/1.1\r\n${H}\r\n`,
    status: 200,
    headers: ["content-length", "2"],
    body: ["hi"],
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n",
  },
  {
    name: "204 has neither length nor body",
    status: 204,
    headers: ["content-length", "0"],
    body: ["x"],
    bytes: "HTTP/1.1 204 No Content\r\n\r\n",
  },
  {
    name: "304 keeps the length as information",
    status: 304,
    headers: ["content-length", "7", "etag", "x"],
    bytes: "HTTP/1.1 304 Not Modified\r\netag: x\r\ncontent-length: 7\r\n\r\n",
  },
  { name: "a length that promises bytes which never come", status: 200, headers: ["content-length", "7"], bytes: EMPTY },
  {
    name: "a length that is no number",
    status: 200,
    headers: ["content-length", "7x"],
    body: ["hi"],
    bytes: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
  },
  {
    name: "fields of the connection are the codec's own",
    status: 200,
    headers: ["Transfer-Encoding", "chunked", "keep-alive", "5", "upgrade", "x", "proxy-connection", "y", "x-a", "1"],
    bytes: "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 0\r\n\r\n",
  },
  {
    name: "what could end a line is not written",
    status: 200,
    headers: ["x-a", "1\r\nset-cookie: evil", "x-b\r\ny", "2", "x c", "3", "x-d", "4\0", "x-e", "\u0100", "x-f", "5"],
    bytes: "HTTP/1.1 200 OK\r\nx-f: 5\r\ncontent-length: 0\r\n\r\n",
  },
  { name: "a status that nobody named", status: 599, bytes: "HTTP/1.1 599 Unknown\r\ncontent-length: 0\r\n\r\n" },
  {
    name: "a status that is none",
    status: 7,
    bytes: "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    closes: true,
  },
  {
    name: "101 that was not asked for",
    status: 101,
    bytes: "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    closes: true,
  },
  {
    name: "the owner asks to close",
    status: 200,
    headers: ["connection", "Close"],
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    closes: true,
  },
  {
    name: "the client asks to close",
    request: `GET / HTTP/1.1\r\n${H}Connection: Close\r\n\r\n`,
    status: 200,
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    closes: true,
  },
  {
    name: "the client asks to close in a list",
    request: `GET / HTTP/1.1\r\n${H}Connection: x-y, close\r\n\r\n`,
    status: 200,
    bytes: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    closes: true,
  },
  {
    name: "HTTP/1.0 closes",
    http10: true,
    request: "GET / HTTP/1.0\r\n\r\n",
    status: 200,
    headers: ["content-length", "1"],
    body: ["x"],
    bytes: "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx",
    closes: true,
  },
  {
    name: "HTTP/1.0 stays where asked",
    http10: true,
    request: "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    status: 200,
    headers: ["content-length", "1"],
    body: ["x"],
    bytes: "HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\nx",
  },
  {
    name: "HTTP/1.0 has no chunks",
    http10: true,
    request: "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    status: 200,
    body: ["x", "y"],
    bytes: "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nxy",
    closes: true,
  },
];

for (const { name, request, status, headers, body, trailers, bytes, closes, http10 } of answers) {
  test(`an answer: ${name}`, () => {
    const server = new Server({ acceptHttp10: http10 });
    server.channel.feed(request ?? `GET / HTTP/1.1\r\n${H}\r\n`);
    const { stream } = server.last;
    stream.writeHead({ status, headers: new HeaderList([...(headers ?? [])]), version: "HTTP/1.1" }, body === undefined);
    for (const [i, part] of (body ?? []).entries()) {
      const data = Buffer.from(part, "latin1");
      stream.writeData(data, 0, data.length, trailers === undefined && i === (body?.length ?? 0) - 1);
    }
    if (trailers) stream.writeTrailers(new HeaderList([...trailers]));
    assert.equal(server.channel.take(), bytes);
    assert.equal(server.channel.isEnded, closes ?? false);
    assert.equal(server.connection.activeStreams, 0);
    stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/1.1" }, true);
    stream.writeData(Buffer.from("late"), 0, 4, true);
    stream.reset();
    assert.equal(server.channel.take(), "", "a stream that is over writes nothing");
    assert.equal(server.channel.destroyed, undefined);
    if (closes) return;
    server.channel.feed(`GET /next HTTP/1.1\r\n${H}\r\n`);
    assert.equal(server.last.head.path, "/next");
  });
}

test("a body longer than its length is cut there, one that is shorter ends the connection", () => {
  const long = new Server();
  long.channel.feed(`GET / HTTP/1.1\r\n${H}\r\n`);
  long.last.stream.writeHead({ status: 200, headers: new HeaderList(["content-length", "2"]), version: "HTTP/1.1" }, false);
  long.last.stream.writeData(Buffer.from("abcd"), 0, 4, true);
  assert.match(long.channel.take(), /\r\n\r\nab$/);
  assert.equal(long.channel.isOpen, false);
  const short = new Server();
  short.channel.feed(`GET / HTTP/1.1\r\n${H}\r\n`);
  short.last.stream.writeHead({ status: 200, headers: new HeaderList(["content-length", "5"]), version: "HTTP/1.1" }, false);
  short.last.stream.writeData(Buffer.from("abcd"), 0, 4, true);
  assert.equal(short.channel.isOpen, false);
});

test("the next request waits for the answer to this one, unread, and comes in a turn of its own", async () => {
  const server = new Server();
  server.channel.feed(`GET /1 HTTP/1.1\r\n${H}\r\nGET /2 HTTP/1.1\r\n${H}\r\nGET /3 HTTP`);
  assert.equal(server.requests.length, 1);
  assert.equal(server.channel.isPaused, true);
  answerEmpty(server.last);
  assert.equal(server.requests.length, 1, "not from inside the answer");
  await settle();
  assert.equal(server.last.head.path, "/2");
  assert.equal(server.channel.isPaused, true);
  answerEmpty(server.last);
  await settle();
  assert.equal(server.channel.isPaused, false);
  server.channel.feed(`/1.1\r\n${H}\r\n`);
  assert.equal(server.last.head.path, "/3");
});

test("a client that reads no answers gets no further requests served", async () => {
  const server = new Server();
  server.answer = answerEmpty;
  server.channel.isBelowHigh = false;
  server.channel.feed(`GET / HTTP/1.1\r\n${H}\r\n`.repeat(50));
  assert.equal(server.requests.length, 1);
  server.channel.isBelowHigh = true;
  server.channel.handler.onDrain();
  await settle();
  assert.equal(server.requests.length, 50);
});

test("bytes behind an upgrade are held until it is taken, then they are the tunnel's", async () => {
  const server = new Server();
  server.channel.feed(
    `GET /chat HTTP/1.1\r\n${H}Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\nearly`,
  );
  const request = server.last;
  assert.equal(request.text, "GET /chat a sec-websocket-key k ^websocket ...");
  assert.equal(server.channel.isPaused, true);
  request.stream.writeHead({ status: 101, headers: new HeaderList(["sec-websocket-accept", "x"]), version: "HTTP/1.1" }, false);
  assert.equal(
    server.channel.take(),
    "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n",
  );
  await settle();
  server.channel.feed("GET / HTTP/1.1\r\n\r\n");
  assert.equal(request.body, "earlyGET / HTTP/1.1\r\n\r\n");
  request.stream.writeData(Buffer.from("down"), 0, 4, false);
  assert.equal(server.channel.take(), "down");
  server.channel.handler.onEnd();
  assert.equal(request.isOver, true);
  assert.equal(server.channel.isEnded, false, "the other half goes on");
  request.stream.writeData(Buffer.from("last"), 0, 4, true);
  assert.equal(server.channel.take(), "last");
  assert.equal(server.channel.isEnded, true);
  assert.equal(server.requests.length, 1);
});

test("an upgrade that is refused leaves what follows a request of its own", async () => {
  const server = new Server();
  server.channel.feed(`GET /chat HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /second HTTP/1.1\r\n${H}\r\n`);
  const request = server.last;
  request.stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/1.1" }, true);
  assert.equal(server.channel.take(), EMPTY);
  await settle();
  assert.deepEqual(
    server.requests.map((one) => one.head.path),
    ["/chat", "/second"],
  );
  assert.equal(request.body, "");
});

test("CONNECT names an authority and no path, and is a tunnel after 2xx alone", async () => {
  const server = new Server();
  server.channel.feed(`CONNECT b:443 HTTP/1.1\r\n${H}\r\nhello`);
  assert.equal(server.last.text, "CONNECT  b:443 ...");
  server.last.stream.writeHead({ status: 200, headers: new HeaderList(["content-length", "3"]), version: "HTTP/1.1" }, false);
  assert.equal(server.channel.take(), "HTTP/1.1 200 OK\r\n\r\n");
  await settle();
  assert.equal(server.last.body, "hello");
  const other = new Server();
  other.channel.feed(`CONNECT b:443 HTTP/1.1\r\n${H}\r\nGET / HTTP/1.1\r\n${H}\r\n`);
  other.last.stream.writeHead({ status: 403, headers: new HeaderList(), version: "HTTP/1.1" }, true);
  await settle();
  assert.deepEqual(
    other.requests.map((one) => one.head.method),
    ["CONNECT", "GET"],
  );
});

test("100 and 103 go out before the answer; 101 and those after it do not", () => {
  const server = new Server();
  server.channel.feed(`${P}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`);
  const { stream } = server.last;
  for (const status of [100, 101, 103, 200])
    stream.writeInformational({ status, headers: new HeaderList(["x", "y"]), version: "HTTP/1.1" });
  assert.equal(server.channel.take(), "HTTP/1.1 100 Continue\r\nx: y\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n");
  server.channel.feed("ok");
  answerEmpty(server.last);
  stream.writeInformational({ status: 100, headers: new HeaderList(), version: "HTTP/1.1" });
  assert.equal(server.channel.take(), EMPTY);
  assert.equal(server.channel.isEnded, false);
});

test("an answer before the body: the rest is dropped and the connection goes on; with much of it, or an unmet expectation, it closes", async () => {
  const server = new Server();
  server.channel.feed(`${P}Content-Length: 10\r\n\r\nabc`);
  answerEmpty(server.last);
  server.channel.feed(`defghijGET /next HTTP/1.1\r\n${H}\r\n`);
  assert.equal(server.requests[0]?.body, "abc");
  assert.equal(server.last.head.path, "/next");
  const much = new Server();
  much.channel.feed(`${P}Content-Length: 10000000\r\n\r\nabc`);
  answerEmpty(much.last);
  for (let i = 0; i < 3; i++) much.channel.feed("x".repeat(40_000));
  assert.equal(much.channel.isEnded, true);
  const expecting = new Server();
  expecting.channel.feed(`${P}Expect: 100-continue\r\nContent-Length: 10\r\n\r\n`);
  answerEmpty(expecting.last);
  assert.match(expecting.channel.take(), /connection: close/);
  assert.equal(expecting.channel.isEnded, true);
});

test("a head that takes longer than 15 s is answered 408, one that nobody began is not", async () => {
  const server = new Server();
  await server.clock.advance(60_000);
  assert.deepEqual(server.errors, []);
  server.channel.feed("GET / HT");
  await server.clock.advance(10_000);
  server.channel.feed("TP/1.1\r\nx: ");
  await server.clock.advance(4_999);
  assert.deepEqual(server.errors, []);
  await server.clock.advance(1);
  assert.deepEqual(server.errors, ["408 request_header_timeout"]);
  assert.match(server.channel.take(), /^HTTP\/1\.1 408 /);
  await server.clock.advance(1000);
  assert.equal(server.channel.isOpen, false);
});

test("a head in time is not answered 408 later", async () => {
  const server = new Server();
  server.channel.feed("GET / HT");
  server.channel.feed(`TP/1.1\r\n${H}\r\n`);
  await server.clock.advance(60_000);
  assert.deepEqual(server.errors, []);
});

test("draining: the next answer says close; an idle connection closes after a second", async () => {
  const busy = new Server();
  busy.channel.feed(`GET / HTTP/1.1\r\n${H}\r\n`);
  busy.connection.drain();
  answerEmpty(busy.last);
  assert.match(busy.channel.take(), /connection: close\r\n\r\n$/);
  assert.equal(busy.channel.isEnded, true);
  const late = new Server();
  late.connection.drain();
  await late.clock.advance(900);
  late.channel.feed(`GET / HTTP/1.1\r\n${H}\r\n`);
  await late.clock.advance(900);
  assert.equal(late.channel.isEnded, false);
  answerEmpty(late.last);
  assert.equal(late.channel.isEnded, true);
  const idle = new Server();
  idle.connection.drain();
  await idle.clock.advance(1000);
  assert.equal(idle.channel.isEnded, true);
});

test("a closing connection waits for a client that takes its answer, not for one that does not", async () => {
  const server = new Server();
  server.channel.feed(`GET / HTTP/1.1\r\n${H}connection: close\r\n\r\n`);
  server.channel.bufferedBytes = 1000;
  answerEmpty(server.last);
  await server.clock.advance(15_000 - 1);
  server.channel.bufferedBytes = 500;
  await server.clock.advance(1);
  assert.equal(server.channel.isOpen, true);
  await server.clock.advance(15_000);
  assert.equal(server.channel.isOpen, false);
});

test("a client that goes resets its request, once, before the connection is told gone", async () => {
  for (const go of [
    (server: Server) => server.channel.handler.onEnd(),
    (server: Server) => server.channel.handler.onClose({ code: "ECONNRESET", message: "read ECONNRESET" }),
  ]) {
    for (const bytes of [`GET / HTTP/1.1\r\n${H}\r\n`, `${P}Content-Length: 5\r\n\r\nab`]) {
      const server = new Server();
      server.channel.feed(bytes);
      go(server);
      await settle();
      assert.match(server.last.reset ?? "", /^connection-closed: /);
      assert.equal(server.closes, 1);
      assert.equal(server.connection.activeStreams, 0);
    }
  }
});

test("reset by the owner closes the connection; where the close is the body's end, by RST", async () => {
  const server = new Server();
  server.channel.feed(`GET / HTTP/1.1\r\n${H}\r\n`);
  server.last.stream.reset();
  assert.equal(server.channel.destroyed, "plain");
  await settle();
  assert.deepEqual([server.last.reset, server.closes], [undefined, 1]);
  const old = new Server({ acceptHttp10: true });
  old.channel.feed("GET / HTTP/1.0\r\n\r\n");
  old.last.stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/1.1" }, false);
  old.last.stream.reset();
  assert.equal(old.channel.destroyed, "reset");
});

test("pausing and drains are the channel's", () => {
  const server = new Server();
  server.channel.feed(`${P}Content-Length: 5\r\n\r\nab`);
  const { stream } = server.last;
  stream.pauseReading();
  assert.equal(server.channel.isPaused, true);
  stream.resumeReading();
  assert.equal(server.channel.isPaused, false);
  server.channel.isBelowHigh = false;
  stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/1.1" }, false);
  assert.equal(stream.writeData(Buffer.from("x"), 0, 1, false), false);
  server.channel.handler.onDrain();
  assert.equal(server.last.drains, 1);
});

test("a connection over TLS says https", () => {
  const channel = new (class extends FakeChannel {
    override readonly tls = { protocol: "TLSv1.3", alpn: undefined, serverName: undefined, peer: undefined };
  })();
  let scheme = "";
  createHttp1ServerConnection(
    channel,
    { limits: MESH_HTTP_LIMITS, clock: new FakeClock() },
    {
      onRequest(_stream, head) {
        ({ scheme } = head);
      },
      onCodecError() {},
      onClose() {},
    },
  );
  channel.feed(`GET http://b/ HTTP/1.1\r\n${H}\r\n`);
  assert.equal(scheme, "https");
});
