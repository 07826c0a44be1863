/** How each push fared: which proxies acknowledged it, which refused it and why, and how long it took. */
import type { Clock } from "../../base/clock.ts";
import type { XdsSession } from "../../xds/server-types.ts";

/** One push, as it is or was. Plain data: it is what /debug/pushz shows. */
export interface PushRecord {
  /** The snapshot's. */
  readonly version: string;
  /** What proxies are sent as the version. */
  readonly label: string;
  /** What changed, with its file: "payment.yaml (VirtualService shop/payment)". */
  readonly reason: string;
  /** Wall clock. */
  readonly startedMs: number;
  /** Proxies that it concerned and that stayed to answer. */
  readonly proxies: number;
  readonly acknowledged: number;
  readonly refused: readonly { readonly proxy: string; readonly type: string; readonly message: string }[];
  /** Proxies that did not answer in time. */
  readonly silent: readonly string[];
  /** Proxies that went away meanwhile. */
  readonly gone: number;
  /** From the change that made it until the last answer, or until now. */
  readonly ms: number;
  readonly isFinished: boolean;
}

/** A push under way: one answer for each of its proxies. */
export interface PushProgress {
  /** Takes what the session's status says of the types that were pushed (undefined: all). Call once for each proxy. */
  settle(session: XdsSession, proxy: string, types: ReadonlySet<string> | undefined): void;
}

const RECORDS_MAX = 100;
const LISTED_MAX = 100;

interface Record {
  readonly version: string;
  readonly label: string;
  readonly reason: string;
  readonly startedMs: number;
  readonly changedAtMs: number;
  waiting: number;
  acknowledged: number;
  readonly refused: { proxy: string; type: string; message: string }[];
  refusedCount: number;
  readonly silent: string[];
  silentCount: number;
  gone: number;
  finishedAtMs: number | undefined;
}

/** Keeps the last hundred pushes. */
export class PushLog {
  readonly #clock: Clock;
  readonly #isConnected: (session: XdsSession) => boolean;
  readonly #records: Record[] = [];
  readonly #waiters: { readonly version: number; readonly resolve: (record: PushRecord) => void }[] = [];
  readonly #onFinish: (record: PushRecord) => void;

  constructor(options: {
    readonly clock: Clock;
    readonly isConnected: (session: XdsSession) => boolean;
    readonly onFinish: (record: PushRecord) => void;
  }) {
    this.#clock = options.clock;
    this.#isConnected = options.isConnected;
    this.#onFinish = options.onFinish;
  }

  /** Begins a push to `proxies` proxies. */
  begin(push: {
    readonly version: string;
    readonly label: string;
    readonly reason: string;
    readonly changedAtMs: number;
    readonly proxies: number;
  }): PushProgress {
    const { proxies, ...rest } = push;
    const record: Record = {
      ...rest,
      startedMs: this.#clock.nowMs(),
      waiting: proxies,
      acknowledged: 0,
      refused: [],
      refusedCount: 0,
      silent: [],
      silentCount: 0,
      gone: 0,
      finishedAtMs: undefined,
    };
    this.#records.push(record);
    if (this.#records.length > RECORDS_MAX) this.#records.shift();
    if (proxies === 0) this.#finish(record);
    return {
      settle: (session, proxy, types) => {
        this.#settle(record, session, proxy, types);
        record.waiting -= 1;
        if (record.waiting === 0) this.#finish(record);
      },
    };
  }

  #settle(record: Record, session: XdsSession, proxy: string, types: ReadonlySet<string> | undefined): void {
    if (!this.#isConnected(session)) {
      record.gone += 1;
      return;
    }
    const statuses = [...session.status].filter(([type]) => types === undefined || types.has(type));
    const nacked = statuses.find(([, status]) => status.state === "nacked");
    if (nacked) {
      record.refusedCount += 1;
      const [type, status] = nacked;
      if (record.refused.length < LISTED_MAX) record.refused.push({ proxy, type, message: status.nackMessage ?? "" });
      // What is on its way under a label that was acknowledged answers a new subscription, not this push.
    } else if (statuses.some(([, status]) => status.state === "sent" && status.ackedLabel !== status.sentLabel)) {
      record.silentCount += 1;
      if (record.silent.length < LISTED_MAX) record.silent.push(proxy);
    } else record.acknowledged += 1;
  }

  #finish(record: Record): void {
    record.finishedAtMs = this.#clock.monotonicMs();
    const shown = this.#show(record);
    this.#onFinish(shown);
    for (const waiter of this.#waiters.splice(0)) {
      if (waiter.version <= Number(record.version)) waiter.resolve(shown);
      else this.#waiters.push(waiter);
    }
  }

  #show(record: Record): PushRecord {
    const endMs = record.finishedAtMs ?? this.#clock.monotonicMs();
    return {
      version: record.version,
      label: record.label,
      reason: record.reason,
      startedMs: record.startedMs,
      proxies: record.waiting + record.acknowledged + record.refusedCount + record.silentCount,
      acknowledged: record.acknowledged,
      refused: [...record.refused],
      silent: [...record.silent],
      gone: record.gone,
      ms: Math.round(endMs - record.changedAtMs),
      isFinished: record.finishedAtMs !== undefined,
    };
  }

  /** Newest last. */
  get records(): readonly PushRecord[] {
    return this.#records.map((record) => this.#show(record));
  }

  /** The newest push that has finished. */
  get lastFinished(): PushRecord | undefined {
    const record = this.#records.findLast(({ finishedAtMs }) => finishedAtMs !== undefined);
    return record && this.#show(record);
  }

  /** Resolves with the first push of `version` or a later one that finishes; at once when there was one. */
  finished(version: number): Promise<PushRecord> {
    const known = this.#records.find((record) => record.finishedAtMs !== undefined && Number(record.version) >= version);
    if (known) return Promise.resolve(this.#show(known));
    return new Promise((resolve) => {
      this.#waiters.push({ version, resolve });
    });
  }
}
