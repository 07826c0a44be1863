/** Puts a header block together that comes in several frames. Source: RFC 9113, section 4.3; bounds against CVE-2024-27983 and its like. */

const CONTINUATIONS_MAX = 8;

/** A block under way. */
export class HeaderBlock {
  readonly streamId: number;
  readonly endStream: boolean;
  readonly #bytesMax: number;
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  constructor(streamId: number, endStream: boolean, bytesMax: number) {
    this.streamId = streamId;
    this.endStream = endStream;
    this.#bytesMax = bytesMax;
  }

  /** Appends a copy of bytes `start` to `end`; false when that is beyond the bounds. */
  push(buffer: Buffer, start: number, end: number): boolean {
    if (this.#parts.length > CONTINUATIONS_MAX || this.#bytes + end - start > this.#bytesMax) return false;
    this.#parts.push(Buffer.from(buffer.subarray(start, end)));
    this.#bytes += end - start;
    return true;
  }

  /** The whole block. */
  join(): Buffer {
    return Buffer.concat(this.#parts, this.#bytes);
  }
}
