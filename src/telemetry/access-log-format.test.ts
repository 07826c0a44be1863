/** Format strings: every operator, both kinds of line, and refusal of what is not known. Source: Envoy, Access logging. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  compileJsonFormat,
  compileTextFormat,
  ENVOY_TEXT_FORMAT,
  FormatError,
  ISTIO_TEXT_FORMAT,
  isConstantFormat,
} from "./access-log-format.ts";
import type { FieldReader, FormatSource } from "./format-source.ts";
import { compileTime, isoTime } from "./format-time.ts";
import { StreamRecord } from "./record.ts";

const fields = (pairs: Readonly<Record<string, string>>): FieldReader => ({ get: (name) => pairs[name] });

function source(change: (record: StreamRecord) => void = () => {}): FormatSource {
  const record = new StreamRecord("http", 1000, Date.parse("2026-03-04T05:06:07.089Z"));
  Object.assign(record, {
    protocol: "HTTP/1.1",
    status: 200,
    details: "via_upstream",
    bytesReceived: 3,
    bytesSent: 1024,
    endMs: 1012.7,
    firstUpstreamByteMs: 1010,
    lastDownstreamByteMs: 1012,
    upstreamHost: { host: "10.0.1.1", port: 80 },
    upstreamCluster: "outbound|80||svc",
    upstreamLocal: { host: "10.0.0.1", port: 40000 },
    attempts: 2,
    downstreamLocal: { host: "10.96.0.7", port: 80 },
    downstreamRemote: { host: "10.0.0.9", port: 5000 },
    routeName: "default",
    listenerName: "l",
  });
  change(record);
  return {
    record,
    request: {
      method: "GET",
      path: "/rewritten",
      authority: "svc",
      scheme: "http",
      headers: fields({ "user-agent": "curl", "x-envoy-original-path": "/p?q=1", "x-request-id": "id-1" }),
    },
    responseHeaders: fields({ "x-envoy-upstream-service-time": "9", "content-type": "text/plain" }),
    responseTrailers: fields({ "grpc-status": "0" }),
    directRemote: { host: "::1", port: 7 },
    filterState: new Map([["k", "v"]]),
  };
}

test("the format of Istio", () => {
  assert.equal(
    compileTextFormat(ISTIO_TEXT_FORMAT)(source()),
    '[2026-03-04T05:06:07.089Z] "GET /p?q=1 HTTP/1.1" 200 - via_upstream - "-" 3 1024 12 9 "-" "curl" "id-1" "svc" "10.0.1.1:80" outbound|80||svc 10.0.0.1:40000 10.96.0.7:80 10.0.0.9:5000 - default\n',
  );
});

test("the format of Envoy", () => {
  assert.equal(
    compileTextFormat(ENVOY_TEXT_FORMAT)(source()),
    '[2026-03-04T05:06:07.089Z] "GET /p?q=1 HTTP/1.1" 200 - 3 1024 12 9 "-" "curl" "id-1" "svc" "10.0.1.1:80"\n',
  );
});

test("a request that never came to an upstream has dashes", () => {
  const empty: FormatSource = {
    record: new StreamRecord("http", 0, 0),
    request: undefined,
    responseHeaders: undefined,
    responseTrailers: undefined,
    directRemote: undefined,
    filterState: undefined,
  };
  assert.equal(
    compileTextFormat(ISTIO_TEXT_FORMAT)(empty),
    '[1970-01-01T00:00:00.000Z] "- - -" 0 - - - "-" 0 0 - - "-" "-" "-" "-" "-" - - - - - -\n',
  );
});

/** [format, text]. */
const rows: readonly (readonly [string, string])[] = [
  ["plain", "plain"],
  ["", ""],
  ["100%%", "100%"],
  ["%REQ(:METHOD)%", "GET"],
  ["%REQ(Host)%", "svc"],
  ["%REQ(:scheme)%", "http"],
  ["%REQ(X-NONE)%", "-"],
  ["%REQ(X-NONE?USER-AGENT)%", "curl"],
  ["%REQ(USER-AGENT):2%", "cu"],
  ["%RESP(CONTENT-TYPE)%", "text/plain"],
  ["%RESP(:status)%", "200"],
  ["%TRAILER(grpc-status)%", "0"],
  ["%DURATION%", "12"],
  ["%RESPONSE_DURATION%", "10"],
  ["%RESPONSE_TX_DURATION%", "2"],
  ["%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2"],
  ["%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.0.0.9"],
  ["%DOWNSTREAM_REMOTE_PORT%", "5000"],
  ["%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "[::1]:7"],
  ["%DOWNSTREAM_LOCAL_PORT%", "80"],
  ["%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "10.0.0.1"],
  ["%FILTER_STATE(k)%", "v"],
  ["%FILTER_STATE(k:PLAIN)%", "v"],
  ["%FILTER_STATE(none)%", "-"],
  ["%START_TIME(%Y/%m/%dT%H:%M:%S.%3f)%", "2026/03/04T05:06:07.089"],
  ["%START_TIME(%s)%", "1772600767"],
  ["%START_TIME(%b %e %y %a %6f)%", "Mar  4 26 Wed 089000"],
  ["%LISTENER_NAME%", "l"],
  ["%DOWNSTREAM_PEER_URI_SAN%", "-"],
];
for (const [format, want] of rows) test(`text: ${format}`, () => assert.equal(compileTextFormat(format)(source()), want));

test("flags are joined, spaces in reasons become underscores", () => {
  const flagged = source((record) => {
    record.flags.add("UF").add("URX");
    record.details = "upstream_reset_before_response_started{remote connection failure}";
    record.upstreamFailure = "delayed connect error: Connection refused";
    record.grpcStatus = 14;
  });
  assert.equal(
    compileTextFormat("%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON% %GRPC_STATUS% %GRPC_STATUS_NUMBER%")(
      flagged,
    ),
    "UF,URX upstream_reset_before_response_started{remote_connection_failure} delayed_connect_error:_Connection_refused Unavailable 14",
  );
});

for (const [format, message] of [
  ["%NOPE%", /%NOPE%: is not known/],
  ["%REQ%", /needs an argument/],
  ["%REQ()%", /needs one name/],
  ["%REQ(a?b?c)%", /needs one name/],
  ["%PROTOCOL(x)%", /takes no argument/],
  ["100% sure", /no operator begins at "% sure"/],
  ["%START_TIME", /no operator begins/],
  ["%FILTER_STATE(k:TYPED)%", /TYPED/],
] as const) {
  test(`refused: ${format}`, () =>
    assert.throws(
      () => compileTextFormat(format),
      (error) => error instanceof FormatError && message.test(error.message),
    ));
}

test("JSON keeps types, nests, and has null for what is absent", () => {
  const format = {
    time: "%START_TIME%",
    code: "%RESPONSE_CODE%",
    line: "%REQ(:METHOD)% %REQ(X-NONE)%",
    none: "%REQ(X-NONE)%",
    fixed: 7,
    deep: { bytes: "%BYTES_SENT%", list: ["%PROTOCOL%", "a"] },
  };
  assert.equal(
    compileJsonFormat(format)(source()),
    '{"time":"2026-03-04T05:06:07.089Z","code":200,"line":"GET -","none":null,"fixed":7,"deep":{"bytes":1024,"list":["HTTP/1.1","a"]}}\n',
  );
  assert.equal(
    compileJsonFormat({ b: "%REQ(X-NONE)%", a: "%RESPONSE_CODE%", c: { d: "%REQ(X-NONE)%" } }, { omitEmpty: true, sort: true })(source()),
    '{"a":200}\n',
  );
});

test("JSON escapes what a client can send", () => {
  const hostile = {
    ...source(),
    request: { method: "GET", path: "/", authority: 'a","admin":"1\u0001', scheme: "http", headers: fields({}) },
  };
  assert.deepEqual(JSON.parse(compileJsonFormat({ host: "%REQ(:AUTHORITY)%" })(hostile)), { host: 'a","admin":"1\u0001' });
});

test("times: each second's text is its own", () => {
  assert.deepEqual([0, 999.9, 1000, 59_007].map(isoTime), [
    "1970-01-01T00:00:00.000Z",
    "1970-01-01T00:00:00.999Z",
    "1970-01-01T00:00:01.000Z",
    "1970-01-01T00:00:59.007Z",
  ]);
  assert.equal(compileTime("%F %T %% %Q")(0), "1970-01-01 00:00:00 % %Q");
  assert.equal(isConstantFormat("100%%"), true);
  assert.equal(isConstantFormat("%PROTOCOL%"), false);
});
