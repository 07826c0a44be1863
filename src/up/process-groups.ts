/**
 * Processes that go with this one, however it ends, where no namespace takes them along: each leads a group of its own, and a guard, which hears by a pipe
 * that this process is gone, ends the groups and removes the folder.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Clock, sleep } from "../base/clock.ts";
import { codeOf } from "../base/errors.ts";

// biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's.
const GUARD = 'cat > /dev/null; for group in "$1"/groups/*; do kill -s KILL -- "-${group##*/}"; done; rm -rf -- "$1"';
const REMAINS_MS_MAX = 2000;

/** See the file's head. */
export class ProcessGroups {
  readonly #folder: string;
  readonly #clock: Clock;
  readonly #guard: ChildProcess;
  readonly #prefix: readonly string[];
  readonly #leaders = new Set<number>();
  readonly #ending = new Set<Promise<void>>();
  #isClosed = false;

  /** `folder` is this mesh's own; it is removed with the processes. */
  constructor(folder: string, clock: Clock) {
    this.#folder = folder;
    this.#clock = clock;
    this.#prefix = hasSetpriv() ? ["setpriv", "--pdeathsig", "KILL"] : [];
    mkdirSync(join(folder, "groups"), { mode: 0o700 });
    this.#guard = spawn("sh", ["-c", GUARD, "sh", folder], { detached: true, cwd: "/", stdio: ["pipe", "ignore", "ignore"] });
    this.#guard.on("error", () => {}); // No shell, no guard: a good end still removes all.
    this.#guard.stdin?.on("error", () => {});
    this.#guard.unref();
  }

  /** Starts a command as the leader of a group. Throws once closed. */
  spawn(command: readonly string[], options: SpawnOptions): ChildProcess {
    if (this.#isClosed) throw new Error("the mesh is being stopped");
    const [file = "", ...args] = [...this.#prefix, ...command];
    const child = spawn(file, args, { ...options, detached: true });
    const { pid } = child;
    if (pid === undefined) return child;
    const note = join(this.#folder, "groups", String(pid));
    writeFileSync(note, "");
    this.#leaders.add(pid);
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()))
      .then(() => {
        this.#leaders.delete(pid);
        return this.#endRest(pid);
      })
      .finally(() => {
        rmSync(note, { force: true });
        this.#ending.delete(ended);
      });
    this.#ending.add(ended);
    return child;
  }

  /** Sends a signal to a leader and its group. */
  signal({ pid }: ChildProcess, signal: NodeJS.Signals): void {
    if (pid !== undefined) signalGroup(pid, signal);
  }

  /** Kills the leaders that still run, waits for all that is on its way out, then removes the folder and lets the guard go. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const leader of this.#leaders) signalGroup(leader, "SIGKILL");
    await Promise.all(this.#ending);
    const isGone = this.#guard.exitCode === null && this.#guard.pid !== undefined ? once(this.#guard, "exit") : undefined;
    this.#guard.stdin?.end();
    await isGone;
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #endRest(group: number): Promise<void> {
    const end = this.#clock.monotonicMs() + REMAINS_MS_MAX;
    signalGroup(group, "SIGTERM");
    while (signalGroup(group, 0)) {
      if (this.#clock.monotonicMs() > end) signalGroup(group, "SIGKILL");
      await sleep(this.#clock, 20);
    }
  }
}

/** False: nobody of it is left, or only others' processes. */
function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch (error) {
    if (codeOf(error) === "ESRCH" || codeOf(error) === "EPERM") return false;
    throw error;
  }
}

function hasSetpriv(): boolean {
  try {
    execFileSync("setpriv", ["--pdeathsig", "KILL", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
