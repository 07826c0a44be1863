/** Whatever frames come, in whatever pieces: nothing is thrown, no stream's owner hears anything after its end, and all of them hear of the end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { channelPair } from "../../../test/kit/channel-pair.ts";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { block, frame, requestBlock } from "../../../test/kit/http2-peer.ts";
import type { ChannelHandler } from "../channel.ts";
import { HeaderList } from "../http/headers.ts";
import { MESH_HTTP_LIMITS, type StreamHandler } from "../http/stream.ts";
import { createHttp2ClientConnection } from "./client-connection.ts";
import { PREFACE } from "./frames.ts";
import { createHttp2ServerConnection } from "./server-connection.ts";

const blocks = fc.oneof(
  fc.constant(requestBlock()),
  fc.constant(requestBlock(["content-length", "5"])),
  fc.constant(block([[":status", "200"]])),
  fc.constant(block([[":status", "100"]])),
  fc.constant(block([["a-trailer", "1"]])),
  fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes)),
);
const streamId = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(1, 3, 5, 7) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 0x7fffffff }) },
);
const flags = fc.oneof(fc.constantFrom(0, 1, 4, 5, 8, 13), fc.integer({ min: 0, max: 255 }));
const frames = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(flags, streamId, blocks).map(([flag, id, bytes]) => frame("headers", flag, id, bytes)) },
  {
    weight: 4,
    arbitrary: fc.tuple(flags, streamId, fc.uint8Array({ maxLength: 40 })).map(([flag, id, bytes]) => frame("data", flag, id, bytes)),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.integer({ min: 0, max: 12 }), flags, streamId, fc.uint8Array({ maxLength: 20 }))
      .map(([type, flag, id, bytes]) => frame(type, flag, id, bytes)),
  },
  { weight: 1, arbitrary: fc.constant(frame("settings", 0, 0)) },
  { weight: 1, arbitrary: fc.tuple(streamId).map(([id]) => frame("rstStream", 0, id, Buffer.from([0, 0, 0, 8]))) },
);
const input = fc.record({
  list: fc.array(frames, { maxLength: 40 }),
  cut: fc.integer({ min: 1, max: 60 }),
  manner: fc.integer({ min: 0, max: 7 }),
});

/** Counts what owners hear and fails when they hear too much. */
class Owners {
  open = 0;

  handler(onAnything: () => void = () => {}): StreamHandler & { isOver: boolean } {
    this.open += 1;
    const owners = this;
    let isBodyOver = false;
    return {
      isOver: false,
      onData(_buffer, start, end, isEnd) {
        assert.ok(!this.isOver && !isBodyOver && start <= end);
        isBodyOver = isEnd;
        onAnything();
      },
      onTrailers() {
        assert.ok(!this.isOver && !isBodyOver);
        isBodyOver = true;
        onAnything();
      },
      onReset() {
        assert.ok(!this.isOver);
        this.isOver = true;
        owners.open -= 1;
      },
      onDrain() {
        assert.ok(!this.isOver);
      },
    };
  }
}

const DEAF: ChannelHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

function feed(handler: { onData(buffer: Buffer, start: number, end: number): void }, bytes: Buffer, cut: number): void {
  for (let at = 0; at < bytes.length; at += cut) {
    const piece = Buffer.from(bytes.subarray(at, at + cut));
    handler.onData(piece, 0, piece.length);
    piece.fill(0xdd);
  }
}

test("a server lives with any frames", () => {
  fc.assert(
    fc.property(input, ({ list, cut, manner }) => {
      const { server: channel, client: other } = channelPair();
      other.handler = DEAF;
      const owners = new Owners();
      let finished = 0;
      const connection = createHttp2ServerConnection(
        channel,
        { limits: MESH_HTTP_LIMITS, clock: new FakeClock() },
        {
          onRequest(stream, _head, endStream) {
            const finish = (): void => {
              finished += 1;
              stream.writeHead({ status: 200, headers: new HeaderList(), version: "HTTP/2" }, false);
              stream.writeData(Buffer.alloc(10), 0, 10, true);
            };
            if (manner & 4) stream.pauseReading();
            stream.handler = owners.handler(() => {
              if (manner & 1) stream.reset();
            });
            if (endStream && manner & 2) finish();
          },
          onCodecError() {},
          onClose() {},
        },
      );
      feed(channel.handler, Buffer.concat([Buffer.from(PREFACE), frame("settings", 0, 0), ...list]), cut);
      const open = owners.open;
      channel.handler.onClose({ code: "ECONNRESET", message: "gone" });
      assert.equal(connection.activeStreams, 0);
      if (manner === 0) assert.equal(owners.open, 0, `${open} were open, ${finished} finished`);
    }),
    { numRuns: 1500 },
  );
});

test("a client lives with any frames", () => {
  fc.assert(
    fc.property(input, ({ list, cut, manner }) => {
      const { client: channel, server: other } = channelPair();
      other.handler = DEAF;
      const owners = new Owners();
      const connection = createHttp2ClientConnection(
        channel,
        { limits: MESH_HTTP_LIMITS, clock: new FakeClock() },
        { onAvailable() {}, onDraining() {}, onClose() {} },
      );
      let answered = 0;
      for (let i = 0; i < 4; i++) {
        const head = {
          method: "GET",
          path: "/",
          authority: "a",
          scheme: "http",
          headers: new HeaderList(),
          version: "HTTP/2" as const,
          upgrade: undefined,
        };
        const handler = owners.handler();
        let hasResponse = false;
        const stream = connection.openStream(head, (manner & 1) === 0, {
          ...handler,
          onInformational: () => assert.ok(!hasResponse),
          onResponse(_head, isEnd) {
            assert.ok(!hasResponse);
            hasResponse = true;
            if (isEnd) answered += 1;
          },
        });
        if (manner & 4) stream.pauseReading();
      }
      feed(channel.handler, Buffer.concat([frame("settings", 0, 0), ...list]), cut);
      channel.handler.onClose({ code: "ECONNRESET", message: "gone" });
      assert.equal(connection.activeStreams, 0);
      assert.ok(answered <= 4);
    }),
    { numRuns: 1500 },
  );
});
