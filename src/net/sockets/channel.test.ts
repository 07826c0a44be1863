import assert from "node:assert/strict";
import net from "node:net";
import { after, test } from "node:test";
import tls from "node:tls";
import { ChannelRecorder } from "../../../test/kit/channel-recorder.ts";
import { createTestAuthority } from "../../../test/kit/test-authority.ts";
import { type Channel, MESH_WATERMARKS, type TlsInfo, type Watermarks } from "../channel.ts";
import { createChannel, isFastPathAvailable, useFastPath } from "./channel.ts";
import { LEASES_MAX, leasesInUse } from "./read-buffers.ts";

interface Ends {
  readonly left: net.Socket;
  readonly right: net.Socket;
  readonly tls: TlsInfo | undefined;
}

type Kind = "tcp" | "tls";

const authority = await createTestAuthority("shop");
const keyPair = await authority.issue({ dnsNames: ["catalog.shop"] });
const secureContext = tls.createSecureContext({ cert: keyPair.chainPem, key: keyPair.keyPem });
const INFO: TlsInfo = { protocol: "TLSv1.3", alpn: undefined, serverName: undefined, peer: undefined };

function tcpEnds(): Promise<Ends> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true });
    let right: net.Socket | undefined;
    const left = new net.Socket({ allowHalfOpen: true });
    left.setNoDelay(true);
    const done = (): void => {
      if (!right || left.connecting) return;
      server.close();
      resolve({ left, right, tls: undefined });
    };
    server.once("connection", (socket) => {
      right = socket;
      socket.on("error", () => {});
      done();
    });
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address === null || typeof address === "string") return reject(new Error("no port"));
      left.once("connect", done);
      left.on("error", () => {});
      left.connect(address.port, "127.0.0.1");
      left.pause();
    });
  });
}

async function tlsEnds(): Promise<Ends> {
  const tcp = await tcpEnds();
  const right = new tls.TLSSocket(tcp.right, { isServer: true, secureContext });
  const left = new tls.TLSSocket(tcp.left, { isServer: false, secureContext: tls.createSecureContext() });
  for (const socket of [left, right]) {
    (socket as unknown as { _releaseControl(): void })._releaseControl();
    socket.on("error", () => {});
  }
  (left as unknown as { _start(): void })._start();
  await Promise.all([left, right].map((socket) => new Promise((resolve) => socket.once("secure", resolve))));
  return { left, right, tls: INFO };
}

function channelOf(socket: net.Socket, tlsInfo: TlsInfo | undefined, watermarks: Watermarks = MESH_WATERMARKS): Channel {
  const local = { host: "127.0.0.1", port: socket.localPort ?? 0 };
  const remote = { host: "127.0.0.1", port: socket.remotePort ?? 0 };
  return createChannel(socket, { tls: tlsInfo, local, remote, watermarks });
}

interface Pair {
  readonly kind: Kind;
  readonly left: ChannelRecorder;
  readonly right: ChannelRecorder;
  readonly ends: Ends;
}

const SMALL: Watermarks = { highBytes: 32 * 1024, lowBytes: 16 * 1024 };

function pattern(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 7 + (i >> 8)) & 255;
  return bytes;
}

/** Sends all that arrives on to another channel, with backpressure. */
class Relay extends ChannelRecorder {
  to: Channel | undefined;
  pauses = 0;
  override onData(buffer: Buffer, start: number, end: number): void {
    if (this.to && !this.to.forward(buffer, start, end)) {
      this.pauses += 1;
      this.channel.pause();
    }
  }
  override onEnd(): void {
    super.onEnd();
    this.to?.end();
  }
}

const rows: readonly { readonly name: string; run(pair: Pair): Promise<void> }[] = [
  {
    name: "the three ways to write come out in the order of the calls, whatever their sizes",
    run: async ({ left, right }) => {
      const sizes = [1, 0, 100, 3000, 16383, 16384, 16385, 70_000, 5, 300_000, 2048, 2049];
      const expected: Buffer[] = [];
      for (const [i, size] of sizes.entries()) {
        const bytes = pattern(size).map((byte) => byte ^ i) as Buffer;
        left.channel.writeLatin1(Buffer.from(bytes).toString("latin1"));
        left.channel.writeBytes(Buffer.from(bytes));
        const source = Buffer.concat([Buffer.from("#"), bytes, Buffer.from("#")]);
        left.channel.forward(source, 1, 1 + size);
        source.fill(0);
        expected.push(bytes, bytes, bytes);
      }
      const all = Buffer.concat(expected);
      await right.until("all", (r) => r.bytes.length >= all.length);
      assert.ok(right.bytes.equals(all));
    },
  },
  {
    name: "what is written in one turn is one read for the peer",
    run: async ({ left, right }) => {
      let reads = 0;
      const onData = right.onData.bind(right);
      right.onData = (buffer, start, end) => {
        reads += 1;
        onData(buffer, start, end);
      };
      for (const piece of ["HTTP/1.1 200 OK\r\n", "\r\n", "body"]) left.channel.writeLatin1(piece);
      left.channel.writeBytes(Buffer.from("more"));
      await right.until("all", (r) => r.text.endsWith("more"));
      assert.equal(reads, 1);
    },
  },
  {
    name: "nothing is called from inside a call",
    run: async ({ left, right }) => {
      let isInside = false;
      for (const name of ["onData", "onEnd", "onDrain", "onClose"] as const) {
        const original = left[name].bind(left) as (...args: unknown[]) => void;
        left[name] = (...args: unknown[]) => {
          assert.equal(isInside, false, `${name} from inside a call`);
          original(...args);
        };
      }
      const call = (run: () => void): void => {
        isInside = true;
        run();
        isInside = false;
      };
      right.channel.writeLatin1("waiting");
      await new Promise((resolve) => setImmediate(resolve));
      call(() => left.channel.pause());
      call(() => left.channel.resume());
      for (let i = 0; i < 20; i++) call(() => left.channel.writeBytes(pattern(100_000)));
      call(() => left.channel.end());
      await right.until("end", (r) => r.isEnded);
      call(() => right.channel.end());
      await left.until("close", (l) => l.closes > 0);
      call(() => left.channel.destroy());
      assert.equal(left.text, "waiting");
      assert.equal(right.bytes.length, 2_000_000);
    },
  },
  {
    name: "both halves close for themselves, in either order",
    run: async ({ left, right }) => {
      left.channel.writeLatin1("question");
      left.channel.end();
      left.channel.writeLatin1("too late");
      await right.until("end", (r) => r.isEnded);
      assert.equal(right.text, "question");
      assert.ok(right.channel.isOpen && left.channel.isOpen);
      right.channel.writeBytes(pattern(500_000));
      right.channel.end();
      await left.until("close", (l) => l.closes > 0);
      await right.until("close", (r) => r.closes > 0);
      assert.equal(left.bytes.length, 500_000);
      assert.deepEqual([left.closed?.code, right.closed?.code, left.closes, right.closes], [undefined, undefined, 1, 1]);
    },
  },
  {
    name: "a reset reaches the peer as one",
    run: async ({ left, right }) => {
      // Not before TLS has sent its session tickets: their write would eat the error.
      right.channel.writeLatin1("hello");
      await left.until("hello", (l) => l.text === "hello");
      left.channel.destroy({ reset: true });
      assert.equal(left.channel.isOpen, false);
      await right.until("close", (r) => r.closes > 0);
      assert.equal(right.closed?.code, "ECONNRESET");
      await left.until("close", (l) => l.closes > 0);
      assert.equal(left.closed?.code, undefined);
    },
  },
  {
    name: "destroy drops what is buffered, tells onClose once and nothing after it",
    run: async ({ left, right }) => {
      left.channel.pause();
      right.channel.writeLatin1("unread");
      left.channel.writeLatin1("dropped");
      left.channel.destroy();
      left.channel.destroy();
      left.channel.writeLatin1("late");
      left.channel.forward(Buffer.from("late"), 0, 4);
      left.channel.end();
      left.channel.resume();
      await left.until("close", (l) => l.closes > 0);
      await right.until("over", (r) => r.isEnded || r.closes > 0);
      assert.deepEqual([left.closes, left.text, right.text, left.isEnded], [1, "", "", false]);
      assert.equal(left.channel.isOpen, false);
    },
  },
  {
    name: "a paused channel reads nothing, and goes on where it was",
    run: async ({ left, right }) => {
      right.channel.pause();
      left.channel.writeLatin1("one");
      left.channel.end();
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.deepEqual([right.text, right.isEnded], ["", false]);
      right.channel.resume();
      await right.until("end", (r) => r.isEnded);
      assert.equal(right.text, "one");
    },
  },
  {
    name: "what the stream had read before comes first",
    run: async ({ left, right, ends }) => {
      left.channel.writeLatin1("second");
      await right.until("both", (r) => r.text.length >= 11);
      assert.equal(right.text, "firstsecond");
      assert.equal(ends.right.readableLength, 0);
    },
  },
  {
    name: "a relay carries much with a slow reader: nothing is lost or changed, and buffers stay within the watermark",
    run: async ({ kind, left, right }) => {
      const next = await (kind === "tls" ? tlsEnds() : tcpEnds());
      const relayIn = new Relay(right.channel);
      const out = channelOf(next.left, next.tls, SMALL);
      relayIn.to = out;
      const outRecorder = new ChannelRecorder(out);
      outRecorder.onDrain = () => {
        right.channel.resume();
      };
      const reader = channelOf(next.right, next.tls);
      const chunks: Buffer[] = [];
      let size = 0;
      let ended = false;
      reader.handler = {
        onData(buffer, start, end) {
          chunks.push(Buffer.from(buffer.subarray(start, end)));
          size += end - start;
          assert.ok(out.bufferedBytes < 32 * 1024 + 512 * 1024);
          if (chunks.length % 16 === 0) {
            reader.pause();
            setTimeout(() => reader.resume(), 1);
          }
        },
        onEnd: () => {
          ended = true;
        },
        onDrain() {},
        onClose() {},
      };
      const bulk = pattern(24 * 1024 * 1024 + 12345);
      let at = 0;
      const pump = (): void => {
        while (at < bulk.length) {
          const end = Math.min(bulk.length, at + 50_000);
          const more = left.channel.writeBytes(bulk.subarray(at, end));
          at = end;
          if (!more) return;
        }
        left.channel.end();
      };
      left.onDrain = pump;
      // Nobody reads until backpressure has come all the way.
      reader.pause();
      pump();
      while (relayIn.pauses === 0) await new Promise((resolve) => setImmediate(resolve));
      reader.resume();
      while (!ended) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(size, bulk.length);
      assert.ok(Buffer.concat(chunks).equals(bulk));
      reader.destroy();
      out.destroy();
    },
  },
  {
    name: "a peer that goes while much is being written ends the channel with the system's code, and a waiting writer is woken or told",
    run: async ({ left, right }) => {
      right.channel.pause();
      while (left.channel.writeBytes(pattern(65536))) await new Promise((resolve) => setImmediate(resolve));
      right.channel.destroy({ reset: true });
      await left.until("close", (l) => l.closes > 0);
      assert.ok(["ECONNRESET", "EPIPE"].includes(left.closed?.code ?? ""));
      assert.equal(left.closes, 1);
    },
  },
];

const kinds: readonly { readonly kind: Kind; make(): Promise<Ends> }[] = [
  { kind: "tcp", make: tcpEnds },
  { kind: "tls", make: tlsEnds },
];

for (const isFast of [true, false]) {
  for (const { kind, make } of kinds) {
    for (const { name, run } of rows) {
      test(`${isFast ? "fast" : "fallback"} ${kind} channel: ${name}`, async () => {
        useFastPath(isFast);
        const ends = await make();
        if (name.startsWith("what the stream")) ends.right.unshift(Buffer.from("first"));
        const left = new ChannelRecorder(channelOf(ends.left, ends.tls));
        const right = new ChannelRecorder(channelOf(ends.right, ends.tls));
        try {
          await run({ kind, left, right, ends });
        } finally {
          left.channel.destroy();
          right.channel.destroy();
          useFastPath(true);
        }
      });
    }
  }
}

test("this Node has the fast path", () => assert.equal(isFastPathAvailable(), true));

test("early bytes and an end that the stream saw before are told in order, and wait while the channel is paused", async () => {
  for (const isFast of [true, false]) {
    useFastPath(isFast);
    const ends = await tcpEnds();
    ends.left.end("all");
    // Looked at and put back, as a peek does; the end arrives in between.
    while (ends.right.readableLength < 3) {
      ends.right.read(0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
    const seen: unknown = ends.right.read(2);
    ends.right.unshift(seen);
    const right = new ChannelRecorder(channelOf(ends.right, undefined));
    right.channel.pause();
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(right.text, "");
    right.channel.resume();
    await right.until("end", (r) => r.isEnded);
    assert.equal(right.text, "all");
    right.channel.destroy();
    ends.left.destroy();
    useFastPath(true);
  }
});

test("a socket that is gone already closes in a later turn", async () => {
  const ends = await tcpEnds();
  ends.left.destroy();
  await new Promise<void>((resolve) => ends.left.once("close", () => resolve()));
  const left = new ChannelRecorder(channelOf(ends.left, undefined));
  assert.equal(left.closes, 0);
  await left.until("close", (l) => l.closes > 0);
  assert.equal(left.channel.isOpen, false);
  ends.right.destroy();
});

test("connections that stand idle with a private buffer give it to one that streams; none holds more than there are", async () => {
  const pairs: {
    readonly left: ChannelRecorder;
    readonly relay: Relay;
    readonly out: ChannelRecorder;
    readonly reader: ChannelRecorder;
  }[] = [];
  const bulk = pattern(400_000);
  const send = async (pair: (typeof pairs)[number]): Promise<void> => {
    const before = pair.reader.bytes.length;
    pair.left.channel.writeBytes(bulk);
    await pair.reader.until("bulk", (reader) => reader.bytes.length === before + bulk.length);
    assert.ok(pair.reader.bytes.subarray(before).equals(bulk));
    pair.reader.bytes = Buffer.alloc(0);
  };
  for (let i = 0; i < LEASES_MAX + 6; i++) {
    const [from, to] = [await tcpEnds(), await tcpEnds()];
    const relay = new Relay(channelOf(from.right, undefined));
    const out = new ChannelRecorder(channelOf(to.left, undefined));
    relay.to = out.channel;
    out.onDrain = () => relay.channel.resume();
    pairs.push({
      left: new ChannelRecorder(channelOf(from.left, undefined)),
      relay,
      out,
      reader: new ChannelRecorder(channelOf(to.right, undefined)),
    });
  }
  for (const pair of pairs) await send(pair);
  assert.ok(leasesInUse() <= LEASES_MAX);
  for (const pair of pairs.toReversed()) await send(pair);
  for (const { left, relay, out, reader } of pairs) for (const end of [left, relay, out, reader]) end.channel.destroy();
  await new Promise((resolve) => setTimeout(resolve, 20));
});

after(() => assert.equal(leasesInUse(), 0, "a private read buffer was not given back"));
