/**
 * Brings every proxy that a change concerns up to date: at most one pending push a proxy, later ones merged into it, and a bounded number under
 * way at once.
 */
import type { Clock } from "../../base/clock.ts";
import type { XdsSession } from "../../xds/server-types.ts";

/** What bounds the queue. */
export interface PushQueueLimits {
  /** Pushes that are worked on at once. */
  readonly concurrentMax: number;
  /** A push whose proxy is slow to answer makes room for the next one after this; it goes on by itself. */
  readonly turnMs: number;
}

/** Enough to keep one core busy while answers are awaited. */
export const DEFAULT_QUEUE_LIMITS: PushQueueLimits = { concurrentMax: 64, turnMs: 1000 };

/** One proxy's part of a push. */
export interface PushJob {
  /** Undefined: all types. */
  readonly types: ReadonlySet<string> | undefined;
  /** Called once when the proxy has answered everything, or is gone. */
  readonly onDone: () => void;
}

interface Pending {
  types: ReadonlySet<string> | undefined;
  readonly onDone: (() => void)[];
  readonly sinceMs: number;
}

/** The queue of all proxies. */
export class PushQueue {
  readonly #pending = new Map<XdsSession, Pending>();
  readonly #limits: PushQueueLimits;
  readonly #clock: Clock;
  readonly #label: () => string;
  readonly #onStart: (waitedMs: number) => void;
  #active = 0;
  #isClosed = false;

  /** `label` gives the newest state's label when a push begins; `onStart` hears how long it waited. */
  constructor(options: {
    readonly clock: Clock;
    readonly label: () => string;
    readonly onStart?: (waitedMs: number) => void;
    readonly limits?: PushQueueLimits;
  }) {
    this.#clock = options.clock;
    this.#label = options.label;
    this.#onStart = options.onStart ?? (() => {});
    this.#limits = options.limits ?? DEFAULT_QUEUE_LIMITS;
  }

  /** Proxies that wait. */
  get length(): number {
    return this.#pending.size;
  }

  enqueue(session: XdsSession, { types, onDone }: PushJob): void {
    if (this.#isClosed) {
      onDone();
      return;
    }
    const waiting = this.#pending.get(session);
    if (waiting) {
      waiting.types = waiting.types && types ? new Set([...waiting.types, ...types]) : undefined;
      waiting.onDone.push(onDone);
      return;
    }
    this.#pending.set(session, { types, onDone: [onDone], sinceMs: this.#clock.monotonicMs() });
    this.#next();
  }

  /** Forgets what waits; what is under way ends with its streams. */
  close(): void {
    this.#isClosed = true;
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    for (const { onDone } of waiting) for (const done of onDone) done();
  }

  #next(): void {
    if (this.#active >= this.#limits.concurrentMax || this.#pending.size === 0) return;
    this.#active += 1;
    // Each in a turn of its own: answers and new clients are not kept waiting by a long queue.
    setImmediate(() => this.#start());
  }

  #start(): void {
    const [first] = this.#pending;
    if (!first) {
      this.#active -= 1;
      return;
    }
    const [session, { types, onDone, sinceMs }] = first;
    this.#pending.delete(session);
    this.#onStart(this.#clock.monotonicMs() - sinceMs);
    let isTurnOver = false;
    const endTurn = (): void => {
      if (isTurnOver) return;
      isTurnOver = true;
      this.#active -= 1;
      this.#next();
    };
    const timer = this.#clock.after(this.#limits.turnMs, endTurn);
    void session.push(this.#label(), types).finally(() => {
      timer.cancel();
      for (const done of onDone) done();
      endTurn();
    });
    this.#next();
  }
}
