/** What of a request's head is believed, made and refused. Source: Envoy, HTTP header manipulation; the lab's cases 133, 501, 707, 709. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { accessLog, HttpRig, meshTls, type RigOptions } from "../../../test/kit/http-rig.ts";
import type { HttpConnectionManagerSchema } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";

type Config = MessageInitShape<typeof HttpConnectionManagerSchema>;
type Ask = NonNullable<Parameters<HttpRig["request"]>[0]>;
const EDGE: Config = { useRemoteAddress: true };
const LOG = [accessLog("%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\n")];

/** [rule, config, request, headers that go upstream (undefined: absent), rig]. */
const rows: readonly (readonly [string, Config, Ask, Readonly<Record<string, string | undefined>>, RigOptions?])[] = [
  ["a request id is made", {}, {}, { "x-request-id": "a00087fb-f747-4cb8-adfe-747d23673f27" }],
  ["a request id is kept", {}, { headers: { "x-request-id": "mine" } }, { "x-request-id": "mine" }],
  ["an edge makes its own", EDGE, { headers: { "x-request-id": "mine" } }, { "x-request-id": "a00087fb-f747-4cb8-adfe-747d23673f27" }],
  [
    "an edge may keep it",
    { ...EDGE, preserveExternalRequestId: true },
    { headers: { "x-request-id": "mine" } },
    { "x-request-id": "mine" },
  ],
  ["no id where none is wanted", { generateRequestId: false }, {}, { "x-request-id": undefined }],
  ["x-forwarded-proto is set where it is absent", {}, {}, { "x-forwarded-proto": "http" }],
  ["x-forwarded-proto of TLS", {}, {}, { "x-forwarded-proto": "https" }, { tls: meshTls() }],
  ["x-forwarded-proto of the app is kept", {}, { headers: { "x-forwarded-proto": "https" } }, { "x-forwarded-proto": "https" }],
  ["an edge overwrites x-forwarded-proto", EDGE, { headers: { "x-forwarded-proto": "https" } }, { "x-forwarded-proto": "http" }],
  [
    "a trusted hop's x-forwarded-proto is kept",
    { ...EDGE, xffNumTrustedHops: 1 },
    { headers: { "x-forwarded-proto": "https" } },
    { "x-forwarded-proto": "https" },
  ],
  ["x-forwarded-for of the app is kept", {}, { headers: { "x-forwarded-for": "9.9.9.9" } }, { "x-forwarded-for": "9.9.9.9" }],
  [
    "an edge appends to x-forwarded-for",
    EDGE,
    { headers: { "x-forwarded-for": "9.9.9.9" } },
    { "x-forwarded-for": "9.9.9.9,10.0.0.9", "x-envoy-external-address": "10.0.0.9" },
  ],
  [
    "an edge begins x-forwarded-for",
    EDGE,
    {},
    { "x-forwarded-for": "10.0.0.9", "x-envoy-external-address": "10.0.0.9", "x-envoy-internal": undefined },
  ],
  [
    "an edge behind one trusted hop believes what that one says",
    { ...EDGE, xffNumTrustedHops: 1 },
    { headers: { "x-forwarded-for": "1.1.1.1,9.9.9.9" } },
    { "x-envoy-external-address": "9.9.9.9" },
  ],
  ["an edge may leave x-forwarded-for alone", { ...EDGE, skipXffAppend: true }, {}, { "x-forwarded-for": undefined }],
  ["an edge tells its port", { ...EDGE, appendXForwardedPort: true }, {}, { "x-forwarded-port": "80" }],
  [
    "internal addresses are internal",
    { ...EDGE, internalAddressConfig: { cidrRanges: [{ addressPrefix: "10.0.0.0", prefixLen: 8 }] } },
    {},
    { "x-envoy-internal": "true", "x-envoy-external-address": undefined },
  ],
  ["nobody calls himself internal", {}, { headers: { "x-envoy-internal": "true" } }, { "x-envoy-internal": undefined }],
  [
    "an edge strips words between proxies",
    EDGE,
    {
      headers: {
        "x-envoy-decorator-operation": "x",
        "x-envoy-original-path": "/x",
        "x-envoy-external-address": "6.6.6.6",
        "x-envoy-attempt-count": "9",
      },
    },
    {
      "x-envoy-decorator-operation": undefined,
      "x-envoy-original-path": undefined,
      "x-envoy-external-address": "10.0.0.9",
      "x-envoy-attempt-count": undefined,
    },
  ],
  [
    "a sidecar keeps them",
    {},
    { headers: { "x-envoy-decorator-operation": "x", "x-envoy-original-path": "/x" } },
    { "x-envoy-decorator-operation": "x", "x-envoy-original-path": "/x" },
  ],
  [
    "orders to the proxy are not for outsiders",
    {},
    {
      headers: {
        "x-envoy-max-retries": "9",
        "x-envoy-retry-on": "5xx",
        "x-envoy-upstream-rq-timeout-ms": "5",
        "x-envoy-expected-rq-timeout-ms": "5",
      },
    },
    {
      "x-envoy-max-retries": undefined,
      "x-envoy-retry-on": undefined,
      "x-envoy-upstream-rq-timeout-ms": undefined,
      "x-envoy-expected-rq-timeout-ms": "15000",
    },
  ],
  [
    "x-forwarded-client-cert is not believed by default",
    {},
    { headers: { "x-forwarded-client-cert": "By=x" } },
    { "x-forwarded-client-cert": undefined },
  ],
  [
    "peer metadata does not pass",
    {},
    { headers: { "x-envoy-peer-metadata": "AAAA", "x-envoy-peer-metadata-id": "x" } },
    { "x-envoy-peer-metadata": undefined, "x-envoy-peer-metadata-id": undefined },
  ],
  [
    "headers of the route configuration for insiders alone",
    {
      routeSpecifier: {
        case: "routeConfig",
        value: {
          internalOnlyHeaders: ["X-Secret"],
          virtualHosts: [
            {
              name: "v",
              domains: ["*"],
              routes: [
                {
                  match: { pathSpecifier: { case: "prefix", value: "/" } },
                  action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "a" } } },
                },
              ],
            },
          ],
        },
      },
    },
    { headers: { "x-secret": "1" } },
    { "x-secret": undefined },
  ],
  ["underscores pass", {}, { headers: { x_under: "1" } }, { x_under: "1" }],
  [
    "underscores can be dropped",
    { commonHttpProtocolOptions: { headersWithUnderscoresAction: 2 } },
    { headers: { x_under: "1", "x-kept": "1" } },
    { x_under: undefined, "x-kept": "1" },
  ],
  ["expect is answered here", {}, { headers: { expect: "100-continue" }, method: "POST", body: "x" }, { expect: undefined }],
  [
    "or by the server",
    { proxy100Continue: true },
    { headers: { expect: "100-continue" }, method: "POST", body: "x" },
    { expect: "100-continue" },
  ],
];
for (const [name, config, ask, want, options] of rows) {
  test(`admission: ${name}`, () => {
    const rig = new HttpRig({ config, ...options });
    rig.request(ask);
    for (const [header, value] of Object.entries(want)) assert.equal(rig.cluster().last.headers[header], value, header);
  });
}

/** [rule, config, request, status, details]. */
const refused: readonly (readonly [string, Config, Ask, number, string])[] = [
  ["HTTP/1.0", {}, { version: "HTTP/1.0" }, 426, "low_version"],
  ["no host", {}, { authority: "" }, 400, "missing_host_header"],
  ["no path", {}, { path: "" }, 404, "missing_path_rejected"],
  ["a gRPC path without slash", {}, { path: "pkg.Service/Method" }, 404, "absolute_path_rejected"],
  ["a star that is no OPTIONS", {}, { path: "*" }, 404, "absolute_path_rejected"],
  ["%00", { normalizePath: true }, { path: "/admin%00" }, 400, "path_normalization_failed"],
  ["escaped slashes, where they are refused", { pathWithEscapedSlashesAction: 2 }, { path: "/a%2fb" }, 400, "path_normalization_failed"],
  [
    "underscores, where they are refused",
    { commonHttpProtocolOptions: { headersWithUnderscoresAction: 1 } },
    { headers: { a_b: "1" } },
    400,
    "http1.unexpected_underscore",
  ],
  ["an upgrade that nobody configured", {}, { upgrade: "websocket" }, 403, "upgrade_failed"],
  [
    "an upgrade that is switched off",
    { upgradeConfigs: [{ upgradeType: "websocket", enabled: false }] },
    { upgrade: "websocket" },
    403,
    "upgrade_failed",
  ],
  ["another upgrade", { upgradeConfigs: [{ upgradeType: "websocket" }] }, { upgrade: "h2c" }, 403, "upgrade_failed"],
  ["CONNECT", {}, { method: "CONNECT", path: "" }, 404, "route_not_found"],
  ["bytes beyond ASCII", {}, { path: "/caf\u00c3\u00a9" }, 400, "http1.codec_error"],
];
for (const [name, config, ask, status, details] of refused) {
  test(`refused: ${name}`, () => {
    const rig = new HttpRig({ config: { ...config, accessLog: LOG } });
    const stream = rig.request(ask);
    assert.equal(stream.status, status);
    assert.equal(stream.isEnded, true);
    assert.equal(rig.cluster().attempts.length, 0);
    assert.deepEqual(rig.lines, [`${status} ${details}\n`]);
  });
}

test("HTTP/1.0 is served where that is configured, with the default host", () => {
  const rig = new HttpRig({ config: { httpProtocolOptions: { acceptHttp10: true, defaultHostForHttp10: "default.example" } } });
  rig.request({ version: "HTTP/1.0", authority: "" });
  assert.equal(rig.cluster().last.authority, "default.example");
});

test("426 ends the connection", () => {
  const rig = new HttpRig();
  const stream = rig.request({ version: "HTTP/1.0" });
  assert.equal(rig.isDrained, true);
  assert.equal(stream.body, "Upgrade Required");
  assert.equal(stream.header("content-length"), "16");
});

const paths: readonly (readonly [string, Config, string, string])[] = [
  ["normalised", { normalizePath: true }, "/a/../%61dmin?x", "/admin?x"],
  ["slashes merged", { mergeSlashes: true }, "//a", "/a"],
  ["as sent", {}, "//a/./b", "//a/./b"],
  ["without fragment", {}, "/a#b", "/a"],
];
for (const [name, config, path, want] of paths) {
  test(`path: ${name}`, () => {
    const rig = new HttpRig({ config });
    rig.request({ path });
    assert.equal(rig.cluster().last.path, want);
  });
}

test("path: escaped slashes can send the client elsewhere", () => {
  const stream = new HttpRig({ config: { pathWithEscapedSlashesAction: 3 } }).request({ path: "/a%2fb?c" });
  assert.equal(stream.status, 307);
  assert.equal(stream.header("location"), "/a/b?c");
});

const authorities: readonly (readonly [string, Config, string, string])[] = [
  ["as sent", {}, "svc:80", "svc:80"],
  ["the listener's port goes", { stripMatchingHostPort: true }, "svc:80", "svc"],
  ["another port stays", { stripMatchingHostPort: true }, "svc:8080", "svc:8080"],
  ["any port goes", { stripPortMode: { case: "stripAnyHostPort", value: true } }, "svc:8080", "svc"],
  ["a trailing dot goes", { stripTrailingHostDot: true }, "svc.:80", "svc:80"],
];
for (const [name, config, authority, want] of authorities) {
  test(`authority: ${name}`, () => {
    const rig = new HttpRig({ config });
    rig.request({ authority });
    assert.equal(rig.cluster().last.authority, want);
  });
}
