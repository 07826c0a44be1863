/** A channel over one end of a connection in memory. */
import type { Address, Channel, ChannelHandler, CloseReason, Watermarks } from "../channel.ts";
import type { EndListener, MemoryEnd } from "./pair.ts";

/** What a channel is told at its making. */
export interface MemoryChannelOptions {
  readonly local: Address;
  readonly remote: Address;
  readonly watermarks: Watermarks;
}

/** Plaintext in memory. Reads from the start, until paused. */
export class MemoryChannel implements Channel, EndListener {
  handler: ChannelHandler = UNHEARD;
  readonly local: Address;
  readonly remote: Address;
  readonly tls = undefined;
  readonly #end: MemoryEnd;
  readonly #highBytes: number;

  constructor(end: MemoryEnd, { local, remote, watermarks }: MemoryChannelOptions) {
    this.local = local;
    this.remote = remote;
    this.#end = end;
    this.#highBytes = watermarks.highBytes;
    end.drainBytes = watermarks.lowBytes;
    end.listener = this;
    end.resume();
  }

  get isOpen(): boolean {
    return !this.#end.isClosed;
  }

  get bufferedBytes(): number {
    return this.#end.bufferedBytes;
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
    this.#end.pause();
  }

  resume(): void {
    this.#end.resume();
  }

  end(): void {
    this.#end.end();
  }

  destroy(options?: { readonly reset?: boolean }): void {
    this.#end.destroy(options);
  }

  onBytes(bytes: Buffer): void {
    this.handler.onData(bytes, 0, bytes.length);
  }

  onEnd(): void {
    this.handler.onEnd();
  }

  onDrain(): void {
    this.handler.onDrain();
  }

  onClose(reason: CloseReason): void {
    this.handler.onClose(reason);
  }

  #write(bytes: Buffer): boolean {
    this.#end.write(bytes);
    if (this.#end.bufferedBytes <= this.#highBytes) return true;
    this.#end.wantDrain();
    return false;
  }
}

/** Whoever gives a channel away without a handler has made a mistake: it shows at the first event. */
const UNHEARD: ChannelHandler = {
  onData: () => fail(),
  onEnd: () => fail(),
  onDrain: () => fail(),
  onClose() {},
};

function fail(): never {
  throw new Error("a channel has no handler: set it in the turn in which the channel was given");
}
