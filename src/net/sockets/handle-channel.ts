/** The fast channel: reads and writes on the socket's handle, past the streams. */
import type net from "node:net";
import { getSystemErrorName } from "node:util";
import type { CloseReason } from "../channel.ts";
import {
  newWriteRequest,
  onWritten,
  type ReadOwner,
  type StreamHandle,
  takeOverReads,
  type WriteOwner,
  type WriteRequest,
  wasLastWriteAsync,
} from "./handle.ts";
import { LEASE_BYTES, type Lease, sharedReadBuffer, takeLease } from "./read-buffers.ts";
import { releaseAll, SocketChannel, type SocketChannelOptions } from "./socket-channel.ts";

/** A read below this ends a stream of much data: the connection goes back to the shared buffer. TLS reads are records. */
const SMALL_READ_BYTES = 32 * 1024;
const SMALL_RECORD_BYTES = 16 * 1024;
/** Room that a TLS record needs, with some over: its 16 KiB come in one piece. */
const RECORD_BYTES = 20 * 1024;
const UV_EOF = -4095;
/** Reads of this thread without one of a connection's own, after which its private buffer may be taken from it. */
const IDLE_READS = 10_000;

/** Connections that read into private buffers. */
const lessees = new Set<HandleChannel>();
let readsOfThread = 0;

/** Requests of writes that were done at once are used again. */
let spareRequest: WriteRequest | undefined;

/** A channel on a socket's handle. */
export class HandleChannel extends SocketChannel implements ReadOwner, WriteOwner {
  readonly #handle: StreamHandle;
  /** What is being written; the handle takes one at a time (TLS aborts the process over a second). */
  #request: WriteRequest | undefined;
  #requestBytes = 0;
  #requestLeases: (Lease | undefined)[] | undefined;
  /** The private buffer that is read into; undefined for the shared one. */
  #lease: Lease | undefined;
  #leaseStart = 0;
  #leaseReadAt = 0;
  /** Keeps the buffer that the handle reads into reachable: it is a part of `readBuffer`. */
  #target: Buffer;
  /** What the socket's stream had read before. */
  #early: Buffer | undefined;
  #hasStreamEnded = false;

  constructor(socket: net.Socket, handle: StreamHandle, options: SocketChannelOptions) {
    super(socket, options);
    this.#handle = handle;
    this.#target = sharedReadBuffer();
    // Says to the stream that reading is under way: else taking out what it holds would start its own reads.
    const wasReading = handle.reading;
    handle.reading = true;
    this.#early = takeEarly(socket);
    // A stream that had seen the end before tells it once its bytes are out.
    socket.once("end", () => this.#onStreamEnd());
    takeOverReads(handle, this, this.#target);
    if (this.#early !== undefined && wasReading) handle.readStop();
    this.startReading();
  }

  protected get takenBytes(): number {
    return this.#requestBytes;
  }

  protected get canWrite(): boolean {
    return this.#request === undefined;
  }

  received(count: number): Buffer | undefined {
    if (this.isPaused || this.#early !== undefined) {
      // TLS gives all the records that it had decrypted, paused or not.
      this.#keepForLater(count);
      return undefined;
    }
    readsOfThread += 1;
    const lease = this.#lease;
    if (lease === undefined) {
      this.#deliverFrom(this.#target, undefined, 0, count);
      return this.wantsLease && this.isOpen ? this.#moveToLease() : undefined;
    }
    const start = this.#leaseStart;
    const end = start + count;
    this.#deliverFrom(lease.buffer, lease, start, end);
    if (this.#lease !== lease) return undefined; // Gone meanwhile.
    this.#leaseReadAt = readsOfThread;
    if (count < (this.isTls ? SMALL_RECORD_BYTES : SMALL_READ_BYTES)) {
      this.#dropLease();
      return this.#readIntoShared();
    }
    if (!lease.isShared) return start === 0 ? undefined : this.#readInto(lease, 0);
    if (this.isTls && LEASE_BYTES - end >= RECORD_BYTES) return this.#readInto(lease, end);
    // A write still needs these bytes: it keeps the buffer, and the next read goes to another.
    this.#dropLease();
    return this.#moveToLease() ?? this.#readIntoShared();
  }

  readFailed(errno: number): void {
    if (errno === UV_EOF) this.#onStreamEnd();
    else this.failed(reasonOf(errno, "read"));
  }

  written(status: number): void {
    this.#request = undefined;
    this.#requestBytes = 0;
    const leases = this.#requestLeases;
    this.#requestLeases = undefined;
    if (leases !== undefined) releaseAll(leases);
    if (status < 0) this.writeFailed(reasonOf(status, "write"));
    else this.tookOutput();
  }

  protected writeText(text: string): void {
    const request = takeRequest();
    const error = this.#handle.writeLatin1String(request, text);
    if (error !== 0) this.writeFailed(reasonOf(error, "write"));
    else if (wasLastWriteAsync()) this.#await(request, text.length, undefined, undefined);
    else spareRequest = request;
  }

  protected writePieces(pieces: Uint8Array[], leases: (Lease | undefined)[]): void {
    const request = takeRequest();
    const only = pieces.length === 1 ? pieces[0] : undefined;
    const error = only === undefined ? this.#handle.writev(request, pieces, true) : this.#handle.writeBuffer(request, only);
    if (error !== 0) {
      releaseAll(leases);
      this.writeFailed(reasonOf(error, "write"));
    } else if (wasLastWriteAsync()) {
      let size = 0;
      for (const piece of pieces) size += piece.length;
      this.#await(request, size, pieces, leases);
    } else {
      spareRequest = request;
      releaseAll(leases);
    }
  }

  protected startReading(): void {
    if (this.#early !== undefined) process.nextTick(() => this.#deliverEarly());
    else if (this.#hasStreamEnded) process.nextTick(() => this.#endUnlessPaused());
    else this.#handle.readStart();
  }

  protected stopReading(): void {
    this.#handle.readStop();
  }

  protected letGo(): void {
    this.#dropLease();
    this.#early = undefined;
    this.#handle.channelOfHandle = undefined;
  }

  #await(request: WriteRequest, size: number, bytes: unknown, leases: (Lease | undefined)[] | undefined): void {
    request.oncomplete = onWritten;
    request.channel = this;
    request.handle = this.#handle;
    request.bytes = bytes;
    this.#request = request;
    this.#requestBytes = size;
    this.#requestLeases = leases;
  }

  #moveToLease(): Buffer | undefined {
    const lease = takeLease() ?? (reclaimLease() ? takeLease() : undefined);
    if (lease === undefined) return undefined;
    this.#lease = lease;
    this.#leaseReadAt = readsOfThread;
    lessees.add(this);
    return this.#readInto(lease, 0);
  }

  #dropLease(): void {
    if (this.#lease === undefined) return;
    this.#lease.release();
    this.#lease = undefined;
    lessees.delete(this);
  }

  /** Gives the private buffer back if the connection has long read nothing. Each time costs Node a small object more, so it is rare. */
  giveBackIfIdle(): boolean {
    if (this.#lease === undefined || readsOfThread - this.#leaseReadAt < IDLE_READS) return false;
    this.#dropLease();
    this.#handle.useUserBuffer(this.#readIntoShared());
    return true;
  }

  #readInto(lease: Lease, start: number): Buffer {
    this.#leaseStart = start;
    this.#target = start === 0 ? lease.buffer : lease.buffer.subarray(start);
    return this.#target;
  }

  #readIntoShared(): Buffer {
    this.#target = sharedReadBuffer();
    return this.#target;
  }

  #deliverEarly(): void {
    const early = this.#early;
    if (early === undefined || this.isPaused || !this.isOpen) return;
    this.#early = undefined;
    this.isReadGiven = true;
    this.#deliverFrom(early, undefined, 0, early.length);
    this.isReadGiven = false;
    if (!this.isPaused && this.isOpen) this.startReading();
  }

  #deliverFrom(buffer: Buffer, lease: Lease | undefined, start: number, end: number): void {
    this.readBuffer = buffer;
    this.readLease = lease;
    this.deliver(start, end);
  }

  #keepForLater(count: number): void {
    const bytes = this.#target.subarray(0, count);
    this.#early = this.#early === undefined ? Buffer.from(bytes) : Buffer.concat([this.#early, bytes]);
  }

  #onStreamEnd(): void {
    this.#hasStreamEnded = true;
    if (this.#early === undefined) this.#endUnlessPaused();
  }

  #endUnlessPaused(): void {
    if (!this.isPaused) this.ended();
  }
}

/** Takes a private buffer from a connection that stands idle with one. */
function reclaimLease(): boolean {
  for (const lessee of lessees) if (lessee.giveBackIfIdle()) return true;
  return false;
}

function takeRequest(): WriteRequest {
  const request = spareRequest ?? newWriteRequest();
  spareRequest = undefined;
  return request;
}

function takeEarly(socket: net.Socket): Buffer | undefined {
  const chunks: Buffer[] = [];
  while (socket.readableLength > 0) {
    const chunk: unknown = socket.read();
    if (!Buffer.isBuffer(chunk)) break;
    chunks.push(chunk);
  }
  return chunks.length > 1 ? Buffer.concat(chunks) : chunks[0];
}

function reasonOf(errno: number, call: string): CloseReason {
  const code = getSystemErrorName(errno);
  return { code, message: `${call} ${code}` };
}
