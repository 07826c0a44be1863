/** User regexes: whole-text matches, simple ones without the engine, substitutions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RE2JS } from "re2js";
import { PolicyRefusal } from "./refusal.ts";
import { compileRegex, compileReplace, REGEX_CHARS_MAX } from "./regex.ts";

const patterns = [
  "abc",
  "^abc$",
  "abc$",
  "^abc",
  ".*",
  ".+",
  "^.*$",
  "/api/.*",
  "/api/.+",
  ".*\\.css",
  ".+\\.css",
  ".*mid.*",
  ".+mid.*",
  "a\\.b",
  "a.b",
  "a\\$",
  "a\\\\$",
  "a\\\\.*",
  "a\\.*",
  "",
  "^$",
  "(?i)abc",
  "a|b",
  "[0-9]+",
  "beta-[0-9]+",
  "x{2}",
  ".*a.*b",
  "\\d+",
  "a\\/b",
  "(abc)",
  "/users/[^/]+/posts",
];
const texts = [
  "",
  "abc",
  "ABC",
  "xabc",
  "abcx",
  "/api/",
  "/api/x",
  "/api",
  ".css",
  "a.css",
  "mid",
  "xmidy",
  "amid",
  "a.b",
  "axb",
  "a$",
  "a\\",
  "a\\x",
  "a..",
  "a",
  "b",
  "007",
  "beta-12",
  "beta-",
  "xx",
  "aXb",
  "a/b",
  "/users/7/posts",
  "/users/7/8/posts",
];

for (const pattern of patterns) {
  test(`compileRegex: ${JSON.stringify(pattern)} says what the engine says`, () => {
    const ours = compileRegex(pattern);
    const engine = RE2JS.compile(pattern);
    for (const text of texts) assert.equal(ours(text), engine.matches(text), JSON.stringify(text));
  });
}

test("compileRegex: what is no RE2 regex, or is too long, is refused", () => {
  for (const pattern of ["(", "[a", "(?=x)", "\\1", "a".repeat(REGEX_CHARS_MAX + 1)])
    assert.throws(() => compileRegex(pattern), PolicyRefusal, pattern);
});

test("compileRegex: characters beyond ASCII match the bytes of a header", () => {
  const wire = Buffer.from("café", "utf8").toString("latin1");
  assert.equal(compileRegex("caf\u00e9")(wire), true);
  assert.equal(compileRegex("caf\u00e9|x")(wire), true);
});

test("compileRegex: a pattern that explodes elsewhere takes linear time", () => {
  assert.equal(compileRegex("(a+)+$")(`${"a".repeat(2000)}b`), false);
});

const rows: readonly (readonly [string, string, string, string])[] = [
  ["/service/([^/]+)(/.*)$", "\\2/instance/\\1", "/service/foo/v1/api", "/v1/api/instance/foo"],
  ["/rx/.*", "/whole", "/rx/123", "/whole"],
  ["one", "two", "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"],
  ["(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb", "/aaa/yyy/bbb"],
  ["nope", "x", "/a", "/a"],
  ["a", "\\\\", "ba", "b\\"],
  ["a(b)?", "[\\1]", "a", "[]"],
  ["x", "$1", "x", "$1"],
  ["(.)", "\\0\\0", "ab", "aabb"],
];

for (const [pattern, substitution, text, want] of rows) {
  test(`compileReplace: ${pattern} -> ${substitution}`, () => assert.equal(compileReplace(pattern, substitution)(text), want));
}

test("compileReplace: a group that the regex does not have is refused when config arrives", () => {
  assert.throws(() => compileReplace("(a)", "\\2"), /group 2/);
  assert.throws(() => compileReplace("a", "\\x"), /backslash/);
});
