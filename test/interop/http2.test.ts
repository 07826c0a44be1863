/** Our HTTP/2 against node:http2, both ways, and against h2spec where it is installed ($H2SPEC, or in PATH). */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import http2 from "node:http2";
import { after, before, describe, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import type { ListeningSocket } from "../../src/net/dial.ts";
import { HeaderList } from "../../src/net/http/headers.ts";
import { type ClientConnection, MESH_HTTP_LIMITS, type RequestHead, type ServerStream } from "../../src/net/http/stream.ts";
import { createHttp2ClientConnection } from "../../src/net/http2/client-connection.ts";
import { createHttp2ServerConnection } from "../../src/net/http2/server-connection.ts";
import { createSystemNetwork } from "../../src/net/system/network.ts";

const network = createSystemNetwork({ clock: systemClock });
const options = { limits: { ...MESH_HTTP_LIMITS, concurrentStreamsMax: 100 }, clock: systemClock };
const HELLO = Buffer.from("hello");
const BIG = 3_000_000;

/** Every byte that a field may hold, each behind so many zeros that Huffman's code pays. */
const LEGAL_VALUES = Array.from({ length: 256 }, (_, code) => code)
  .filter((code) => code > 0x20 && code !== 0x7f)
  .map((code) => `${"0".repeat(30)}${String.fromCharCode(code)}`);

function ok(fields: Record<string, string> = {}): { status: number; headers: HeaderList; version: "HTTP/2" } {
  return { status: 200, headers: HeaderList.of(fields), version: "HTTP/2" };
}

/** GET answers with the field x-value and a small body; POST gives the body back, with trailers; an upgrade gives everything back. */
function serveEcho(stream: ServerStream, head: RequestHead, endStream: boolean): void {
  if (head.upgrade) stream.writeHead({ ...ok(), status: 101 }, false);
  else stream.writeHead(ok({ "x-value": head.headers.get("x-value") ?? "" }), false);
  if (endStream) stream.writeData(HELLO, 0, HELLO.length, true);
  stream.handler = {
    onData(buffer, start, end, isEnd) {
      if (!stream.writeData(buffer, start, end, false)) stream.pauseReading();
      if (isEnd) stream.writeTrailers(HeaderList.of({ "x-trailer": "yes" }));
    },
    onTrailers: (trailers) => stream.writeTrailers(trailers),
    onReset() {},
    onDrain: () => stream.resumeReading(),
  };
}

describe("our server, node:http2's client", () => {
  let listening: ListeningSocket;
  let client: http2.ClientHttp2Session;

  before(async () => {
    listening = await network.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => {
      createHttp2ServerConnection(incoming.accept(), options, { onRequest: serveEcho, onCodecError() {}, onClose() {} });
    });
    client = http2.connect(`http://127.0.0.1:${listening.address.port}`, { maxSessionMemory: 100 });
  });

  after(() => {
    client.destroy();
    listening.close();
  });

  test("any value of a field arrives and comes back", async () => {
    const values = await Promise.all(
      LEGAL_VALUES.map(
        (value) =>
          new Promise<unknown>((resolve, reject) => {
            const request = client.request({ ":path": "/", "x-value": value });
            request.on("response", (headers) => resolve(headers["x-value"]));
            request.on("error", reject);
            request.resume();
          }),
      ),
    );
    assert.deepEqual(values, LEGAL_VALUES);
  });

  test("large bodies go up and down on many streams at once, with trailers", async () => {
    const sizes = await Promise.all(
      Array.from({ length: 8 }, () => {
        const request = client.request({ ":path": "/", ":method": "POST" });
        return new Promise<string>((resolve, reject) => {
          let size = 0;
          let trailer: unknown;
          request.on("data", (chunk: Buffer) => (size += chunk.length));
          request.on("trailers", (trailers) => (trailer = trailers["x-trailer"]));
          request.on("end", () => resolve(`${size} ${trailer}`));
          request.on("error", reject);
          request.end(Buffer.alloc(BIG, 1));
        });
      }),
    );
    assert.deepEqual(
      sizes,
      Array.from({ length: 8 }, () => `${BIG} yes`),
    );
  });

  test("a WebSocket's stream is a tunnel", async () => {
    const request = client.request({ ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat" });
    const answer = await new Promise<string>((resolve, reject) => {
      let status: unknown;
      request.on("response", (headers) => (status = headers[":status"]));
      request.on("data", (chunk: Buffer) => resolve(`${status} ${chunk}`));
      request.on("error", reject);
      request.write("ping");
    });
    request.destroy();
    assert.equal(answer, "200 ping");
  });

  const h2spec = process.env["H2SPEC"] ?? "h2spec";

  test("h2spec, strictly", async (t) => {
    const args = ["-h", "127.0.0.1", "-p", String(listening.address.port), "-o", "2", "-S"];
    const run = spawn(h2spec, args, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    run.stdout.on("data", (chunk: Buffer) => (output += chunk));
    const isThere = await new Promise<boolean>((resolve) => {
      run.on("error", () => resolve(false));
      run.on("close", () => resolve(true));
    });
    if (!isThere) return t.skip("h2spec is not installed");
    assert.match(output, /146 tests, 146 passed, 0 skipped, 0 failed/, output.slice(-2000));
  });
});

describe("our client, node:http2's server", () => {
  const server = http2.createServer({ settings: { enableConnectProtocol: true } });
  const sessions: http2.ServerHttp2Session[] = [];
  let client: ClientConnection;

  before(async () => {
    server.on("session", (session) => sessions.push(session));
    server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
      stream.on("error", () => {});
      if (headers[":method"] === "GET") {
        stream.respond({ ":status": 200, "x-value": headers["x-value"] });
        stream.end();
        return;
      }
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "yes" }));
      stream.pipe(stream);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    const port = typeof address === "object" && address ? address.port : 0;
    client = await new Promise((resolve, reject) => {
      network.dialer.dial(
        { to: { host: "127.0.0.1", port }, timeoutMs: 5000 },
        {
          onConnect: (channel) =>
            resolve(createHttp2ClientConnection(channel, options, { onAvailable() {}, onDraining() {}, onClose() {} })),
          onFail: (reason) => reject(new Error(reason.message)),
        },
      );
    });
  });

  after(() => {
    client.destroy();
    for (const session of sessions) session.destroy();
    server.close();
  });

  /** Sends `body` piece by piece as the stream allows; gives status, x-value, size and trailer. */
  function ask(head: Partial<RequestHead>, body: Buffer | undefined): Promise<string> {
    return new Promise((resolve, reject) => {
      const seen: (string | number)[] = [];
      let size = 0;
      let sent = 0;
      const whole = {
        method: "GET",
        path: "/",
        authority: "a",
        scheme: "http",
        headers: new HeaderList(),
        version: "HTTP/2" as const,
        upgrade: undefined,
        ...head,
      };
      const finish = (...more: (string | number)[]): void => resolve([...seen, ...more].join(" "));
      const write = (): void => {
        while (body && sent < body.length) {
          const end = Math.min(body.length, sent + 100_000);
          const mayGoOn = stream.writeData(body, sent, end, end === body.length && !head.upgrade);
          sent = end;
          if (!mayGoOn) return;
        }
      };
      const stream = client.openStream(whole, body === undefined, {
        onInformational() {},
        onResponse(response, isEnd) {
          seen.push(response.status, response.headers.get("x-value") ?? "");
          if (isEnd) finish();
        },
        onData(_buffer, start, end, isEnd) {
          size += end - start;
          if (head.upgrade) stream.reset();
          if (isEnd || head.upgrade) finish(size);
        },
        onTrailers: (trailers) => finish(size, trailers.get("x-trailer") ?? ""),
        onReset: (reset) => reject(new Error(`${reset.kind} ${reset.detail}`)),
        onDrain: write,
      });
      write();
    });
  }

  test("any value of a field arrives and comes back", async () => {
    const answers: string[] = [];
    for (const value of LEGAL_VALUES) answers.push(await ask({ headers: HeaderList.of({ "x-value": value }) }, undefined));
    assert.deepEqual(
      answers,
      LEGAL_VALUES.map((value) => `200 ${value} 0`),
    );
  });

  test("large bodies go up and down on many streams at once, with trailers", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask({ method: "POST" }, Buffer.alloc(BIG, 1))));
    assert.deepEqual(
      answers,
      Array.from({ length: 8 }, () => `200  ${BIG} yes`),
    );
  });

  test("a WebSocket's stream is a tunnel", async () => {
    assert.equal(await ask({ upgrade: "websocket" }, Buffer.from("ping")), "101  4");
  });
});
