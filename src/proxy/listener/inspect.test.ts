import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import type { Incoming } from "../../net/dial.ts";
import { type InspectResult, inspect, sniffHttp } from "./inspect.ts";

const rows: readonly { name: string; bytes: string; want: ReturnType<typeof sniffHttp> }[] = [
  { name: "HTTP/1.1", bytes: "GET / HTTP/1.1\r\n", want: "http/1.1" },
  { name: "HTTP/1.0", bytes: "GET / HTTP/1.0\r\n", want: "http/1.0" },
  { name: "an unusual method", bytes: "M-SEARCH * HTTP/1.1\r\n", want: "http/1.1" },
  { name: "an empty line before the request", bytes: "\r\nGET / HTTP/1.1\r\n", want: "http/1.1" },
  { name: "a bare LF", bytes: "GET / HTTP/1.1\n", want: "http/1.1" },
  { name: "half a request line", bytes: "GET /a/long/pa", want: "more" },
  { name: "one letter", bytes: "G", want: "more" },
  { name: "the preface of HTTP/2", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", want: "h2c" },
  { name: "half a preface", bytes: "PRI * HT", want: "more" },
  { name: "a request that begins like the preface", bytes: "PRI / HTTP/1.1\r\n", want: "http/1.1" },
  { name: "HTTP/0.9", bytes: "GET /\r\n", want: undefined },
  { name: "a later version", bytes: "GET / HTTP/1.2\r\n", want: undefined },
  { name: "a blank in the path", bytes: "GET /a b HTTP/1.1\r\n", want: undefined },
  { name: "a line of something else", bytes: "220 mail ready\r\n", want: undefined },
  { name: "bytes that are no text", bytes: "\x00\x01\x02", want: undefined },
  { name: "a word that is too long for a method", bytes: "A".repeat(40), want: undefined },
];
for (const { name, bytes, want } of rows)
  test(`http inspector: ${name}`, () => assert.equal(sniffHttp(Buffer.from(bytes, "latin1")), want));

/** A connection whose bytes the test adds. */
function dribble(clock: FakeClock) {
  let bytes = Buffer.alloc(0);
  let ended = false;
  let look: (() => void) | undefined;
  const incoming: Pick<Incoming, "peek"> = {
    peek({ bytesMin, timeoutMs }, done) {
      const finish = (): void => {
        look = undefined;
        timer.cancel();
        done(bytes, ended);
      };
      const timer = clock.after(timeoutMs, finish);
      look = () => {
        if (bytes.length >= bytesMin || ended) finish();
      };
      look();
    },
  };
  return {
    // Only peek is asked of it.
    incoming: incoming as Incoming,
    add(text: string): void {
      bytes = Buffer.concat([bytes, Buffer.from(text, "latin1")]);
      look?.();
    },
    end(): void {
      ended = true;
      look?.();
    },
  };
}

function start(options: { readonly tls: boolean; readonly http: boolean; readonly timeoutMs?: number }) {
  const clock = new FakeClock();
  const peer = dribble(clock);
  const results: InspectResult[] = [];
  inspect(peer.incoming, { timeoutMs: 1000, ...options, clock }, (result) => void results.push(result));
  return { clock, peer, results };
}

test("nobody asks: nothing is waited for", () => {
  const { results } = start({ tls: false, http: false });
  assert.deepEqual(
    results.map(({ kind }) => kind),
    ["done"],
  );
});

test("bytes may dribble in one by one", () => {
  const { peer, results } = start({ tls: true, http: true });
  for (const char of "GET / HTTP/1.1\r\n") {
    assert.equal(results.length, 0);
    peer.add(char);
  }
  assert.deepEqual(results, [
    { kind: "done", inspection: { transportProtocol: "raw_buffer", serverName: "", applicationProtocols: ["http/1.1"] } },
  ]);
});

test("one byte tells that it is not TLS where nobody asks for HTTP", () => {
  const { peer, results } = start({ tls: true, http: false });
  peer.add("h");
  assert.equal(results.length, 1);
});

test("a client that says too little in time is told of as such", async () => {
  const { clock, peer, results } = start({ tls: true, http: true });
  peer.add("GE");
  await clock.advance(999);
  assert.equal(results.length, 0);
  await clock.advance(1);
  assert.deepEqual(
    results.map(({ kind }) => kind),
    ["timeout"],
  );
});

test("the time counts from the first look, however the bytes dribble in", async () => {
  const { clock, peer, results } = start({ tls: false, http: true });
  for (let i = 0; i < 9; i++) {
    await clock.advance(100);
    peer.add("G");
  }
  await clock.advance(100);
  assert.deepEqual(
    results.map(({ kind }) => kind),
    ["timeout"],
  );
});

test("a client that ends without a byte is gone, one that ends early is no HTTP", async () => {
  const empty = start({ tls: true, http: true });
  empty.peer.end();
  assert.deepEqual(empty.results, [{ kind: "gone" }]);
  const half = start({ tls: false, http: true });
  half.peer.add("GE");
  half.peer.end();
  await settle();
  assert.deepEqual(
    half.results.map((result) => result.kind === "done" && result.inspection.applicationProtocols),
    [[]],
  );
});
