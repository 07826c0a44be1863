/** Writes a message's body in the framing that its head announced. Source: RFC 9112 sections 6 and 7.1. */
import type { Channel } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import { fieldLines } from "./head-writer.ts";

type Framing = "none" | "length" | "chunked" | "raw";

/** Encodes one body after another. */
export class BodyEncoder {
  readonly #channel: Channel;
  #framing: Framing = "none";
  #left = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Drops whatever is written: HEAD, 204, 304. */
  startNone(): void {
    this.#framing = "none";
  }

  startLength(bytes: number): void {
    this.#framing = "length";
    this.#left = bytes;
  }

  startChunked(): void {
    this.#framing = "chunked";
  }

  /** Until the connection closes, and tunnels. */
  startRaw(): void {
    this.#framing = "raw";
  }

  get isRaw(): boolean {
    return this.#framing === "raw";
  }

  /** Whether the body ended short of, or went beyond, what its head announced: the connection must close. */
  get isBroken(): boolean {
    return this.#framing === "length" && this.#left !== 0;
  }

  /** Writes bytes. False: stop until the channel drains. */
  write(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    const channel = this.#channel;
    const size = end - start;
    switch (this.#framing) {
      case "none":
        return true;
      case "length":
        // What is beyond the announced length would be taken for the next message.
        if (size > this.#left) {
          if (this.#left > 0) channel.forward(buffer, start, start + this.#left);
          this.#left = -1;
          return true;
        }
        this.#left -= size;
        return size === 0 || channel.forward(buffer, start, end);
      case "raw":
        return size === 0 || channel.forward(buffer, start, end);
      case "chunked":
        if (size > 0) {
          channel.writeLatin1(`${size.toString(16)}\r\n`);
          channel.forward(buffer, start, end);
          return channel.writeLatin1(endStream ? "\r\n0\r\n\r\n" : "\r\n");
        }
        return !endStream || channel.writeLatin1("0\r\n\r\n");
    }
  }

  /** Ends the body with trailers, which only chunks can carry. */
  writeTrailers(trailers: HeaderList): void {
    if (this.#framing === "chunked") this.#channel.writeLatin1(`0\r\n${fieldLines(trailers.flat)}\r\n`);
  }
}
