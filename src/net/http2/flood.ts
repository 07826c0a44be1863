/**
 * Tells busy peers from hostile ones. Source: CVE-2023-44487 (rapid reset), CVE-2025-8671 (resets that the client provokes), CVE-2019-9511 to
 * 9518 (floods of frames that cost the receiver more than the sender).
 */

/** Streams that ended too early, over a window of time. */
export const RESET_LIMITS = {
  windowMs: 30_000,
  /** More than this many premature ends, when they are also more than half of all ends, mean an attack. */
  prematureMax: 100,
  /**
   * A cancelled stream that was younger is premature. Older ones cost their sender a place among its concurrent streams for that long, so they
   * can do no more harm than requests that are waited for; and deadlines of impatient but honest clients are longer.
   */
  lifetimeMs: 250,
} as const;

/** Counts how streams of one connection end. */
export class ResetWatch {
  #windowStartMs = 0;
  #ends = 0;
  #premature = 0;

  /** A stream ended, well or not. */
  countEnd(): void {
    this.#ends += 1;
  }

  /** The client reset a stream after `ageMs`, or (age 0) made us reset it. True when that was once too often. */
  countReset(nowMs: number, ageMs: number): boolean {
    if (nowMs - this.#windowStartMs > RESET_LIMITS.windowMs) {
      this.#windowStartMs = nowMs;
      this.#ends = 0;
      this.#premature = 0;
    }
    if (ageMs >= RESET_LIMITS.lifetimeMs) return false;
    this.#premature += 1;
    return this.#premature > RESET_LIMITS.prematureMax && this.#premature * 2 > this.#ends;
  }
}

/** Frames that carry nothing, as a leaky bucket. */
export const GLITCH_LIMITS = {
  bucketMax: 1000,
  leakPerSecond: 100,
  /** Each frame we send that an honest peer answers (WINDOW_UPDATE, a PING to measure the path) excuses this many. */
  excusedPerFrame: 4,
  /** How many excuses may be saved. */
  excusedMax: 20_000,
} as const;

/** Counts frames that an honest peer sends few of. */
export class GlitchBucket {
  #level = 0;
  #leakedMs = 0;

  /** We sent a frame that the peer may answer. */
  excuse(): void {
    if (this.#level > -GLITCH_LIMITS.excusedMax) this.#level -= GLITCH_LIMITS.excusedPerFrame;
  }

  /** True when the bucket runs over. */
  add(nowMs: number, count: number): boolean {
    this.#level += count;
    if (this.#level <= GLITCH_LIMITS.bucketMax) return false;
    // Only a full bucket asks how much has leaked: time costs nothing while the peer behaves.
    const leaked = ((nowMs - this.#leakedMs) * GLITCH_LIMITS.leakPerSecond) / 1000;
    this.#leakedMs = nowMs;
    this.#level -= Math.min(leaked, GLITCH_LIMITS.bucketMax);
    return this.#level > GLITCH_LIMITS.bucketMax;
  }
}
