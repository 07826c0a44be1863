/** The fallback channel: the same over the socket's documented stream, where Node's handles cannot be had. */
import type net from "node:net";
import type { Lease } from "./read-buffers.ts";
import { releaseAll, SocketChannel, type SocketChannelOptions } from "./socket-channel.ts";

/** A channel on a socket's stream. */
export class StreamChannel extends SocketChannel {
  #writes = 0;

  constructor(socket: net.Socket, options: SocketChannelOptions) {
    super(socket, options);
    socket.on("data", (chunk: Buffer) => this.#onChunk(chunk));
    socket.on("end", () => this.ended());
    // Not at once: the owner has yet to set its handler.
    socket.pause();
    this.startReading();
  }

  protected get takenBytes(): number {
    return this.socket.writableLength;
  }

  protected get canWrite(): boolean {
    return this.#writes === 0;
  }

  protected writeText(text: string): void {
    this.#writes += 1;
    this.socket.write(text, "latin1", (error) => this.#written(error));
  }

  protected writePieces(pieces: Uint8Array[], leases: (Lease | undefined)[]): void {
    this.#writes += pieces.length;
    this.socket.cork();
    const last = pieces.length - 1;
    for (const [i, piece] of pieces.entries()) {
      this.socket.write(piece, (error) => {
        if (i === last) releaseAll(leases);
        this.#written(error);
      });
    }
    this.socket.uncork();
  }

  protected startReading(): void {
    process.nextTick(() => {
      if (!this.isPaused && this.isOpen) this.socket.resume();
    });
  }

  protected stopReading(): void {
    this.socket.pause();
  }

  protected letGo(): void {
    this.readBuffer = undefined;
  }

  #onChunk(chunk: Buffer): void {
    this.readBuffer = chunk;
    this.isReadGiven = true;
    this.deliver(0, chunk.length);
    this.readBuffer = undefined;
  }

  #written(error: Error | null | undefined): void {
    this.#writes -= 1;
    // An error ends the socket, which tells of it by itself.
    if (!error && this.#writes === 0) this.tookOutput();
  }
}
