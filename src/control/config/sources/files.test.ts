/** The file source over a file system that the test holds in its hand: no disk, no waiting. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock, settle } from "../../../../test/kit/fake-clock.ts";
import { silentLog } from "../../../base/log.ts";
import { formatProblem } from "../finding.ts";
import { createConfigReader } from "../read.ts";
import type { ConfigFileSystem } from "./file-system.ts";
import { createFileSource, EVENT_DELAY_MS, POLL_MS, SETTLE_LOSS_MS, SETTLE_MS } from "./files.ts";
import type { SourceState } from "./source.ts";

class FakeDisk implements ConfigFileSystem {
  readonly files = new Map<string, { text: string; id: number; changes: number }>();
  readonly directories = new Map<string, number>();
  readonly watchers = new Map<string, { onEvent: () => void; onEnd: () => void }>();
  readonly failing = new Map<string, string>();
  reads = 0;
  #ids = 0;

  makeDirectory(path: string): void {
    this.directories.set(path, ++this.#ids);
  }

  /** As an editor that writes in place. */
  write(path: string, text: string): void {
    const file = this.files.get(path);
    if (file) Object.assign(file, { text, changes: file.changes + 1 });
    else this.replace(path, text);
  }

  /** As `mv new path`. */
  replace(path: string, text: string): void {
    this.files.set(path, { text, id: ++this.#ids, changes: 0 });
  }

  event(directory = "conf"): void {
    this.watchers.get(directory)?.onEvent();
  }

  #fail(path: string): void {
    const code = this.failing.get(path);
    if (code) throw Object.assign(new Error(`${code}: no`), { code });
  }

  async status(path: string) {
    if (this.failing.get(path) === "EIO") this.#fail(path);
    const directory = this.directories.get(path);
    if (directory !== undefined) return { kind: "directory", id: `${directory}`, stamp: `${directory}`, bytes: 0 } as const;
    const file = this.files.get(path);
    if (!file) return undefined;
    return { kind: "file", id: `${file.id}`, stamp: `${file.id}:${file.changes}`, bytes: file.text.length } as const;
  }

  async list(directory: string) {
    this.#fail(directory);
    const inside = [...this.files.keys(), ...this.directories.keys()].filter((path) => path.startsWith(`${directory}/`));
    return [...new Set(inside.map((path) => path.slice(directory.length + 1).split("/")[0] as string))];
  }

  async read(file: string) {
    this.#fail(file);
    this.reads++;
    return new TextEncoder().encode(this.files.get(file)?.text ?? "");
  }

  watch(directory: string, onEvent: () => void, onEnd: () => void) {
    this.watchers.set(directory, { onEvent, onEnd });
    return { close: () => void this.watchers.delete(directory) };
  }
}

const policy = (name: string): string => `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}}\n`;

async function open(disk: FakeDisk, paths: readonly string[] = ["conf"], skip?: (path: string) => boolean) {
  const clock = new FakeClock();
  const reader = createConfigReader({ domain: "cluster.local" });
  const source = createFileSource({ paths, reader, fileSystem: disk, clock, log: silentLog, ...(skip ? { skip } : {}) });
  const states: SourceState[] = [];
  states.push(await source.open((state) => states.push(state)));
  const latest = (): SourceState => states[states.length - 1] as SourceState;
  return {
    clock,
    source,
    states,
    latest,
    names: () => [...latest().files.values()].flatMap(({ objects }) => objects.map(({ object }) => object.meta.name)).sort(),
    problems: () => latest().problems.map(formatProblem),
  };
}

function disk(files: Readonly<Record<string, string>> = { "conf/a.yaml": policy("a") }): FakeDisk {
  const made = new FakeDisk();
  made.makeDirectory("conf");
  for (const [path, text] of Object.entries(files)) made.replace(path, text);
  return made;
}

/** Long enough for an event to be looked at, and for what it showed to settle. */
const TAKEN_MS = EVENT_DELAY_MS + SETTLE_MS;

test("the first state has the YAML of the directory and those below, and nothing else: other JSON stands in such folders too", async () => {
  const made = disk({
    "conf/a.yaml": policy("a"),
    "conf/b.yml": policy("b"),
    "conf/c.json": '{"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": {"name": "c"}}',
    "conf/deep/er/d.yaml": policy("d"),
    "conf/README.md": "not config",
    "conf/.hidden.yaml": policy("hidden"),
    "conf/.git/e.yaml": policy("e"),
    "conf/node_modules/f.yaml": policy("f"),
    "conf/lateen.yaml": "workloads: []",
  });
  for (const path of ["conf/deep", "conf/deep/er", "conf/.git", "conf/node_modules"]) made.makeDirectory(path);
  const { names } = await open(made, ["conf"], (path) => path.endsWith("lateen.yaml"));
  assert.deepEqual(names(), ["a", "b", "d"]);
});

test("a file that is replaced by rename is taken at the event, once it has settled", async () => {
  const made = disk();
  const { clock, names, states } = await open(made);
  made.replace("conf/a.yaml", policy("b"));
  made.event();
  await clock.advance(EVENT_DELAY_MS);
  assert.deepEqual(names(), ["a"], "not before it stands still");
  await clock.advance(SETTLE_MS);
  assert.deepEqual(names(), ["b"]);
  assert.equal(states.length, 2);
});

test("a change without an event is found by polling", async () => {
  const made = disk();
  const { clock, names } = await open(made);
  made.write("conf/a.yaml", policy("b"));
  await clock.advance(POLL_MS + SETTLE_MS);
  assert.deepEqual(names(), ["b"]);
});

test("a file that is being written is not read until it stands still", async () => {
  const made = disk();
  const { clock, states, names } = await open(made);
  const whole = `${policy("b")}---\n${policy("c")}`;
  for (const part of [1, 20, 75, 100]) {
    made.write("conf/a.yaml", whole.slice(0, part));
    made.event();
    await clock.advance(SETTLE_MS - 5);
  }
  assert.equal(states.length, 1, "no part was told");
  made.write("conf/a.yaml", whole);
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["b", "c"]);
  assert.equal(states.length, 2);
});

test("a file that changes while it is read is read again", async () => {
  const made = disk();
  const { clock, names, states } = await open(made);
  const read = made.read.bind(made);
  made.read = async (file) => {
    const content = await read(file);
    made.read = read;
    made.write("conf/a.yaml", policy("c"));
    return content;
  };
  made.write("conf/a.yaml", policy("b"));
  made.event();
  await clock.advance(TAKEN_MS * 3);
  assert.deepEqual(names(), ["c"]);
  assert.equal(states.length, 2, "the version between was never told");
});

test("an editor that empties the file first does not empty the config", async () => {
  const made = disk();
  const { clock, names, states } = await open(made);
  made.write("conf/a.yaml", "");
  made.event();
  await clock.advance(SETTLE_LOSS_MS - SETTLE_MS);
  made.write("conf/a.yaml", policy("b"));
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["b"]);
  assert.equal(states.length, 2);
});

test("an editor that moves the file away first does not empty the config", async () => {
  const made = disk();
  const { clock, states, names } = await open(made);
  made.files.delete("conf/a.yaml");
  made.replace("conf/a.yaml~", policy("a"));
  made.event();
  await clock.advance(SETTLE_LOSS_MS - SETTLE_MS);
  made.replace("conf/a.yaml", policy("b"));
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["b"]);
  assert.equal(states.length, 2);
});

test("a file that is emptied, or removed, for good is taken for that", async () => {
  const made = disk({ "conf/a.yaml": policy("a"), "conf/b.yaml": policy("b"), "conf/c.yaml": policy("c") });
  const { clock, names, latest } = await open(made);
  made.write("conf/a.yaml", "");
  made.files.delete("conf/b.yaml");
  made.event();
  await clock.advance(POLL_MS);
  assert.deepEqual(names(), ["c"]);
  assert.deepEqual([...latest().files.keys()], ["conf/a.yaml", "conf/c.yaml"]);
});

test("a file that is new is found, also in a directory that is new", async () => {
  const made = disk();
  const { clock, names } = await open(made);
  made.makeDirectory("conf/more");
  made.replace("conf/more/b.yaml", policy("b"));
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["a", "b"]);
  made.replace("conf/more/c.yaml", policy("c"));
  made.event("conf/more");
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["a", "b", "c"]);
});

test("a touch without a change tells nothing", async () => {
  const made = disk();
  const { clock, states } = await open(made);
  made.write("conf/a.yaml", policy("a"));
  made.event();
  await clock.advance(POLL_MS * 3);
  assert.equal(states.length, 1);
});

test("a hundred events are one look", async () => {
  const made = disk();
  const { clock } = await open(made);
  const before = made.reads;
  made.replace("conf/a.yaml", policy("b"));
  for (let i = 0; i < 100; i++) made.event();
  await clock.advance(POLL_MS - 1);
  assert.equal(made.reads - before, 1);
});

test("a directory that vanishes keeps its files, and says so", async () => {
  const made = disk();
  const { clock, names, problems } = await open(made);
  made.directories.delete("conf");
  await clock.advance(POLL_MS * 2);
  assert.deepEqual(names(), ["a"]);
  assert.deepEqual(problems(), ["conf:1:1: no such file or directory"]);
  made.makeDirectory("conf");
  await clock.advance(POLL_MS);
  assert.deepEqual(problems(), []);
  made.replace("conf/a.yaml", policy("b"));
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["b"], "the new directory is watched");
});

test("a directory that cannot be listed keeps its files, and says so", async () => {
  const made = disk();
  const { clock, names, problems } = await open(made);
  made.failing.set("conf", "EACCES");
  await clock.advance(POLL_MS * 2);
  assert.deepEqual(names(), ["a"]);
  assert.deepEqual(problems(), ["conf:1:1: cannot be read: EACCES"]);
});

test("a file that cannot be read is a version with that fault", async () => {
  const made = disk();
  made.failing.set("conf/a.yaml", "EACCES");
  const { latest, clock, names } = await open(made);
  assert.deepEqual(latest().files.get("conf/a.yaml")?.errors.map(formatProblem), ["conf/a.yaml:1:1: cannot be read: EACCES"]);
  made.failing.clear();
  made.write("conf/a.yaml", policy("a"));
  await clock.advance(POLL_MS + SETTLE_MS);
  assert.deepEqual(names(), ["a"]);
});

test("a path that is missing from the start is a problem, and is found when it comes", async () => {
  const made = new FakeDisk();
  const { clock, names, problems } = await open(made);
  assert.deepEqual(problems(), ["conf:1:1: no such file or directory"]);
  made.makeDirectory("conf");
  made.replace("conf/a.yaml", policy("a"));
  await clock.advance(POLL_MS + SETTLE_MS);
  assert.deepEqual(problems(), []);
  assert.deepEqual(names(), ["a"]);
});

test("a single file is watched by its directory, and its neighbours are not read", async () => {
  const made = disk({ "conf/a.yaml": policy("a"), "conf/b.yaml": policy("b") });
  const { clock, names } = await open(made, ["conf/a.yaml"]);
  assert.deepEqual(names(), ["a"]);
  made.replace("conf/a.yaml", policy("c"));
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["c"]);
});

test("a watch that ends is begun again at the next poll", async () => {
  const made = disk();
  const { clock, names } = await open(made);
  const ended = made.watchers.get("conf");
  made.watchers.clear();
  ended?.onEnd();
  await clock.advance(POLL_MS);
  assert.ok(made.watchers.has("conf"));
  made.replace("conf/a.yaml", policy("b"));
  made.event();
  await clock.advance(TAKEN_MS);
  assert.deepEqual(names(), ["b"]);
});

test("a closed source tells nothing more and watches nothing", async () => {
  const made = disk();
  const { clock, source, states } = await open(made);
  source.close();
  made.replace("conf/a.yaml", policy("b"));
  await clock.advance(POLL_MS * 2);
  await settle();
  assert.equal(states.length, 1);
  assert.equal(made.watchers.size, 0);
});
