/** Two ends of a connection in memory: bytes in order, a bounded "kernel buffer", half close and reset as TCP has them. */
import type { CloseReason } from "../channel.ts";
import type { Turns } from "./turns.ts";

/** Bytes that an end takes in while nobody reads: what is beyond stays with the writer. */
export const KERNEL_BYTES = 64 * 1024;
/** Bytes given at once. */
const READ_BYTES = 64 * 1024;
const POISON = 0xdd;

/** Who listens to an end. */
export interface EndListener {
  /** The bytes are valid during this call only; afterwards they are overwritten, to show whoever kept them. */
  onBytes(bytes: Buffer): void;
  onEnd(): void;
  /** The peer has taken so much that fewer than `drainBytes` wait. */
  onDrain(): void;
  onClose(reason: CloseReason): void;
}

/** One end. Reads nothing until it is resumed. */
export class MemoryEnd {
  /** Set before `resume`. */
  listener: EndListener | undefined;
  /** Told of anything that arrives while nobody listens. */
  onArrival: (() => void) | undefined;
  /** Waiting bytes below which onDrain is called after `bufferedBytes` was above. */
  drainBytes = 0;
  readonly #turns: Turns;
  readonly #inbox: Buffer[] = [];
  #inboxBytes = 0;
  #peer: MemoryEnd | undefined;
  #isPaused = true;
  #isDelivering = false;
  #needsDrain = false;
  #isEndSent = false;
  #isEndReceived = false;
  #isEndDelivered = false;
  #isClosed = false;
  /** Why it closed, until that is told. */
  #reason: CloseReason | undefined;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

  /** Joins two ends. */
  static pair(turns: Turns): readonly [MemoryEnd, MemoryEnd] {
    const left = new MemoryEnd(turns);
    const right = new MemoryEnd(turns);
    left.#peer = right;
    right.#peer = left;
    return [left, right];
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether the peer sends no more; bytes may still wait. */
  get isEnded(): boolean {
    return this.#isEndReceived;
  }

  get waitingBytes(): number {
    return this.#inboxBytes;
  }

  /** Written and not taken by the peer's kernel. */
  get bufferedBytes(): number {
    return this.#peer ? Math.max(0, this.#peer.#inboxBytes - KERNEL_BYTES) : 0;
  }

  /** All that waits, left in place. */
  peekAll(): Buffer {
    return Buffer.concat(this.#inbox);
  }

  /** Sends bytes that nobody will touch again. */
  write(bytes: Buffer): void {
    const peer = this.#peer;
    if (this.#isClosed || this.#isEndSent || !peer || bytes.length === 0) return;
    if (peer.#isClosed) {
      this.#close({ code: "ECONNRESET", message: "the peer has closed" });
      return;
    }
    peer.#inbox.push(bytes);
    peer.#inboxBytes += bytes.length;
    peer.#arrive();
  }

  /** Asks for onDrain once fewer than `drainBytes` are buffered. */
  wantDrain(): void {
    this.#needsDrain = true;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#isClosed) this.#turns.add(() => this.#tellClose());
    this.#arrive();
  }

  end(): void {
    if (this.#isClosed || this.#isEndSent) return;
    this.#isEndSent = true;
    if (this.#peer) {
      this.#peer.#isEndReceived = true;
      this.#peer.#arrive();
    }
    this.#closeIfOver();
  }

  /** As close(2): the peer sees FIN, or RST where it is asked for or bytes were left unread. */
  destroy(options: { readonly reset?: boolean } = {}): void {
    if (this.#isClosed) return;
    const peer = this.#peer;
    const resets = options.reset === true || this.#inboxBytes > 0;
    this.#close({ code: undefined, message: "closed" });
    if (!peer || peer.#isClosed) return;
    if (resets) peer.#close({ code: "ECONNRESET", message: "read ECONNRESET" });
    else {
      peer.#keep(KERNEL_BYTES);
      peer.#isEndReceived = true;
      peer.#arrive();
    }
  }

  #arrive(): void {
    this.onArrival?.();
    if (this.#isDelivering || this.#isPaused || this.#isClosed) return;
    this.#isDelivering = true;
    this.#turns.add(() => this.#deliver());
  }

  #deliver(): void {
    this.#isDelivering = false;
    if (this.#isClosed || this.#isPaused || !this.listener) return;
    if (this.#inboxBytes > 0) {
      const bytes = this.#take(READ_BYTES);
      if (this.#peer) this.#peer.#drainIfLow();
      this.#arrive();
      this.listener.onBytes(bytes);
      bytes.fill(POISON);
    } else if (this.#isEndReceived && !this.#isEndDelivered) {
      this.#isEndDelivered = true;
      this.listener.onEnd();
      this.#closeIfOver();
    }
  }

  /** A copy of the first bytes, taken out. */
  #take(bytesMax: number): Buffer {
    const size = Math.min(bytesMax, this.#inboxBytes);
    const out = Buffer.alloc(size);
    let at = 0;
    while (at < size) {
      const first = this.#inbox[0];
      if (!first) break;
      const count = first.copy(out, at, 0, Math.min(first.length, size - at));
      at += count;
      if (count === first.length) this.#inbox.shift();
      else this.#inbox[0] = first.subarray(count);
    }
    this.#inboxBytes -= size;
    return out;
  }

  /** Drops what had not left the writer. */
  #keep(bytesMax: number): void {
    if (this.#inboxBytes <= bytesMax) return;
    const kept = this.#take(bytesMax);
    this.#inbox.splice(0, this.#inbox.length, kept);
    this.#inboxBytes = kept.length;
  }

  #drainIfLow(): void {
    if (!this.#needsDrain || this.#isClosed || this.bufferedBytes > this.drainBytes) return;
    this.#needsDrain = false;
    this.#turns.add(() => {
      if (!this.#isClosed) this.listener?.onDrain();
    });
  }

  #closeIfOver(): void {
    if (this.#isEndSent && this.#isEndDelivered) this.#close({ code: undefined, message: "closed" });
  }

  #close(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#inbox.length = 0;
    this.#inboxBytes = 0;
    this.onArrival?.();
    this.#reason = reason;
    this.#turns.add(() => this.#tellClose());
  }

  /** Whoever comes to listen after the end is gone hears of it then. */
  #tellClose(): void {
    const reason = this.#reason;
    if (!reason || !this.listener) return;
    this.#reason = undefined;
    this.listener.onClose(reason);
  }
}
