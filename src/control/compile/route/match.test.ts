import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpMatch } from "../../config/types.ts";
import { buildMatch, matchesClient, takesEverything } from "./match.ts";

const NOTHING: HttpMatch = {
  name: undefined,
  uri: undefined,
  ignoreUriCase: false,
  scheme: undefined,
  method: undefined,
  authority: undefined,
  headers: {},
  withoutHeaders: {},
  queryParams: {},
  port: undefined,
  sourceLabels: {},
  sourceNamespace: undefined,
  gateways: [],
};
const CLIENT = { gateway: "mesh", namespace: "shop", labels: { app: "web", tier: "front" }, port: 80 };

const clients: readonly { name: string; match: Partial<HttpMatch>; want: boolean }[] = [
  { name: "a match that asks nothing of the client takes it", match: {}, want: true },
  { name: "its port", match: { port: 80 }, want: true },
  { name: "another port", match: { port: 81 }, want: false },
  { name: "some of its labels", match: { sourceLabels: { app: "web" } }, want: true },
  { name: "a label with another value", match: { sourceLabels: { app: "web", tier: "back" } }, want: false },
  { name: "its namespace", match: { sourceNamespace: "shop" }, want: true },
  { name: "another namespace", match: { sourceNamespace: "other" }, want: false },
  { name: "its gateway", match: { gateways: ["shop/gw", "mesh"] }, want: true },
  { name: "another gateway", match: { gateways: ["shop/gw"] }, want: false },
  { name: "a named gateway alone decides, whatever the labels", match: { gateways: ["mesh"], sourceLabels: { app: "x" } }, want: true },
];

for (const { name, match, want } of clients) {
  test(`matchesClient: ${name}`, () => assert.equal(matchesClient({ ...NOTHING, ...match }, CLIENT), want));
}

const everything: readonly { name: string; match: Partial<HttpMatch> | undefined; want: boolean }[] = [
  { name: "no match", match: undefined, want: true },
  { name: "an empty match", match: {}, want: true },
  { name: "the prefix of all paths", match: { uri: { prefix: "/" } }, want: true },
  { name: "the regex of all paths", match: { uri: { regex: ".*" } }, want: true },
  { name: "a longer prefix", match: { uri: { prefix: "/a" } }, want: false },
  { name: "all paths of one method", match: { method: { exact: "GET" } }, want: false },
  { name: "all paths without a header", match: { withoutHeaders: { a: { present: true } } }, want: false },
  { name: "all paths with a parameter", match: { queryParams: { a: { exact: "1" } } }, want: false },
];

for (const { name, match, want } of everything) {
  test(`takesEverything: ${name}`, () => assert.equal(takesEverything(match && { ...NOTHING, ...match }), want));
}

const headers: readonly { name: string; match: Partial<HttpMatch>; want: object }[] = [
  {
    name: "a value that is unwanted may be missing",
    match: { withoutHeaders: { "x-kind": { exact: "bad" } } },
    want: {
      name: "x-kind",
      headerMatchSpecifier: { case: "stringMatch", value: { matchPattern: { case: "exact", value: "bad" } } },
      invertMatch: true,
      treatMissingHeaderAsEmpty: true,
    },
  },
  {
    name: "a header that is unwanted must be missing",
    match: { withoutHeaders: { "x-block": { present: true } } },
    want: {
      name: "x-block",
      headerMatchSpecifier: { case: "presentMatch", value: true },
      invertMatch: true,
      treatMissingHeaderAsEmpty: false,
    },
  },
  {
    name: "the regex * is presence, not RE2",
    match: { headers: { "x-any": { regex: "*" } } },
    want: { name: "x-any", headerMatchSpecifier: { case: "presentMatch", value: true } },
  },
  {
    name: "a method is a pseudo-header",
    match: { method: { prefix: "P" } },
    want: { name: ":method", headerMatchSpecifier: { case: "stringMatch", value: { matchPattern: { case: "prefix", value: "P" } } } },
  },
];

for (const { name, match, want } of headers) {
  test(`buildMatch: ${name}`, () => assert.deepEqual(buildMatch({ ...NOTHING, ...match }).headers, [want]));
}

test("buildMatch: a prefix is one of text, not of path segments", () => {
  assert.deepEqual(buildMatch({ ...NOTHING, uri: { prefix: "/a" } }).pathSpecifier, { case: "prefix", value: "/a" });
});
