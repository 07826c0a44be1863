/**
 * Timeouts of requests, cheap enough for every one of them: timeouts of one length end in the order they began, so each length is a list
 * with one timer of the clock, and starting or stopping one moves a few pointers.
 */
import type { Clock, Timer } from "../../base/clock.ts";

/** A timeout that may run. Made once, started and stopped many times. */
export class Timeout {
  readonly onTimeout: () => void;
  dueMs = 0;
  list: TimeoutList | undefined;
  before: Timeout | undefined;
  after: Timeout | undefined;

  constructor(onTimeout: () => void) {
    this.onTimeout = onTimeout;
  }

  get isRunning(): boolean {
    return this.list !== undefined;
  }

  /** Does nothing when it does not run. */
  stop(): void {
    this.list?.remove(this);
  }
}

/** All timeouts of one length. */
export class TimeoutList {
  readonly #clock: Clock;
  readonly #lengthMs: number;
  #first: Timeout | undefined;
  #last: Timeout | undefined;
  #timer: Timer | undefined;

  constructor(clock: Clock, lengthMs: number) {
    this.#clock = clock;
    this.#lengthMs = lengthMs;
  }

  get isEmpty(): boolean {
    return this.#first === undefined && this.#timer === undefined;
  }

  /** Starts it, or starts it anew. `nowMs` is the clock's monotonic time. */
  start(timeout: Timeout, nowMs: number): void {
    timeout.list?.remove(timeout);
    timeout.list = this;
    timeout.dueMs = nowMs + this.#lengthMs;
    timeout.before = this.#last;
    if (this.#last) this.#last.after = timeout;
    else this.#first = timeout;
    this.#last = timeout;
    // A timer that is already set fires no later than it must: it looks at what is first then.
    this.#timer ??= this.#clock.after(this.#lengthMs, () => this.#fire());
  }

  remove(timeout: Timeout): void {
    const { before, after } = timeout;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    timeout.before = undefined;
    timeout.after = undefined;
    timeout.list = undefined;
  }

  /** Lets go of the timer; what runs never ends. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #fire(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.monotonicMs();
    // The system's timers are cut to whole milliseconds: half of one early is on time.
    while (this.#first && this.#first.dueMs <= nowMs + 0.5) {
      const due = this.#first;
      this.remove(due);
      due.onTimeout();
    }
    if (this.#first && !this.#timer) this.#timer = this.#clock.after(Math.max(0, this.#first.dueMs - nowMs), () => this.#fire());
  }
}

/** Lengths kept at once; a client that sends a new length each time would otherwise add lists without end. */
const LENGTHS_MAX = 256;

/** The lists of a connection manager, by length. */
export class TimeoutLists {
  readonly #clock: Clock;
  readonly #lists = new Map<number, TimeoutList>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Starts `timeout`; 0 and less stop it. */
  start(timeout: Timeout, lengthMs: number, nowMs: number): void {
    if (lengthMs <= 0) {
      timeout.stop();
      return;
    }
    let list = this.#lists.get(lengthMs);
    if (!list) {
      if (this.#lists.size >= LENGTHS_MAX) this.#sweep();
      list = new TimeoutList(this.#clock, lengthMs);
      this.#lists.set(lengthMs, list);
    }
    list.start(timeout, nowMs);
  }

  close(): void {
    for (const list of this.#lists.values()) list.close();
  }

  #sweep(): void {
    for (const [lengthMs, list] of this.#lists) if (list.isEmpty) this.#lists.delete(lengthMs);
  }
}
