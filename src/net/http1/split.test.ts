import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FakeChannel } from "../../../test/kit/fake-channel.ts";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { HeaderList } from "../http/headers.ts";
import { MESH_HTTP_LIMITS, type RequestHead, type ResponseHead, type ServerStream } from "../http/stream.ts";
import { createHttp1ClientConnection } from "./client-connection.ts";
import { createHttp1ServerConnection } from "./server-connection.ts";

const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/).filter((name) => !RESERVED.has(name));
const RESERVED = new Set(["host", "te", "connection", "upgrade", "expect", "keep-alive"]);
const value = fc.stringMatching(/^[!-~\xa1-\xff]([ -~\xa1-\xff]{0,20}[!-~\xa1-\xff])?$/);
const body = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 60 });

interface Message {
  readonly path: string;
  readonly fields: readonly (readonly [string, string])[];
  readonly parts: readonly string[];
  readonly framing: "none" | "length" | "chunked";
  readonly trailers: readonly (readonly [string, string])[];
}

const message: fc.Arbitrary<Message> = fc.record({
  path: fc.stringMatching(/^\/[!-~]{0,20}$/),
  fields: fc.array(fc.tuple(token, value), { maxLength: 5 }),
  parts: fc.array(body, { maxLength: 4 }),
  framing: fc.constantFrom("none" as const, "length" as const, "chunked" as const),
  trailers: fc.array(fc.tuple(token, value), { maxLength: 2 }),
});

function bodyBytes({ framing, parts, trailers }: Message): { readonly head: string; readonly bytes: string; readonly text: string } {
  if (framing === "none") return { head: "", bytes: "", text: "" };
  const text = parts.join("");
  if (framing === "length") return { head: `Content-Length: ${text.length}\r\n`, bytes: text, text };
  const chunks = parts.filter((part) => part !== "").map((part) => `${part.length.toString(16)};x\r\n${part}\r\n`);
  const end = trailers.map(([name, field]) => `${name}: ${field}\r\n`).join("");
  return { head: "Transfer-Encoding: chunked\r\n", bytes: `${chunks.join("")}0\r\n${end}\r\n`, text };
}

function requestBytes(one: Message): string {
  const { head, bytes } = bodyBytes(one);
  return `POST ${one.path} HTTP/1.1\r\nHost: a\r\n${one.fields.map(([name, field]) => `${name}: ${field}\r\n`).join("")}${head}\r\n${bytes}`;
}

function expected(one: Message, first: string): string[] {
  const { text } = bodyBytes(one);
  const flat = one.fields.flat();
  if (one.framing === "length") flat.push("content-length", String(text.length));
  const trailers = one.framing === "chunked" ? one.trailers.flat() : [];
  return [first, ...flat, `{${text}}`, ...trailers];
}

function split(bytes: string, cuts: readonly number[]): string[] {
  const places = [...new Set(cuts.map((cut) => cut % bytes.length))].sort((a, b) => a - b);
  return [0, ...places].map((place, i) => bytes.slice(place, places[i])).filter((part) => part !== "");
}

const cuts = fc.array(fc.nat(5000), { maxLength: 30 });

test("any split of valid requests into reads gives the same events", () => {
  fc.assert(
    fc.property(fc.array(message, { minLength: 1, maxLength: 4 }), cuts, (messages, places) => {
      const channel = new FakeChannel();
      const seen: string[][] = [];
      createHttp1ServerConnection(
        channel,
        { limits: MESH_HTTP_LIMITS, clock: new FakeClock() },
        {
          onRequest(stream: ServerStream, head: RequestHead, endStream: boolean) {
            let text = "";
            const done = (trailers: readonly string[]): void => {
              seen.push([head.path, ...head.headers.flat, `{${text}}`, ...trailers]);
              stream.writeHead({ status: 204, headers: new HeaderList(), version: "HTTP/1.1" }, true);
            };
            stream.handler = {
              onData(buffer, start, end, isLast) {
                text += buffer.toString("latin1", start, end);
                if (isLast) done([]);
              },
              onTrailers: (trailers) => done(trailers.flat),
              onReset: () => assert.fail("reset"),
              onDrain() {},
            };
            if (endStream) done([]);
          },
          onCodecError: (error) => assert.fail(JSON.stringify(error)),
          onClose() {},
        },
      );
      for (const part of split(messages.map(requestBytes).join(""), places)) channel.feed(part);
      assert.deepEqual(
        seen,
        messages.map((one) => expected(one, one.path)),
      );
    }),
    { numRuns: 500 },
  );
});

test("any split of a valid response into reads gives the same events", () => {
  fc.assert(
    fc.property(message, cuts, (one, places) => {
      const channel = new FakeChannel();
      const connection = createHttp1ClientConnection(
        channel,
        { limits: MESH_HTTP_LIMITS },
        {
          onAvailable() {},
          onDraining() {},
          onClose() {},
        },
      );
      let seen: string[] = [];
      let text = "";
      let head: ResponseHead | undefined;
      const done = (trailers: readonly string[]): void => {
        seen = [String(head?.status), ...(head?.headers.flat ?? []), `{${text}}`, ...trailers];
      };
      connection.openStream(
        { method: "GET", path: "/", authority: "a", scheme: "http", headers: new HeaderList(), version: "HTTP/1.1", upgrade: undefined },
        true,
        {
          onInformational: () => assert.fail("1xx"),
          onResponse(given, endStream) {
            head = given;
            if (endStream) done([]);
          },
          onData(buffer, start, end, isLast) {
            text += buffer.toString("latin1", start, end);
            if (isLast) done([]);
          },
          onTrailers: (trailers) => done(trailers.flat),
          onReset: (reset) => assert.fail(JSON.stringify(reset)),
          onDrain() {},
        },
      );
      const { head: framing, bytes } = bodyBytes(one);
      const lines = one.fields.map(([name, field]) => `${name}: ${field}\r\n`).join("");
      for (const part of split(`HTTP/1.1 200 OK\r\n${lines}${framing}\r\n${bytes}`, places)) channel.feed(part);
      if (one.framing === "none") channel.handler.onEnd();
      assert.deepEqual(seen, expected(one, "200"));
      assert.equal(connection.availableStreams, one.framing === "none" ? 0 : 1);
    }),
    { numRuns: 500 },
  );
});

test("no bytes whatever make either side throw, and a refusal is an end", () => {
  const mutated = fc.tuple(
    message,
    fc.array(fc.tuple(fc.nat(5000), fc.constantFrom("\r", "\n", "\0", " ", ":", ",", "0", "f", ";", "\xff", "")), { maxLength: 6 }),
  );
  fc.assert(
    fc.property(mutated, cuts, ([one, edits], places) => {
      let bytes = requestBytes(one) + requestBytes(one);
      for (const [at, char] of edits) bytes = bytes.slice(0, at % bytes.length) + char + bytes.slice((at % bytes.length) + 1);
      const channel = new FakeChannel();
      let errors = 0;
      createHttp1ServerConnection(
        channel,
        { limits: MESH_HTTP_LIMITS, clock: new FakeClock() },
        {
          onRequest(stream) {
            assert.equal(errors, 0, "a request after a refusal");
            stream.writeHead({ status: 204, headers: new HeaderList(), version: "HTTP/1.1" }, true);
          },
          onCodecError() {
            errors += 1;
            assert.equal(errors, 1);
          },
          onClose() {},
        },
      );
      for (const part of split(bytes, places)) channel.feed(part);
      assert.equal(channel.isEnded, errors > 0 || channel.isEnded);
      for (const answer of channel.take().split("HTTP/1.1 ").slice(1)) assert.match(answer, /^(204|400|431|501|426) /);
    }),
    { numRuns: 1000 },
  );
});
