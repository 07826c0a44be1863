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

const HEX_DIGITS = Buffer.from("0123456789abcdef", "latin1");
/** Where the two digits of each byte stand in the text. */
const DIGIT_AT = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
/** Made in place and read out as one flat text: a request id leaves no other garbage. */
const text = Buffer.from("00000000-0000-0000-0000-000000000000", "latin1");

function uuidFrom(bytes: Uint8Array, at: number): string {
  for (let i = 0; i < 16; i++) {
    let byte = bytes[at + i] as number;
    if (i === 6) byte = (byte & 0x0f) | 0x40;
    else if (i === 8) byte = (byte & 0x3f) | 0x80;
    const place = DIGIT_AT[i] as number;
    text[place] = HEX_DIGITS[byte >> 4] as number;
    text[place + 1] = HEX_DIGITS[byte & 15] as number;
  }
  return text.toString("latin1");
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
