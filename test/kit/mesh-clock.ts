/** Moves a simulation's time while somebody waits for something, so that a test says what it waits for and not how long. */
import type { Timer } from "../../src/base/clock.ts";
import { FakeClock, settle } from "./fake-clock.ts";

/** So often the event loop goes round before time moves: what needs no time happens at no time. */
const TURNS_FIRST = 6;
/** The longest step of time, taken when nothing has happened for long. */
const STEP_MS_MAX = 1024;
const LIMIT_MS = 120_000;

interface Waiter {
  readonly what: string;
  readonly deadlineMs: number;
  readonly fail: (error: Error) => void;
}

/** The simulation's time. It begins now, since TLS judges certificates by the system's clock too. */
export class MeshClock extends FakeClock {
  readonly #waiters = new Set<Waiter>();
  readonly #due = new Set<{ readonly atMs: number }>();
  #ended = 0;
  #isPumping = false;

  constructor() {
    super(Date.now());
  }

  override after(delayMs: number, wake: () => void): Timer {
    const due = { atMs: this.monotonicMs() + Math.max(0, delayMs) };
    this.#due.add(due);
    const timer = super.after(delayMs, () => {
      this.#due.delete(due);
      wake();
    });
    return {
      cancel: () => {
        this.#due.delete(due);
        timer.cancel();
      },
    };
  }

  /** The promise's outcome; time goes on until it is there. Rejects after two minutes of the simulation's time, or `limitMs`. */
  async run<T>(what: string, promise: Promise<T>, limitMs = LIMIT_MS): Promise<T> {
    const late = Promise.withResolvers<never>();
    const waiter: Waiter = { what, deadlineMs: this.monotonicMs() + limitMs, fail: late.reject };
    this.#waiters.add(waiter);
    this.#pump().catch(late.reject);
    try {
      return await Promise.race([promise, late.promise]);
    } finally {
      this.#waiters.delete(waiter);
      this.#ended += 1;
    }
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    await this.run(`${ms} ms to pass`, new Promise<void>((resolve) => void this.after(ms, resolve)), ms + 1000);
  }

  /** Lets time pass until it is so. */
  async until(what: string, isSo: () => boolean, limitMs = LIMIT_MS): Promise<void> {
    const endMs = this.monotonicMs() + limitMs;
    while (!isSo()) {
      if (this.monotonicMs() > endMs) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
      await this.pass(1);
    }
  }

  #nextDueMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const { atMs } of this.#due) next = Math.min(next, atMs);
    return next;
  }

  async #pump(): Promise<void> {
    if (this.#isPumping) return;
    this.#isPumping = true;
    let stepMs = 1;
    try {
      while (this.#waiters.size > 0) {
        const endedBefore = this.#ended;
        for (let turn = 0; turn < TURNS_FIRST && this.#ended === endedBefore; turn++) await settle();
        if (this.#waiters.size === 0) return;
        stepMs = this.#ended === endedBefore ? Math.min(stepMs * 2, STEP_MS_MAX) : 1;
        // Not over the next timer: what it wakes has the event loop to itself again.
        await this.advance(Math.min(stepMs, Math.max(1, this.#nextDueMs() - this.monotonicMs())));
        for (const { what, deadlineMs, fail } of this.#waiters)
          if (this.monotonicMs() > deadlineMs) fail(new Error(`waited in vain for ${what}`));
      }
    } finally {
      this.#isPumping = false;
    }
  }
}
