/** Collects the frames that a connection sends in one turn and hands them to the channel as one piece. */
import type { Channel } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import { Flag, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameType } from "./frames.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import { writeLatin1 } from "./latin1.ts";

const WORK_BYTES = 16 * 1024;
const FREE_MAX = 16;
/** Frames are handed over in the middle of a turn when there are more bytes than this. */
const TURN_BYTES_MAX = 64 * 1024;
/** Payloads from this size on go to the channel as they are instead of being copied between other frames. */
const FORWARD_BYTES_MIN = 4096;
const SLAB_BYTES = 64 * 1024;

// Work buffers are borrowed for a turn, so that idle connections hold none; what leaves is copied into a slab that nobody writes to again.
const free: Buffer[] = [];
let slab: Buffer | undefined;
let slabAt = 0;

function toSlab(bytes: Buffer, length: number): Buffer {
  if (slab === undefined || slabAt + length > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    slabAt = 0;
  }
  const start = slabAt;
  bytes.copy(slab, start, 0, length);
  slabAt += length;
  return slab.subarray(start, slabAt);
}

/** Connections with frames to hand over, while frames are being read. */
const pending: FrameOutput[] = [];
let readers = 0;

/** Reading begins: what any connection sends because of it is handed over by `leaveFrames`. */
export function enterFrames(): void {
  readers += 1;
}

/** Reading has ended. */
export function leaveFrames(): void {
  readers -= 1;
  if (readers > 0) return;
  for (const output of pending) output.endTurn();
  pending.length = 0;
}

/** The sending end of one connection. */
export class FrameOutput {
  readonly #channel: Channel;
  readonly #encoder = new HpackEncoder();
  readonly #endTurn = (): void => this.endTurn();
  #buffer: Buffer | undefined;
  #at = 0;
  #isScheduled = false;
  /** The channel said stop. Data waits; heads and control frames go on, which are few. */
  isBlocked = false;
  /** Control frames since the channel blocked: a peer that asks for answers and does not read them. */
  controlFramesBlocked = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setTableBytesMax(bytes: number): void {
    this.#encoder.setTableBytesMax(bytes);
  }

  /** Text of one-byte characters: the preface. */
  text(text: string): void {
    const buffer = this.#room(text.length);
    this.#at += writeLatin1(buffer, text, this.#at);
  }

  /** A frame whose payload is nothing, one or two 32-bit numbers, or up to 64 bits. */
  control(type: number, flags: number, streamId: number, ...words: readonly number[]): void {
    this.#room(FRAME_HEADER_BYTES + words.length * 4);
    if (this.isBlocked) this.controlFramesBlocked += 1;
    this.#header(words.length * 4, type, flags, streamId);
    for (const word of words) this.#word(word);
  }

  /** A frame with the given payload, which is copied. */
  payload(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    const buffer = this.#room(FRAME_HEADER_BYTES + end - start);
    if (this.isBlocked) this.controlFramesBlocked += 1;
    this.#header(end - start, type, flags, streamId);
    bytes.copy(buffer, this.#at, start, end);
    this.#at += end - start;
  }

  /** SETTINGS with pairs of number and value. */
  settings(pairs: readonly (readonly [number, number])[]): void {
    const buffer = this.#room(FRAME_HEADER_BYTES + pairs.length * 6);
    this.#header(pairs.length * 6, FrameType.settings, 0, 0);
    for (const [setting, value] of pairs) {
      this.#at = buffer.writeUInt16BE(setting, this.#at);
      this.#word(value);
    }
  }

  /** One DATA frame with bytes `start` to `end`. */
  data(streamId: number, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    const length = end - start;
    if (length < FORWARD_BYTES_MIN) {
      const out = this.#room(FRAME_HEADER_BYTES + length);
      this.#header(length, FrameType.data, endStream ? Flag.endStream : 0, streamId);
      if (length > 0) buffer.copy(out, this.#at, start, end);
      this.#at += length;
      return;
    }
    this.#room(FRAME_HEADER_BYTES);
    this.#header(length, FrameType.data, endStream ? Flag.endStream : 0, streamId);
    this.flush();
    if (!this.#channel.forward(buffer, start, end)) this.isBlocked = true;
  }

  /** A head or trailers: `pseudo` (name, value, name, value ...) comes first. */
  headers(streamId: number, pseudo: readonly string[], headers: HeaderList, endStream: boolean): void {
    const { flat } = headers;
    let bytesMax = FRAME_HEADER_BYTES + HpackEncoder.blockStartBytesMax;
    for (let i = 0; i < pseudo.length; i += 2) bytesMax += HpackEncoder.fieldBytesMax(pseudo[i] as string, pseudo[i + 1] as string);
    for (let i = 0; i < flat.length; i += 2) bytesMax += HpackEncoder.fieldBytesMax(flat[i] as string, flat[i + 1] as string);
    const out = this.#room(bytesMax);
    const encoder = this.#encoder;
    const start = this.#at;
    let at = encoder.begin(out, start + FRAME_HEADER_BYTES);
    for (let i = 0; i < pseudo.length; i += 2) at = encoder.field(pseudo[i] as string, pseudo[i + 1] as string, out, at);
    for (let i = 0; i < flat.length; i += 2) at = encoder.field(flat[i] as string, flat[i + 1] as string, out, at);
    const length = at - start - FRAME_HEADER_BYTES;
    const endFlag = endStream ? Flag.endStream : 0;
    if (length <= FRAME_BYTES_MAX) {
      this.#header(length, FrameType.headers, endFlag | Flag.endHeaders, streamId);
      this.#at = at;
      return;
    }
    const block = Buffer.from(out.subarray(start + FRAME_HEADER_BYTES, at));
    this.payload(FrameType.headers, endFlag, streamId, block, 0, FRAME_BYTES_MAX);
    for (let from = FRAME_BYTES_MAX; from < length; from += FRAME_BYTES_MAX) {
      const to = Math.min(length, from + FRAME_BYTES_MAX);
      this.payload(FrameType.continuation, to === length ? Flag.endHeaders : 0, streamId, block, from, to);
    }
  }

  /** The channel takes data again. */
  unblock(): void {
    this.isBlocked = false;
    this.controlFramesBlocked = 0;
  }

  /** Hands over what was collected in this turn. */
  endTurn(): void {
    this.#isScheduled = false;
    this.flush();
  }

  /** Hands over what was collected now: before a payload that goes by itself, and before the end. */
  flush(): void {
    const buffer = this.#buffer;
    const length = this.#at;
    if (buffer === undefined) return;
    this.#buffer = undefined;
    this.#at = 0;
    let bytes: Buffer;
    if (buffer.length === WORK_BYTES) {
      bytes = toSlab(buffer, length);
      if (free.length < FREE_MAX) free.push(buffer);
    } else {
      bytes = buffer.subarray(0, length);
    }
    if (length === 0 || !this.#channel.isOpen) return;
    if (!this.#channel.writeBytes(bytes)) this.isBlocked = true;
  }

  /** Makes room for `bytes` more, and has them handed over when the turn ends. */
  #room(bytes: number): Buffer {
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      if (readers > 0) pending.push(this);
      else queueMicrotask(this.#endTurn);
    }
    const buffer = this.#buffer;
    if (buffer !== undefined && this.#at + bytes <= buffer.length) return buffer;
    return this.#moreRoom(bytes);
  }

  #moreRoom(bytes: number): Buffer {
    if (this.#at + bytes > TURN_BYTES_MAX) this.flush();
    const needed = this.#at + bytes;
    const old = this.#buffer;
    let buffer: Buffer;
    if (needed <= WORK_BYTES) {
      buffer = free.pop() ?? Buffer.allocUnsafeSlow(WORK_BYTES);
    } else {
      buffer = Buffer.allocUnsafeSlow(Math.max(TURN_BYTES_MAX, needed));
    }
    if (old !== undefined) {
      old.copy(buffer, 0, 0, this.#at);
      if (old.length === WORK_BYTES && free.length < FREE_MAX) free.push(old);
    }
    this.#buffer = buffer;
    return buffer;
  }

  #header(length: number, type: number, flags: number, streamId: number): void {
    const out = this.#buffer as Buffer;
    const at = this.#at;
    out[at] = length >> 16;
    out[at + 1] = length >> 8;
    out[at + 2] = length;
    out[at + 3] = type;
    out[at + 4] = flags;
    out[at + 5] = streamId >> 24;
    out[at + 6] = streamId >> 16;
    out[at + 7] = streamId >> 8;
    out[at + 8] = streamId;
    this.#at = at + FRAME_HEADER_BYTES;
  }

  #word(value: number): void {
    const out = this.#buffer as Buffer;
    const at = this.#at;
    out[at] = value >>> 24;
    out[at + 1] = value >>> 16;
    out[at + 2] = value >>> 8;
    out[at + 3] = value;
    this.#at = at + 4;
  }
}
