/** Time as an argument: nothing above this room reads the system's clock itself. */

/** A timer that can be taken back. Cancelling one that has fired does nothing. */
export interface Timer {
  cancel(): void;
}

/** What tells the time and wakes. */
export interface Clock {
  /** Milliseconds since 1970, may jump. For certificates and logs. */
  nowMs(): number;
  /** Milliseconds since some start, never goes back, with fractions. For durations and timeouts. */
  monotonicMs(): number;
  /** Calls `wake` once, `delayMs` from now. A timer does not keep the process alive. */
  after(delayMs: number, wake: () => void): Timer;
}

/** The system's clock. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, wake) {
    // Longer delays than 2^31-1 ms would fire at once.
    const handle = setTimeout(wake, Math.min(delayMs, 0x7fffffff));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves `delayMs` from now by the given clock. */
export function sleep(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
