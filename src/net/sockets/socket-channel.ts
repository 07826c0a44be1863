/** What both kinds of channel over a socket share: joined output, watermarks, half close, and an end that is told once. */
import type net from "node:net";
import { codeOf, messageOf } from "../../base/errors.ts";
import type { Address, Channel, ChannelHandler, CloseReason, TlsInfo, Watermarks } from "../channel.ts";
import type { Lease } from "./read-buffers.ts";
import { enterTurn, joinTurn, leaveTurn, type TurnMember } from "./turn.ts";

/** Text is joined up to this: more in one write costs Node's native part an allocation, and TLS a further record anyway. */
const JOIN_BYTES = 16 * 1024;
/** Bytes up to this are joined as text; more are written as the buffer that they are in. */
const BYTES_AS_TEXT_MAX = 2 * 1024;
/** Bulk of a TLS source, which arrives in records of 16 KiB, is gathered up to this. */
const GATHER_BYTES = 128 * 1024;

/** What a channel is told at its making. */
export interface SocketChannelOptions {
  readonly tls: TlsInfo | undefined;
  readonly local: Address;
  readonly remote: Address;
  readonly watermarks: Watermarks;
}

/** Where the bytes of the read that is being handled are: lets `forward` hand them over. */
interface ReadSource {
  readonly readBuffer: Buffer | undefined;
  /** The private buffer that `readBuffer` is of; undefined for the shared one. */
  readonly readLease: Lease | undefined;
  /** Nobody else will touch these bytes, ever. */
  readonly isReadGiven: boolean;
  readonly isTls: boolean;
  /** Bulk was forwarded from it: a private buffer would pay. */
  wantsLease: boolean;
}

let reading: ReadSource | undefined;
let gathering: SocketChannel[] = [];

/** A connected socket as a channel. Subclasses read and write. */
export abstract class SocketChannel implements Channel, TurnMember, ReadSource {
  handler: ChannelHandler = UNHEARD;
  readBuffer: Buffer | undefined;
  readLease: Lease | undefined;
  isReadGiven = false;
  wantsLease = false;
  readonly isTls: boolean;
  readonly local: Address;
  readonly remote: Address;
  readonly tls: TlsInfo | undefined;
  protected readonly socket: net.Socket;
  protected isPaused = false;
  readonly #highBytes: number;
  readonly #lowBytes: number;
  /** Output of this turn, in order: first the pieces, then the text. */
  #pieces: Uint8Array[] = [];
  #leases: (Lease | undefined)[] = [];
  #piecesBytes = 0;
  #text = "";
  /** The last piece, where it is a part of a lease that may grow at its end. */
  #grownLease: Lease | undefined;
  #grownStart = 0;
  #grownEnd = 0;
  #isGathering = false;
  #isInTurn = false;
  #needsDrain = false;
  #isEnding = false;
  #isEndSent = false;
  #isEndTold = false;
  #isGone = false;
  #isCloseTold = false;
  #reason: CloseReason = CLOSED;

  constructor(socket: net.Socket, { tls, local, remote, watermarks }: SocketChannelOptions) {
    this.socket = socket;
    this.tls = tls;
    this.isTls = tls !== undefined;
    this.local = local;
    this.remote = remote;
    this.#highBytes = watermarks.highBytes;
    this.#lowBytes = watermarks.lowBytes;
    socket.on("error", (error) => this.#noteError(error));
    if (socket.closed) process.nextTick(() => this.#close());
    else socket.once("close", () => this.#close());
  }

  get isOpen(): boolean {
    return !this.#isGone && !this.socket.destroyed;
  }

  get bufferedBytes(): number {
    return this.#piecesBytes + this.#text.length + this.takenBytes;
  }

  writeLatin1(text: string): boolean {
    if (this.#isGone || this.#isEnding) return true;
    if (this.#text === "") this.#text = text;
    else if (this.#text.length + text.length <= JOIN_BYTES) this.#text += text;
    else {
      this.#pushText();
      this.#text = text;
    }
    this.#join();
    return this.#isBelowHigh();
  }

  writeBytes(bytes: Uint8Array): boolean {
    if (this.#isGone || this.#isEnding || bytes.length === 0) return true;
    const size = bytes.length;
    if (size <= BYTES_AS_TEXT_MAX && this.#text !== "" && this.#text.length + size <= JOIN_BYTES) {
      this.#text += asBuffer(bytes).toString("latin1", 0, size);
    } else {
      this.#pushText();
      this.#push(bytes, undefined);
    }
    this.#join();
    return this.#isBelowHigh();
  }

  forward(buffer: Buffer, start: number, end: number): boolean {
    const size = end - start;
    if (this.#isGone || this.#isEnding || size === 0) return true;
    const source = reading !== undefined && reading.readBuffer === buffer ? reading : undefined;
    if (source !== undefined && size >= JOIN_BYTES / 2) source.wantsLease = true;
    if (source?.readLease !== undefined && source.isTls && size >= JOIN_BYTES / 2) {
      this.#gather(source.readLease, start, end);
      return this.#isBelowHigh();
    }
    if (size <= JOIN_BYTES) return this.writeLatin1(buffer.toString("latin1", start, end));
    this.#pushText();
    if (source?.readLease !== undefined) this.#push(buffer.subarray(start, end), source.readLease);
    else if (source?.isReadGiven) this.#push(buffer.subarray(start, end), undefined);
    else this.#push(Buffer.from(buffer.subarray(start, end)), undefined);
    // At once: the kernel takes it, or backpressure is seen now.
    this.#flush();
    this.#join();
    return this.#isBelowHigh();
  }

  pause(): void {
    if (this.isPaused || this.#isGone) return;
    this.isPaused = true;
    this.stopReading();
  }

  resume(): void {
    if (!this.isPaused || this.#isGone) return;
    this.isPaused = false;
    this.startReading();
  }

  end(): void {
    if (this.#isGone || this.#isEnding) return;
    this.#isEnding = true;
    this.#join();
  }

  destroy(options: { readonly reset?: boolean } = {}): void {
    if (this.#isGone) return;
    this.#leave();
    if (options.reset) resetSocket(this.socket);
    this.socket.destroy();
  }

  endTurn(): void {
    this.#isInTurn = false;
    if (this.#isGone) return;
    this.#flush();
    this.#settle();
  }

  /** Output that the socket has and the kernel has not. */
  protected abstract readonly takenBytes: number;
  /** Whether output can be given to the socket now. */
  protected abstract readonly canWrite: boolean;
  protected abstract writeText(text: string): void;
  /** Writes the pieces, in order; calls `releaseAll` with the leases once the bytes are no longer needed. */
  protected abstract writePieces(pieces: Uint8Array[], leases: (Lease | undefined)[]): void;
  protected abstract startReading(): void;
  protected abstract stopReading(): void;
  /** The channel is gone: lets go of what it holds. */
  protected abstract letGo(): void;

  /** Gives bytes `start` to `end` of `readBuffer` to the owner, and forgets the buffer. */
  protected deliver(start: number, end: number): void {
    const buffer = this.readBuffer;
    if (this.#isGone || buffer === undefined) return;
    const outer = reading;
    reading = this;
    this.wantsLease = false;
    const wasInside = enterTurn();
    try {
      this.handler.onData(buffer, start, end);
    } finally {
      reading = outer;
      leaveTurn(wasInside);
    }
  }

  /** The peer sends no more. */
  protected ended(): void {
    if (this.#isEndTold || this.#isGone) return;
    this.#isEndTold = true;
    const wasInside = enterTurn();
    try {
      this.handler.onEnd();
    } finally {
      leaveTurn(wasInside);
    }
    this.#closeIfOver();
  }

  /** A read failed. */
  protected failed(reason: CloseReason): void {
    if (this.#isGone) return;
    this.#reason = reason;
    this.#leave();
    this.socket.destroy();
  }

  /** A write failed: the peer's last words may still be on their way in, so the end comes a moment later. */
  protected writeFailed(reason: CloseReason): void {
    if (this.#isGone) return;
    this.#isEnding = true;
    this.#isEndSent = true;
    this.#dropOutput();
    if (this.#reason === CLOSED) this.#reason = reason;
    setImmediate(() => setImmediate(() => this.failed(this.#reason)));
    if (this.#needsDrain) this.#join();
  }

  /** The kernel took what it had been given. */
  protected tookOutput(): void {
    if (this.#isGone) return;
    const wasInside = enterTurn();
    try {
      this.#flush();
      this.#settle();
    } finally {
      leaveTurn(wasInside);
    }
  }

  #join(): void {
    if (this.#isInTurn) return;
    this.#isInTurn = true;
    joinTurn(this);
  }

  #isBelowHigh(): boolean {
    if (this.bufferedBytes <= this.#highBytes) return true;
    this.#needsDrain = true;
    return false;
  }

  #pushText(): void {
    if (this.#text === "") return;
    const bytes = Buffer.from(this.#text, "latin1");
    this.#text = "";
    this.#push(bytes, undefined);
  }

  #push(bytes: Uint8Array, lease: Lease | undefined): void {
    lease?.hold();
    this.#grownLease = undefined;
    this.#pieces.push(bytes);
    this.#leases.push(lease);
    this.#piecesBytes += bytes.length;
  }

  /** Lays bytes of a lease that follow each other into one piece, and writes once a loop turn. */
  #gather(lease: Lease, start: number, end: number): void {
    if (this.#grownLease === lease && this.#grownEnd === start && this.#text === "" && this.#pieces.length > 0) {
      this.#pieces[this.#pieces.length - 1] = lease.buffer.subarray(this.#grownStart, end);
      this.#piecesBytes += end - start;
    } else {
      this.#pushText();
      this.#push(lease.buffer.subarray(start, end), lease);
      this.#grownLease = lease;
      this.#grownStart = start;
    }
    this.#grownEnd = end;
    if (this.#piecesBytes >= GATHER_BYTES) {
      this.#flush();
      this.#join();
      return;
    }
    if (this.#isGathering) return;
    this.#isGathering = true;
    if (gathering.push(this) === 1) setImmediate(endGathering);
  }

  /** Ends the gathering of a loop turn. */
  endGather(): void {
    this.#isGathering = false;
    if (!this.#isGone && !this.#isInTurn) this.#join();
  }

  #flush(): void {
    if (!this.canWrite) return;
    if (this.#pieces.length === 0) {
      if (this.#text === "") return;
      const text = this.#text;
      this.#text = "";
      this.writeText(text);
      return;
    }
    this.#pushText();
    const pieces = this.#pieces;
    const leases = this.#leases;
    this.#pieces = [];
    this.#leases = [];
    this.#piecesBytes = 0;
    this.#grownLease = undefined;
    this.writePieces(pieces, leases);
  }

  /** Tells of what is over: backpressure, and the own direction once all is written. */
  #settle(): void {
    if (this.#needsDrain && this.bufferedBytes <= this.#lowBytes) {
      this.#needsDrain = false;
      this.handler.onDrain();
      if (this.#isGone) return;
    }
    if (this.#isEnding && !this.#isEndSent && this.bufferedBytes === 0) {
      this.#isEndSent = true;
      this.socket.end(() => this.#closeIfOver());
    }
  }

  #closeIfOver(): void {
    if (!this.#isEndTold || !this.#isEndSent || !this.socket.writableFinished || this.#isGone) return;
    this.#leave();
    this.socket.destroy();
  }

  #noteError(error: Error): void {
    if (this.#reason === CLOSED && !this.#isGone) this.#reason = { code: codeOf(error), message: messageOf(error) };
  }

  #dropOutput(): void {
    for (const lease of this.#leases) lease?.release();
    this.#pieces = [];
    this.#leases = [];
    this.#piecesBytes = 0;
    this.#text = "";
    this.#grownLease = undefined;
  }

  #leave(): void {
    this.#isGone = true;
    this.#dropOutput();
    this.letGo();
  }

  #close(): void {
    if (this.#isCloseTold) return;
    this.#isCloseTold = true;
    if (!this.#isGone) this.#leave();
    const wasInside = enterTurn();
    try {
      this.handler.onClose(this.#reason);
    } finally {
      leaveTurn(wasInside);
    }
  }
}

/** Lets go of what a write held. */
export function releaseAll(leases: readonly (Lease | undefined)[]): void {
  for (const lease of leases) lease?.release();
}

const CLOSED: CloseReason = { code: undefined, message: "closed" };

/** Whoever gives a channel away without a handler has made a mistake: it shows at the first event. */
const UNHEARD: ChannelHandler = {
  onData: () => failUnheard(),
  onEnd: () => failUnheard(),
  onDrain: () => failUnheard(),
  onClose() {},
};

function failUnheard(): never {
  throw new Error("a channel has no handler: set it in the turn in which the channel was given");
}

function endGathering(): void {
  const all = gathering;
  gathering = [];
  const wasInside = enterTurn();
  for (const channel of all) channel.endGather();
  leaveTurn(wasInside);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * RST for TCP; TLS resets the connection below. Other kinds of socket know no reset. resetAndDestroy would send FIN before, and
 * a peer that has read the end of TLS does not look for what comes after; so its own flag is set, where this Node has it.
 */
function resetSocket(socket: net.Socket): void {
  const below = (socket as unknown as { readonly _parent?: net.Socket | null })._parent;
  const tcp = below ?? socket;
  if (tcp.destroyed || tcp.remoteFamily === undefined) return;
  const internals = tcp as unknown as { resetAndClosing?: boolean; _reset?: unknown; _handle?: { reset?: unknown } | null };
  if (typeof internals._reset === "function" && typeof internals._handle?.reset === "function") {
    internals.resetAndClosing = true;
    tcp.destroy();
    return;
  }
  try {
    tcp.resetAndDestroy();
  } catch {
    tcp.destroy(); // A handle of another kind: a plain close is all there is.
  }
}
