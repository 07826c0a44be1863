/** The sending side of a connection's streams: windows, what waits for them, and who goes first. Source: RFC 9113, section 5.2. */
import type { HeaderList } from "../http/headers.ts";
import type { GlitchBucket } from "./flood.ts";
import type { FrameOutput } from "./frame-output.ts";
import { FRAME_BYTES_MAX, INITIAL_WINDOW_BYTES } from "./frames.ts";
import { type Http2Stream, STREAM_QUEUE } from "./http2-stream.ts";
import { SendQueue } from "./send-queue.ts";

const NO_PSEUDO: readonly string[] = [];
const NO_BYTES = Buffer.alloc(0);

/** Sends heads, bodies and trailers of one connection's streams. */
export class Sender {
  /** The connection's window. Streams that find it used up are served in turn when it opens, so one that comes later overtakes nobody. */
  windowBytes = INITIAL_WINDOW_BYTES;
  readonly #out: FrameOutput;
  readonly #glitches: GlitchBucket;
  readonly #onLocalSent: (stream: Http2Stream) => void;
  /** Streams with something queued, and streams whose owners were told to stop. */
  readonly #queued = new Set<Http2Stream>();
  readonly #waiting = new Set<Http2Stream>();

  /** `onLocalSent`: a stream's END_STREAM went out. */
  constructor(out: FrameOutput, glitches: GlitchBucket, onLocalSent: (stream: Http2Stream) => void) {
    this.#out = out;
    this.#glitches = glitches;
    this.#onLocalSent = onLocalSent;
  }

  /** Sends a head; heads need no window. */
  head(stream: Http2Stream, pseudo: readonly string[], headers: HeaderList, endStream: boolean): void {
    if (endStream) stream.isLocalEnded = true;
    this.#out.headers(stream.id, pseudo, headers, endStream);
    this.#glitches.excuse();
    if (endStream) this.#localSent(stream);
  }

  /** Sends or queues body bytes; false tells the owner to stop. `isKept`: what waits need not be copied. */
  data(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean, isKept: boolean): boolean {
    if (stream.isClosed || stream.isLocalEnded) return true;
    if (endStream) stream.isLocalEnded = true;
    let at = start;
    if (!stream.hasQueue) {
      at = this.#transmit(stream, buffer, start, end, endStream);
      if (at === end && (!endStream || stream.isLocalSent)) return this.#mayGoOn(stream);
    }
    stream.queue ??= new SendQueue();
    if (at < end) {
      if (isKept) stream.queue.pushKept(buffer, at, end);
      else stream.queue.push(buffer, at, end);
    }
    this.#queued.add(stream);
    return this.#mayGoOn(stream);
  }

  /** Sends trailers, behind what is queued. */
  trailers(stream: Http2Stream, trailers: HeaderList): void {
    if (stream.isClosed || stream.isLocalEnded) return;
    stream.isLocalEnded = true;
    if (stream.hasQueue) {
      stream.queuedTrailers = trailers;
      this.#queued.add(stream);
    } else {
      this.#transmitTrailers(stream, trailers);
    }
  }

  /** Drops what a stream that is closed has left. */
  forget(stream: Http2Stream): void {
    if (stream.queue !== undefined || stream.queuedTrailers !== undefined) this.#queued.delete(stream);
    if (stream.isWaiting) this.#waiting.delete(stream);
  }

  /** All windows may have changed: one frame of each stream in turn, until they are used up. */
  pumpAll(): void {
    for (const stream of this.#queued) {
      if (this.#out.isBlocked) break;
      if (!this.#pumpOnce(stream)) continue;
      // To the end of the line.
      this.#queued.delete(stream);
      this.#queued.add(stream);
    }
    for (const stream of [...this.#waiting]) this.#wake(stream);
  }

  /** One stream's window has changed. */
  pump(stream: Http2Stream): void {
    let hasMore = this.#queued.has(stream);
    while (hasMore) hasMore = this.#pumpOnce(stream);
    this.#wake(stream);
  }

  /** Sends as much as windows allow and gives the place after it. */
  #transmit(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): number {
    const out = this.#out;
    let at = start;
    if (at === end) {
      if (!endStream || out.isBlocked) return at;
      out.data(stream.id, buffer, at, at, true);
      this.#localSent(stream);
      return at;
    }
    while (at < end && !out.isBlocked) {
      const length = Math.min(end - at, stream.sendWindowBytes, this.windowBytes, FRAME_BYTES_MAX);
      if (length <= 0) break;
      const isLast = endStream && at + length === end;
      out.data(stream.id, buffer, at, at + length, isLast);
      this.#glitches.excuse();
      stream.sendWindowBytes -= length;
      this.windowBytes -= length;
      at += length;
      if (isLast) this.#localSent(stream);
    }
    return at;
  }

  #transmitTrailers(stream: Http2Stream, trailers: HeaderList): void {
    this.#out.headers(stream.id, NO_PSEUDO, trailers, true);
    this.#glitches.excuse();
    this.#localSent(stream);
  }

  #localSent(stream: Http2Stream): void {
    stream.isLocalSent = true;
    this.#onLocalSent(stream);
  }

  #mayGoOn(stream: Http2Stream): boolean {
    if (!this.#out.isBlocked && (stream.queue === undefined || stream.queue.bytes < STREAM_QUEUE.highBytes)) return true;
    if (!stream.isClosed) {
      stream.isWaiting = true;
      this.#waiting.add(stream);
    }
    return false;
  }

  /** Sends one frame of what a stream has queued; true when there is more. */
  #pumpOnce(stream: Http2Stream): boolean {
    const { queue } = stream;
    if (stream.isClosed || this.#out.isBlocked || stream.id === 0) return false;
    if (queue !== undefined && queue.bytes > 0) {
      const length = Math.min(stream.sendWindowBytes, this.windowBytes, FRAME_BYTES_MAX);
      if (length <= 0) return false;
      const before = queue.bytes;
      queue.shift(length, (buffer, start, end) => {
        const isLast = end - start === before && stream.isLocalEnded && stream.queuedTrailers === undefined;
        this.#transmit(stream, buffer, start, end, isLast);
      });
      if (queue.bytes > 0) return true;
    }
    this.#queued.delete(stream);
    if (stream.isLocalSent) return false;
    if (stream.queuedTrailers !== undefined) {
      const trailers = stream.queuedTrailers;
      stream.queuedTrailers = undefined;
      this.#transmitTrailers(stream, trailers);
    } else if (stream.isLocalEnded) {
      this.#transmit(stream, NO_BYTES, 0, 0, true);
    }
    return false;
  }

  #wake(stream: Http2Stream): void {
    if (stream.isClosed || !stream.isWaiting || this.#out.isBlocked) return;
    if (stream.queue !== undefined && stream.queue.bytes > STREAM_QUEUE.lowBytes) return;
    stream.isWaiting = false;
    this.#waiting.delete(stream);
    stream.listener.onDrain();
  }
}
