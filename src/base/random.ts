/** Chance as an argument, so that a run can be replayed from its seed. */
import { randomBytes, randomFillSync } from "node:crypto";

/** A source of randomness. */
export interface Random {
  /** Uniform in [0, 1). Not for secrets. */
  next(): number;
  /** A version 4 UUID. */
  uuid(): string;
}

/** Uniform integer in [0, bound). */
export function randomInt(random: Random, bound: number): number {
  return Math.floor(random.next() * bound);
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function uuidFrom(bytes: Uint8Array, at: number): string {
  const hex = (i: number): string => HEX[bytes[at + i] as number] as string;
  const version = HEX[((bytes[at + 6] as number) & 0x0f) | 0x40];
  const variant = HEX[((bytes[at + 8] as number) & 0x3f) | 0x80];
  return `${hex(0)}${hex(1)}${hex(2)}${hex(3)}-${hex(4)}${hex(5)}-${version}${hex(7)}-${variant}${hex(9)}-${hex(10)}${hex(11)}${hex(12)}${hex(13)}${hex(14)}${hex(15)}`;
}

const UUIDS_A_FILL = 256;

/** Randomness from the system. UUIDs come from a pool that is filled by the thousand: a request id costs no system call. */
export function createSystemRandom(): Random {
  let pool: Uint8Array | undefined;
  let at = 0;
  return {
    next: () => Math.random(),
    uuid() {
      if (!pool || at === pool.length) {
        pool ??= randomBytes(UUIDS_A_FILL * 16);
        randomFillSync(pool);
        at = 0;
      }
      at += 16;
      return uuidFrom(pool, at - 16);
    },
  };
}

/** The same sequence for the same seed (mulberry32). For tests and simulation. */
export function createSeededRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    next,
    uuid: () =>
      uuidFrom(
        Uint8Array.from({ length: 16 }, () => next() * 256),
        0,
      ),
  };
}
