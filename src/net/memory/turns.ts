/** The event loop of the network in memory: one event after another, each in a turn of its own, in the order they came up. */

/** Events in a row without letting the real event loop run: a closed loop in memory must not starve timers and tests. */
const EVENTS_IN_A_ROW_MAX = 1000;

/** Runs events. Latency is nil: all that follows from an event has happened before a real timer or immediate fires. */
export class Turns {
  readonly #queue: (() => void)[] = [];
  #isRunning = false;
  #inARow = 0;

  /** Calls `event` in a later turn. */
  add(event: () => void): void {
    this.#queue.push(event);
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#next();
  }

  #next(): void {
    this.#inARow += 1;
    if (this.#inARow <= EVENTS_IN_A_ROW_MAX) {
      queueMicrotask(this.#run);
      return;
    }
    this.#inARow = 0;
    setImmediate(this.#run);
  }

  readonly #run = (): void => {
    const event = this.#queue.shift();
    // The next turn is arranged first: an event that throws must not end all that follow.
    if (this.#queue.length > 0) this.#next();
    else this.#isRunning = false;
    event?.();
  };
}
