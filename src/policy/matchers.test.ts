/** Matchers of texts, headers and addresses. Source: envoy.type.matcher.v3, envoy.config.route.v3.HeaderMatcher. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { HeaderList } from "../../test/kit/header-fields.ts";
import { CidrRangeSchema } from "../gen/envoy/config/core/v3/address_pb.ts";
import { HeaderMatcherSchema } from "../gen/envoy/config/route/v3/route_components_pb.ts";
import { StringMatcherSchema } from "../gen/envoy/type/matcher/v3/string_pb.ts";
import { compileCidr, parseIp } from "./cidr.ts";
import { compileHeaderMatch, type ManyValues } from "./header-match.ts";
import { compileStringMatch } from "./string-match.ts";

const strings: readonly {
  readonly matcher: MessageInitShape<typeof StringMatcherSchema>;
  readonly yes: readonly string[];
  readonly no: readonly string[];
}[] = [
  { matcher: { matchPattern: { case: "exact", value: "a" } }, yes: ["a"], no: ["A", "ab", ""] },
  { matcher: { matchPattern: { case: "exact", value: "aB" }, ignoreCase: true }, yes: ["ab", "AB"], no: ["abc", "a"] },
  { matcher: { matchPattern: { case: "prefix", value: "ab" } }, yes: ["ab", "abc"], no: ["Ab", "xab"] },
  { matcher: { matchPattern: { case: "prefix", value: "ab" }, ignoreCase: true }, yes: ["AB", "aBc"], no: ["a", "xab"] },
  { matcher: { matchPattern: { case: "suffix", value: "ab" } }, yes: ["ab", "xab"], no: ["abx", "xAB"] },
  { matcher: { matchPattern: { case: "suffix", value: "Ab" }, ignoreCase: true }, yes: ["xab", "XAB"], no: ["b", "abx"] },
  { matcher: { matchPattern: { case: "contains", value: "b" } }, yes: ["abc"], no: ["aBc", ""] },
  { matcher: { matchPattern: { case: "contains", value: "B" }, ignoreCase: true }, yes: ["abc", "aBc"], no: ["ac"] },
  { matcher: { matchPattern: { case: "safeRegex", value: { regex: "a+" } } }, yes: ["a", "aaa"], no: ["ab", ""] },
  { matcher: { matchPattern: { case: "exact", value: "é" } }, yes: ["\u00c3\u00a9"], no: ["\u00e9"] },
];
for (const { matcher, yes, no } of strings) {
  test(`compileStringMatch: ${JSON.stringify(matcher)}`, () => {
    const matches = compileStringMatch(create(StringMatcherSchema, matcher));
    for (const text of yes) assert.equal(matches(text), true, text);
    for (const text of no) assert.equal(matches(text), false, text);
  });
}

test("compileStringMatch: nothing, and what is not known, is refused", () => {
  assert.throws(() => compileStringMatch(undefined), /empty/);
  assert.throws(() => compileStringMatch(create(StringMatcherSchema, {})), /empty/);
  assert.throws(
    () => compileStringMatch(create(StringMatcherSchema, { matchPattern: { case: "custom", value: { name: "x" } } })),
    /custom/,
  );
});

type Matcher = MessageInitShape<typeof HeaderMatcherSchema>;
const exact = (value: string): Matcher["headerMatchSpecifier"] => ({
  case: "stringMatch",
  value: { matchPattern: { case: "exact", value } },
});
/** [rule, matcher, fields, how several values count, whether it matches]. */
const headers: readonly (readonly [string, Matcher, readonly string[], ManyValues | "routing", boolean])[] = [
  ["an exact value", { name: "X-A", headerMatchSpecifier: exact("1") }, ["x-a", "1"], "any", true],
  ["another value", { name: "x-a", headerMatchSpecifier: exact("1") }, ["x-a", "2"], "any", false],
  ["an absent header", { name: "x-a", headerMatchSpecifier: exact("1") }, [], "any", false],
  [
    "an absent header does not match inverted either",
    { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true },
    [],
    "any",
    false,
  ],
  [
    "but it does when its absence counts as empty",
    { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true, treatMissingHeaderAsEmpty: true },
    [],
    "any",
    true,
  ],
  [
    "absence as empty matches the empty text",
    { name: "x-a", headerMatchSpecifier: exact(""), treatMissingHeaderAsEmpty: true },
    [],
    "any",
    true,
  ],
  ["inverted", { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true }, ["x-a", "2"], "any", true],
  ["inverted, equal", { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true }, ["x-a", "1"], "any", false],
  ["one of two lines", { name: "x-a", headerMatchSpecifier: exact("1") }, ["x-a", "2", "x-a", "1"], "any", true],
  ["two lines, joined", { name: "x-a", headerMatchSpecifier: exact("2,1") }, ["x-a", "2", "x-a", "1"], "any", true],
  [
    "where all must match, one of two is not enough",
    { name: "x-a", headerMatchSpecifier: exact("1") },
    ["x-a", "1", "x-a", "2"],
    "all",
    false,
  ],
  ["where all must match, all do", { name: "x-a", headerMatchSpecifier: exact("1") }, ["x-a", "1", "x-a", "1"], "all", true],
  [
    "inverted, one of two lines is what is forbidden",
    { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true },
    ["x-a", "2", "x-a", "1"],
    "all",
    false,
  ],
  [
    "inverted for what denies, one of two lines differs",
    { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true },
    ["x-a", "2", "x-a", "1"],
    "any",
    true,
  ],
  [
    "inverted for routes, one of two lines is the one",
    { name: "x-a", headerMatchSpecifier: exact("1"), invertMatch: true },
    ["x-a", "2", "x-a", "1"],
    "routing",
    false,
  ],
  ["present", { name: "x-a", headerMatchSpecifier: { case: "presentMatch", value: true } }, ["x-a", ""], "any", true],
  ["not present", { name: "x-a", headerMatchSpecifier: { case: "presentMatch", value: true } }, ["x-b", ""], "any", false],
  ["absent is wanted", { name: "x-a", headerMatchSpecifier: { case: "presentMatch", value: false } }, [], "any", true],
  [
    "present, inverted",
    { name: "x-a", headerMatchSpecifier: { case: "presentMatch", value: true }, invertMatch: true },
    ["x-a", "1"],
    "any",
    false,
  ],
  ["no specifier means present", { name: "x-a" }, ["x-a", "1"], "any", true],
  ["in range", { name: "x-n", headerMatchSpecifier: { case: "rangeMatch", value: { start: -10n, end: 0n } } }, ["x-n", "-1"], "any", true],
  [
    "the end is outside",
    { name: "x-n", headerMatchSpecifier: { case: "rangeMatch", value: { start: -10n, end: 0n } } },
    ["x-n", "0"],
    "any",
    false,
  ],
  [
    "no number is in no range",
    { name: "x-n", headerMatchSpecifier: { case: "rangeMatch", value: { start: 0n, end: 9n } } },
    ["x-n", "1a"],
    "any",
    false,
  ],
  [":method", { name: ":method", headerMatchSpecifier: exact("GET") }, [], "any", true],
  [":path with its query", { name: ":path", headerMatchSpecifier: exact("/p?q=1") }, [], "any", true],
  [":authority", { name: ":authority", headerMatchSpecifier: exact("host") }, [], "any", true],
  ["host is the authority", { name: "Host", headerMatchSpecifier: exact("host") }, [], "any", true],
  [":scheme", { name: ":scheme", headerMatchSpecifier: exact("http") }, [], "any", true],
  ["older forms: prefix", { name: "x-a", headerMatchSpecifier: { case: "prefixMatch", value: "a" } }, ["x-a", "ab"], "any", true],
  ["older forms: suffix", { name: "x-a", headerMatchSpecifier: { case: "suffixMatch", value: "b" } }, ["x-a", "ab"], "any", true],
  ["older forms: contains", { name: "x-a", headerMatchSpecifier: { case: "containsMatch", value: "x" } }, ["x-a", "ab"], "any", false],
  ["older forms: exact", { name: "x-a", headerMatchSpecifier: { case: "exactMatch", value: "ab" } }, ["x-a", "ab"], "any", true],
  [
    "older forms: regex",
    { name: "x-a", headerMatchSpecifier: { case: "safeRegexMatch", value: { regex: "a." } } },
    ["x-a", "ab"],
    "any",
    true,
  ],
];
for (const [rule, matcher, fields, many, want] of headers) {
  test(`compileHeaderMatch: ${rule}`, () => {
    const matches = compileHeaderMatch(create(HeaderMatcherSchema, matcher), many);
    assert.equal(matches({ method: "GET", path: "/p?q=1", authority: "host", scheme: "http", headers: new HeaderList([...fields]) }), want);
  });
}

const ranges: readonly (readonly [string, number, readonly string[], readonly string[]])[] = [
  [
    "10.0.0.0",
    8,
    ["10.0.0.1", "10.255.255.255", "::ffff:10.1.2.3"],
    ["11.0.0.1", "9.255.255.255", "x", "", "10.0.0", "010.0.0.1", "10.0.0.256"],
  ],
  ["192.168.1.7", 32, ["192.168.1.7"], ["192.168.1.8"]],
  ["0.0.0.0", 0, ["1.2.3.4"], ["::1"]],
  ["128.0.0.0", 1, ["255.1.1.1", "128.0.0.0"], ["127.0.0.1"]],
  ["fd00::", 8, ["fd12:3456::1", "fdff::"], ["fe80::1", "10.0.0.1", "fd00::1%eth0", ":::", "1::2::3"]],
  ["::1", 128, ["::1", "0:0:0:0:0:0:0:1"], ["::2", "1"]],
];
for (const [addressPrefix, prefixLen, yes, no] of ranges) {
  test(`compileCidr: ${addressPrefix}/${prefixLen}`, () => {
    const contains = compileCidr(create(CidrRangeSchema, { addressPrefix, prefixLen }));
    for (const ip of yes) assert.equal(contains(ip), true, ip);
    for (const ip of no) assert.equal(contains(ip), false, ip);
  });
}

test("compileCidr: what is no range is refused", () => {
  assert.throws(() => compileCidr(undefined), /no IP address/);
  assert.throws(() => compileCidr(create(CidrRangeSchema, { addressPrefix: "a", prefixLen: 8 })), /no IP address/);
  assert.throws(() => compileCidr(create(CidrRangeSchema, { addressPrefix: "1.2.3.4", prefixLen: 33 })), /32 bits/);
  assert.equal(parseIp("1.2.3.4.5"), undefined);
  assert.equal(parseIp("1:2:3:4:5:6:7:8:9"), undefined);
});
