/**
 * Config from YAML and JSON files. A version of a file is taken whole: only once it has stopped changing, so that a file that is
 * being written, replaced by rename or swapped by a link (as Kubernetes mounts do) is never seen half done.
 */
import { join } from "node:path";
import type { Clock, Timer } from "../../../base/clock.ts";
import { codeOf, messageOf } from "../../../base/errors.ts";
import type { Log } from "../../../base/log.ts";
import type { Problem } from "../finding.ts";
import { type ConfigReader, type FileVersion, fileProblem } from "../read.ts";
import { FILE_BYTES_MAX } from "../yaml-text.ts";
import type { ConfigFileSystem, FileStatus } from "./file-system.ts";
import type { ConfigSource, SourceState } from "./source.ts";

/** What to watch, and with what. */
export interface FileSourceOptions {
  /** Directories and single files. */
  readonly paths: readonly string[];
  readonly reader: ConfigReader;
  readonly fileSystem: ConfigFileSystem;
  readonly clock: Clock;
  readonly log: Log;
  /** Files and directories to leave alone, besides hidden ones and node_modules. */
  readonly skip?: (path: string) => boolean;
}

/** How often everything is looked at, for file systems that tell nothing. */
export const POLL_MS = 2000;
/** How long after an event the first look is taken. */
export const EVENT_DELAY_MS = 10;
/** How long a file must stay as it is before it is read. */
export const SETTLE_MS = 30;
/** How long a file must be gone, or empty where it was not: editors do both on the way to a new version. */
export const SETTLE_LOSS_MS = 250;
/** How many files are read. */
export const FILES_MAX = 10_000;
/** How many directories are looked into. */
export const DIRECTORIES_MAX = 1000;
/** How deep directories are looked into. */
export const DIRECTORY_DEPTH_MAX = 16;

/** Makes the source; `open` begins to watch. */
export function createFileSource(options: FileSourceOptions): ConfigSource {
  return new FileSource(options);
}

interface KnownFile {
  readonly stamp: string;
  readonly bytes: number;
  readonly version: FileVersion;
}

/** What one look at the disk found. */
interface Look {
  readonly files: Map<string, FileStatus>;
  readonly directories: Map<string, FileStatus>;
  /** Paths below which nothing could be seen: what is known there stays. */
  readonly blind: string[];
  readonly problems: Problem[];
}

class FileSource implements ConfigSource {
  readonly #options: FileSourceOptions;
  readonly #known = new Map<string, KnownFile>();
  /** Changes that are waited for: the stamp ("gone" for a loss) and since when it stands. */
  readonly #settling = new Map<string, { readonly stamp: string; readonly sinceMs: number }>();
  readonly #watches = new Map<string, { readonly id: string; close(): void }>();
  #problems: readonly Problem[] = [];
  #onState: ((state: SourceState) => void) | undefined;
  #timer: { readonly dueMs: number; readonly timer: Timer } | undefined;
  #looking = false;
  #closed = false;

  constructor(options: FileSourceOptions) {
    this.#options = options;
  }

  async open(onState: (state: SourceState) => void): Promise<SourceState> {
    await this.#look("first");
    this.#onState = onState;
    this.#schedule(this.#settling.size > 0 ? SETTLE_MS : POLL_MS);
    return this.#state();
  }

  close(): void {
    this.#closed = true;
    this.#onState = undefined;
    this.#timer?.timer.cancel();
    for (const watched of this.#watches.values()) watched.close();
    this.#watches.clear();
  }

  #state(): SourceState {
    return { files: new Map([...this.#known].map(([name, { version }]) => [name, version])), problems: this.#problems };
  }

  /** Looks again in `delayMs`, or sooner where that is planned already. */
  #schedule(delayMs: number): void {
    if (this.#closed || this.#looking || !this.#onState) return;
    const dueMs = this.#options.clock.monotonicMs() + delayMs;
    if (this.#timer && this.#timer.dueMs <= dueMs) return;
    this.#timer?.timer.cancel();
    const timer = this.#options.clock.after(delayMs, () => {
      this.#timer = undefined;
      this.#lookAndTell().catch((error: unknown) =>
        this.#options.log.error("Looking at the config files failed.", { error: messageOf(error) }),
      );
    });
    this.#timer = { dueMs, timer };
  }

  async #lookAndTell(): Promise<void> {
    this.#looking = true;
    let changed = false;
    try {
      changed = await this.#look("again");
    } finally {
      this.#looking = false;
      this.#schedule(this.#settling.size > 0 ? SETTLE_MS : POLL_MS);
    }
    if (changed) this.#onState?.(this.#state());
  }

  /** One look at everything; true when the state is another one. The first look does not wait for files to settle. */
  async #look(which: "first" | "again"): Promise<boolean> {
    const look: Look = { files: new Map(), directories: new Map(), blind: [], problems: [] };
    for (const path of this.#options.paths) await this.#lookAt(path, look);
    if (this.#closed) return false;
    this.#watch(look.directories);
    let changed = false;
    for (const [file, status] of look.files) changed = (await this.#take(file, status, which)) || changed;
    for (const file of [...this.#known.keys()]) {
      const blind = look.blind.some((path) => file === path || file.startsWith(join(path, "/")));
      if (!look.files.has(file) && !blind) changed = this.#drop(file) || changed;
    }
    for (const file of [...this.#settling.keys()]) if (!look.files.has(file) && !this.#known.has(file)) this.#settling.delete(file);
    const before = this.#problems.map(textOf).join("\n");
    this.#problems = look.problems;
    return changed || before !== look.problems.map(textOf).join("\n");
  }

  async #lookAt(path: string, look: Look): Promise<void> {
    const status = await this.#statusOf(path, look);
    if (status === "failed") return;
    if (!status) {
      look.blind.push(path);
      look.problems.push(fileProblem(path, "no such file or directory"));
    } else if (status.kind === "directory") await this.#lookInto(path, status, 0, look);
    else if (status.kind === "file") {
      look.files.set(path, status);
      const parent = join(path, "..");
      const parentStatus = await this.#statusOf(parent, look);
      if (parentStatus && parentStatus !== "failed") look.directories.set(parent, parentStatus);
    } else look.problems.push(fileProblem(path, "is neither a file nor a directory"));
  }

  async #lookInto(directory: string, status: FileStatus, depth: number, look: Look): Promise<void> {
    if (depth > DIRECTORY_DEPTH_MAX || look.directories.size >= DIRECTORIES_MAX) {
      look.blind.push(directory);
      look.problems.push(
        fileProblem(directory, `not looked into: more than ${DIRECTORIES_MAX} directories, or deeper than ${DIRECTORY_DEPTH_MAX}`),
      );
      return;
    }
    look.directories.set(directory, status);
    let names: readonly string[];
    try {
      names = await this.#options.fileSystem.list(directory);
    } catch (error) {
      look.blind.push(directory);
      look.problems.push(fileProblem(directory, `cannot be read: ${codeOf(error) ?? messageOf(error)}`));
      return;
    }
    for (const name of [...names].sort()) {
      const path = join(directory, name);
      if (name.startsWith(".") || name === "node_modules" || this.#options.skip?.(path)) continue;
      const inside = await this.#statusOf(path, look);
      if (!inside || inside === "failed") continue;
      if (inside.kind === "directory") await this.#lookInto(path, inside, depth + 1, look);
      else if (inside.kind === "file" && /\.ya?ml$/.test(name)) this.#addFile(path, inside, look);
    }
  }

  #addFile(path: string, status: FileStatus, look: Look): void {
    if (look.files.size < FILES_MAX) look.files.set(path, status);
    else {
      look.blind.push(path);
      look.problems.push(fileProblem(path, `not read: more than ${FILES_MAX} files`));
    }
  }

  async #statusOf(path: string, look: Look): Promise<FileStatus | undefined | "failed"> {
    try {
      return await this.#options.fileSystem.status(path);
    } catch (error) {
      look.blind.push(path);
      look.problems.push(fileProblem(path, `cannot be read: ${codeOf(error) ?? messageOf(error)}`));
      return "failed";
    }
  }

  /** Takes a file's new version once it has settled; true when it did. */
  async #take(file: string, status: FileStatus, which: "first" | "again"): Promise<boolean> {
    const known = this.#known.get(file);
    if (known?.stamp === status.stamp) {
      this.#settling.delete(file);
      return false;
    }
    const settleMs = status.bytes === 0 && known && known.bytes > 0 ? SETTLE_LOSS_MS : SETTLE_MS;
    if (which === "again" && !this.#hasSettled(file, status.stamp, settleMs)) return false;
    const version = await this.#read(file, status);
    const after = await this.#options.fileSystem.status(file).catch(() => undefined);
    if (after?.stamp !== status.stamp) {
      // It changed under our eyes: wait until it stands still.
      this.#settling.set(file, { stamp: after?.stamp ?? "gone", sinceMs: this.#options.clock.monotonicMs() });
      return false;
    }
    this.#settling.delete(file);
    this.#known.set(file, { stamp: status.stamp, bytes: status.bytes, version });
    return version.digest !== known?.version.digest;
  }

  async #read(file: string, status: FileStatus): Promise<FileVersion> {
    const refuse = (message: string, hint?: string): FileVersion => {
      return { file, digest: `unread: ${message}`, objects: [], errors: [fileProblem(file, message, hint)], warnings: [] };
    };
    if (status.bytes > FILE_BYTES_MAX)
      return refuse(`the file has ${status.bytes} bytes, more than ${FILE_BYTES_MAX}`, "split it into several files");
    try {
      return this.#options.reader.read(file, await this.#options.fileSystem.read(file));
    } catch (error) {
      return refuse(`cannot be read: ${codeOf(error) ?? messageOf(error)}`);
    }
  }

  #drop(file: string): boolean {
    if (!this.#hasSettled(file, "gone", SETTLE_LOSS_MS)) return false;
    this.#settling.delete(file);
    return this.#known.delete(file);
  }

  #hasSettled(file: string, stamp: string, settleMs: number): boolean {
    const nowMs = this.#options.clock.monotonicMs();
    const waiting = this.#settling.get(file);
    if (waiting?.stamp === stamp) return nowMs - waiting.sinceMs >= settleMs;
    this.#settling.set(file, { stamp, sinceMs: nowMs });
    return false;
  }

  #watch(directories: ReadonlyMap<string, FileStatus>): void {
    for (const [path, watched] of this.#watches) {
      if (directories.get(path)?.id === watched.id) continue;
      watched.close();
      this.#watches.delete(path);
    }
    for (const [path, { id }] of directories) {
      if (this.#watches.has(path)) continue;
      const handle = this.#options.fileSystem.watch(
        path,
        () => this.#schedule(EVENT_DELAY_MS),
        () => this.#watches.delete(path),
      );
      this.#watches.set(path, { id, close: () => handle.close() });
    }
  }
}

function textOf({ position, message }: Problem): string {
  return `${position.file} ${message}`;
}
