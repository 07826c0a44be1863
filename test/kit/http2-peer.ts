/** The other end of an HTTP/2 connection for tests: sends frames as they are asked for, right or wrong, and lists what comes back. */
import type { Channel } from "../../src/net/channel.ts";
import { FrameInput } from "../../src/net/http2/frame-input.ts";
import { errorName, FrameType, PREFACE } from "../../src/net/http2/frames.ts";
import { HpackDecoder } from "../../src/net/http2/hpack-decoder.ts";

const TYPE_NAMES = Object.fromEntries(Object.entries(FrameType).map(([name, type]) => [type, name]));

/** One frame's bytes. */
export function frame(
  type: keyof typeof FrameType | number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = typeof type === "number" ? type : FrameType[type];
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** 32-bit numbers as a payload. */
export function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    bytes.writeUInt32BE(value, i * 4);
  });
  return bytes;
}

function integer(value: number, mask: number, pattern: number): number[] {
  if (value < mask) return [pattern | value];
  const bytes = [pattern | mask];
  let rest = value - mask;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}

/** A header block of literals that enter no table. */
export function block(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.from(integer(value.length, 0x7f, 0)), Buffer.from(value, "latin1")]);
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** The head of a plain request, with more fields behind. */
export function requestBlock(...more: readonly (readonly [string, string])[]): Buffer {
  return block([[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "a.example"], ...more]);
}

/** A peer on a channel. */
export class Http2Peer {
  readonly channel: Channel;
  /** What came: "settings", "headers 1 :status=200 end", "data 1 5 end", "rstStream 1 CANCEL", "goaway 3 PROTOCOL_ERROR", "closed" ... */
  readonly seen: string[] = [];
  #type = 0;
  #flags = 0;
  #streamId = 0;

  /** `isClient`: sends the preface and empty SETTINGS at once; else only SETTINGS. */
  constructor(channel: Channel, options: { readonly isClient: boolean; readonly greets?: boolean }) {
    this.channel = channel;
    const decoder = new HpackDecoder({ bytesMax: 1 << 20, fieldsMax: 1000 });
    const input = new FrameInput({
      onFrameHeader: (_length, type, flags, streamId) => {
        this.#type = type;
        this.#flags = flags;
        this.#streamId = streamId;
        return true;
      },
      onDataPart: (_buffer, start, end) => this.seen.push(`data ${this.#streamId} ${end - start}${this.#flags & 1 ? " end" : ""}`),
      onPayload: (buffer, start, end) => this.#note(decoder, buffer, start, end),
    });
    let skip = options.isClient ? 0 : PREFACE.length;
    channel.handler = {
      onData(buffer, start, end) {
        const from = Math.min(end, start + skip);
        skip -= from - start;
        input.read(buffer, from, end);
      },
      onEnd: () => this.seen.push("end"),
      onDrain() {},
      onClose: () => this.seen.push("closed"),
    };
    if (options.greets === false) return;
    if (options.isClient) channel.writeLatin1(PREFACE);
    channel.writeBytes(frame("settings", 0, 0));
  }

  send(...frames: readonly Uint8Array[]): void {
    this.channel.writeBytes(Buffer.concat(frames));
  }

  /** What came but for the greetings. */
  get answers(): string[] {
    return this.seen.filter((line) => !/^(settings|windowUpdate 0 )/.test(line));
  }

  #note(decoder: HpackDecoder, buffer: Buffer, start: number, end: number): void {
    const name = TYPE_NAMES[this.#type] ?? "unknown";
    const id = this.#streamId;
    switch (this.#type) {
      case FrameType.headers: {
        decoder.decode(buffer, start, end);
        const fields = decoder.fields.slice(0, decoder.count).map((field) => `${field.name}=${field.value}`);
        this.seen.push(`headers ${id} ${fields.join(" ")}${this.#flags & 1 ? " end" : ""}`);
        return;
      }
      case FrameType.rstStream:
        this.seen.push(`${name} ${id} ${errorName(buffer.readUInt32BE(start))}`);
        return;
      case FrameType.goaway:
        this.seen.push(`${name} ${buffer.readUInt32BE(start)} ${errorName(buffer.readUInt32BE(start + 4))}`);
        return;
      case FrameType.windowUpdate:
        this.seen.push(`${name} ${id} ${buffer.readUInt32BE(start)}`);
        return;
      default:
        this.seen.push(`${name}${this.#flags & 1 ? " ack" : ""}`);
    }
  }
}
