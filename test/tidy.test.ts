/** The rules of the design as a test: layers, cycles, banned calls, dead files, undocumented exports. Messages say file, line and what to do. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseSync } from "oxc-parser";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SRC = join(ROOT, "src");

/** A room's layer: imports go to a lower one, or stay in the room. */
const LAYERS: Readonly<Record<string, number>> = {
  base: 0,
  gen: 0,
  model: 1,
  crypto: 2,
  telemetry: 2,
  policy: 3,
  net: 3,
  xds: 4,
  identity: 4,
  control: 5,
  proxy: 5,
  agent: 5,
  up: 6,
  cli: 7,
  console: 7,
};
const FORBIDDEN_ROOMS = ["utils", "helpers", "common", "misc"];
/** Where the clock, chance, the environment and the console may be reached: elsewhere they are arguments. */
const MAY_TOUCH_THE_WORLD = [/^base\//, /^cli\//, /^proxy\/bootstrap\//, /(^|\/|-)(main|entry)\.ts$/];
/** Started by name, so nobody imports them. */
const ENTRIES = ["cli/entry.ts", "proxy/entry.ts", "up/inside-entry.ts"];

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

interface Import {
  readonly target: string;
  readonly line: number;
  readonly isType: boolean;
  readonly isDynamic: boolean;
}

interface SourceFile {
  /** Below src/. */
  readonly path: string;
  readonly room: string;
  readonly text: string;
  readonly program: Node;
  readonly comments: readonly { readonly start: number; readonly end: number; readonly value: string; readonly type: string }[];
  readonly imports: readonly Import[];
  readonly lineOf: (offset: number) => number;
}

const files = listFiles(SRC)
  .filter((path) => !path.startsWith("gen/"))
  .map(readSource);
const product = files.filter(({ path }) => !path.endsWith(".test.ts"));
const byPath = new Map(files.map((file) => [file.path, file]));

function listFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => relative(SRC, join(entry.parentPath, entry.name)))
    .sort();
}

function readSource(path: string): SourceFile {
  const text = readFileSync(join(SRC, path), "utf8");
  const result = parseSync(path, text);
  assert.deepEqual(result.errors, [], `${path} cannot be parsed`);
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  const lineOf = (offset: number): number => {
    let line = 0;
    while (line < starts.length && (starts[line] as number) <= offset) line++;
    return line;
  };
  const program = result.program as unknown as Node;
  return {
    path,
    room: path.split("/")[0] as string,
    text,
    program,
    comments: result.comments,
    imports: importsOf(program, lineOf),
    lineOf,
  };
}

function importsOf(program: Node, lineOf: (offset: number) => number): Import[] {
  const imports: Import[] = [];
  walk(program, (node) => {
    const source = node["source"] as { value?: unknown } | null | undefined;
    if (typeof source?.value !== "string") return;
    if (!["ImportDeclaration", "ExportNamedDeclaration", "ExportAllDeclaration", "ImportExpression"].includes(node.type)) return;
    const specifiers = (node["specifiers"] ?? []) as readonly Node[];
    const allTypes = specifiers.length > 0 && specifiers.every((one) => one["importKind"] === "type" || one["exportKind"] === "type");
    const isType = node["importKind"] === "type" || node["exportKind"] === "type" || allTypes;
    imports.push({ target: source.value, line: lineOf(node.start), isType, isDynamic: node.type === "ImportExpression" });
  });
  return imports;
}

function walk(node: unknown, visit: (node: Node) => void): void {
  if (Array.isArray(node)) {
    for (const one of node) walk(one, visit);
    return;
  }
  if (typeof node !== "object" || node === null) return;
  if ("type" in node && typeof node.type === "string") visit(node as Node);
  for (const [key, value] of Object.entries(node)) if (key !== "parent" && typeof value === "object") walk(value, visit);
}

/** The file below src/ that an import names, or undefined for packages. */
function targetOf(file: SourceFile, target: string): string | undefined {
  if (!target.startsWith(".")) return undefined;
  return relative(SRC, resolve(SRC, dirname(file.path), target));
}

function expectNone(faults: readonly string[]): void {
  assert.equal(faults.length, 0, `\n${faults.join("\n")}\n`);
}

test("every room is known and has a layer", () => {
  const rooms = new Set(files.map(({ room }) => room));
  expectNone(
    [...rooms].filter((room) => !(room in LAYERS)).map((room) => `src/${room}: a room that LAYERS in test/tidy.test.ts does not know`),
  );
  const folders = new Set(files.flatMap(({ path }) => path.split("/").slice(0, -1)));
  expectNone(FORBIDDEN_ROOMS.filter((name) => folders.has(name)).map((name) => `a room called ${name}: name it for what is in it`));
  expectNone(files.filter(({ path }) => path.endsWith("/index.ts")).map(({ path }) => `src/${path}: no barrel files`));
});

test("imports point to a lower layer or stay in the room", () => {
  const faults: string[] = [];
  for (const file of files) {
    for (const { target, line } of file.imports) {
      const path = targetOf(file, target);
      if (path === undefined) continue;
      if (path.startsWith("../")) {
        if (file.path.endsWith(".test.ts") && path.startsWith("../test/kit/")) continue;
        if (!file.path.endsWith(".test.ts")) faults.push(`src/${file.path}:${line}: imports ${target} from outside src`);
        continue;
      }
      const room = path.split("/")[0] as string;
      // A unit test may look at anything at or below its layer.
      if (room === file.room) continue;
      if ((LAYERS[room] ?? 99) >= (LAYERS[file.room] ?? -1))
        faults.push(`src/${file.path}:${line}: ${file.room} (layer ${LAYERS[file.room]}) may not import ${room} (layer ${LAYERS[room]})`);
    }
  }
  expectNone(faults);
});

test("no cycle between files", () => {
  const state = new Map<string, "open" | "done">();
  const faults: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === "done") return;
    if (state.get(path) === "open") {
      faults.push(`cycle: ${[...trail.slice(trail.indexOf(path)), path].join(" -> ")}`);
      return;
    }
    state.set(path, "open");
    const file = byPath.get(path);
    for (const { target, isDynamic } of file?.imports ?? []) {
      const next = file && targetOf(file, target);
      if (next && !isDynamic && byPath.has(next)) visit(next, [...trail, path]);
    }
    state.set(path, "done");
  };
  for (const { path } of product) visit(path, []);
  expectNone(faults);
});

test("compile/ and policy/ are pure: no node modules", () => {
  const pure = product.filter(({ path }) => path.startsWith("control/compile/") || path.startsWith("policy/"));
  expectNone(
    pure.flatMap(({ path, imports }) =>
      imports.filter(({ target }) => target.startsWith("node:")).map(({ target, line }) => `src/${path}:${line}: imports ${target}`),
    ),
  );
});

test("sockets are made in net/ alone", () => {
  const sockets = /^node:(net|tls|http|https|http2|dgram|dns|dns\/promises)$/;
  const others = product.filter(({ room }) => room !== "net");
  expectNone(
    others.flatMap(({ path, imports }) =>
      imports
        .filter(({ target, isType }) => sockets.test(target) && !isType)
        .map(({ target, line }) => `src/${path}:${line}: imports ${target}`),
    ),
  );
});

test("time, chance, the environment and the console are arguments", () => {
  const banned = new Set(["Date.now", "Math.random", "performance.now", "process.env", "console.log", "console.error", "console.warn"]);
  const bannedCalls = new Set(["setTimeout", "setInterval"]);
  const faults: string[] = [];
  for (const file of product) {
    if (MAY_TOUCH_THE_WORLD.some((allowed) => allowed.test(file.path))) continue;
    walk(file.program, (node) => {
      const member = node.type === "MemberExpression" ? memberName(node) : undefined;
      if (member && banned.has(member))
        faults.push(`src/${file.path}:${file.lineOf(node.start)}: ${member}: take a Clock, Random, Log or option instead`);
      const callee = node.type === "CallExpression" ? (node["callee"] as Node) : undefined;
      if (callee?.type === "Identifier" && bannedCalls.has(String(callee["name"])))
        faults.push(`src/${file.path}:${file.lineOf(node.start)}: ${String(callee["name"])}: take a Clock instead`);
    });
  }
  expectNone(faults);
});

function memberName(node: Node): string | undefined {
  const object = node["object"] as Node;
  const property = node["property"] as Node;
  if (object.type !== "Identifier") return undefined;
  const name = property.type === "Identifier" ? property["name"] : property["value"];
  return `${String(object["name"])}.${String(name)}`;
}

test("what the proxy loads has no dynamic import: it runs from a start-up snapshot", () => {
  const loaded = new Set<string>();
  const visit = (path: string): void => {
    const file = byPath.get(path);
    if (!file || loaded.has(path)) return;
    loaded.add(path);
    for (const { target, isType } of file.imports) {
      const next = isType ? undefined : targetOf(file, target);
      if (next) visit(next);
    }
  };
  visit("proxy/entry.ts");
  expectNone(
    [...loaded].flatMap((path) =>
      (byPath.get(path)?.imports ?? [])
        .filter(({ isDynamic }) => isDynamic)
        .map(({ target, line }) => `src/${path}:${line}: import("${target}")`),
    ),
  );
  const heavy = /^(@grpc\/|jose$|pino$|ajv$|@peculiar\/|commander$|reflect-metadata$)/;
  expectNone(
    [...loaded].flatMap((path) =>
      (byPath.get(path)?.imports ?? [])
        .filter(({ target, isType }) => heavy.test(target) && !isType)
        .map(({ target, line }) => `src/${path}:${line}: imports ${target}, which the proxy cannot afford`),
    ),
  );
});

test("no file is dead: each is imported by another, or started by name", () => {
  const used = new Set(ENTRIES);
  for (const file of product) for (const { target } of file.imports) used.add(targetOf(file, target) ?? "");
  // The network in memory is the simulation's: the product's own code, run by tests.
  const isSimulation = (path: string): boolean => path.startsWith("net/memory/");
  expectNone(
    product
      .filter(({ path }) => !used.has(path) && !isSimulation(path))
      .map(({ path }) => `src/${path}: nothing of the product imports it`),
  );
  expectNone(ENTRIES.filter((path) => !existsSync(join(SRC, path))).map((path) => `src/${path} is named in ENTRIES and is not there`));
});

test("every export has a docstring, and every file opens with what it is for", () => {
  const faults: string[] = [];
  for (const file of product) {
    const first = file.comments[0];
    if (!first || file.text.slice(0, first.start).trim() !== "")
      faults.push(`src/${file.path}:1: opens without a comment on what it is for`);
    for (const node of (file.program["body"] as readonly Node[]) ?? []) {
      if (node.type !== "ExportNamedDeclaration" || !node["declaration"]) continue;
      const before = file.comments.filter((comment) => comment.end <= node.start).at(-1);
      const isDocumented =
        before !== undefined &&
        before.type === "Block" &&
        before.value.startsWith("*") &&
        file.text.slice(before.end, node.start).trim() === "";
      const declaration = node["declaration"] as Node;
      const isPlainType = declaration.type === "TSTypeAliasDeclaration" || declaration.type === "TSInterfaceDeclaration";
      // Types of one shape family may stand under one docstring: a type without its own follows another type.
      if (!isDocumented && !isPlainType) faults.push(`src/${file.path}:${file.lineOf(node.start)}: an export without a docstring`);
    }
  }
  expectNone(faults);
});

test("no `any`, no suppressed type errors, no loose ends", () => {
  const faults: string[] = [];
  for (const file of files) {
    walk(file.program, (node) => {
      if (node.type === "TSAnyKeyword") faults.push(`src/${file.path}:${file.lineOf(node.start)}: any`);
      if (node.type === "TSNonNullExpression") faults.push(`src/${file.path}:${file.lineOf(node.start)}: a non-null assertion`);
    });
    for (const comment of file.comments) {
      const loose = /@ts-(ignore|expect-error|nocheck)|\bTODO\b|\bFIXME\b/.exec(comment.value);
      if (loose) faults.push(`src/${file.path}:${file.lineOf(comment.start)}: ${loose[0]}`);
    }
  }
  expectNone(faults);
});

test("links of the documents lead to files that are there", () => {
  const documents = [
    ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
    ...listDocuments("docs"),
    ...listDocuments("examples"),
    ...listDocuments("bench"),
    ...listDocuments("test"),
  ];
  const faults: string[] = [];
  for (const document of documents) {
    const lines = readFileSync(join(ROOT, document), "utf8").split("\n");
    for (const [i, line] of lines.entries()) {
      for (const [, target = ""] of line.matchAll(/\]\(([^)\s]+)\)/g)) {
        const path = target.split("#")[0] as string;
        if (/^[a-z]+:/.test(target) || path === "") continue;
        if (!existsSync(join(ROOT, dirname(document), path))) faults.push(`${document}:${i + 1}: ${target} is not there`);
      }
    }
  }
  expectNone(faults);
});

function listDocuments(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".md"))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}
