/** Which configs of a connection manager are refused, by name; and what the rest of them mean. Source: envoy.extensions.filters.network.http_connection_manager.v3. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Any, anyPack } from "@bufbuild/protobuf/wkt";
import { accessLog } from "../../../test/kit/http-rig.ts";
import { RBACSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { RouterSchema } from "../../gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import {
  HttpConnectionManagerSchema,
  HttpFilterSchema,
} from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { GenericConnectionPoolProtoSchema } from "../../gen/envoy/extensions/upstreams/tcp/generic/v3/generic_connection_pool_pb.ts";
import { ineffectiveManagerFields, readManagerConfig, validateHttpConnectionManager } from "./manager-config.ts";

const any = (value: Any) => ({ case: "typedConfig" as const, value });
const router = create(HttpFilterSchema, {
  name: "envoy.filters.http.router",
  configType: any(anyPack(RouterSchema, create(RouterSchema))),
});
const unknown = anyPack(GenericConnectionPoolProtoSchema, create(GenericConnectionPoolProtoSchema));
const make = (change: object) =>
  create(HttpConnectionManagerSchema, {
    statPrefix: "t",
    httpFilters: [router],
    routeSpecifier: { case: "routeConfig", value: {} },
    ...change,
  } as MessageInitShape<typeof HttpConnectionManagerSchema>);

/** [what, config, the one violation]. */
const refused: readonly (readonly [string, object, RegExp])[] = [
  [
    "an unknown filter",
    { httpFilters: [{ name: "x", configType: any(unknown) }, router] },
    /http filter "x" \(type\.googleapis\.com\/envoy\.extensions\.upstreams\.tcp\.generic\.v3\.GenericConnectionPoolProto\) is not supported/,
  ],
  ["a filter without config", { httpFilters: [{ name: "x" }, router] }, /http filter "x" \(without typed_config\) is not supported/],
  [
    "a filter by discovery",
    { httpFilters: [{ name: "x", configType: { case: "configDiscovery", value: {} } }, router] },
    /config_discovery is not supported/,
  ],
  ["no filter", { httpFilters: [] }, /http_filters is empty/],
  ["no router", { httpFilters: [{ name: "rbac", configType: any(anyPack(RBACSchema, create(RBACSchema))) }] }, /cannot be the last filter/],
  ["a router in the middle", { httpFilters: [router, router] }, /must be the last filter/],
  [
    "RBAC that cannot be carried out",
    {
      httpFilters: [
        {
          name: "rbac",
          configType: any(
            anyPack(
              RBACSchema,
              create(RBACSchema, {
                rules: {
                  policies: {
                    p: {
                      permissions: [{ rule: { case: "metadata", value: { filter: "f" } } }],
                      principals: [{ identifier: { case: "any", value: true } }],
                    },
                  },
                },
              }),
            ),
          ),
        },
        router,
      ],
    },
    /http filter "rbac": ALLOW policy "p": metadata of "f"/,
  ],
  [
    "filters of the upstream side",
    {
      httpFilters: [{ name: "r", configType: any(anyPack(RouterSchema, create(RouterSchema, { upstreamHttpFilters: [{ name: "x" }] }))) }],
    },
    /upstream_http_filters not supported/,
  ],
  ["no routes", { routeSpecifier: { case: undefined } }, /route_config or rds is needed/],
  ["scoped routes", { routeSpecifier: { case: "scopedRoutes", value: {} } }, /scoped_routes is not supported/],
  ["RDS without a name", { routeSpecifier: { case: "rds", value: {} } }, /route_config_name is empty/],
  [
    "a bad route",
    { routeSpecifier: { case: "routeConfig", value: { name: "80", virtualHosts: [{ name: "v" }] } } },
    /route configuration "80": virtual host "v": no domains/,
  ],
  ["HTTP/3", { codecType: 3 }, /HTTP3/],
  ["a tracer", { tracing: { provider: { name: "zipkin" } } }, /tracing\.provider "zipkin"/],
  ["local reply mapping", { localReplyConfig: {} }, /local_reply_config is not supported/],
  ["early header mutations", { earlyHeaderMutationExtensions: [{}] }, /early_header_mutation_extensions is not supported/],
  ["other ways to find the client", { originalIpDetectionExtensions: [{}] }, /original_ip_detection_extensions is not supported/],
  ["proxy status", { proxyStatusConfig: {} }, /proxy_status_config is not supported/],
  ["an upgrade with filters of its own", { upgradeConfigs: [{ upgradeType: "websocket", filters: [router] }] }, /filters of its own/],
  ["another request id", { requestIdExtension: { typedConfig: unknown } }, /request_id_extension/],
  [
    "header names in other case",
    { httpProtocolOptions: { headerKeyFormat: {} } },
    /http_protocol_options\.header_key_format is not supported/,
  ],
  ["metadata frames", { http2ProtocolOptions: { allowMetadata: true } }, /http2_protocol_options\.allow_metadata is not supported/],
  [
    "an access log with an unknown operator",
    { accessLog: [accessLog("%SECRET%")] },
    /access_log "log": format operator %SECRET%: is not known/,
  ],
  [
    "an access log of another kind",
    { accessLog: [{ name: "als", configType: any(unknown) }] },
    /access_log "als": type .* is not supported/,
  ],
  [
    "an access log filter that is not known",
    { accessLog: [{ ...accessLog("x"), filter: { filterSpecifier: { case: "metadataFilter", value: {} } } }] },
    /filter metadataFilter is not supported/,
  ],
  ["chains in x-forwarded-client-cert", { setCurrentClientCertDetails: { chain: true } }, /chain is not supported/],
  [
    "a bad internal range",
    { internalAddressConfig: { cidrRanges: [{ addressPrefix: "x" }] } },
    /internal_address_config: "x" is no IP address/,
  ],
];
for (const [name, change, want] of refused) {
  test(`refused: ${name}`, () => {
    const violations = validateHttpConnectionManager(make(change));
    assert.equal(violations.length, 1, violations.join("\n"));
    assert.match(violations[0] ?? "", want);
  });
}

/** What istiod sends to a sidecar, in kind. */
const ISTIO = {
  tracing: { clientSampling: { value: 100 }, randomSampling: { value: 1 }, overallSampling: { value: 100 } },
  httpProtocolOptions: {},
  useRemoteAddress: false,
  forwardClientCertDetails: 2,
  setCurrentClientCertDetails: { subject: true, dns: true, uri: true },
  proxy100Continue: true,
  upgradeConfigs: [{ upgradeType: "websocket" }],
  streamIdleTimeout: { seconds: 0n },
  normalizePath: true,
  pathWithEscapedSlashesAction: 1,
  serverName: "istio-envoy",
  serverHeaderTransformation: 2,
  requestIdExtension: {
    typedConfig: { typeUrl: "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", value: new Uint8Array() },
  },
  routeSpecifier: { case: "rds", value: { routeConfigName: "80", configSource: {} } },
};

test("Istio's config is taken, and means what it says", () => {
  const message = make(ISTIO);
  assert.deepEqual(validateHttpConnectionManager(message), []);
  const config = readManagerConfig(message);
  assert.deepEqual(
    [
      config.serverName,
      config.serverHeader,
      config.proxies100,
      config.streamIdleMs,
      config.paths,
      config.codec,
      config.upgrades.get("websocket"),
    ],
    ["istio-envoy", "pass", true, 0, { normalize: true, mergeSlashes: false, escapedSlashes: "keep" }, "auto", true],
  );
});

test("defaults", () => {
  const config = readManagerConfig(make({}));
  assert.deepEqual(
    [
      config.serverName,
      config.connectionIdleMs,
      config.streamIdleMs,
      config.requestTimeoutMs,
      config.limits.headerBytesMax,
      config.limits.headerFieldsMax,
      config.generatesRequestId,
      config.useRemoteAddress,
      config.headerTimeoutMs,
    ],
    ["envoy", 3_600_000, 300_000, 0, 61_440, 100, true, false, 15_000],
  );
});

test("an optional filter that is not known is left out", () => {
  assert.deepEqual(
    validateHttpConnectionManager(make({ httpFilters: [{ name: "x", configType: any(unknown), isOptional: true }, router] })),
    [],
  );
});

test("all violations are told at once", () => {
  assert.equal(validateHttpConnectionManager(make({ codecType: 3, localReplyConfig: {}, httpFilters: [] })).length, 3);
});

test("what is taken and has no effect is named for a warning, and nothing else is", () => {
  const plain = create(HttpConnectionManagerSchema, { statPrefix: "x" });
  assert.deepEqual(ineffectiveManagerFields(plain), []);
  const odd = create(HttpConnectionManagerSchema, {
    statPrefix: "x",
    delayedCloseTimeout: { seconds: 1n },
    http2ProtocolOptions: { maxConcurrentStreams: 7, allowConnect: true },
    routeSpecifier: { case: "routeConfig", value: { validateClusters: true } },
  });
  assert.deepEqual(ineffectiveManagerFields(odd), [
    "delayed_close_timeout",
    "http2_protocol_options.allow_connect",
    "route_config.validate_clusters",
  ]);
});
