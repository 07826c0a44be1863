/**
 * The last good state of config. A file is taken whole or not at all: one with a fault keeps its last good version, and the fault
 * is logged once and kept for status. Other files go on.
 */
import type { Clock } from "../../base/clock.ts";
import { digestOfObject } from "../../base/digest.ts";
import type { Log } from "../../base/log.ts";
import { analyze } from "./analyze.ts";
import { formatPosition, formatProblem, type Path, type Problem } from "./finding.ts";
import type { FileVersion, ReadObject } from "./read.ts";
import type { ConfigSource, SourceState } from "./sources/source.ts";
import type { AnyConfig, MeshConfig, SourcePosition } from "./types.ts";

/** The objects of one moment. */
export interface ConfigState {
  /** Oldest first; equal ages by name, then namespace. Objects that did not change are the same objects as before. */
  readonly objects: readonly AnyConfig[];
  /** By "kind/namespace/name". */
  readonly byKey: ReadonlyMap<string, AnyConfig>;
  /** Where a field of an object stands now. (`meta.position` is where it stood when the object last changed.) */
  locate(key: string, path: Path): SourcePosition | undefined;
}

/** What a change touched. */
export interface ConfigChange {
  /** "kind/namespace/name" of objects that are new, other or gone. */
  readonly changed: readonly string[];
}

/** What is wrong now, since when. */
export interface KeptProblem extends Problem {
  readonly sinceMs: number;
}

/** What a store is made of. */
export interface ConfigStoreOptions {
  readonly sources: readonly ConfigSource[];
  readonly mesh: MeshConfig;
  readonly log: Log;
  readonly clock: Clock;
  /** Called after each change of objects, never before `open` has resolved. */
  readonly onChange: (state: ConfigState, change: ConfigChange) => void;
}

/** A living store; `close` ends its sources. */
export interface ConfigStore {
  /** Loads everything once. Problems are not logged then: the caller decides what they mean. */
  open(): Promise<{ readonly problems: readonly Problem[] }>;
  readonly state: ConfigState;
  /** Faults that keep a file at its last good version, or out. */
  readonly problems: readonly KeptProblem[];
  /** What is taken and still looks wrong: references to nothing, fields without effect. */
  readonly warnings: readonly Problem[];
  close(): void;
}

/** Makes a store; `open` loads it. */
export function createConfigStore(options: ConfigStoreOptions): ConfigStore {
  return new Store(options);
}

/** A file of a source: two sources may have files of one name. */
interface FileEntry {
  readonly id: string;
  readonly wanted: FileVersion;
  readonly lastGood: FileVersion | undefined;
}

class Store implements ConfigStore {
  readonly #options: ConfigStoreOptions;
  readonly #states: (SourceState | undefined)[];
  #good = new Map<string, FileVersion>();
  #open = false;
  state: ConfigState;
  problems: readonly KeptProblem[] = [];
  warnings: readonly Problem[] = [];

  constructor(options: ConfigStoreOptions) {
    this.#options = options;
    this.#states = options.sources.map(() => undefined);
    this.state = this.#stateOf([]);
  }

  async open(): Promise<{ readonly problems: readonly Problem[] }> {
    const { sources } = this.#options;
    const first = await Promise.all(sources.map((source, i) => source.open((state) => this.#onState(i, state))));
    for (const [i, state] of first.entries()) this.#states[i] ??= state;
    this.#apply();
    this.#open = true;
    return { problems: this.problems };
  }

  close(): void {
    for (const source of this.#options.sources) source.close();
  }

  #onState(index: number, state: SourceState): void {
    this.#states[index] = state;
    if (!this.#open) return;
    const known = new Set([...this.problems, ...this.warnings].map(formatProblem));
    const changed = this.#apply();
    const { log } = this.#options;
    for (const problem of this.problems) {
      if (!known.has(formatProblem(problem))) log.error("A config file is rejected; its last good version stays.", logFields(problem));
    }
    for (const warning of this.warnings) {
      if (!known.has(formatProblem(warning))) log.warn("A config file is taken, with a warning.", logFields(warning));
    }
    if (changed.length > 0) this.#options.onChange(this.state, { changed });
  }

  /** Takes what is good of the sources' states; gives the keys of the objects that changed. */
  #apply(): readonly string[] {
    const entries = this.#entries();
    const { good, problems } = chooseVersions(entries);
    this.#good = good;
    const sourceProblems = this.#states.flatMap((state) => state?.problems ?? []);
    this.#keepProblems([...sourceProblems, ...problems]);
    const before = this.state.byKey;
    this.state = this.#stateOf([...good.values()].flatMap((version) => version.objects));
    const analysis = analyze(this.state, this.#options.mesh);
    this.warnings = [...[...good.values()].flatMap((version) => version.warnings), ...analysis];
    const after = this.state.byKey;
    const keys = new Set([...before.keys(), ...after.keys()]);
    return [...keys].filter((key) => before.get(key) !== after.get(key)).sort();
  }

  #entries(): readonly FileEntry[] {
    const entries = this.#states.flatMap((state, i) => {
      return [...(state?.files ?? [])].map(([name, wanted]) => ({ id: `${i}:${name}`, wanted, lastGood: this.#good.get(`${i}:${name}`) }));
    });
    return entries.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  #keepProblems(problems: readonly Problem[]): void {
    const since = new Map(this.problems.map((problem) => [formatProblem(problem), problem.sinceMs]));
    const nowMs = this.#options.clock.nowMs();
    this.problems = problems.map((problem) => ({ ...problem, sinceMs: since.get(formatProblem(problem)) ?? nowMs }));
  }

  #stateOf(read: readonly ReadObject[]): ConfigState {
    const before = this.state?.byKey ?? new Map<string, AnyConfig>();
    const byKey = new Map<string, AnyConfig>();
    const located = new Map<string, ReadObject>();
    for (const entry of read) {
      const { key } = entry;
      const known = before.get(key);
      byKey.set(key, known && isSame(known, entry.object) ? known : entry.object);
      located.set(key, entry);
    }
    return {
      objects: [...byKey.values()].sort(byAge),
      byKey,
      locate: (key, path) => located.get(key)?.locate(path),
    };
  }
}

function logFields(problem: Problem): Readonly<Record<string, unknown>> {
  return { problem: formatProblem(problem), at: formatPosition(problem.position), object: problem.object };
}

/** Oldest first. Source: Istio, conflicts of objects of one age go by name and namespace. */
function byAge({ meta: a }: AnyConfig, { meta: b }: AnyConfig): number {
  return a.createdAt - b.createdAt || compare(a.name, b.name) || compare(a.namespace, b.namespace) || compare(a.kind, b.kind);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isSame(a: AnyConfig, b: AnyConfig): boolean {
  return a === b || contentDigest(a) === contentDigest(b);
}

const contentDigests = new WeakMap<AnyConfig, string>();

/** What an object says, wherever it stands. */
function contentDigest(object: AnyConfig): string {
  let digest = contentDigests.get(object);
  if (digest === undefined) {
    const { position: _, ...meta } = object.meta;
    digest = digestOfObject({ meta, spec: object.spec });
    contentDigests.set(object, digest);
  }
  return digest;
}

/**
 * For each file its wanted version, or its last good one where that has faults or names an object that another file has. Files
 * that change yield to files that do not; of two that change, the later by name yields.
 */
function chooseVersions(entries: readonly FileEntry[]): { good: Map<string, FileVersion>; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const chosen = new Map<string, FileVersion>();
  for (const { id, wanted, lastGood } of entries) {
    const faults = [...wanted.errors, ...duplicatesWithin(wanted)];
    problems.push(...faults);
    const version = faults.length > 0 ? lastGood : wanted;
    if (version) chosen.set(id, version);
  }
  // Each turn puts one file back to its last good version; those agreed with each other.
  for (let clash = findClash(entries, chosen); clash; clash = findClash(entries, chosen)) {
    problems.push(clash.problem);
    const { id, lastGood } = clash.loser;
    if (lastGood && lastGood !== chosen.get(id)) chosen.set(id, lastGood);
    else chosen.delete(id);
  }
  return { good: chosen, problems };
}

function duplicatesWithin({ objects }: FileVersion): readonly Problem[] {
  const first = new Map<string, AnyConfig>();
  const problems: Problem[] = [];
  for (const { key, object } of objects) {
    const before = first.get(key);
    if (before) problems.push(duplicate(object, before));
    else first.set(key, object);
  }
  return problems;
}

function duplicate({ meta }: AnyConfig, other: AnyConfig): Problem {
  return {
    severity: "error",
    path: "metadata.name",
    message: `${meta.kind} ${meta.namespace}/${meta.name} is declared already at ${formatPosition(other.meta.position)}`,
    hint: "remove one of them, or give it another name",
    object: `${meta.kind} ${meta.namespace}/${meta.name}`,
    position: meta.position,
  };
}

function findClash(
  entries: readonly FileEntry[],
  chosen: ReadonlyMap<string, FileVersion>,
): { loser: FileEntry; problem: Problem } | undefined {
  const owners = new Map<string, { entry: FileEntry; object: AnyConfig }>();
  for (const entry of entries) {
    for (const { key, object } of chosen.get(entry.id)?.objects ?? []) {
      const owner = owners.get(key);
      if (!owner) {
        owners.set(key, { entry, object });
        continue;
      }
      const isNew = (one: FileEntry): boolean => chosen.get(one.id) !== one.lastGood;
      const laterYields = isNew(entry) || !isNew(owner.entry);
      return laterYields
        ? { loser: entry, problem: duplicate(object, owner.object) }
        : { loser: owner.entry, problem: duplicate(owner.object, object) };
    }
  }
  return undefined;
}
