/**
 * HttpConnectionManager's config as the proxy carries it out, and what of it is refused: a field that changes what happens to a request is
 * obeyed or refused by name, never ignored. Source: envoy.extensions.filters.network.http_connection_manager.v3.
 */
import {
  Http1ProtocolOptionsSchema,
  Http2ProtocolOptionsSchema,
  HttpProtocolOptionsSchema,
  HttpProtocolOptions_HeadersWithUnderscoresAction as Underscores,
} from "../../gen/envoy/config/core/v3/protocol_pb.ts";
import {
  HttpConnectionManager_CodecType as CodecType,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  type HttpConnectionManager_ForwardClientCertDetails as ForwardClientCert,
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
  HttpConnectionManager_ServerHeaderTransformation as ServerHeader,
} from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { type HttpLimits, MESH_HTTP_LIMITS } from "../../net/http/stream.ts";
import { type AddressTest, compileCidr } from "../../policy/cidr.ts";
import type { PathOptions } from "../../policy/path-normalise.ts";
import { collectRefusal } from "../../policy/refusal.ts";
import { durationMs } from "../../policy/retry.ts";
import { setFields, unsupportedFields } from "../config/fields.ts";
import { validateRouteConfiguration } from "../route/route-table.ts";
import { validateAccessLogs } from "./access-logs.ts";
import { validateFilters } from "./chain.ts";
import type { XfccMembers } from "./xfcc.ts";

/** See the file's head. Times in ms; 0 is never. */
export interface ManagerConfig {
  readonly statPrefix: string;
  readonly codec: "auto" | "http1" | "http2";
  readonly limits: HttpLimits;
  readonly acceptHttp10: boolean;
  readonly defaultHostForHttp10: string;
  readonly headerTimeoutMs: number;
  readonly connectionIdleMs: number;
  readonly connectionDurationMaxMs: number;
  readonly requestsPerConnectionMax: number;
  readonly streamIdleMs: number;
  readonly streamDurationMaxMs: number;
  readonly requestTimeoutMs: number;
  readonly underscores: "allow" | "reject" | "drop";
  readonly serverName: string;
  readonly serverHeader: "overwrite" | "if-absent" | "pass";
  readonly via: string;
  readonly useRemoteAddress: boolean;
  readonly trustedHops: number;
  readonly appendsXff: boolean;
  readonly appendsForwardedPort: boolean;
  /** Undefined: no address is internal. */
  readonly isInternalAddress: AddressTest | undefined;
  readonly generatesRequestId: boolean;
  readonly preservesRequestId: boolean;
  readonly requestIdInResponse: boolean;
  readonly forwardClientCert: ForwardClientCert;
  readonly clientCertMembers: XfccMembers;
  readonly proxies100: boolean;
  readonly paths: PathOptions;
  readonly stripPort: "no" | "matching" | "any";
  readonly stripsHostDot: boolean;
  /** Upgrade types in lower case; "connect" is CONNECT. */
  readonly upgrades: ReadonlyMap<string, boolean>;
  readonly schemeToOverwrite: string | undefined;
}

/** Source: the defaults of the fields' documentation. */
const DEFAULTS = { serverName: "envoy", connectionIdleMs: 3_600_000, streamIdleMs: 300_000, headerKb: 60, headerFields: 100 } as const;

/** Slow heads are cut off after so long where config says nothing; Envoy would wait for ever. */
const HEADER_TIMEOUT_MS = 15_000;

/**
 * Taken, and warned of by name: drains and closes follow the codecs, logs are written once at a stream's end, and there is no HTTP/3.
 * None of them lets a request through that would else be refused.
 */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "drainTimeout",
  "delayedCloseTimeout",
  "accessLogFlushInterval",
  "accessLogOptions",
  "streamErrorOnInvalidHttpMessage",
  "http3ProtocolOptions",
]);
/** The same of HTTP/2: the codec has its own guards against floods in place of the counts. */
const HTTP2_WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  "hpackTableSize",
  "maxOutboundFrames",
  "maxOutboundControlFrames",
  "maxConsecutiveInboundFramesWithEmptyPayload",
  "maxInboundPriorityFramesPerStream",
  "maxInboundWindowUpdateFramesPerDataFrameSent",
  "streamErrorOnInvalidHttpMessaging",
  "overrideStreamErrorOnInvalidHttpMessage",
  "allowConnect",
]);

const FIELDS: ReadonlySet<string> = new Set([
  "codecType",
  "statPrefix",
  "rds",
  "routeConfig",
  "httpFilters",
  "commonHttpProtocolOptions",
  "httpProtocolOptions",
  "http2ProtocolOptions",
  "serverName",
  "serverHeaderTransformation",
  "schemeHeaderTransformation",
  "maxRequestHeadersKb",
  "streamIdleTimeout",
  "requestTimeout",
  "requestHeadersTimeout",
  "accessLog",
  "useRemoteAddress",
  "xffNumTrustedHops",
  "internalAddressConfig",
  "skipXffAppend",
  "via",
  "generateRequestId",
  "preserveExternalRequestId",
  "alwaysSetRequestIdInResponse",
  "forwardClientCertDetails",
  "setCurrentClientCertDetails",
  "proxy100Continue",
  "upgradeConfigs",
  "normalizePath",
  "mergeSlashes",
  "pathWithEscapedSlashesAction",
  "stripMatchingHostPort",
  "stripAnyHostPort",
  "stripTrailingHostDot",
  "appendXForwardedPort",
  // Looked at in validate: only the forms that change nothing for a request pass.
  "tracing",
  "requestIdExtension",
  ...WITHOUT_EFFECT,
]);

const COMMON_FIELDS: ReadonlySet<string> = new Set([
  "idleTimeout",
  "maxConnectionDuration",
  "maxHeadersCount",
  "maxStreamDuration",
  "headersWithUnderscoresAction",
  "maxRequestsPerConnection",
]);
/** Absolute URLs and trailers are always taken; ambiguous lengths and odd methods are the codec's to judge. */
const HTTP1_FIELDS: ReadonlySet<string> = new Set([
  "acceptHttp10",
  "defaultHostForHttp10",
  "allowAbsoluteUrl",
  "enableTrailers",
  "useBalsaParser",
  "overrideStreamErrorOnInvalidHttpMessage",
]);
const HTTP2_FIELDS: ReadonlySet<string> = new Set([
  "maxConcurrentStreams",
  "initialStreamWindowSize",
  "initialConnectionWindowSize",
  "useOghttp2Codec",
  ...HTTP2_WITHOUT_EFFECT,
]);

/** Fields of `config` that are set, taken, and have no effect here: for a warning that names them. */
export function ineffectiveManagerFields(config: HttpConnectionManager): string[] {
  const fields = setFields(HttpConnectionManagerSchema, config, WITHOUT_EFFECT);
  if (config.http2ProtocolOptions) {
    const http2 = setFields(Http2ProtocolOptionsSchema, config.http2ProtocolOptions, HTTP2_WITHOUT_EFFECT);
    fields.push(...http2.map((field) => `http2_protocol_options.${field}`));
  }
  if (config.routeSpecifier.case === "routeConfig" && config.routeSpecifier.value.validateClusters)
    fields.push("route_config.validate_clusters");
  return fields;
}

/** Everything in `config` that is wrong or not carried out; empty: it may be used. */
export function validateHttpConnectionManager(config: HttpConnectionManager): string[] {
  const violations = unsupportedFields(HttpConnectionManagerSchema, config, FIELDS).map((field) => `${field} is not supported`);
  const nested = (name: string, fields: readonly string[]): void => {
    for (const field of fields) violations.push(`${name}.${field} is not supported`);
  };
  if (config.commonHttpProtocolOptions)
    nested("common_http_protocol_options", unsupportedFields(HttpProtocolOptionsSchema, config.commonHttpProtocolOptions, COMMON_FIELDS));
  if (config.httpProtocolOptions)
    nested("http_protocol_options", unsupportedFields(Http1ProtocolOptionsSchema, config.httpProtocolOptions, HTTP1_FIELDS));
  if (config.http2ProtocolOptions)
    nested("http2_protocol_options", unsupportedFields(Http2ProtocolOptionsSchema, config.http2ProtocolOptions, HTTP2_FIELDS));
  if (config.codecType === CodecType.HTTP3) violations.push("codec_type HTTP3 is not supported");
  if (config.tracing?.provider) violations.push(`tracing.provider "${config.tracing.provider.name}" is not supported`);
  if (config.setCurrentClientCertDetails?.chain) violations.push("set_current_client_cert_details.chain is not supported");
  const requestId = config.requestIdExtension?.typedConfig;
  if (requestId && !requestId.typeUrl.endsWith("/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"))
    violations.push(`request_id_extension ${requestId.typeUrl} is not supported`);
  for (const { upgradeType, filters } of config.upgradeConfigs)
    if (filters.length > 0) violations.push(`upgrade_configs "${upgradeType}": filters of its own are not supported`);
  for (const range of config.internalAddressConfig?.cidrRanges ?? [])
    collectRefusal(violations, "internal_address_config", () => compileCidr(range));
  violations.push(...validateAccessLogs(config.accessLog), ...validateFilters(config.httpFilters));
  if (config.routeSpecifier.case === "routeConfig") violations.push(...validateRouteConfiguration(config.routeSpecifier.value));
  else if (config.routeSpecifier.case === undefined) violations.push("route_config or rds is needed");
  else if (config.routeSpecifier.case === "rds" && config.routeSpecifier.value.routeConfigName === "")
    violations.push("rds: route_config_name is empty");
  return violations;
}

/** Reads a config that has no violations. */
export function readManagerConfig(config: HttpConnectionManager): ManagerConfig {
  const common = config.commonHttpProtocolOptions;
  const http2 = config.http2ProtocolOptions;
  const ranges = config.internalAddressConfig?.cidrRanges.map((range) => compileCidr(range)) ?? [];
  const members = config.setCurrentClientCertDetails;
  const time = (given: { readonly seconds: bigint; readonly nanos: number } | undefined, absent: number): number =>
    given ? durationMs(given) : absent;
  return {
    statPrefix: config.statPrefix,
    codec: config.codecType === CodecType.HTTP1 ? "http1" : config.codecType === CodecType.HTTP2 ? "http2" : "auto",
    limits: {
      headerBytesMax: (config.maxRequestHeadersKb ?? DEFAULTS.headerKb) * 1024,
      headerFieldsMax: common?.maxHeadersCount ?? DEFAULTS.headerFields,
      // Envoy's own default has no bound; ours is the mesh's.
      concurrentStreamsMax: Math.min(http2?.maxConcurrentStreams ?? MESH_HTTP_LIMITS.concurrentStreamsMax, 0x7fffffff),
      streamWindowBytes: http2?.initialStreamWindowSize ?? MESH_HTTP_LIMITS.streamWindowBytes,
      connectionWindowBytes: http2?.initialConnectionWindowSize ?? MESH_HTTP_LIMITS.connectionWindowBytes,
    },
    acceptHttp10: config.httpProtocolOptions?.acceptHttp10 ?? false,
    defaultHostForHttp10: config.httpProtocolOptions?.defaultHostForHttp10 ?? "",
    headerTimeoutMs: time(config.requestHeadersTimeout, 0) || HEADER_TIMEOUT_MS,
    connectionIdleMs: time(common?.idleTimeout, DEFAULTS.connectionIdleMs),
    connectionDurationMaxMs: time(common?.maxConnectionDuration, 0),
    requestsPerConnectionMax: common?.maxRequestsPerConnection ?? 0,
    streamIdleMs: time(config.streamIdleTimeout, DEFAULTS.streamIdleMs),
    streamDurationMaxMs: time(common?.maxStreamDuration, 0),
    requestTimeoutMs: time(config.requestTimeout, 0),
    underscores:
      common?.headersWithUnderscoresAction === Underscores.REJECT_REQUEST
        ? "reject"
        : common?.headersWithUnderscoresAction === Underscores.DROP_HEADER
          ? "drop"
          : "allow",
    serverName: config.serverName === "" ? DEFAULTS.serverName : config.serverName,
    serverHeader:
      config.serverHeaderTransformation === ServerHeader.APPEND_IF_ABSENT
        ? "if-absent"
        : config.serverHeaderTransformation === ServerHeader.PASS_THROUGH
          ? "pass"
          : "overwrite",
    via: config.via,
    useRemoteAddress: config.useRemoteAddress ?? false,
    trustedHops: config.xffNumTrustedHops,
    appendsXff: !config.skipXffAppend,
    appendsForwardedPort: config.appendXForwardedPort,
    isInternalAddress: ranges.length === 0 ? undefined : (ip) => ranges.some((contains) => contains(ip)),
    generatesRequestId: config.generateRequestId ?? true,
    preservesRequestId: config.preserveExternalRequestId,
    requestIdInResponse: config.alwaysSetRequestIdInResponse,
    forwardClientCert: config.forwardClientCertDetails,
    clientCertMembers: {
      subject: members?.subject ?? false,
      cert: members?.cert ?? false,
      dns: members?.dns ?? false,
      uri: members?.uri ?? false,
    },
    proxies100: config.proxy100Continue,
    paths: {
      normalize: config.normalizePath ?? false,
      mergeSlashes: config.mergeSlashes,
      escapedSlashes:
        config.pathWithEscapedSlashesAction === EscapedSlashes.REJECT_REQUEST
          ? "reject"
          : config.pathWithEscapedSlashesAction === EscapedSlashes.UNESCAPE_AND_REDIRECT
            ? "redirect"
            : config.pathWithEscapedSlashesAction === EscapedSlashes.UNESCAPE_AND_FORWARD
              ? "unescape"
              : "keep",
    },
    stripPort:
      config.stripPortMode.case === "stripAnyHostPort" && config.stripPortMode.value
        ? "any"
        : config.stripMatchingHostPort
          ? "matching"
          : "no",
    stripsHostDot: config.stripTrailingHostDot,
    upgrades: new Map(config.upgradeConfigs.map(({ upgradeType, enabled }) => [upgradeType.toLowerCase(), enabled ?? true])),
    schemeToOverwrite:
      config.schemeHeaderTransformation?.transformation.case === "schemeToOverwrite"
        ? config.schemeHeaderTransformation.transformation.value
        : undefined,
  };
}
