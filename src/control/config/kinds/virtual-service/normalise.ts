/** The normal form of a VirtualService. */
import { normaliseHeaders } from "../../rules/headers.ts";
import { resolveGateway, resolveHost } from "../../rules/resolve.ts";
import { durationMs, GRPC_STATUS } from "../../rules/values.ts";
import type {
  HttpFault,
  HttpMatch,
  HttpRedirect,
  HttpRetry,
  HttpRewrite,
  HttpRoute,
  HttpRouteDestination,
  StringMatch,
  VirtualServiceSpec,
} from "../../types.ts";
import { defineKind, type KindContext, type KindReader, NETWORKING_VERSIONS } from "../kind.ts";
import {
  type RawFault,
  type RawHttpMatch,
  type RawHttpRoute,
  type RawRedirect,
  type RawRetry,
  type RawRewrite,
  type RawRouteDestination,
  type RawStringMatch,
  type RawVirtualService,
  virtualServiceSchema,
} from "./schema.ts";
import { validateVirtualService } from "./validate.ts";

function normaliseVirtualService(raw: RawVirtualService, context: KindContext): VirtualServiceSpec {
  const gateways = (raw.gateways ?? []).map((name) => resolveGateway(name, context.namespace));
  return {
    hosts: (raw.hosts ?? []).map((host) => resolveHost(host, context)),
    gateways: gateways.length > 0 ? gateways : ["mesh"],
    http: (raw.http ?? []).map((route) => normaliseRoute(route, context)),
    exportTo: raw.exportTo ?? [],
  };
}

function normaliseRoute(raw: RawHttpRoute, context: KindContext): HttpRoute {
  const { directResponse } = raw;
  return {
    name: raw.name || undefined,
    match: (raw.match ?? []).map((match) => normaliseMatch(match, context)),
    route: normaliseDestinations(raw.route ?? [], context),
    redirect: raw.redirect && normaliseRedirect(raw.redirect),
    directResponse: directResponse && { status: directResponse.status, body: directResponse.body?.string },
    rewrite: raw.rewrite && normaliseRewrite(raw.rewrite),
    timeoutMs: durationMs(raw.timeout),
    retries: raw.retries && normaliseRetry(raw.retries),
    fault: raw.fault && normaliseFault(raw.fault),
    headers: normaliseHeaders(raw.headers),
  };
}

function normaliseDestinations(raw: readonly RawRouteDestination[], context: KindContext): readonly HttpRouteDestination[] {
  return raw.map(({ destination, weight, headers }) => ({
    destination: { host: resolveHost(destination.host, context), subset: destination.subset || undefined, port: destination.port?.number },
    // A single destination takes everything, whatever its weight says.
    weight: raw.length === 1 ? weight || 100 : (weight ?? 0),
    headers: normaliseHeaders(headers),
  }));
}

function normaliseMatch(raw: RawHttpMatch, { namespace }: KindContext): HttpMatch {
  const uri = stringMatch(raw.uri);
  return {
    name: raw.name || undefined,
    // Every request has a path, so that its presence asks for nothing.
    uri: uri && "present" in uri ? undefined : uri,
    ignoreUriCase: raw.ignoreUriCase ?? false,
    scheme: stringMatch(raw.scheme),
    method: stringMatch(raw.method),
    authority: stringMatch(raw.authority),
    headers: stringMatches(raw.headers),
    withoutHeaders: stringMatches(raw.withoutHeaders),
    queryParams: stringMatches(raw.queryParams),
    port: raw.port || undefined,
    sourceLabels: raw.sourceLabels ?? {},
    sourceNamespace: raw.sourceNamespace || undefined,
    gateways: (raw.gateways ?? []).map((name) => resolveGateway(name, namespace)),
  };
}

function stringMatches(raw: Readonly<Record<string, RawStringMatch | null>> | undefined): Readonly<Record<string, StringMatch>> {
  return Object.fromEntries(Object.entries(raw ?? {}).map(([name, match]) => [name, stringMatch(match ?? {}) ?? { present: true }]));
}

function stringMatch(raw: RawStringMatch | undefined): StringMatch | undefined {
  if (!raw) return undefined;
  if (raw.exact !== undefined) return { exact: raw.exact };
  if (raw.prefix !== undefined) return { prefix: raw.prefix };
  if (raw.regex !== undefined && raw.regex !== "*") return { regex: raw.regex };
  return { present: true };
}

function normaliseRedirect(raw: RawRedirect): HttpRedirect {
  return {
    uri: raw.uri || undefined,
    authority: raw.authority || undefined,
    port: raw.port,
    derivePort: raw.derivePort,
    scheme: raw.scheme || undefined,
    redirectCode: raw.redirectCode || 301,
  };
}

function normaliseRewrite(raw: RawRewrite): HttpRewrite {
  const regex = raw.uriRegexRewrite;
  return {
    uri: raw.uri || undefined,
    authority: raw.authority || undefined,
    uriRegexRewrite: regex && { match: regex.match ?? "", rewrite: regex.rewrite ?? "" },
  };
}

/** The normal form of a retry policy. */
export function normaliseRetry(raw: RawRetry): HttpRetry {
  return {
    attempts: raw.attempts ?? 0,
    perTryTimeoutMs: durationMs(raw.perTryTimeout),
    backoffMs: durationMs(raw.backoff),
    retryOn: raw.retryOn ?? "",
    retryRemoteLocalities: raw.retryRemoteLocalities,
    retryIgnorePreviousHosts: raw.retryIgnorePreviousHosts ?? true,
  };
}

function normaliseFault({ delay, abort }: RawFault): HttpFault {
  return {
    delay: delay && {
      fixedDelayMs: durationMs(delay.fixedDelay) ?? 0,
      percentage: delay.percentage ? (delay.percentage.value ?? 0) : (delay.percent ?? 0),
    },
    abort: abort && {
      httpStatus: abort.httpStatus,
      grpcStatus: abort.grpcStatus === undefined ? undefined : GRPC_STATUS[abort.grpcStatus],
      percentage: abort.percentage?.value ?? 0,
    },
  };
}

/** VirtualService. */
export const virtualServiceKind: KindReader = defineKind<RawVirtualService, VirtualServiceSpec>({
  kind: "VirtualService",
  apiVersions: NETWORKING_VERSIONS,
  schema: virtualServiceSchema,
  validate: validateVirtualService,
  normalise: normaliseVirtualService,
});
