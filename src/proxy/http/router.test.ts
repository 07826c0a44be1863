/** The router: what goes to servers, when it is tried again, and what the client hears when it fails. Source: Envoy, Router filter. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { accessLog, HttpRig, meshTls, RigCluster, type RigOptions } from "../../../test/kit/http-rig.ts";
import { HeaderList } from "../../net/http/headers.ts";
import type { UpstreamFailure } from "../types.ts";

/** Fields of the messages, laid over the defaults: their types are checked by the messages when they are made. */
interface Levels {
  readonly action?: object;
  readonly route?: object;
  readonly host?: object;
  readonly table?: object;
  readonly config?: object;
}

/** A rig with one route; the log tells status, flags and details. */
function rigOf(levels: Levels, options: RigOptions = {}): HttpRig {
  const value = { clusterSpecifier: { case: "cluster" as const, value: "a" }, ...levels.action };
  const route = {
    name: "r",
    match: { pathSpecifier: { case: "prefix" as const, value: "/" } },
    action: { case: "route" as const, value },
    ...levels.route,
  };
  const host = { name: "v", domains: ["*"], routes: [route], ...levels.host };
  return new HttpRig({
    ...options,
    config: {
      accessLog: [accessLog("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")],
      routeSpecifier: { case: "routeConfig", value: { name: "80", virtualHosts: [host], ...levels.table } },
      ...levels.config,
    } as NonNullable<RigOptions["config"]>,
  });
}

const seconds = (count: number) => ({ seconds: BigInt(Math.floor(count)), nanos: Math.round((count % 1) * 1e9) });

test("a request goes to its cluster, the answer comes back", () => {
  const rig = rigOf({});
  const stream = rig.request({ method: "POST", path: "/p?q", body: "ask" });
  const attempt = rig.cluster().last;
  assert.deepEqual([attempt.path, attempt.authority, attempt.body, attempt.isEnded], ["/p?q", "svc", "ask", true]);
  attempt.connect().answer(201, { headers: { "x-app": "1" }, body: "answer" });
  assert.deepEqual([stream.status, stream.header("x-app"), stream.body, stream.isEnded], [201, "1", "answer", true]);
  assert.equal(stream.header("server"), "envoy");
  assert.equal(stream.header("date"), "Thu, 01 Jan 2026 00:00:00 GMT");
  assert.equal(stream.header("x-envoy-upstream-service-time"), "0");
  assert.deepEqual(rig.lines, ["201 - via_upstream"]);
  assert.equal(rig.stat("http.test.downstream_rq_2xx"), 1);
  assert.equal(rig.stat("cluster.a.upstream_rq_2xx"), 1);
  assert.equal(rig.stat("cluster.a.upstream_rq_201"), 1);
});

test("trailers pass both ways, and the gRPC status is read from them", () => {
  const rig = rigOf({ config: { accessLog: [accessLog("%GRPC_STATUS% %TRAILER(x-t)%")] } });
  const stream = rig.request({ headers: { "content-type": "application/grpc" }, body: "", open: true });
  stream.handler.onTrailers(HeaderList.of({ "x-up": "1" }));
  const attempt = rig.cluster().last;
  assert.equal(attempt.trailers?.get("x-up"), "1");
  attempt.connect().answer(200, { body: "m", more: true });
  attempt.handler.onTrailers(HeaderList.of({ "grpc-status": "5", "x-t": "2" }));
  assert.equal(stream.trailers?.get("x-t"), "2");
  assert.deepEqual(rig.lines, ["NotFound 2"]);
});

test("a slow reader at either end stops the other one's sender", () => {
  const rig = rigOf({});
  const stream = rig.request({ method: "POST", body: "a", open: true });
  const attempt = rig.cluster().last.connect();
  attempt.takesMore = false;
  stream.data("b");
  assert.equal(stream.isPaused, true);
  attempt.handler.onDrain();
  assert.equal(stream.isPaused, false);
  stream.takesMore = false;
  attempt.answer(200, { body: "c", more: true });
  assert.equal(attempt.isPaused, true);
  stream.handler.onDrain();
  assert.equal(attempt.isPaused, false);
});

test("an early answer ends the request, and the rest of it goes nowhere", () => {
  const rig = rigOf({});
  const stream = rig.request({ method: "POST", body: "a", open: true });
  const attempt = rig.cluster().last.connect().answer(413, { body: "no" });
  assert.equal(stream.isEnded, true);
  assert.equal(attempt.wasReset, "cancel");
  stream.data("more", true);
  assert.equal(attempt.body, "a");
});

test("a client that leaves takes its request along", () => {
  const rig = rigOf({});
  const stream = rig.request();
  rig.drop(stream);
  assert.equal(rig.cluster().last.wasReset, "cancel");
  assert.deepEqual(rig.lines, ["0 DC downstream_remote_disconnect"]);
  assert.equal(rig.metrics.envoyGauge("http.test.downstream_rq_active").value, 0);
});

/** [what happens, failure, status, body, log]. */
const failures: readonly (readonly [string, Partial<UpstreamFailure> & Pick<UpstreamFailure, "kind" | "flag">, number, string, string])[] =
  [
    [
      "refused connection",
      { kind: "connect-failure", flag: "UF", detail: "delayed connect error: Connection refused" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
      "503 UF upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
    ],
    [
      "connect timeout",
      { kind: "connect-timeout", flag: "UF" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: connection timeout",
      "503 UF upstream_reset_before_response_started{connection_timeout}",
    ],
    [
      "TLS",
      { kind: "tls-failure", flag: "UF", detail: "TLS_error: bad certificate" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure",
      "503 UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:_bad_certificate}",
    ],
    [
      "connection lost",
      { kind: "reset", flag: "UC" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: connection termination",
      "503 UC upstream_reset_before_response_started{connection_termination}",
    ],
    [
      "stream reset",
      { kind: "reset", flag: "UR" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: remote reset",
      "503 UR upstream_reset_before_response_started{remote_reset}",
    ],
    [
      "refused stream",
      { kind: "refused", flag: "UR" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: remote refused stream reset",
      "503 UR upstream_reset_before_response_started{remote_refused_stream_reset}",
    ],
    [
      "circuit breaker",
      { kind: "overflow", flag: "UO" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: overflow",
      "503 UO upstream_reset_before_response_started{overflow}",
    ],
    [
      "broken protocol",
      { kind: "protocol-error", flag: "UPE" },
      503,
      "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
      "503 UPE upstream_reset_before_response_started{protocol_error}",
    ],
  ];
for (const [name, failure, status, body, line] of failures) {
  test(`failure: ${name}`, () => {
    const rig = rigOf({});
    const stream = rig.request();
    rig.cluster().last.fail(failure);
    assert.deepEqual(
      [stream.status, stream.body, stream.header("content-type"), stream.header("content-length")],
      [status, body, "text/plain", String(body.length)],
    );
    assert.equal(stream.header("x-envoy-overloaded"), failure.kind === "overflow" ? "true" : undefined);
    assert.deepEqual(rig.lines, [line]);
  });
}

test("a failure after the answer began cuts it off", () => {
  const rig = rigOf({});
  const stream = rig.request();
  rig.cluster().last.connect().answer(200, { body: "half", more: true }).fail({ kind: "reset", flag: "UC" });
  assert.deepEqual([stream.isEnded, stream.wasReset], [false, "internal-error"]);
  assert.deepEqual(rig.lines, ["200 UC upstream_reset_after_response_started{connection_termination}"]);
});

test("gRPC clients hear failures as gRPC", () => {
  const rig = rigOf({});
  const stream = rig.request({ headers: { "content-type": "application/grpc" } });
  rig.cluster().last.fail({ kind: "reset", flag: "UC" });
  assert.deepEqual([stream.status, stream.header("grpc-status"), stream.body, stream.isEnded], [200, "14", "", true]);
  assert.match(stream.header("grpc-message") ?? "", /^upstream connect error/);
});

const answers: readonly (readonly [string, Levels, RigOptions, number, string, string])[] = [
  ["no route", { host: { domains: ["other"] } }, {}, 404, "", "404 NR route_not_found"],
  ["no cluster", { action: { clusterSpecifier: { case: "cluster", value: "none" } } }, {}, 503, "", "503 NC cluster_not_found"],
  [
    "no cluster, as 404",
    { action: { clusterSpecifier: { case: "cluster", value: "none" }, clusterNotFoundResponseCode: 1 } },
    {},
    404,
    "",
    "404 NC cluster_not_found",
  ],
  ["no host", {}, { clusters: [new RigCluster("a", 0)] }, 503, "no healthy upstream", "503 UH no_healthy_upstream"],
  [
    "direct response",
    {
      route: {
        action: { case: "directResponse", value: { status: 418, body: { specifier: { case: "inlineString", value: "teapot" } } } },
        responseHeadersToAdd: [{ header: { key: "x-r", value: "1" } }],
      },
    },
    {},
    418,
    "teapot",
    "418 - direct_response",
  ],
  ["redirect", { route: { action: { case: "redirect", value: { hostRedirect: "h" } } } }, {}, 301, "", "301 - direct_response"],
  ["TLS is required", { host: { requireTls: 2 } }, {}, 301, "", "301 - direct_response"],
];
for (const [name, levels, options, status, body, line] of answers) {
  test(`answered here: ${name}`, () => {
    const rig = rigOf(levels, options);
    const stream = rig.request();
    assert.deepEqual(
      [stream.status, stream.body, stream.isEnded, stream.header("content-length")],
      [status, body, true, String(body.length)],
    );
    assert.deepEqual(rig.lines, [line]);
  });
}

test("gRPC without route is status 12 without message", () => {
  const stream = rigOf({ host: { domains: ["other"] } }).request({ headers: { "content-type": "application/grpc" } });
  assert.deepEqual([stream.status, stream.header("grpc-status"), stream.header("grpc-message")], [200, "12", undefined]);
});

// Rewrites, headers and weights.

test("rewrites of path and host tell what was before", () => {
  const rig = rigOf({
    route: { match: { pathSpecifier: { case: "prefix", value: "/ratings" } } },
    action: {
      prefixRewrite: "/v1/bookRatings",
      hostRewriteSpecifier: { case: "hostRewriteLiteral", value: "b.example" },
      appendXForwardedHost: true,
    },
  });
  rig.request({ path: "/ratings/7?x=1" });
  const { path, authority, headers } = rig.cluster().last;
  assert.deepEqual([path, authority], ["/v1/bookRatings/7?x=1", "b.example"]);
  assert.deepEqual(
    [headers["x-envoy-original-path"], headers["x-envoy-original-host"], headers["x-forwarded-host"]],
    ["/ratings/7?x=1", "svc", "svc"],
  );
});

const rewrites: readonly (readonly [string, object, object, string, string])[] = [
  ["prefix to root keeps the slash", { case: "prefix", value: "/strip" }, { prefixRewrite: "/" }, "/strip/a/b", "//a/b"],
  ["prefix to root, exactly", { case: "prefix", value: "/strip" }, { prefixRewrite: "/" }, "/strip", "/"],
  ["the whole path", { case: "path", value: "/exact" }, { prefixRewrite: "/new" }, "/exact?q", "/new?q"],
  [
    "regex",
    { case: "prefix", value: "/" },
    { regexRewrite: { pattern: { regex: "^/service/([^/]+)(/.*)$" }, substitution: "\\2/instance/\\1" } },
    "/service/foo/v1/api?x",
    "/v1/api/instance/foo?x",
  ],
  ["case ignored", { case: "prefix", value: "/API" }, { prefixRewrite: "/x" }, "/API/y", "/x/y"],
];
for (const [name, pathSpecifier, action, path, want] of rewrites) {
  test(`rewrite: ${name}`, () => {
    const rig = rigOf({ route: { match: { pathSpecifier } }, action });
    rig.request({ path });
    assert.equal(rig.cluster().last.path, want);
  });
}

test("auto host rewrite takes the endpoint's name", () => {
  for (const [value, want] of [
    [true, "host-1.example"],
    [false, "svc"],
  ] as const) {
    const rig = rigOf({ action: { hostRewriteSpecifier: { case: "autoHostRewrite", value: { value } } } });
    rig.request();
    assert.equal(rig.cluster().last.authority, want);
  }
});

const add = (key: string, value: string, appendAction = 0) => ({ header: { key, value }, appendAction });

test("header operations: remove before add, the widest level last, unless the narrowest is to win", () => {
  const levels = (specific: boolean): Levels => ({
    action: {
      clusterSpecifier: {
        case: "weightedClusters",
        value: {
          clusters: [
            { name: "a", weight: 1, requestHeadersToAdd: [add("x-who", "weight", 2)], responseHeadersToAdd: [add("x-order", "weight")] },
          ],
        },
      },
    },
    route: {
      requestHeadersToAdd: [add("x-who", "route", 2), add("x-add", "route"), add("x-if-absent", "no", 1), add("x-if-there", "no", 3)],
      requestHeadersToRemove: ["x-gone"],
      responseHeadersToAdd: [add("x-order", "route")],
      responseHeadersToRemove: ["x-rgone"],
    },
    host: { requestHeadersToAdd: [add("x-who", "host", 2)], responseHeadersToAdd: [add("x-order", "host")] },
    table: {
      requestHeadersToAdd: [add("x-who", "table", 2)],
      responseHeadersToAdd: [add("x-order", "table")],
      mostSpecificHeaderMutationsWins: specific,
    },
  });
  for (const [specific, who, order] of [
    [false, "table", "weight,route,host,table"],
    [true, "weight", "table,host,route,weight"],
  ] as const) {
    const rig = rigOf(levels(specific));
    const stream = rig.request({ headers: { "x-add": "client", "x-gone": "1", "x-if-absent": "yes" } });
    const { headers } = rig.cluster().last;
    assert.deepEqual(
      [headers["x-who"], headers["x-add"], headers["x-gone"], headers["x-if-absent"], headers["x-if-there"]],
      [who, "client,route", undefined, "yes", undefined],
    );
    rig
      .cluster()
      .last.connect()
      .answer(200, { headers: { "x-rgone": "1" } });
    assert.equal(stream.header("x-order"), order);
    assert.equal(stream.header("x-rgone"), undefined);
  }
});

test("header operations: values speak of the stream, empty ones add nothing", () => {
  const rig = rigOf(
    {
      route: {
        requestHeadersToAdd: [
          add("x-ip", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
          add("x-proto", "%PROTOCOL%"),
          add("x-percent", "100%%"),
          add("x-empty", "%REQ(x-none)%"),
          { ...add("x-kept", "%REQ(x-none)%"), keepEmptyValue: true },
          add("x-san", "%DOWNSTREAM_PEER_URI_SAN%"),
        ],
      },
    },
    { tls: meshTls() },
  );
  rig.request();
  const { headers } = rig.cluster().last;
  assert.deepEqual(
    ["x-ip", "x-proto", "x-percent", "x-empty", "x-kept", "x-san"].map((name) => headers[name]),
    ["10.0.0.9", "HTTP/1.1", "100%", undefined, "", "spiffe://cluster.local/ns/default/sa/client"],
  );
});

test("weights share the requests", () => {
  const draws = [0.05, 0.89, 0.9, 0.99];
  let at = 0;
  const random = { next: () => draws[at++ % draws.length] ?? 0, uuid: () => "u" };
  const rig = rigOf(
    {
      action: {
        clusterSpecifier: {
          case: "weightedClusters",
          value: {
            clusters: [
              { name: "a", weight: 90 },
              { name: "b", weight: 10 },
            ],
          },
        },
      },
    },
    { random },
  );
  for (let i = 0; i < 4; i++) rig.request();
  assert.deepEqual([rig.cluster("a").attempts.length, rig.cluster("b").attempts.length], [2, 2]);
});

test("a header can name the cluster", () => {
  const rig = rigOf({ action: { clusterSpecifier: { case: "clusterHeader", value: "X-Cluster" } } });
  rig.request({ headers: { "x-cluster": "b" } });
  assert.equal(rig.cluster("b").attempts.length, 1);
  assert.equal(rig.request({ headers: { "x-cluster": "toString" } }).status, 503);
});

test("hashes: the same header, the same hash; a cookie is made where there is none", () => {
  const rig = rigOf({ action: { hashPolicy: [{ policySpecifier: { case: "header", value: { headerName: "X-User" } } }] } });
  for (const user of ["a", "a", "b"]) rig.request({ headers: { "x-user": user } });
  rig.request();
  const hashes = rig.cluster().contexts.map(({ hash }) => hash);
  assert.equal(hashes[0], hashes[1]);
  assert.notEqual(hashes[0], hashes[2]);
  assert.equal(hashes[3], undefined);
  const cookies = rigOf({
    action: { hashPolicy: [{ policySpecifier: { case: "cookie", value: { name: "user", ttl: seconds(60), path: "/p" } } }] },
  });
  const first = cookies.request();
  cookies.cluster().last.connect().answer(200);
  const made = first.header("set-cookie") ?? "";
  assert.match(made, /^user="[0-9a-f-]{36}"; Max-Age=60; Path=\/p; HttpOnly$/);
  cookies.request({ headers: { cookie: `x=1; ${made.split(";")[0]}` } });
  const [a, b] = cookies.cluster().contexts;
  assert.ok(a?.hash !== undefined && a.hash === b?.hash, "the client that brings the cookie comes to the same endpoint");
});

// Timeouts.

test("the route's timeout is 15 s, and is told to the server", async () => {
  const rig = rigOf({});
  const stream = rig.request();
  assert.equal(rig.cluster().last.headers["x-envoy-expected-rq-timeout-ms"], "15000");
  await rig.clock.advance(14_999);
  assert.equal(stream.status, undefined);
  await rig.clock.advance(1);
  assert.deepEqual([stream.status, stream.body], [504, "upstream request timeout"]);
  assert.equal(rig.cluster().last.wasReset, "cancel");
  assert.deepEqual(rig.lines, ["504 UT response_timeout"]);
  assert.equal(rig.stat("cluster.a.upstream_rq_timeout"), 1);
});

test("the timeout begins with the request's end", async () => {
  const rig = rigOf({ action: { timeout: seconds(1) } });
  const stream = rig.request({ method: "POST", body: "a", open: true });
  await rig.clock.advance(5000);
  assert.equal(stream.status, undefined);
  stream.data("b", true);
  await rig.clock.advance(1000);
  assert.equal(stream.status, 504);
});

test("timeout 0 is none, and is not told", async () => {
  const rig = rigOf({ action: { timeout: seconds(0) } });
  const stream = rig.request();
  assert.equal(rig.cluster().last.headers["x-envoy-expected-rq-timeout-ms"], undefined);
  await rig.clock.advance(200_000);
  assert.equal(stream.status, undefined);
});

test("a timeout in the middle of an answer cuts it off", async () => {
  const rig = rigOf({ action: { timeout: seconds(1) } });
  const stream = rig.request();
  rig.cluster().last.connect().answer(200, { body: "half", more: true });
  await rig.clock.advance(1000);
  assert.deepEqual([stream.isEnded, stream.wasReset], [false, "internal-error"]);
  assert.deepEqual(rig.lines, ["200 UT response_timeout"]);
});

test("a stream on which nothing happens ends", async () => {
  const rig = rigOf({ action: { timeout: seconds(0) } });
  const stream = rig.request({ method: "POST", body: "a", open: true });
  await rig.clock.advance(299_000);
  stream.data("b");
  await rig.clock.advance(299_000);
  assert.equal(stream.status, undefined, "each byte begins the time anew");
  await rig.clock.advance(1000);
  assert.deepEqual([stream.status, stream.body], [408, "stream timeout"]);
  assert.deepEqual(rig.lines, ["408 SI stream_idle_timeout"]);
});

test("grpc-timeout ends the stream where the route says so", async () => {
  const rig = rigOf({
    action: { timeout: seconds(0), maxStreamDuration: { maxStreamDuration: seconds(0), grpcTimeoutHeaderMax: seconds(0) } },
  });
  const stream = rig.request({ headers: { "content-type": "application/grpc", "grpc-timeout": "200m" } });
  await rig.clock.advance(199);
  assert.equal(stream.status, undefined);
  await rig.clock.advance(1);
  assert.equal(stream.header("grpc-status"), "14");
});

// Retries.

const RETRY = { timeout: seconds(0), retryPolicy: { retryOn: "connect-failure,refused-stream,unavailable,cancelled,503", numRetries: 2 } };
const retrying = (retryOn: string, more: object = {}): Levels => ({
  action: { ...RETRY, retryPolicy: { retryOn, numRetries: 2, ...more } },
  host: { includeRequestAttemptCount: true },
});

test("a retry comes after a short wait, to another host, and says which attempt it is", async () => {
  const rig = rigOf(retrying("5xx", { retryHostPredicate: [{ name: "envoy.retry_host_predicates.previous_hosts" }] }), {
    clusters: [new RigCluster("a", 3)],
  });
  const stream = rig.request({ method: "POST", body: "body" });
  const cluster = rig.cluster();
  cluster.last.connect().answer(503, { body: "no" });
  assert.equal(cluster.attempts.length, 1);
  await rig.clock.advance(25);
  cluster.last.fail({ kind: "reset", flag: "UC" });
  await rig.clock.advance(50);
  cluster.last.connect().answer(200, { body: "yes" });
  assert.deepEqual([stream.status, stream.body], [200, "yes"]);
  assert.deepEqual(
    cluster.attempts.map(({ host, headers, body, isEnded }) => [host.address.host, headers["x-envoy-attempt-count"], body, isEnded]),
    [
      ["10.0.1.1", "1", "body", true],
      ["10.0.1.2", "2", "body", true],
      ["10.0.1.3", "3", "body", true],
    ],
  );
  assert.equal(cluster.retriesUnderWay, 0);
  assert.deepEqual([rig.stat("cluster.a.upstream_rq_retry"), rig.stat("cluster.a.upstream_rq_retry_success")], [2, 1]);
  assert.deepEqual(rig.lines, ["200 - via_upstream"]);
});

test("retries end; the last answer is the client's", async () => {
  const rig = rigOf(retrying("5xx"));
  const stream = rig.request();
  for (let i = 0; i < 3; i++) {
    rig
      .cluster()
      .last.connect()
      .answer(503, { body: `no ${i}` });
    await rig.clock.advance(300);
  }
  assert.deepEqual([rig.cluster().attempts.length, stream.status, stream.body], [3, 503, "no 2"]);
  assert.deepEqual(rig.lines, ["503 URX via_upstream"]);
  assert.equal(rig.cluster().retriesUnderWay, 0);
});

test("a failed connection after retries is told as such", async () => {
  const rig = rigOf(retrying("connect-failure"));
  const stream = rig.request();
  for (let i = 0; i < 3; i++) {
    rig.cluster().last.fail({ kind: "connect-failure", flag: "UF" });
    await rig.clock.advance(300);
  }
  assert.equal(
    stream.body,
    "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure",
  );
  assert.equal(stream.header("content-length"), "121");
  assert.deepEqual(rig.lines, ["503 URX,UF upstream_reset_before_response_started{remote_connection_failure|connect-failure}"]);
});

test("the retry budget is asked, and given back", async () => {
  const cluster = new RigCluster("a");
  cluster.retriesMax = 0;
  const rig = rigOf(retrying("5xx"), { clusters: [cluster] });
  const stream = rig.request();
  cluster.last.connect().answer(503);
  await rig.clock.advance(300);
  assert.deepEqual([stream.status, cluster.attempts.length, cluster.retriesUnderWay], [503, 1, 0]);
  assert.deepEqual(rig.lines, ["503 UO via_upstream"]);
});

test("a client that leaves during the wait is not retried for, and the budget is given back", async () => {
  const rig = rigOf(retrying("5xx"));
  const stream = rig.request();
  rig.cluster().last.connect().answer(503);
  rig.drop(stream);
  await rig.clock.advance(300);
  assert.deepEqual([rig.cluster().attempts.length, rig.cluster().retriesUnderWay], [1, 0]);
});

test("a body that is too long to be kept is sent once", async () => {
  const rig = rigOf({ ...retrying("5xx"), route: { perRequestBufferLimitBytes: 4 } });
  const stream = rig.request({ method: "POST", body: "12345" });
  rig.cluster().last.connect().answer(503);
  await rig.clock.advance(300);
  assert.deepEqual([stream.status, rig.cluster().attempts.length], [503, 1]);
});

test("bytes that arrive between two attempts go with the next one", async () => {
  const rig = rigOf(retrying("5xx"));
  const stream = rig.request({ method: "POST", body: "a", open: true });
  rig.cluster().last.connect().answer(503, { body: "no" });
  assert.equal(stream.isPaused, true);
  stream.data("b", true);
  await rig.clock.advance(25);
  assert.deepEqual([rig.cluster().last.body, rig.cluster().last.isEnded], ["ab", true]);
});

test("a stale connection: safe methods are sent again, others never, nor after a reset by the server", async () => {
  const stale = { kind: "reset", flag: "UC", isStaleConnection: true, detail: "closed by the peer" } as const;
  for (const [method, failure, attempts] of [
    ["GET", stale, 2],
    ["POST", stale, 1],
    ["GET", { ...stale, detail: "ECONNRESET" }, 1],
    ["GET", { ...stale, isStaleConnection: false }, 1],
  ] as const) {
    const rig = rigOf(retrying("connect-failure,reset-before-request"));
    rig.request({ method });
    rig.cluster().last.connect().fail(failure);
    await rig.clock.advance(25);
    assert.equal(rig.cluster().attempts.length, attempts, `${method} ${failure.detail}`);
  }
});

test("per-try timeout: each attempt has its time, the last one's end is the client's", async () => {
  const rig = rigOf(retrying("5xx", { perTryTimeout: seconds(0.1) }));
  const stream = rig.request();
  assert.equal(rig.cluster().last.headers["x-envoy-expected-rq-timeout-ms"], "100");
  await rig.clock.advance(1000);
  assert.deepEqual([rig.cluster().attempts.length, stream.status, stream.body], [3, 504, "upstream request timeout"]);
  assert.ok(rig.cluster().attempts.every(({ wasReset }) => wasReset === "cancel"));
  assert.equal(rig.stat("cluster.a.upstream_rq_per_try_timeout"), 3);
  assert.deepEqual(rig.lines, ["504 URX,UT upstream_per_try_timeout"]);
});

test("the whole timeout holds for all attempts together", async () => {
  const rig = rigOf({ action: { timeout: seconds(0.25), retryPolicy: { retryOn: "5xx", numRetries: 10, perTryTimeout: seconds(0.1) } } });
  const stream = rig.request();
  await rig.clock.advance(250);
  assert.deepEqual([stream.status, rig.lines], [504, ["504 UT response_timeout"]]);
  const { length } = rig.cluster().attempts;
  await rig.clock.advance(5000);
  assert.equal(rig.cluster().attempts.length, length, "nothing is sent for a request that is over");
});

test("trailers-only gRPC answers are retried by their status", async () => {
  const rig = rigOf(retrying("unavailable"));
  const stream = rig.request({ headers: { "content-type": "application/grpc" }, body: "m" });
  rig
    .cluster()
    .last.connect()
    .answer(200, { headers: { "grpc-status": "14" } });
  await rig.clock.advance(25);
  rig
    .cluster()
    .last.connect()
    .answer(200, { headers: { "grpc-status": "0" } });
  assert.equal(stream.header("grpc-status"), "0");
});

test("insiders may ask for retries and timeouts by header", async () => {
  const rig = rigOf({
    config: { useRemoteAddress: true, internalAddressConfig: { cidrRanges: [{ addressPrefix: "10.0.0.0", prefixLen: 8 }] } },
  });
  const stream = rig.request({
    headers: { "x-envoy-retry-on": "5xx", "x-envoy-max-retries": "1", "x-envoy-upstream-rq-timeout-ms": "500" },
  });
  const { headers } = rig.cluster().last;
  assert.deepEqual(
    [
      headers["x-envoy-retry-on"],
      headers["x-envoy-max-retries"],
      headers["x-envoy-upstream-rq-timeout-ms"],
      headers["x-envoy-expected-rq-timeout-ms"],
    ],
    [undefined, undefined, undefined, "500"],
  );
  rig.cluster().last.connect().answer(500);
  await rig.clock.advance(25);
  assert.equal(rig.cluster().attempts.length, 2);
  await rig.clock.advance(475);
  assert.equal(stream.status, 504);
});

// Upgrades.

test("a WebSocket becomes a tunnel: no timeout, bytes both ways, both ends", async () => {
  const rig = rigOf({
    config: { upgradeConfigs: [{ upgradeType: "websocket" }], accessLog: [accessLog("%RESPONSE_CODE% %BYTES_RECEIVED% %BYTES_SENT%")] },
    action: { timeout: seconds(1) },
  });
  const stream = rig.request({ upgrade: "websocket", body: "", open: true });
  const attempt = rig.cluster().last;
  assert.equal(attempt.request.head.upgrade, "websocket");
  attempt.connect().answer(101, { more: true });
  assert.equal(stream.status, 101);
  await rig.clock.advance(10_000);
  stream.data("ping");
  attempt.data("pong!");
  assert.deepEqual([attempt.body, stream.body], ["ping", "pong!"]);
  attempt.data("", true);
  assert.equal(stream.isEnded, true);
  assert.deepEqual(rig.lines, ["101 4 5"]);
});

test("a server that does not upgrade is heard as any other", () => {
  const rig = rigOf({ config: { upgradeConfigs: [{ upgradeType: "websocket" }] } });
  const stream = rig.request({ upgrade: "websocket", body: "", open: true });
  rig.cluster().last.connect().answer(403, { body: "no" });
  assert.deepEqual([stream.status, stream.body, stream.isEnded], [403, "no", true]);
});

test("100 passes from the server where the listener says so", () => {
  const rig = rigOf({ config: { proxy100Continue: true } });
  const stream = rig.request({ method: "POST", headers: { expect: "100-continue" }, body: "", open: true });
  rig.cluster().last.connect().handler.onInformational({ status: 100, headers: new HeaderList(), version: "HTTP/1.1" });
  assert.deepEqual(stream.informational, [100]);
});

test("answers: server, via and request id as the listener says", () => {
  const ask = (config: object, headers: Readonly<Record<string, string>> = {}) => {
    const rig = rigOf({ config });
    const stream = rig.request({ headers: { "x-request-id": "id" } });
    rig.cluster().last.connect().answer(200, { headers });
    return stream;
  };
  assert.equal(ask({ serverName: "istio-envoy" }, { server: "app" }).header("server"), "istio-envoy");
  assert.equal(ask({ serverHeaderTransformation: 1 }, { server: "app" }).header("server"), "app");
  assert.equal(ask({ serverHeaderTransformation: 1 }).header("server"), "envoy");
  assert.equal(ask({ serverHeaderTransformation: 2 }).header("server"), undefined);
  assert.equal(ask({ via: "lateen" }).header("via"), "lateen");
  assert.equal(ask({ alwaysSetRequestIdInResponse: true }).header("x-request-id"), "id");
  assert.equal(ask({}, { date: "then" }).header("date"), "then");
});

test("peer metadata goes to mutual TLS servers of the mesh alone, and only where the node asks for it", () => {
  const meshCluster = new RigCluster("a");
  meshCluster.hosts = meshCluster.hosts.map((host) => ({ ...host, usesMutualTls: true }));
  const on = rigOf({}, { clusters: [meshCluster], metadata: { LATEEN_PEER_METADATA: "true" } });
  on.request();
  assert.equal(on.cluster().last.headers["x-envoy-peer-metadata-id"], "sidecar~10.0.0.1~client.default~default.svc.cluster.local");
  const plain = rigOf({}, { metadata: { LATEEN_PEER_METADATA: "true" } });
  plain.request();
  assert.equal(plain.cluster().last.headers["x-envoy-peer-metadata"], undefined);
  const off = rigOf({}, { clusters: [meshCluster] });
  off.request();
  assert.equal(off.cluster().last.headers["x-envoy-peer-metadata"], undefined);
});

test("our own answers have the route's headers once there is a route, and its cluster in the log", () => {
  const log = { config: { accessLog: [accessLog("%UPSTREAM_CLUSTER_RAW% %UPSTREAM_REQUEST_ATTEMPT_COUNT%")] } };
  const levels: Levels = { ...log, route: { responseHeadersToAdd: [add("x-r", "1")] } };
  const rig = rigOf(levels, { clusters: [new RigCluster("a", 0)] });
  assert.equal(rig.request().header("x-r"), "1");
  assert.deepEqual(rig.lines, ["a 1"]);
  const tls = rigOf({ ...levels, host: { requireTls: 2 } });
  assert.equal(tls.request().header("x-r"), undefined, "a redirect to TLS is not the route's answer");
});

test("a retry tells the server what is left of the time", async () => {
  const rig = rigOf({ action: { timeout: seconds(10), retryPolicy: { retryOn: "5xx" } } });
  rig.request();
  await rig.clock.advance(4000);
  rig.cluster().last.connect().answer(503);
  await rig.clock.advance(24);
  const told = Number(rig.cluster().last.headers["x-envoy-expected-rq-timeout-ms"]);
  assert.ok(told <= 6000 && told >= 5975, String(told));
});
