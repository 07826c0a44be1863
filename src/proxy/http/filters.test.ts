/** The HTTP filters: faults, policy, cross-origin rules, message counts, filter state; and what routes may override. Source: Envoy, HTTP filters. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { accessLog, HttpRig, meshTls, type RigOptions } from "../../../test/kit/http-rig.ts";
import { FilterConfigSchema } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { CorsPolicySchema, CorsSchema } from "../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { HTTPFaultSchema } from "../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { FilterConfigSchema as GrpcStatsSchema } from "../../gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { RBACPerRouteSchema, RBACSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { ConfigSchema as FilterStateSchema } from "../../gen/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state_pb.ts";
import { HeaderList } from "../../net/http/headers.ts";
import { GrpcMessageCounter } from "./filters/grpc-message-counter.ts";

const pack = <D extends DescMessage>(schema: D, init: MessageInitShape<D>) => anyPack(schema, create(schema, init));
const filter = <D extends DescMessage>(name: string, schema: D, init: MessageInitShape<D>) => ({
  name,
  configType: { case: "typedConfig" as const, value: pack(schema, init) },
});

function rigOf(
  filters: NonNullable<RigOptions["filters"]>,
  overrides: Readonly<Record<string, ReturnType<typeof pack>>> = {},
  options: RigOptions = {},
): HttpRig {
  return new HttpRig({
    filters,
    ...options,
    config: {
      accessLog: [accessLog("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")],
      routeSpecifier: {
        case: "routeConfig",
        value: {
          virtualHosts: [
            {
              name: "v",
              domains: ["*"],
              routes: [
                {
                  match: { pathSpecifier: { case: "prefix", value: "/" } },
                  typedPerFilterConfig: overrides,
                  action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "a" } } },
                },
              ],
            },
          ],
        },
      },
    },
  });
}

const FAULT = "envoy.filters.http.fault";
const percent = (numerator: number) => ({ numerator });
const abort = (httpStatus: number, numerator = 100) => ({
  errorType: { case: "httpStatus" as const, value: httpStatus },
  percentage: percent(numerator),
});
const delay = (seconds: number, numerator = 100) => ({
  faultDelaySecifier: { case: "fixedDelay" as const, value: { seconds: BigInt(seconds) } },
  percentage: percent(numerator),
});

test("fault: an abort answers instead of the server", () => {
  const rig = rigOf([filter(FAULT, HTTPFaultSchema, {})], { [FAULT]: pack(HTTPFaultSchema, { abort: abort(555) }) });
  const stream = rig.request();
  assert.deepEqual([stream.status, stream.body, rig.cluster().attempts.length], [555, "fault filter abort", 0]);
  assert.deepEqual(rig.lines, ["555 FI fault_filter_abort"]);
});

test("fault: a delay comes first, holds what the client sends, then lets it go", async () => {
  const rig = rigOf([filter(FAULT, HTTPFaultSchema, { delay: delay(2) })]);
  const stream = rig.request({ method: "POST", body: "a", open: true });
  assert.equal(stream.isPaused, true);
  stream.data("b", true);
  await rig.clock.advance(1999);
  assert.equal(rig.cluster().attempts.length, 0);
  await rig.clock.advance(1);
  assert.deepEqual([rig.cluster().last.body, rig.cluster().last.isEnded], ["ab", true]);
  rig.cluster().last.connect().answer(200);
  assert.deepEqual(rig.lines, ["200 DI via_upstream"]);
  assert.equal(rig.metrics.envoyGauge("http.test.fault.active_faults").value, 0);
});

test("fault: delay, then abort", async () => {
  const rig = rigOf([filter(FAULT, HTTPFaultSchema, { delay: delay(1), abort: abort(429) })]);
  const stream = rig.request();
  await rig.clock.advance(1000);
  assert.equal(stream.status, 429);
  assert.deepEqual(rig.lines, ["429 DI,FI fault_filter_abort"]);
});

test("fault: a client that leaves during the delay is forgotten", async () => {
  const rig = rigOf([filter(FAULT, HTTPFaultSchema, { delay: delay(1) })]);
  rig.drop(rig.request());
  assert.equal(rig.metrics.envoyGauge("http.test.fault.active_faults").value, 0);
  await rig.clock.advance(2000);
  assert.equal(rig.cluster().attempts.length, 0);
});

test("fault: trailers that come during the delay are sent after it", async () => {
  const rig = rigOf([filter(FAULT, HTTPFaultSchema, { delay: delay(1) })]);
  const stream = rig.request({ method: "POST", body: "a", open: true });
  stream.handler.onTrailers(HeaderList.of({ "x-t": "1" }));
  await rig.clock.advance(1000);
  assert.deepEqual([rig.cluster().last.body, rig.cluster().last.trailers?.get("x-t")], ["a", "1"]);
});

test("fault: a body too long to be held is refused", async () => {
  const rig = rigOf([filter(FAULT, HTTPFaultSchema, { delay: delay(1) })]);
  const stream = rig.request({ method: "POST", body: "x".repeat(256 * 1024 + 1), open: true });
  assert.equal(stream.status, 413);
  await rig.clock.advance(1000);
  assert.equal(rig.cluster().attempts.length, 0);
});

test("fault: chance, headers and limits decide whom it meets", () => {
  const draws = [0.49, 0.5];
  const random = { next: () => draws.shift() ?? 0, uuid: () => "u" };
  const half = rigOf([filter(FAULT, HTTPFaultSchema, { abort: abort(400, 50) })], {}, { random });
  assert.deepEqual([half.request().status, half.request().status], [400, undefined]);
  const byHeader = rigOf([
    filter(FAULT, HTTPFaultSchema, {
      abort: abort(500),
      headers: [{ name: "x-user", headerMatchSpecifier: { case: "exactMatch", value: "jason" } }],
    }),
  ]);
  assert.deepEqual([byHeader.request({ headers: { "x-user": "jason" } }).status, byHeader.request().status], [500, undefined]);
  const elsewhere = rigOf([filter(FAULT, HTTPFaultSchema, { abort: abort(500), upstreamCluster: "b" })]);
  assert.equal(elsewhere.request().status, undefined);
});

test("fault: an abort with a gRPC status is that for gRPC clients, and 200 for others, as in Envoy", () => {
  const rig = rigOf([
    filter(FAULT, HTTPFaultSchema, { abort: { errorType: { case: "grpcStatus", value: 14 }, percentage: percent(100) } }),
  ]);
  const grpc = rig.request({ headers: { "content-type": "application/grpc" } });
  assert.deepEqual([grpc.status, grpc.header("grpc-status"), grpc.header("grpc-message")], [200, "14", "fault filter abort"]);
  const plain = rig.request();
  assert.deepEqual([plain.status, plain.header("grpc-status"), plain.body], [200, undefined, "fault filter abort"]);
});

test("fault: headers ask only where config lets them, and only for less", () => {
  const open = rigOf([
    filter(FAULT, HTTPFaultSchema, { abort: { errorType: { case: "headerAbort", value: {} }, percentage: percent(100) } }),
  ]);
  assert.equal(open.request({ headers: { "x-envoy-fault-abort-request": "503" } }).status, 503);
  assert.equal(
    open.request({ headers: { "x-envoy-fault-abort-request": "503", "x-envoy-fault-abort-request-percentage": "0" } }).status,
    undefined,
  );
  assert.equal(open.request({ headers: { "x-envoy-fault-abort-request": "99" } }).status, undefined);
  const closed = rigOf([filter(FAULT, HTTPFaultSchema, {})]);
  assert.equal(closed.request({ headers: { "x-envoy-fault-abort-request": "503" } }).status, undefined);
});

// RBAC.

const RBAC = "envoy.filters.http.rbac";
const anything = {
  permissions: [{ rule: { case: "any" as const, value: true } }],
  principals: [{ identifier: { case: "any" as const, value: true } }],
};
const path = (value: string) => ({
  permissions: [
    {
      rule: {
        case: "urlPath" as const,
        value: { rule: { case: "path" as const, value: { matchPattern: { case: "exact" as const, value } } } },
      },
    },
  ],
  principals: anything.principals,
});

test("rbac: what is denied is 403 and reaches nobody", () => {
  const rig = rigOf([filter(RBAC, RBACSchema, { rules: { action: 1, policies: { "ns[default]-policy[deny]-rule[0]": path("/admin") } } })]);
  const stream = rig.request({ path: "/admin?x" });
  assert.deepEqual(
    [stream.status, stream.body, stream.header("content-length"), rig.cluster().attempts.length],
    [403, "RBAC: access denied", "19", 0],
  );
  assert.deepEqual(rig.lines, ["403 - rbac_access_denied_matched_policy[ns[default]-policy[deny]-rule[0]]"]);
  assert.equal(rig.request({ path: "/" }).status, undefined);
  assert.deepEqual([rig.stat("http.test.rbac.denied"), rig.stat("http.test.rbac.allowed")], [1, 1]);
});

test("rbac: the path that is judged is the path that is sent", () => {
  const rig = new HttpRig({
    filters: [filter(RBAC, RBACSchema, { rules: { action: 1, policies: { p: path("/admin") } } })],
    config: { normalizePath: true },
  });
  for (const given of ["/admin", "/x/../admin", "/%61dmin", "/./admin", "/x/%2e%2e/admin", "/admin#f", "/x\\..\\admin"])
    assert.equal(rig.request({ path: given }).status, 403, given);
  rig.request({ path: "//admin" });
  assert.equal(rig.cluster().last.path, "//admin");
});

test("rbac: an ALLOW without policies allows nothing", () => {
  const rig = rigOf([filter(RBAC, RBACSchema, { rules: {} })]);
  assert.equal(rig.request().status, 403);
  assert.deepEqual(rig.lines, ["403 - rbac_access_denied_matched_policy[none]"]);
});

test("rbac: no rules at all pass, rules on trial are only counted", () => {
  assert.equal(rigOf([filter(RBAC, RBACSchema, {})]).request().status, undefined);
  const rig = rigOf([
    filter(RBAC, RBACSchema, { shadowRules: { action: 1, policies: { p: anything } }, shadowRulesStatPrefix: "istio_dry_run_" }),
  ]);
  assert.equal(rig.request().status, undefined);
  assert.equal(rig.stat("http.test.rbac.istio_dry_run_shadow_denied"), 1);
});

test("rbac: a body that comes with a denied request is not waited for", () => {
  const rig = rigOf([filter(RBAC, RBACSchema, { rules: {} })], {}, { version: "HTTP/2" });
  const stream = rig.request({ method: "POST", body: "a", open: true });
  assert.deepEqual([stream.status, stream.isEnded, stream.wasReset], [403, true, "cancel"]);
});

test("rbac: routes have rules of their own, or none", () => {
  const denyAll = [filter(RBAC, RBACSchema, { rules: {} })];
  assert.equal(
    rigOf(denyAll, { [RBAC]: pack(RBACPerRouteSchema, { rbac: { rules: { policies: { p: anything } } } }) }).request().status,
    undefined,
  );
  assert.equal(rigOf(denyAll, { [RBAC]: pack(RBACPerRouteSchema, {}) }).request().status, undefined);
  assert.equal(rigOf(denyAll, { [RBAC]: pack(FilterConfigSchema, { disabled: true }) }).request().status, undefined);
  assert.equal(rigOf(denyAll, { "other.name": pack(RBACPerRouteSchema, {}) }).request().status, 403, "the name must be the filter's");
});

test("a filter that the listener disables works where a route enables it", () => {
  const off = [{ ...filter(RBAC, RBACSchema, { rules: {} }), disabled: true }];
  assert.equal(rigOf(off).request().status, undefined);
  assert.equal(rigOf(off, { [RBAC]: pack(FilterConfigSchema, {}) }).request().status, 403);
});

test("rbac: the peer is known by what a filter stored, as Istio does it", () => {
  const principal = {
    permissions: anything.permissions,
    principals: [
      {
        identifier: {
          case: "filterState" as const,
          value: {
            key: "io.istio.peer_principal",
            matcher: {
              case: "stringMatch" as const,
              value: { matchPattern: { case: "exact" as const, value: "spiffe://cluster.local/ns/default/sa/client" } },
            },
          },
        },
      },
    ],
  };
  const store = filter("state", FilterStateSchema, {
    onRequestHeaders: [
      {
        key: { case: "objectKey", value: "io.istio.peer_principal" },
        value: {
          case: "formatString",
          value: {
            format: { case: "textFormatSource", value: { specifier: { case: "inlineString", value: "%DOWNSTREAM_PEER_URI_SAN%" } } },
          },
        },
      },
    ],
  });
  const filters = [store, filter(RBAC, RBACSchema, { rules: { policies: { p: principal } } })];
  assert.equal(rigOf(filters, {}, { tls: meshTls() }).request().status, undefined);
  assert.equal(rigOf(filters, {}, { tls: meshTls("spiffe://cluster.local/ns/default/sa/other") }).request().status, 403);
  assert.equal(rigOf(filters).request().status, 403);
});

// CORS.

const CORS = "envoy.filters.http.cors";
const cors = {
  allowOriginStringMatch: [
    { matchPattern: { case: "exact" as const, value: "https://a.example.com" } },
    { matchPattern: { case: "safeRegex" as const, value: { regex: "https://.*\\.b\\.example\\.com" } } },
  ],
  allowMethods: "POST,GET",
  allowHeaders: "x-foo-bar",
  exposeHeaders: "x-exposed",
  maxAge: "86400",
  allowCredentials: true,
};
const corsRig = () => rigOf([filter(CORS, CorsSchema, {})], { [CORS]: pack(CorsPolicySchema, cors) });
const preflight = (origin: string) => ({ method: "OPTIONS", headers: { origin, "access-control-request-method": "POST" } });

for (const origin of ["https://a.example.com", "https://x.b.example.com"]) {
  test(`cors: a preflight of ${origin} is answered here`, () => {
    const rig = corsRig();
    const stream = rig.request(preflight(origin));
    assert.equal(rig.cluster().attempts.length, 0);
    assert.deepEqual(Object.fromEntries([...(stream.head?.headers ?? [])].filter(([name]) => name !== "date")), {
      "content-length": "0",
      "access-control-allow-methods": "POST,GET",
      "access-control-allow-headers": "x-foo-bar",
      "access-control-max-age": "86400",
      "access-control-allow-origin": origin,
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "x-exposed",
      server: "envoy",
    });
  });
}

test("cors: a preflight of another origin, and an OPTIONS that is none, go to the app", () => {
  const rig = corsRig();
  rig.request(preflight("https://evil.example"));
  rig.request({ method: "OPTIONS", headers: { origin: "https://a.example.com" } });
  assert.equal(rig.cluster().attempts.length, 2);
});

test("cors: answers to allowed origins are marked, others are not", () => {
  const rig = corsRig();
  for (const [origin, want] of [
    ["https://a.example.com", "https://a.example.com"],
    ["https://evil.example", undefined],
    ["", undefined],
  ] as const) {
    const stream = rig.request(origin === "" ? {} : { headers: { origin } });
    rig
      .cluster()
      .last.connect()
      .answer(200, { headers: { "x-app": "1" } });
    assert.equal(stream.header("access-control-allow-origin"), want);
    assert.equal(stream.header("access-control-allow-credentials"), want === undefined ? undefined : "true");
  }
});

// Counting.

test("grpc_stats: messages are counted whatever pieces they come in", () => {
  const message = (size: number): string => `\u0000${String.fromCharCode(0, 0, size >> 8, size & 255)}${"x".repeat(size)}`;
  const body = message(0) + message(5) + message(300);
  for (const step of [1, 2, 7, body.length]) {
    const counter = new GrpcMessageCounter();
    const bytes = Buffer.from(body, "latin1");
    for (let at = 0; at < bytes.length; at += step) counter.feed(bytes, at, Math.min(bytes.length, at + step));
    assert.equal(counter.count, 3, `in steps of ${step}`);
  }
  const rig = rigOf([filter("stats", GrpcStatsSchema, { emitFilterState: true })]);
  rig.request({ headers: { "content-type": "application/grpc" }, body: message(3) + message(4) });
  rig
    .cluster()
    .last.connect()
    .answer(200, { headers: { "content-type": "application/grpc", "grpc-status": "0" }, body: message(1) });
  const text = rig.metrics.toPrometheus();
  assert.match(text, /istio_request_messages_total\{.*request_protocol="grpc".*\} 2/);
  assert.match(text, /istio_response_messages_total\{.*\} 1/);
});
