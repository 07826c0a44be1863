/** Cuts a connection's bytes into frames. Payloads of DATA are passed on as they come; other frames wait until they are whole. */
import { FRAME_BYTES_MAX, FRAME_HEADER_BYTES, FrameType } from "./frames.ts";

/** Who takes the frames. */
export interface FrameHandler {
  /** A frame's header arrived; false ends reading for good. */
  onFrameHeader(length: number, type: number, flags: number, streamId: number): boolean;
  /** Part of the payload of the DATA frame announced last. An empty frame has one empty part. */
  onDataPart(buffer: Buffer, start: number, end: number): void;
  /** The whole payload of the frame announced last. Valid during the call. */
  onPayload(buffer: Buffer, start: number, end: number): void;
}

/** The receiving end of one connection. */
export class FrameInput {
  readonly #handler: FrameHandler;
  #header: Buffer | undefined;
  #headerBytes = 0;
  /** Bytes of the current frame's payload still to come; -1 between frames. */
  #left = -1;
  #isData = false;
  /** What has come of a payload that must be whole. */
  #payload: Buffer | undefined;
  #payloadBytes = 0;
  #length = 0;
  #isStopped = false;

  constructor(handler: FrameHandler) {
    this.#handler = handler;
  }

  /** Drops all that comes from now on. */
  stop(): void {
    this.#isStopped = true;
    this.#payload = undefined;
  }

  /** Takes bytes `start` to `end`. */
  read(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (!this.#isStopped) {
      if (this.#left < 0) {
        if (at === end) return;
        at = this.#readHeader(buffer, at, end);
        if (this.#left < 0) continue;
      }
      if (at === end && this.#left > 0) return;
      at = this.#isData ? this.#readData(buffer, at, end) : this.#readPayload(buffer, at, end);
    }
  }

  #readHeader(buffer: Buffer, at: number, end: number): number {
    if (this.#headerBytes === 0 && end - at >= FRAME_HEADER_BYTES) {
      this.#begin(buffer, at);
      return at + FRAME_HEADER_BYTES;
    }
    this.#header ??= Buffer.allocUnsafeSlow(FRAME_HEADER_BYTES);
    const take = Math.min(end - at, FRAME_HEADER_BYTES - this.#headerBytes);
    buffer.copy(this.#header, this.#headerBytes, at, at + take);
    this.#headerBytes += take;
    if (this.#headerBytes === FRAME_HEADER_BYTES) {
      this.#headerBytes = 0;
      this.#begin(this.#header, 0);
    }
    return at + take;
  }

  #begin(b: Buffer, at: number): void {
    const length = ((b[at] as number) << 16) | ((b[at + 1] as number) << 8) | (b[at + 2] as number);
    const type = b[at + 3] as number;
    const streamId =
      (((b[at + 5] as number) & 0x7f) << 24) | ((b[at + 6] as number) << 16) | ((b[at + 7] as number) << 8) | (b[at + 8] as number);
    this.#left = length;
    this.#length = length;
    this.#isData = type === FrameType.data;
    if (!this.#handler.onFrameHeader(length, type, b[at + 4] as number, streamId)) this.stop();
  }

  #readData(buffer: Buffer, at: number, end: number): number {
    const take = Math.min(end - at, this.#left);
    const left = this.#left - take;
    this.#left = left === 0 ? -1 : left;
    this.#handler.onDataPart(buffer, at, at + take);
    return at + take;
  }

  #readPayload(buffer: Buffer, at: number, end: number): number {
    const take = Math.min(end - at, this.#left);
    if (take === this.#length) {
      this.#left = -1;
      this.#handler.onPayload(buffer, at, at + take);
      return at + take;
    }
    this.#payload ??= Buffer.allocUnsafe(Math.min(FRAME_BYTES_MAX, this.#length));
    buffer.copy(this.#payload, this.#payloadBytes, at, at + take);
    this.#payloadBytes += take;
    this.#left -= take;
    if (this.#left === 0) {
      const payload = this.#payload;
      this.#left = -1;
      this.#payload = undefined;
      this.#payloadBytes = 0;
      this.#handler.onPayload(payload, 0, this.#length);
    }
    return at + take;
  }
}
