/** A clock that a test moves by hand. */
import type { Clock, Timer } from "../../src/base/clock.ts";

interface Pending {
  readonly dueMs: number;
  readonly order: number;
  readonly wake: () => void;
}

/** Time stands still until `advance`. Timers fire in order of their due time, then of their making. */
export class FakeClock implements Clock {
  #nowMs: number;
  #monotonicMs = 0;
  #made = 0;
  #pending: Pending[] = [];

  constructor(startMs = Date.parse("2026-01-01T00:00:00Z")) {
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, wake: () => void): Timer {
    const timer: Pending = { dueMs: this.#monotonicMs + Math.max(0, delayMs), order: this.#made++, wake };
    this.#pending.push(timer);
    return {
      cancel: () => {
        this.#pending = this.#pending.filter((other) => other !== timer);
      },
    };
  }

  /** Moves time on and fires what falls due, letting promises settle in between. */
  async advance(ms: number): Promise<void> {
    const end = this.#monotonicMs + ms;
    for (;;) {
      await settle();
      const next = this.#pending.filter((timer) => timer.dueMs <= end).sort((a, b) => a.dueMs - b.dueMs || a.order - b.order)[0];
      if (!next) break;
      this.#pending = this.#pending.filter((other) => other !== next);
      this.#move(next.dueMs);
      next.wake();
    }
    this.#move(end);
    await settle();
  }

  #move(toMs: number): void {
    this.#nowMs += toMs - this.#monotonicMs;
    this.#monotonicMs = toMs;
  }
}

/** Lets what is queued (microtasks and immediates) run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
