/** The rules for single values, each with what passes beside what does not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Findings, nearestName } from "../finding.ts";
import { isIpAddress, parseCidr } from "./address.ts";
import { headerValueFault } from "./headers.ts";
import { checkExportTo, checkGatewayNames, checkLabels, hostFault, isDnsLabel, isObjectName, wildcardHostFault } from "./names.ts";
import { parseProtocol } from "./protocol.ts";
import { resolveGateway, resolveHost } from "./resolve.ts";
import { checkDuration, checkRegex, checkRetryOn, REGEX_BYTES_MAX } from "./values.ts";

function messages(check: (findings: Findings) => void): readonly string[] {
  const findings = new Findings();
  check(findings);
  return findings.list.map(({ message }) => message);
}

const label63 = "a".repeat(63);

for (const [text, want] of [
  ["a", true],
  ["a-b", true],
  ["A1", true],
  [label63, true],
  [`${label63}a`, false],
  ["", false],
  ["-a", false],
  ["a-", false],
  ["a.b", false],
  ["a_b", false],
] as const) {
  test(`isDnsLabel("${text}") is ${want}`, () => assert.equal(isDnsLabel(text), want));
}

for (const [text, want] of [
  ["reviews.v1", true],
  ["Reviews", false],
  ["a..b", false],
  ["a".repeat(254), false],
] as const) {
  test(`isObjectName("${text.slice(0, 20)}") is ${want}`, () => assert.equal(isObjectName(text), want));
}

for (const [text, plain, wildcard] of [
  ["reviews", true, true],
  ["reviews.shop.svc.cluster.local", true, true],
  ["example.com.", true, true],
  ["*.example.com", false, true],
  ["*", false, true],
  ["a.*.com", false, false],
  ["*a.com", false, false],
  ["", false, false],
  ["10.0.0.1", false, false],
  ["a b", false, false],
  ["a..b", false, false],
  ["a.b:80", false, false],
  [`${"a.".repeat(130)}b`, false, false],
] as const) {
  test(`host "${text.slice(0, 30)}": plain ${plain}, with wildcards ${wildcard}`, () => {
    assert.equal(hostFault(text) === undefined, plain);
    assert.equal(wildcardHostFault(text) === undefined, wildcard);
  });
}

for (const [text, want] of [
  ["10.0.0.1", true],
  ["255.255.255.255", true],
  ["256.0.0.1", false],
  ["10.0.1", false],
  ["010.0.0.1", false],
  ["::", true],
  ["::1", true],
  ["fd00::a:1", true],
  ["1:2:3:4:5:6:7:8", true],
  ["1:2:3:4:5:6:7", false],
  ["1:2:3:4:5:6:7:8:9", false],
  ["1::2::3", false],
  ["::ffff:10.0.0.1", true],
  ["::ffff:10.0.0.300", false],
  ["1:2:3:4:5:6:7::", true],
  ["1:2:3:4:5:6:7:8::", false],
  ["fe80::1%eth0", false],
  [":", false],
  ["12345::", false],
  ["", false],
] as const) {
  test(`isIpAddress("${text}") is ${want}`, () => assert.equal(isIpAddress(text), want));
}

for (const [text, want] of [
  ["10.0.0.0/8", { address: "10.0.0.0", bits: 8, whole: false }],
  ["10.0.0.1/32", { address: "10.0.0.1", bits: 32, whole: true }],
  ["fd00::1/128", { address: "fd00::1", bits: 128, whole: true }],
  ["10.0.0.0/33", undefined],
  ["10.0.0.0", undefined],
  ["a/8", undefined],
] as const) {
  test(`parseCidr("${text}")`, () => assert.deepEqual(parseCidr(text), want));
}

for (const { text, zero, want } of [
  { text: "1ms", zero: false, want: [] },
  { text: "1h30m", zero: false, want: [] },
  { text: "1.5s", zero: false, want: [] },
  { text: "0.0015s", zero: false, want: ['"0.0015s" is not of whole milliseconds'] },
  { text: "0.4ms", zero: false, want: ['"0.4ms" is shorter than 1ms'] },
  { text: "0s", zero: false, want: ['"0s" is shorter than 1ms'] },
  { text: "0s", zero: true, want: [] },
  { text: "-1s", zero: true, want: ['"-1s" is shorter than 1ms'] },
  { text: "10", zero: false, want: ['"10" is no duration'] },
]) {
  test(`duration "${text}"${zero ? " where 0 is off" : ""}`, () => {
    assert.deepEqual(
      messages((findings) => checkDuration(text, ["timeout"], findings, { zero })),
      want,
    );
  });
}

for (const { name, pattern, want } of [
  { name: "of RE2", pattern: "/items/[0-9]+", want: /^$/ },
  { name: "of the largest size", pattern: "a".repeat(REGEX_BYTES_MAX), want: /^$/ },
  { name: "that is larger", pattern: "é".repeat(REGEX_BYTES_MAX / 2 + 1), want: /longer than 1024 bytes/ },
  { name: "that is empty", pattern: "", want: /must not be empty/ },
  { name: "with look-ahead", pattern: "(?=a)", want: /not a regular expression of RE2/ },
  { name: "with a back-reference", pattern: "(a)\\1", want: /not a regular expression of RE2/ },
  { name: "with an open bracket", pattern: "[a", want: /not a regular expression of RE2/ },
]) {
  test(`a regular expression ${name}`, () => assert.match(messages((findings) => checkRegex(pattern, [], findings)).join(), want));
}

for (const [text, want] of [
  ["5xx,reset,503", []],
  ["", []],
  ["5xx, reset", ['" reset" is no retry condition']],
  ["sometimes", ['"sometimes" is no retry condition']],
  ["999", ['"999" is no retry condition']],
] as const) {
  test(`retryOn "${text}"`, () => {
    assert.deepEqual(
      messages((findings) => checkRetryOn(text, [], findings)),
      want,
    );
  });
}

for (const [value, want] of [
  ["plain", true],
  ["100%%", true],
  ["%HOSTNAME%", true],
  ["a %REQ(x-id?:path):10% b", true],
  ["%START_TIME(%s)%", true],
  ["a\tb", true],
  ["abc%123", false],
  ["50%", false],
  ["a\r\nb", false],
  ["\u0000", false],
] as const) {
  test(`header value ${JSON.stringify(value)} is ${want ? "taken" : "refused"}`, () =>
    assert.equal(headerValueFault(value) === undefined, want));
}

for (const { exportTo, allowNobody, want } of [
  { exportTo: ["*"], allowNobody: false, want: [] },
  { exportTo: [".", "other"], allowNobody: false, want: [] },
  { exportTo: ["~"], allowNobody: true, want: [] },
  { exportTo: ["~"], allowNobody: false, want: ['"~" (nobody) is allowed in a ServiceEntry only'] },
  { exportTo: [".", "shop"], allowNobody: false, want: ['"shop" stands twice'] },
  { exportTo: ["shop", "."], allowNobody: false, want: ['"." is namespace shop, which is listed already'] },
  { exportTo: ["a.b"], allowNobody: false, want: ['"a.b" is neither "*", "." nor a namespace'] },
  { exportTo: ["*", "a"], allowNobody: false, want: ['"*" is every namespace: list nothing beside it'] },
  { exportTo: ["~", "a"], allowNobody: true, want: ['"~" is nobody: list nothing beside it'] },
]) {
  test(`exportTo ${JSON.stringify(exportTo)}${allowNobody ? " of a ServiceEntry" : ""}`, () => {
    assert.deepEqual(
      messages((findings) => checkExportTo(exportTo, { namespace: "shop", path: [], allowNobody }, findings)),
      want,
    );
  });
}

for (const [name, want] of [
  ["mesh", []],
  ["gw", []],
  ["infra/gw", []],
  ["./gw", []],
  ["gw.infra.svc.cluster.local", ['"gw.infra.svc.cluster.local" is the old form of a gateway\'s name']],
  ["infra/", ['"" is no gateway\'s name']],
  ["a.b/gw", ['"a.b" is no namespace']],
  ["g w", ['"g w" is no host name (label "g w")']],
] as const) {
  test(`gateway "${name}"`, () => {
    assert.deepEqual(
      messages((findings) => checkGatewayNames([name], [], findings)),
      want,
    );
  });
}

for (const [key, value, want] of [
  ["app", "reviews", []],
  ["security.istio.io/tlsMode", "istio", []],
  ["app", "", []],
  ["-a", "x", ['"-a" is no label key']],
  ["a/b/c", "x", ['"a/b/c" is no label key']],
  ["__proto__", "x", ['"__proto__" is no label key']],
  ["app", "a b", ['"a b" is no label value']],
] as const) {
  test(`label ${key}=${value}`, () => {
    assert.deepEqual(
      messages((findings) => checkLabels(Object.fromEntries([[key, value]]), [], findings)),
      want,
    );
  });
}

for (const [text, want] of [
  ["HTTP", "http"],
  ["grpc-web", "grpc-web"],
  ["Mongo", "tcp"],
  ["", "unsupported"],
  [undefined, "unsupported"],
  ["HTTP_PROXY", undefined],
  ["toString", undefined],
] as const) {
  test(`protocol ${text} is ${want}`, () => assert.equal(parseProtocol(text), want));
}

const here = { namespace: "shop", domain: "cluster.local" };

for (const [text, want] of [
  ["payment", "payment.shop.svc.cluster.local"],
  ["Payment.Example.com.", "payment.example.com"],
  ["*", "*"],
  ["fd00::1", "fd00::1"],
] as const) {
  test(`resolveHost("${text}") is ${want}`, () => assert.equal(resolveHost(text, here), want));
}

for (const [text, want] of [
  ["mesh", "mesh"],
  ["gw", "shop/gw"],
  ["infra/gw", "infra/gw"],
  ["./gw", "shop/gw"],
  ["gw.infra.svc.cluster.local", "infra/gw"],
] as const) {
  test(`resolveGateway("${text}") is ${want}`, () => assert.equal(resolveGateway(text, "shop"), want));
}

for (const [wanted, names, want] of [
  ["rout", ["route", "redirect"], "route"],
  ["nmae", ["name", "namespace"], "name"],
  ["retry_on", ["retryOn"], "retryOn"],
  ["zebra", ["route", "redirect"], undefined],
  ["paymnt.shop.svc.cluster.local", ["catalog.shop.svc.cluster.local", "payment.shop.svc.cluster.local"], "payment.shop.svc.cluster.local"],
] as const) {
  test(`nearestName: ${wanted} may have been ${want}`, () => assert.equal(nearestName(wanted, names), want));
}
