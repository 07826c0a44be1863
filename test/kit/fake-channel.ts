/** A channel whose other end is the test: bytes are fed in by hand, and what is written is kept as text. */
import type { Channel, ChannelHandler, TlsInfo } from "../../src/net/channel.ts";

/** Nothing happens on it but what the test does. */
export class FakeChannel implements Channel {
  handler: ChannelHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };
  readonly local = { host: "10.0.0.2", port: 80 };
  readonly remote = { host: "10.0.0.1", port: 40_000 };
  readonly tls: TlsInfo | undefined = undefined;
  isOpen = true;
  bufferedBytes = 0;
  isPaused = false;
  isEnded = false;
  /** How `destroy` was called. */
  destroyed: "plain" | "reset" | undefined;
  /** What writes return. */
  isBelowHigh = true;
  #written = "";

  /** All that was written since the last call. */
  take(): string {
    const text = this.#written;
    this.#written = "";
    return text;
  }

  get written(): string {
    return this.#written;
  }

  /** Gives bytes as one read, from the middle of a buffer that is overwritten afterwards. */
  feed(text: string): void {
    if (!this.isOpen) return;
    const buffer = Buffer.from(`##${text}\r\n\r\nGET /stale HTTP/1.1\r\n\r\n`, "latin1");
    this.handler.onData(buffer, 2, 2 + text.length);
    buffer.fill(0xdd);
  }

  writeLatin1(text: string): boolean {
    if (this.isOpen && !this.isEnded) this.#written += text;
    return this.isBelowHigh;
  }

  writeBytes(bytes: Uint8Array): boolean {
    return this.writeLatin1(Buffer.from(bytes).toString("latin1"));
  }

  forward(buffer: Buffer, start: number, end: number): boolean {
    return this.writeLatin1(buffer.toString("latin1", start, end));
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }

  end(): void {
    this.isEnded = true;
  }

  destroy(options: { readonly reset?: boolean } = {}): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.destroyed = options.reset ? "reset" : "plain";
    queueMicrotask(() => this.handler.onClose({ code: undefined, message: "closed" }));
  }
}
