/** The last good state: what a fault keeps out, and what goes on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import type { Log } from "../../base/log.ts";
import { formatProblem } from "./finding.ts";
import { defaultMeshConfig } from "./mesh-config.ts";
import { createConfigReader } from "./read.ts";
import { createMemorySource } from "./sources/memory.ts";
import { createConfigStore } from "./store.ts";

const policy = (name: string, mode = "STRICT", more = ""): string =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: ${name}, namespace: ${name}${more}}\nspec: {mtls: {mode: ${mode}}}\n`;
const broken = policy("a").replace("mtls", "mtsl");
const FAULT = "a.yaml:4:8: PeerAuthentication a/a: spec.mtsl: unknown field; did you mean mtls?";

async function open(files: Readonly<Record<string, string>>) {
  const clock = new FakeClock();
  const reader = createConfigReader({ domain: "cluster.local" });
  const source = createMemorySource(reader, files);
  const changes: (readonly string[])[] = [];
  const lines: string[] = [];
  const line = (message: string, fields?: Readonly<Record<string, unknown>>): void => void lines.push(`${message} ${fields?.["problem"]}`);
  const log: Log = { debug: line, info: line, warn: line, error: line };
  const store = createConfigStore({
    sources: [source],
    mesh: defaultMeshConfig(),
    log,
    clock,
    onChange: (_, { changed }) => changes.push(changed),
  });
  const { problems } = await store.open();
  return {
    clock,
    source,
    store,
    changes,
    lines,
    first: problems.map(formatProblem),
    modes: () => Object.fromEntries(store.state.objects.map(({ meta, spec }) => [meta.name, "mode" in spec ? spec.mode : undefined])),
    problems: () => store.problems.map(formatProblem),
  };
}

test("the first load gives its problems to the caller and does not log them", async () => {
  const { first, lines, changes, modes } = await open({ "a.yaml": broken, "b.yaml": policy("b") });
  assert.deepEqual(first, [FAULT]);
  assert.deepEqual(lines, []);
  assert.deepEqual(changes, []);
  assert.deepEqual(modes(), { b: "STRICT" });
});

test("a file with a fault keeps its last good version; others go on", async () => {
  const { source, changes, modes, problems, lines } = await open({ "a.yaml": policy("a"), "b.yaml": policy("b") });
  source.set({ "a.yaml": broken, "b.yaml": policy("b", "DISABLE") });
  assert.deepEqual(modes(), { a: "STRICT", b: "DISABLE" });
  assert.deepEqual(changes, [["PeerAuthentication/b/b"]]);
  assert.deepEqual(problems(), [FAULT]);
  assert.deepEqual(lines, [`A config file is rejected; its last good version stays. ${FAULT}`]);
});

test("one faulty document keeps the whole file back: never half a version", async () => {
  const { source, modes, changes } = await open({ "a.yaml": `${policy("a")}---\n${policy("b")}` });
  source.set({ "a.yaml": `${broken}---\n${policy("b", "DISABLE")}---\n${policy("c")}` });
  assert.deepEqual(modes(), { a: "STRICT", b: "STRICT" });
  assert.deepEqual(changes, []);
});

test("a fault is logged once, kept with the time it began, and gone when the file is right", async () => {
  const { source, store, lines, clock, modes } = await open({ "a.yaml": policy("a") });
  source.set({ "a.yaml": broken });
  const since = store.problems[0]?.sinceMs;
  await clock.advance(5000);
  source.set({ "a.yaml": `${broken}# still wrong\n` });
  source.set({ "b.yaml": policy("b") });
  assert.equal(store.problems[0]?.sinceMs, since);
  assert.equal(lines.length, 1);
  source.set({ "a.yaml": policy("a", "DISABLE") });
  assert.deepEqual(store.problems, []);
  assert.deepEqual(modes(), { a: "DISABLE", b: "STRICT" });
});

test("changes name objects that are new, other and gone", async () => {
  const { source, changes } = await open({ "a.yaml": policy("a"), "b.yaml": policy("b") });
  source.set({ "a.yaml": policy("a", "DISABLE"), "b.yaml": undefined, "c.yaml": policy("c") });
  assert.deepEqual(changes, [["PeerAuthentication/a/a", "PeerAuthentication/b/b", "PeerAuthentication/c/c"]]);
});

test("an object that only moved is the same object, and is found where it stands now", async () => {
  const { source, store, changes } = await open({ "a.yaml": policy("a") });
  const before = store.state.objects[0];
  source.set({ "a.yaml": `# moved\n\n${policy("a")}` });
  assert.equal(store.state.objects[0], before);
  assert.deepEqual(changes, []);
  assert.deepEqual(store.state.locate("PeerAuthentication/a/a", ["spec", "mtls"]), { file: "a.yaml", line: 6, column: 8 });
});

test("an object that stands twice in a file keeps the file back", async () => {
  const { first, modes } = await open({ "a.yaml": `${policy("a")}---\n${policy("a", "DISABLE")}` });
  assert.deepEqual(first, [
    "a.yaml:6:1: PeerAuthentication a/a: metadata.name: PeerAuthentication a/a is declared already at a.yaml:1:1; remove one of them, or give it another name",
  ]);
  assert.deepEqual(modes(), {});
});

test("of two files with one object, the later by name is kept back at the first load", async () => {
  const { first, modes } = await open({ "b.yaml": policy("a", "DISABLE"), "a.yaml": policy("a") });
  assert.match(first.join("\n"), /^b.yaml:1:1: PeerAuthentication a\/a: .*declared already at a.yaml:1:1/);
  assert.deepEqual(modes(), { a: "STRICT" });
});

test("a file that changes yields to the one that had the object before, whatever their names", async () => {
  const { source, modes, problems } = await open({ "b.yaml": policy("a") });
  source.set({ "a.yaml": policy("a", "DISABLE") });
  assert.deepEqual(modes(), { a: "STRICT" });
  assert.match(problems().join("\n"), /^a.yaml:1:1: .*declared already at b.yaml:1:1/);
});

test("an object that moves from file to file is taken, in one step or in two", async () => {
  const both = `${policy("a")}---\n${policy("b")}`;
  const one = await open({ "a.yaml": both, "b.yaml": policy("c") });
  one.source.set({ "a.yaml": policy("a"), "b.yaml": `${policy("c")}---\n${policy("b", "DISABLE")}` });
  assert.deepEqual(one.modes(), { a: "STRICT", b: "DISABLE", c: "STRICT" });
  assert.deepEqual(one.problems(), []);

  const two = await open({ "a.yaml": both, "b.yaml": policy("c") });
  two.source.set({ "b.yaml": `${policy("c")}---\n${policy("b", "DISABLE")}` });
  assert.equal(two.problems().length, 1);
  assert.deepEqual(two.modes(), { a: "STRICT", b: "STRICT", c: "STRICT" });
  two.source.set({ "a.yaml": policy("a") });
  assert.deepEqual(two.modes(), { a: "STRICT", b: "DISABLE", c: "STRICT" });
  assert.deepEqual(two.problems(), []);
});

test("a file that keeps its last good version keeps others from taking its objects", async () => {
  const { source, modes, problems } = await open({ "a.yaml": policy("a"), "b.yaml": policy("b") });
  source.set({ "a.yaml": broken, "b.yaml": policy("a", "DISABLE") });
  assert.deepEqual(modes(), { a: "STRICT", b: "STRICT" });
  assert.equal(problems().length, 2);
});

test("a file that is gone takes its objects and its problems with it", async () => {
  const { source, modes, problems } = await open({ "a.yaml": broken, "b.yaml": policy("b") });
  source.set({ "a.yaml": undefined, "b.yaml": undefined });
  assert.deepEqual(modes(), {});
  assert.deepEqual(problems(), []);
});

test("objects are oldest first, and by name where they are of one age", async () => {
  const { store } = await open({
    "a.yaml": [
      policy("z"),
      policy("new", "STRICT", ", creationTimestamp: '2026-01-02T00:00:00Z'"),
      policy("old", "STRICT", ", creationTimestamp: '2025-01-02T00:00:00Z'"),
      policy("b"),
    ].join("---\n"),
  });
  assert.deepEqual(
    store.state.objects.map(({ meta }) => meta.name),
    ["b", "z", "old", "new"],
  );
});

test("warnings are kept, logged once, and change nothing", async () => {
  const { source, store, lines } = await open({});
  const text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: nobody}\n";
  source.set({ "r.yaml": text });
  source.set({ "s.yaml": policy("s") });
  const want = "r.yaml:4:8: DestinationRule default/r: spec.host: host nobody.default.svc.cluster.local: no such service";
  assert.deepEqual(store.warnings.map(formatProblem), [want]);
  assert.deepEqual(lines, [`A config file is taken, with a warning. ${want}`]);
  assert.equal(store.state.objects.length, 2);
});
