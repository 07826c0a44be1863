/** Counts the messages of a gRPC body as it passes. Source: gRPC over HTTP/2, Length-Prefixed-Message. */

const PREFIX_BYTES = 5;

/** One direction of one stream. */
export class GrpcMessageCounter {
  /** Messages that have begun. */
  count = 0;
  #prefixAt = 0;
  #length = 0;
  #left = 0;

  /** Takes the next bytes of the body. */
  feed(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, end - at);
        this.#left -= taken;
        at += taken;
        continue;
      }
      if (this.#prefixAt === 0) this.#length = 0;
      else this.#length = this.#length * 256 + (buffer[at] as number);
      at++;
      if (++this.#prefixAt < PREFIX_BYTES) continue;
      this.#prefixAt = 0;
      this.#left = this.#length;
      this.count += 1;
    }
  }
}
