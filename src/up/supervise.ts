/** Keeps a process running: starts it again with a growing wait when it ends, and ends it in good order. */
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Clock } from "../base/clock.ts";

/** What to keep running. */
export interface SupervisedOptions {
  readonly name: string;
  readonly start: () => ChildProcess;
  /** False: it is done when it ends. */
  readonly restarts: boolean;
  readonly clock: Clock;
  /** Sends it a signal. Default: to the process alone. */
  readonly signal?: (child: ChildProcess, signal: NodeJS.Signals) => void;
  readonly onLine: (stream: "out" | "err", line: string) => void;
  readonly onExit: (detail: string, restartMs: number | undefined) => void;
}

const WAIT_MS = { first: 100, max: 10_000, calmAfter: 10_000 };
const LINE_MAX = 16 * 1024;

/** A supervised process. */
export class Supervised {
  readonly name: string;
  restarts = 0;
  readonly #options: SupervisedOptions;
  #child: ChildProcess | undefined;
  #waitMs = WAIT_MS.first;
  #isStopping = false;
  #startedMs = 0;

  constructor(options: SupervisedOptions) {
    this.#options = options;
    this.name = options.name;
    this.#start();
  }

  /** Undefined while it is not running. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Asks it to end, and ends it after `graceMs`. Resolves when it is gone. */
  async stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    const child = this.#child;
    if (!child) return;
    const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    const { clock, signal = (target, name) => target.kill(name) } = this.#options;
    signal(child, "SIGTERM");
    const force = clock.after(graceMs, () => signal(child, "SIGKILL"));
    await gone;
    force.cancel();
  }

  #start(): void {
    const { clock, onLine } = this.#options;
    const child = this.#options.start();
    this.#child = child;
    this.#startedMs = clock.monotonicMs();
    for (const [stream, name] of [
      [child.stdout, "out"],
      [child.stderr, "err"],
    ] as const) {
      if (stream) createInterface({ input: stream }).on("line", (line) => onLine(name, line.slice(0, LINE_MAX)));
    }
    let failure: string | undefined;
    child.on("error", (error) => {
      failure = error.message;
      if (child.pid === undefined) this.#ended(`could not be started: ${failure}`);
    });
    child.on("exit", (code, signal) => this.#ended(signal ? `ended by ${signal}` : `ended with exit code ${code}`));
  }

  #ended(detail: string): void {
    this.#child = undefined;
    if (this.#isStopping) return;
    const { clock, restarts, onExit } = this.#options;
    if (!restarts) {
      onExit(detail, undefined);
      return;
    }
    if (clock.monotonicMs() - this.#startedMs > WAIT_MS.calmAfter) this.#waitMs = WAIT_MS.first;
    const waitMs = this.#waitMs;
    this.#waitMs = Math.min(this.#waitMs * 2, WAIT_MS.max);
    onExit(detail, waitMs);
    clock.after(waitMs, () => {
      if (this.#isStopping) return;
      this.restarts += 1;
      this.#start();
    });
  }
}
