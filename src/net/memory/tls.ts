/** TLS in memory: node:tls over a stream on one end, so that certificates and ALPN are what they are in the product. */
import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { codeOf } from "../../base/errors.ts";
import type { Address, Channel, ChannelHandler, CloseReason, TlsInfo } from "../channel.ts";
import type { MemoryChannelOptions } from "./channel.ts";
import type { EndListener, MemoryEnd } from "./pair.ts";

/** An end as a stream. */
export class MemoryDuplex extends Duplex implements EndListener {
  readonly #end: MemoryEnd;
  #onWritten: (() => void) | undefined;

  constructor(end: MemoryEnd) {
    super({ allowHalfOpen: true });
    this.#end = end;
    end.drainBytes = 0;
    end.listener = this;
    this.on("error", () => {}); // The TLS socket above tells of it.
  }

  override _read(): void {
    this.#end.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#end.write(Buffer.from(chunk));
    if (this.#end.bufferedBytes === 0) {
      done();
      return;
    }
    this.#onWritten = done;
    this.#end.wantDrain();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#end.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#end.destroy();
    done(error);
  }

  /** Ends it with RST. */
  reset(): void {
    this.#end.destroy({ reset: true });
    this.destroy();
  }

  onBytes(bytes: Buffer): void {
    if (!this.push(Buffer.from(bytes))) this.#end.pause();
  }

  onEnd(): void {
    this.push(null);
  }

  onDrain(): void {
    const done = this.#onWritten;
    this.#onWritten = undefined;
    done?.();
  }

  onClose(reason: CloseReason): void {
    if (this.destroyed) return;
    this.destroy(reason.code === undefined ? undefined : Object.assign(new Error(reason.message), { code: reason.code }));
  }
}

/** A channel over a TLS socket whose handshake is done, by public API alone. */
export class MemoryTlsChannel implements Channel {
  handler: ChannelHandler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };
  readonly local: Address;
  readonly remote: Address;
  readonly tls: TlsInfo;
  readonly #socket: TLSSocket;
  readonly #below: MemoryDuplex;
  readonly #watermarks: { readonly highBytes: number; readonly lowBytes: number };
  #needsDrain = false;
  #isCorked = false;
  #isOver = false;
  #reason: CloseReason = { code: undefined, message: "closed" };

  constructor(socket: TLSSocket, below: MemoryDuplex, options: MemoryChannelOptions & { readonly tls: TlsInfo }) {
    this.local = options.local;
    this.remote = options.remote;
    this.tls = options.tls;
    this.#socket = socket;
    this.#below = below;
    this.#watermarks = options.watermarks;
    socket.on("data", (bytes: Buffer) => this.handler.onData(bytes, 0, bytes.length));
    socket.on("end", () => this.handler.onEnd());
    socket.on("error", (error) => {
      this.#reason = { code: codeOf(error), message: error.message };
      socket.destroy();
    });
    below.on("error", (error) => {
      this.#reason = { code: codeOf(error), message: error.message };
    });
    socket.on("close", () => {
      this.#isOver = true;
      this.handler.onClose(this.#reason);
    });
  }

  get isOpen(): boolean {
    return !this.#isOver && !this.#socket.destroyed;
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  writeLatin1(text: string): boolean {
    return this.#write(Buffer.from(text, "latin1"));
  }

  writeBytes(bytes: Uint8Array): boolean {
    return this.#write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  forward(buffer: Buffer, start: number, end: number): boolean {
    return this.#write(Buffer.from(buffer.subarray(start, end)));
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(options: { readonly reset?: boolean } = {}): void {
    if (options.reset) this.#below.reset();
    this.#socket.destroy();
  }

  #write(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (socket.destroyed || socket.writableEnded || bytes.length === 0) return true;
    if (!this.#isCorked) {
      this.#isCorked = true;
      socket.cork();
      queueMicrotask(() => {
        this.#isCorked = false;
        socket.uncork();
      });
    }
    socket.write(bytes, () => {
      if (!this.#needsDrain || socket.writableLength > this.#watermarks.lowBytes || socket.destroyed) return;
      this.#needsDrain = false;
      this.handler.onDrain();
    });
    if (socket.writableLength <= this.#watermarks.highBytes) return true;
    this.#needsDrain = true;
    return false;
  }
}
