/** gRPC's header fields. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HeaderList } from "../http/headers.ts";
import {
  decodeMessage,
  encodeMessage,
  errorOfReset,
  findMetadataFlaw,
  formatTimeout,
  isGrpcContentType,
  parseTimeoutMs,
  readMetadata,
  readStatus,
} from "./metadata.ts";
import { GrpcStatus } from "./types.ts";

for (const [text, coded] of [
  ["plain", "plain"],
  ["100 %", "100 %25"],
  ["two\nlines", "two%0Alines"],
  ["grün", "gr%C3%BCn"],
  [" around ", "%20around%20"],
] as const) {
  test(`grpc-message carries ${JSON.stringify(text)} as ${coded}`, () => {
    assert.equal(encodeMessage(text), coded);
    assert.equal(decodeMessage(coded), text);
  });
}

test("grpc-message that is no percent-encoding stays as it is", () => assert.equal(decodeMessage("5 % of %zz %4"), "5 % of %zz %4"));

for (const [text, ms] of [
  ["1H", 3_600_000],
  ["2M", 120_000],
  ["3S", 3000],
  ["4m", 4],
  ["500u", 0.5],
  ["99999999n", 99.999999],
  ["123456789m", undefined],
  ["1s", undefined],
  ["-1S", undefined],
  ["", undefined],
] as const) {
  test(`grpc-timeout ${JSON.stringify(text)} is ${ms} ms`, () => {
    const got = parseTimeoutMs(text);
    if (ms === undefined) assert.equal(got, undefined);
    else assert.ok(got !== undefined && Math.abs(got - ms) < 1e-6);
  });
}

test("a timeout is written with at most eight digits", () => {
  assert.deepEqual([0.1, 1, 1500.2, 99_999_999, 1e8, 1e13].map(formatTimeout), ["1m", "1m", "1501m", "99999999m", "100000S", "99999999S"]);
});

for (const [value, is] of [
  ["application/grpc", true],
  ["application/grpc+proto", true],
  ["application/grpc;charset=x", true],
  ["application/grpc-web", false],
  ["application/json", false],
  [undefined, false],
] as const) {
  test(`content-type ${value} is ${is ? "" : "not "}gRPC`, () => assert.equal(isGrpcContentType(value), is));
}

test("metadata leaves out what is gRPC's own, joins what comes twice, and has no prototype", () => {
  const metadata = readMetadata(new HeaderList(["te", "trailers", "grpc-timeout", "1S", "a", "1", "a", "2", "__proto__", "x"]));
  assert.deepEqual(Object.entries(metadata), [
    ["a", "1,2"],
    ["__proto__", "x"],
  ]);
});

for (const [name, value, isGood] of [
  ["authorization", "Bearer x.y", true],
  ["x-empty", "", true],
  ["Upper", "x", false],
  ["grpc-status", "0", false],
  ["a", "b\nc", false],
  ["a", "grün", false],
  ["a", " b", false],
] as const) {
  test(`metadata ${name}: ${JSON.stringify(value)} is ${isGood ? "sent" : "refused"}`, () => {
    assert.equal(findMetadataFlaw({ [name]: value }) === undefined, isGood);
  });
}

for (const [fields, http, code] of [
  [{ "grpc-status": "0" }, 200, undefined],
  [{ "grpc-status": "7", "grpc-message": "no" }, 200, GrpcStatus.PERMISSION_DENIED],
  [{ "grpc-status": "0" }, 503, undefined],
  [{ "grpc-status": "x" }, 200, GrpcStatus.UNKNOWN],
  [{}, 200, GrpcStatus.UNKNOWN],
  [{}, 503, GrpcStatus.UNAVAILABLE],
  [{}, 401, GrpcStatus.UNAUTHENTICATED],
  [{}, 404, GrpcStatus.UNIMPLEMENTED],
] as const) {
  test(`${JSON.stringify(fields)} with HTTP ${http} is ${code ?? "OK"}`, () => {
    assert.equal(readStatus(HeaderList.of(fields), http)?.code, code);
  });
}

for (const [kind, detail, code] of [
  ["refused", "REFUSED_STREAM", GrpcStatus.UNAVAILABLE],
  ["connection-closed", "ECONNRESET", GrpcStatus.UNAVAILABLE],
  ["remote-reset", "CANCEL", GrpcStatus.CANCELLED],
  ["remote-reset", "ENHANCE_YOUR_CALM", GrpcStatus.RESOURCE_EXHAUSTED],
  ["remote-reset", "INTERNAL_ERROR", GrpcStatus.INTERNAL],
  ["protocol-error", "a bad :status", GrpcStatus.INTERNAL],
] as const) {
  test(`a stream that ends with ${kind} ${detail} is ${code}`, () => assert.equal(errorOfReset({ kind, detail }).code, code));
}
