/** Which failures are tried again. Source: Envoy, x-envoy-retry-on and x-envoy-retry-grpc-on; RFC 9110 section 9.2.2. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { HeaderList } from "../../test/kit/header-fields.ts";
import { RetryPolicySchema } from "../gen/envoy/config/route/v3/route_components_pb.ts";
import {
  askedWaitMs,
  backoffMs,
  compileRetryPolicy,
  isRetriableReset,
  isRetriableResponse,
  parseRetryOn,
  type RetryRules,
  readRetryAsk,
} from "./retry.ts";

const rules = (retryOn: string, more: object = {}): RetryRules => {
  const compiled = compileRetryPolicy(create(RetryPolicySchema, { retryOn, ...more }));
  assert.ok(compiled);
  return compiled;
};

/** [retry_on, status, headers, tried again]. */
const responses: readonly (readonly [string, number, Readonly<Record<string, string>>, boolean])[] = [
  ["5xx", 500, {}, true],
  ["5xx", 599, {}, true],
  ["5xx", 499, {}, false],
  ["5xx", 600, {}, false],
  ["gateway-error", 502, {}, true],
  ["gateway-error", 503, {}, true],
  ["gateway-error", 504, {}, true],
  ["gateway-error", 500, {}, false],
  ["retriable-4xx", 409, {}, true],
  ["retriable-4xx", 404, {}, false],
  ["retriable-status-codes", 418, {}, true],
  ["retriable-status-codes", 419, {}, false],
  ["5xx,retriable-status-codes", 418, {}, true],
  ["connect-failure,refused-stream,unavailable,cancelled", 503, {}, false],
  ["unavailable", 200, { "grpc-status": "14" }, true],
  ["unavailable", 200, { "grpc-status": "13" }, false],
  ["cancelled", 200, { "grpc-status": "1" }, true],
  ["deadline-exceeded", 200, { "grpc-status": "4" }, true],
  ["internal", 200, { "grpc-status": "13" }, true],
  ["resource-exhausted", 200, { "grpc-status": "8" }, true],
  ["unavailable", 200, {}, false],
  ["5xx", 503, { "x-envoy-ratelimited": "true" }, false],
  ["envoy-ratelimited", 429, { "x-envoy-ratelimited": "true" }, true],
  ["envoy-ratelimited", 429, {}, false],
  ["reset", 503, {}, false],
  ["", 503, {}, false],
];
for (const [on, status, headers, want] of responses) {
  test(`isRetriableResponse: ${on || "nothing"}, ${status} ${JSON.stringify(headers)}`, () => {
    const compiled = rules(on, { retriableStatusCodes: [418] });
    assert.equal(isRetriableResponse(compiled.on, compiled, [], status, HeaderList.of(headers)), want);
  });
}

test("isRetriableResponse: retriable-headers looks at the answer's headers", () => {
  const compiled = rules("retriable-headers", { retriableHeaders: [{ name: "x-again" }] });
  assert.equal(isRetriableResponse(compiled.on, compiled, [], 200, HeaderList.of({ "x-again": "1" })), true);
  assert.equal(isRetriableResponse(compiled.on, compiled, [], 200, HeaderList.of({})), false);
});

/** [retry_on, kind, request sent, stale, method, tried again]. */
const resets: readonly (readonly [
  string,
  "connect-failure" | "overflow" | "refused" | "reset" | "timeout",
  boolean,
  boolean,
  string,
  boolean,
])[] = [
  ["5xx", "reset", true, false, "POST", true],
  ["gateway-error", "reset", true, false, "POST", true],
  ["reset", "reset", true, false, "POST", true],
  ["reset", "timeout", true, false, "GET", true],
  ["connect-failure", "timeout", true, false, "GET", false],
  ["connect-failure", "connect-failure", false, false, "POST", true],
  ["refused-stream", "refused", true, false, "POST", true],
  ["refused-stream", "reset", true, false, "GET", false],
  ["reset-before-request", "reset", false, false, "POST", true],
  ["reset-before-request", "reset", true, false, "GET", false],
  ["reset-before-request", "connect-failure", false, false, "POST", true],
  ["reset-before-request", "reset", true, true, "GET", true],
  ["connect-failure", "reset", true, true, "HEAD", true],
  ["connect-failure", "reset", true, true, "POST", false],
  ["reset-before-request", "reset", true, true, "POST", false],
  ["connect-failure", "reset", true, true, "DELETE", false],
  ["unavailable", "reset", true, true, "GET", false],
  ["unavailable,cancelled", "connect-failure", false, false, "GET", false],
  ["5xx", "overflow", false, false, "GET", false],
  ["reset", "overflow", false, false, "GET", false],
];
for (const [on, kind, requestSent, isStale, method, want] of resets) {
  test(`isRetriableReset: ${on}, ${method} ${kind}${requestSent ? " after it was sent" : ""}${isStale ? " on a stale connection" : ""}`, () => {
    assert.equal(isRetriableReset(parseRetryOn(on), { kind, requestSent, isStale }, method), want);
  });
}

test("compileRetryPolicy: defaults, and what is refused", () => {
  const compiled = rules("5xx");
  assert.deepEqual([compiled.retriesMax, compiled.backoffBaseMs, compiled.backoffMaxMs, compiled.perTryTimeoutMs], [1, 25, 250, 0]);
  assert.equal(
    rules("5xx", { numRetries: 3, retryHostPredicate: [{ name: "envoy.retry_host_predicates.previous_hosts" }] }).avoidsTriedHosts,
    true,
  );
  assert.throws(() => rules("5xx,503"), /retry_on: 503 not known/);
  assert.throws(() => rules("5xx", { retryPriority: { name: "x" } }), /retry_priority "x"/);
  assert.throws(() => rules("5xx", { retryHostPredicate: [{ name: "omit_canary" }] }), /omit_canary/);
});

test("backoffMs: full jitter below base x 2^n, never over the limit", () => {
  const compiled = rules("5xx");
  assert.deepEqual(
    [1, 2, 3, 4, 5, 50].map((attempt) => backoffMs(compiled, attempt, 0.9999)),
    [24, 49, 99, 199, 249, 249],
  );
  assert.equal(backoffMs(compiled, 3, 0), 0);
});

test("askedWaitMs: seconds or a time, within the limit", () => {
  const compiled = rules("5xx", {
    rateLimitedRetryBackOff: { resetHeaders: [{ name: "Retry-After" }, { name: "x-reset", format: 1 }], maxInterval: { seconds: 60n } },
  });
  assert.equal(askedWaitMs(compiled, HeaderList.of({ "retry-after": "2" }), 0), 2000);
  assert.equal(askedWaitMs(compiled, HeaderList.of({ "retry-after": "61" }), 0), undefined);
  assert.equal(askedWaitMs(compiled, HeaderList.of({ "x-reset": "105" }), 100_000), 5000);
  assert.equal(askedWaitMs(compiled, HeaderList.of({ "x-reset": "99" }), 100_000), undefined);
  assert.equal(askedWaitMs(compiled, HeaderList.of({ "retry-after": "soon" }), 0), undefined);
});

test("readRetryAsk: a client's words; unknown conditions do nothing", () => {
  assert.equal(readRetryAsk(HeaderList.of({})), undefined);
  assert.deepEqual(
    readRetryAsk(
      HeaderList.of({
        "x-envoy-retry-on": "5xx,magic",
        "x-envoy-retry-grpc-on": "unavailable",
        "x-envoy-max-retries": "3",
        "x-envoy-retriable-status-codes": "418, 9, 404",
      }),
    ),
    {
      on: parseRetryOn("5xx,unavailable"),
      retriesMax: 3,
      statusCodes: [418, 404],
    },
  );
});
