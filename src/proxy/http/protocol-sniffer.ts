/** Tells HTTP/2 from HTTP/1 by a connection's first bytes. Source: RFC 9113 section 3.4, the connection preface. */
import type { Channel, ChannelHandler, CloseReason } from "../../net/channel.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** Who waits. */
export interface SniffHandler {
  /** Puts a codec on the channel; the bytes that were read are given to it right after. */
  onProtocol(protocol: "http1" | "http2"): void;
  /** The connection went before it told. */
  onClose(): void;
}

/** Listens to a channel whose codec is not known yet. */
export function sniffProtocol(channel: Channel, handler: SniffHandler): void {
  channel.handler = new Sniffer(channel, handler);
}

class Sniffer implements ChannelHandler {
  readonly #channel: Channel;
  readonly #handler: SniffHandler;
  /** At most a preface. */
  #kept: Buffer | undefined;
  #isDone = false;

  constructor(channel: Channel, handler: SniffHandler) {
    this.#channel = channel;
    this.#handler = handler;
  }

  onData(buffer: Buffer, start: number, end: number): void {
    if (this.#isDone) return;
    const kept = this.#kept;
    if (!kept) {
      this.#decide(buffer, start, end);
      return;
    }
    const all = Buffer.concat([kept, buffer.subarray(start, end)]);
    this.#decide(all, 0, all.length);
  }

  onEnd(): void {
    if (this.#isDone) return;
    const kept = this.#kept;
    // Half a preface, or nothing: no request will come.
    if (!kept) {
      this.#channel.destroy();
      return;
    }
    this.#hand("http1", kept, 0, kept.length);
    this.#channel.handler.onEnd();
  }

  onDrain(): void {}

  onClose(_reason: CloseReason): void {
    if (!this.#isDone) this.#handler.onClose();
  }

  #decide(buffer: Buffer, start: number, end: number): void {
    const length = Math.min(end - start, PREFACE.length);
    if (buffer.compare(PREFACE, 0, length, start, start + length) !== 0) this.#hand("http1", buffer, start, end);
    else if (length === PREFACE.length) this.#hand("http2", buffer, start, end);
    else this.#kept = Buffer.from(buffer.subarray(start, end));
  }

  #hand(protocol: "http1" | "http2", buffer: Buffer, start: number, end: number): void {
    this.#isDone = true;
    this.#kept = undefined;
    this.#handler.onProtocol(protocol);
    const { handler } = this.#channel;
    if (handler !== this) handler.onData(buffer, start, end);
  }
}
