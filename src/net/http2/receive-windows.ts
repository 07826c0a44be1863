/** The receiving side of windows: what the peer may still send, and when it is told that it may send more. Source: RFC 9113, section 5.2. */
import type { FrameOutput } from "./frame-output.ts";
import { FrameType, INITIAL_WINDOW_BYTES } from "./frames.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** Keeps a connection's and its streams' receive windows. */
export class ReceiveWindows {
  readonly #out: FrameOutput;
  readonly #connectionBytes: number;
  readonly #streamBytes: number;
  #windowBytes: number;
  #uncreditedBytes = 0;
  isOff = false;

  constructor(out: FrameOutput, limits: { readonly connectionWindowBytes: number; readonly streamWindowBytes: number }) {
    this.#out = out;
    this.#connectionBytes = Math.max(INITIAL_WINDOW_BYTES, limits.connectionWindowBytes);
    this.#streamBytes = limits.streamWindowBytes;
    this.#windowBytes = this.#connectionBytes;
  }

  /** Tells the peer how large the connection's window is: SETTINGS cannot. */
  open(): void {
    const more = this.#connectionBytes - INITIAL_WINDOW_BYTES;
    if (more > 0) this.#out.control(FrameType.windowUpdate, 0, 0, more);
  }

  /** Takes from the connection's window; false when there was not so much. */
  takeConnection(bytes: number): boolean {
    this.#windowBytes -= bytes;
    return this.#windowBytes >= 0;
  }

  /** Gives back what was consumed: to the connection, and to the stream if more is to come on it. */
  credit(stream: Http2Stream | undefined, bytes: number): void {
    if (bytes === 0 || this.isOff) return;
    this.#uncreditedBytes += bytes;
    if (this.#uncreditedBytes * 4 >= this.#connectionBytes) {
      this.#windowBytes += this.#uncreditedBytes;
      this.#out.control(FrameType.windowUpdate, 0, 0, this.#uncreditedBytes);
      this.#uncreditedBytes = 0;
    }
    if (stream === undefined || stream.isRemoteEnded || stream.isClosed) return;
    stream.uncreditedBytes += bytes;
    if (stream.uncreditedBytes * 2 < this.#streamBytes) return;
    stream.receiveWindowBytes += stream.uncreditedBytes;
    this.#out.control(FrameType.windowUpdate, 0, stream.id, stream.uncreditedBytes);
    stream.uncreditedBytes = 0;
  }
}
