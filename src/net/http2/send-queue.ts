/** Body bytes that wait for window. Copies what may change, small pieces into one buffer. */

const CHUNK_BYTES_MIN = 4096;

interface Chunk {
  readonly buffer: Buffer;
  /** Ours alone, so more may be written behind `end`. */
  readonly isOwn: boolean;
  start: number;
  end: number;
}

/** A queue of bytes. */
export class SendQueue {
  readonly #chunks: Chunk[] = [];
  bytes = 0;

  /** Appends a copy of bytes `start` to `end`. */
  push(buffer: Buffer, start: number, end: number): void {
    const length = end - start;
    this.bytes += length;
    const last = this.#chunks.at(-1);
    if (last?.isOwn && last.buffer.length - last.end >= length) {
      buffer.copy(last.buffer, last.end, start, end);
      last.end += length;
      return;
    }
    const own = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES_MIN, length));
    buffer.copy(own, 0, start, end);
    this.#chunks.push({ buffer: own, isOwn: true, start: 0, end: length });
  }

  /** Appends bytes `start` to `end` themselves: nobody may touch them again. */
  pushKept(buffer: Buffer, start: number, end: number): void {
    this.bytes += end - start;
    this.#chunks.push({ buffer, isOwn: false, start, end });
  }

  /** Takes up to `bytesMax` bytes that lie together out of the queue and gives them to `take`, which must copy what it keeps. */
  shift(bytesMax: number, take: (buffer: Buffer, start: number, end: number) => void): void {
    const first = this.#chunks[0];
    if (first === undefined) return;
    const start = first.start;
    const end = Math.min(first.end, start + bytesMax);
    first.start = end;
    this.bytes -= end - start;
    if (end === first.end) this.#chunks.shift();
    take(first.buffer, start, end);
  }
}
