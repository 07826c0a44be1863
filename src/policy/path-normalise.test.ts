/** One canonical path: what a DENY of /admin sees. Source: the options of Envoy's HttpConnectionManager; rows of the lab's path cases. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { normalisePath, type PathOptions } from "./path-normalise.ts";

const NONE: PathOptions = { normalize: false, mergeSlashes: false, escapedSlashes: "keep" };
const BASE: PathOptions = { ...NONE, normalize: true };
const MERGE: PathOptions = { ...BASE, mergeSlashes: true };
const DECODE: PathOptions = { ...MERGE, escapedSlashes: "unescape" };

/** [options, path, canonical path; undefined: refused]. */
const rows: readonly (readonly [string, PathOptions, string, string | undefined])[] = [
  // Without normalisation a path passes as it came, but for its fragment.
  ["NONE", NONE, "/a/../b", "/a/../b"],
  ["NONE", NONE, "/a#frag", "/a"],
  ["NONE", NONE, "/%61", "/%61"],
  // BASE: what Istio does by default.
  ["BASE", BASE, "/admin", "/admin"],
  ["BASE", BASE, "/", "/"],
  ["BASE", BASE, "/admin?x=1", "/admin?x=1"],
  ["BASE", BASE, "/?a=/../b", "/?a=/../b"],
  ["BASE", BASE, "/./admin", "/admin"],
  ["BASE", BASE, "/admin/.", "/admin/"],
  ["BASE", BASE, "/admin/..", "/"],
  ["BASE", BASE, "/x/../admin", "/admin"],
  ["BASE", BASE, "/../admin", "/admin"],
  ["BASE", BASE, "/../../../admin", "/admin"],
  ["BASE", BASE, "/x/y/../../admin", "/admin"],
  ["BASE", BASE, "/x/../y/../admin", "/admin"],
  ["BASE", BASE, "/x/%2e%2e/admin", "/admin"],
  ["BASE", BASE, "/x/%2E%2E/admin", "/admin"],
  ["BASE", BASE, "/x/.%2e/admin", "/admin"],
  ["BASE", BASE, "/x/%2e./admin", "/admin"],
  ["BASE", BASE, "/%2e/admin", "/admin"],
  ["BASE", BASE, "/%61dmin", "/admin"],
  ["BASE", BASE, "/%61%64%6d%69%6e", "/admin"],
  ["BASE", BASE, "/%41dmin", "/Admin"],
  ["BASE", BASE, "/a%2Db%5Fc%7E", "/a-b_c~"],
  ["BASE", BASE, "//admin", "//admin"],
  ["BASE", BASE, "/x//../admin", "/x/admin"],
  ["BASE", BASE, "/admin/", "/admin/"],
  ["BASE", BASE, "/admin%2f", "/admin%2f"],
  ["BASE", BASE, "/admin%2F", "/admin%2F"],
  ["BASE", BASE, "/admin%5c", "/admin%5c"],
  ["BASE", BASE, "/ADMIN", "/ADMIN"],
  ["BASE", BASE, "/admin;x=1", "/admin;x=1"],
  ["BASE", BASE, "/admin%00", undefined],
  ["BASE", BASE, "/%00", undefined],
  ["BASE", BASE, "/a%0ab", "/a%0ab"],
  ["BASE", BASE, "/\\admin", "//admin"],
  ["BASE", BASE, "/x\\..\\admin", "/admin"],
  ["BASE", BASE, "/x\\admin", "/x/admin"],
  ["BASE", BASE, "/admin#frag", "/admin"],
  ["BASE", BASE, "/admin?x#frag", "/admin?x"],
  ["BASE", BASE, "/x/..%2fadmin", "/x/..%2fadmin"],
  ["BASE", BASE, "/ok", "/ok"],
  ["BASE", BASE, "/...", "/..."],
  ["BASE", BASE, "/.../admin", "/.../admin"],
  ["BASE", BASE, "/.hidden", "/.hidden"],
  ["BASE", BASE, "/a.b", "/a.b"],
  ["BASE", BASE, "/a..b/../c", "/c"],
  ["BASE", BASE, "/a/.b/..c", "/a/.b/..c"],
  ["BASE", BASE, "/%", "/%"],
  ["BASE", BASE, "/%4", "/%4"],
  ["BASE", BASE, "/%zz", "/%zz"],
  ["BASE", BASE, "/%2541", "/%2541"],
  ["BASE", BASE, '/"<>`{|}^', "/%22%3C%3E%60%7B%7C%7D%5E"],
  ["BASE", BASE, "/a b", "/a%20b"],
  ["BASE", BASE, "/caf\u00c3\u00a9", "/caf%C3%A9"],
  ["BASE", BASE, "/caf%C3%A9", "/caf%C3%A9"],
  ["BASE", BASE, "/\u00ff", undefined],
  ["BASE", BASE, "/\u00c0\u00ae", undefined],
  ["BASE", BASE, "/\u00ed\u00a0\u0080", undefined],
  ["BASE", BASE, "/\u00f0\u009f\u0098\u0080", "/%F0%9F%98%80"],
  ["BASE", BASE, "/a\u0001", undefined],
  ["BASE", BASE, "/a\u007f", undefined],
  ["BASE", BASE, "/a!$&'()*+,;=:@[]", "/a!$&'()*+,;=:@[]"],
  // Merging comes after the dots.
  ["MERGE", MERGE, "//admin", "/admin"],
  ["MERGE", MERGE, "/x///y//", "/x/y/"],
  ["MERGE", MERGE, "/x//../admin", "/x/admin"],
  ["MERGE", MERGE, "/\\admin", "/admin"],
  ["MERGE", MERGE, "/a?b=//c", "/a?b=//c"],
  ["MERGE", MERGE, "/%2f/admin", "/%2f/admin"],
  // DECODE_AND_MERGE: escaped slashes are slashes.
  ["DECODE", DECODE, "/admin%2f", "/admin/"],
  ["DECODE", DECODE, "/x/..%2fadmin", "/admin"],
  ["DECODE", DECODE, "/x%5c..%5Cadmin", "/admin"],
  ["DECODE", DECODE, "%2f", "/"],
  ["DECODE", DECODE, "/x/%2e%2e%2Fadmin", "/admin"],
  ["DECODE", DECODE, "/a?b=%2f", "/a?b=%2f"],
  ["DECODE", DECODE, "/%252fadmin", "/%252fadmin"],
  ["REJECT", { ...BASE, escapedSlashes: "reject" }, "/a%2fb", undefined],
  ["REJECT", { ...BASE, escapedSlashes: "reject" }, "/a%5Cb", undefined],
  ["REJECT", { ...BASE, escapedSlashes: "reject" }, "/a/b?c=%2f", "/a/b?c=%2f"],
];

for (const [name, options, path, want] of rows) {
  test(`normalisePath ${name}: ${JSON.stringify(path)}`, () => {
    const verdict = normalisePath(path, options);
    assert.equal(verdict.kind === "reject" ? undefined : verdict.path, want);
    if (verdict.kind === "ok" && options !== DECODE)
      assert.deepEqual(normalisePath(verdict.path, options), verdict, "a canonical path is its own canonical path");
  });
}

test("normalisePath: with redirect, only a path that had escaped slashes is sent elsewhere", () => {
  const options: PathOptions = { ...BASE, escapedSlashes: "redirect" };
  assert.deepEqual(normalisePath("/a%2fb?c", options), { kind: "redirect", path: "/a/b?c" });
  assert.deepEqual(normalisePath("/a/./b", options), { kind: "ok", path: "/a/b" });
});
