/** Exponential backoff with full jitter: waits spread out, so that many clients do not come back in step. */
import type { Random } from "./random.ts";

/** Bounds of the wait. */
export interface BackoffOptions {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** Gives one wait after another until it is reset. */
export class Backoff {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #attempts = 0;

  constructor(options: BackoffOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  /** The next wait in ms: uniform between 0 and base x 2^attempt, at most max, never 0. */
  nextMs(): number {
    const ceiling = Math.min(this.#options.maxMs, this.#options.baseMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return Math.max(1, Math.floor(this.#random.next() * ceiling));
  }

  /** Call when the thing worked. */
  reset(): void {
    this.#attempts = 0;
  }
}
