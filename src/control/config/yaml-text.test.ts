import assert from "node:assert/strict";
import { test } from "node:test";
import type { Path } from "./finding.ts";
import { DEPTH_MAX, parseYaml, splitDocuments } from "./yaml-text.ts";

function only(text: string) {
  const documents = parseYaml(text);
  assert.equal(documents.length, 1);
  return documents[0];
}

const values: readonly { name: string; text: string; want: unknown }[] = [
  { name: "n, no, on and yes are text, not booleans", text: "n: no\non: yes", want: { n: "no", on: "yes" } },
  { name: "true and numbers are what they look like", text: "a: true\nb: 80\nc: 0.5", want: { a: true, b: 80, c: 0.5 } },
  { name: "a quoted number is text", text: 'a: "2"', want: { a: "2" } },
  { name: "JSON is YAML", text: '{"a": [1, {"b": null}]}', want: { a: [1, { b: null }] } },
  { name: "JSON with tabs", text: '{\n\t"a": [\n\t\t1\n\t]\n}', want: { a: [1] } },
  { name: "an alias stands for its anchor", text: "a: &x {p: 1}\nb: *x", want: { a: { p: 1 }, b: { p: 1 } } },
  { name: "a document of comments is empty", text: "# nothing\n", want: undefined },
  { name: "a document without text is empty", text: "", want: undefined },
  { name: "__proto__ is a name like any other", text: "__proto__: {a: 1}", want: JSON.parse('{"__proto__": {"a": 1}}') },
];

for (const { name, text, want } of values) {
  test(`parseYaml: ${name}`, () => {
    const document = only(text);
    assert.equal(document?.kind, "value");
    assert.deepEqual(document.value, want);
  });
}

const bomb = `a: &a [x]\n${Array.from({ length: 60 }, (_, i) => `b${i}: [*a, *a, *a]`).join("\n")}`;
const nested = "[".repeat(DEPTH_MAX + 3) + "]".repeat(DEPTH_MAX + 3);

const faults: readonly { name: string; text: string; message: RegExp; at: string }[] = [
  { name: "a key that stands twice", text: "a: 1\nb: 2\na: 3", message: /the same key stands twice/, at: "3:1" },
  { name: "a tab for indentation", text: "a:\n\tb: 1", message: /not valid YAML/, at: "2:1" },
  { name: "a bracket that is not closed", text: "a: [1, 2\nb: 3", message: /not valid YAML/, at: "2:1" },
  { name: "more aliases than allowed", text: bomb, message: /Excessive alias count/, at: "1:1" },
  { name: "deeper than allowed", text: nested, message: /nests deeper than 64 levels/, at: "1:67" },
  { name: "deep enough to end a careless process", text: "[".repeat(1_000_000), message: /nests deeper than 64 levels/, at: "1:67" },
  { name: "deep maps", text: "{a: ".repeat(200_000), message: /nests deeper than 64 levels/, at: "1:265" },
];

for (const { name, text, message, at } of faults) {
  test(`parseYaml refuses ${name}`, () => {
    const [document] = parseYaml(text);
    assert.equal(document?.kind, "fault");
    assert.match(document.message, message);
    assert.equal(`${document.at.line}:${document.at.column}`, at);
  });
}

test("parseYaml: nesting up to the limit is taken", () => {
  assert.equal(only("[".repeat(DEPTH_MAX) + "]".repeat(DEPTH_MAX))?.kind, "value");
});

const places: readonly { name: string; path: Path; want: string }[] = [
  { name: "a key", path: ["spec", "http"], want: "3:3" },
  { name: "an item of a list", path: ["spec", "http", 1], want: "6:5" },
  { name: "a key inside an item", path: ["spec", "http", 0, "route", 0, "host"], want: "5:15" },
  { name: "a field that is missing: its parent", path: ["spec", "http", 1, "route"], want: "6:5" },
  { name: "the document", path: [], want: "2:1" },
];

for (const { name, path, want } of places) {
  test(`locate finds ${name}`, () => {
    const document = only("# a comment\nspec:\n  http:\n  - name: a\n    route: [{ host: x }]\n  - name: b\n");
    assert.equal(document?.kind, "value");
    const { line, column } = document.locate(path);
    assert.equal(`${line}:${column}`, want);
  });
}

test("splitDocuments: markers end documents, also inside block scalars, and nowhere else", () => {
  const text = "a: 1\n---\nb: |\n  ---\n  text\n---\nc: '---'\n----\nd: 1\n--- # comment\ne: 1\n";
  assert.deepEqual(
    splitDocuments(text).map(({ text: chunk, linesBefore }) => [linesBefore, chunk]),
    [
      [0, "a: 1\n"],
      [1, "---\nb: |\n  ---\n  text\n"],
      [5, "---\nc: '---'\n----\nd: 1\n"],
      [9, "--- # comment\ne: 1\n"],
    ],
  );
  assert.equal(splitDocuments("%YAML 1.2\n---\na: 1\n---\nb: 1\n").length, 1, "directives stay with their documents");
});
