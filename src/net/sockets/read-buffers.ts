/**
 * Buffers that sockets read into: one for all connections, and larger ones of their own while connections stream much, so that
 * bytes can be handed to a writer without a copy.
 */

/** Size of the buffer that all connections of a thread share. */
export const SHARED_BYTES = 64 * 1024;
/** Size of a private buffer. */
export const LEASE_BYTES = 256 * 1024;
/** Private buffers in use at once, 16 MiB; a connection beyond reads into the shared one and its bulk is copied. */
export const LEASES_MAX = 64;
/** Private buffers kept for later, 4 MiB. */
const SPARE_MAX = 16;

/** A private buffer. Held by the connection that reads into it and by each write that still needs its bytes. */
export class Lease {
  readonly buffer: Buffer = Buffer.allocUnsafeSlow(LEASE_BYTES);
  #holders = 0;

  /** Whether anybody but the reader needs its bytes. */
  get isShared(): boolean {
    return this.#holders > 1;
  }

  hold(): void {
    this.#holders += 1;
  }

  /** The last holder gives it back. */
  release(): void {
    this.#holders -= 1;
    if (this.#holders > 0) return;
    inUse -= 1;
    if (spare.length < SPARE_MAX) spare.push(this);
  }
}

const spare: Lease[] = [];
let inUse = 0;
let shared: Buffer | undefined;

/** The buffer that all connections share. Made at first use: a start-up snapshot holds none. */
export function sharedReadBuffer(): Buffer {
  shared ??= Buffer.allocUnsafeSlow(SHARED_BYTES);
  return shared;
}

/** A private buffer, held once; undefined when all are in use. */
export function takeLease(): Lease | undefined {
  if (inUse >= LEASES_MAX) return undefined;
  inUse += 1;
  const lease = spare.pop() ?? new Lease();
  lease.hold();
  return lease;
}

/** How many are in use, for tests and statistics. */
export function leasesInUse(): number {
  return inUse;
}
