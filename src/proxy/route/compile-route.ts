/** Virtual hosts and routes, compiled. Everything wrong in one is told at once. Source: envoy.config.route.v3.Route, VirtualHost. */
import type { Metadata } from "../../gen/envoy/config/core/v3/base_pb.ts";
import {
  RouteAction_ClusterNotFoundResponseCode as ClusterNotFound,
  RouteAction_InternalRedirectAction as InternalRedirect,
  type Route,
  type RouteAction,
  type RouteAction_UpgradeConfig,
  RouteActionSchema,
  RouteSchema,
  VirtualHost_TlsRequirementType as TlsRequirement,
  type VirtualHost,
  VirtualHostSchema,
  type WeightedCluster,
  type WeightedCluster_ClusterWeight,
} from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { compileHeaderOps } from "../../policy/header-ops.ts";
import { collectRefusal, PolicyRefusal } from "../../policy/refusal.ts";
import { compileRetryPolicy, durationMs, type RetryRules } from "../../policy/retry.ts";
import { toWireText } from "../../policy/wire-text.ts";
import { unsupportedFields } from "../config/fields.ts";
import { compileOverrides } from "./filter-overrides.ts";
import { compileHashPolicy } from "./hash-policy.ts";
import { compileRedirect } from "./redirect.ts";
import { compileHostRewrite, compilePathRewrite, type MatchedPart } from "./rewrite.ts";
import type { ClusterTarget, DirectResponse, ForwardAction, RouteEntry, VirtualHostEntry } from "./route-entry.ts";
import { compileRouteMatch } from "./route-match.ts";

/** Source: Envoy RouteAction.timeout, default. */
const ROUTE_TIMEOUT_MS = 15_000;

const VIRTUAL_HOST_FIELDS: ReadonlySet<string> = new Set([
  "name",
  "domains",
  "routes",
  "requireTls",
  "requestHeadersToAdd",
  "requestHeadersToRemove",
  "responseHeadersToAdd",
  "responseHeadersToRemove",
  "cors",
  "typedPerFilterConfig",
  "includeRequestAttemptCount",
  "includeAttemptCountInResponse",
  "retryPolicy",
  "perRequestBufferLimitBytes",
  "metadata",
  // Names for statistics; a request is treated the same without them.
  "virtualClusters",
]);

const ROUTE_FIELDS: ReadonlySet<string> = new Set([
  "name",
  "match",
  "route",
  "redirect",
  "directResponse",
  "metadata",
  "decorator",
  "typedPerFilterConfig",
  "requestHeadersToAdd",
  "requestHeadersToRemove",
  "responseHeadersToAdd",
  "responseHeadersToRemove",
  "perRequestBufferLimitBytes",
  // Tracing alone.
  "tracing",
  "statPrefix",
]);

const ACTION_FIELDS: ReadonlySet<string> = new Set([
  "cluster",
  "clusterHeader",
  "weightedClusters",
  "clusterNotFoundResponseCode",
  "metadataMatch",
  "prefixRewrite",
  "regexRewrite",
  "hostRewriteLiteral",
  "autoHostRewrite",
  "hostRewriteHeader",
  "hostRewritePathRegex",
  "appendXForwardedHost",
  "timeout",
  "idleTimeout",
  "retryPolicy",
  "hashPolicy",
  "cors",
  "upgradeConfigs",
  "maxStreamDuration",
  "maxGrpcTimeout",
  "grpcTimeoutOffset",
  // The default, checked below.
  "internalRedirectAction",
  "maxInternalRedirects",
]);

/** A compiled virtual host, and what is wrong with it. A host with violations must not serve. */
export interface CompiledVirtualHost {
  readonly entry: VirtualHostEntry;
  readonly violations: readonly string[];
}

/** Compiles a virtual host. */
export function compileVirtualHost(host: VirtualHost, limits: { readonly directBodyBytesMax: number }): CompiledVirtualHost {
  const where = `virtual host "${host.name}"`;
  const violations: string[] = unsupportedFields(VirtualHostSchema, host, VIRTUAL_HOST_FIELDS).map(
    (field) => `${where}: ${field} is not supported`,
  );
  const collect = <T>(what: string, compile: () => T): T | undefined =>
    collectRefusal(violations, what === "" ? where : `${where}, ${what}`, compile);
  const retry = collect("retry_policy", () => compileRetryPolicy(host.retryPolicy));
  const routes: RouteEntry[] = [];
  const entry: VirtualHostEntry = {
    name: host.name,
    domains: host.domains,
    routes,
    requireTls: host.requireTls === TlsRequirement.ALL ? "all" : host.requireTls === TlsRequirement.EXTERNAL_ONLY ? "external" : "none",
    requestOps: collect("request_headers", () => compileHeaderOps(host.requestHeadersToAdd, host.requestHeadersToRemove)),
    responseOps: collect("response_headers", () => compileHeaderOps(host.responseHeadersToAdd, host.responseHeadersToRemove)),
    filters: collect("", () => compileOverrides(host.typedPerFilterConfig, host.cors)),
    attemptCountInRequest: host.includeRequestAttemptCount,
    attemptCountInResponse: host.includeAttemptCountInResponse,
  };
  host.routes.forEach((route, i) => {
    const compiled = collect(`route ${route.name === "" ? i : `"${route.name}"`}`, () =>
      compileRoute(route, entry, { retry, bufferBytesMax: host.perRequestBufferLimitBytes, ...limits }),
    );
    if (compiled) routes.push(compiled);
  });
  return { entry, violations };
}

interface Inherited {
  readonly retry: RetryRules | undefined;
  readonly bufferBytesMax: number | undefined;
  readonly directBodyBytesMax: number;
}

function compileRoute(route: Route, virtualHost: VirtualHostEntry, inherited: Inherited): RouteEntry {
  refuse(unsupportedFields(RouteSchema, route, ROUTE_FIELDS));
  const match = compileRouteMatch(route.match);
  const cors = route.action.case === "route" ? route.action.value.cors : undefined;
  return {
    name: route.name,
    virtualHost,
    matches: match.matches,
    ratio: match.ratio,
    action: compileAction(route, match.matchedPart, inherited),
    requestOps: compileHeaderOps(route.requestHeadersToAdd, route.requestHeadersToRemove),
    responseOps: compileHeaderOps(route.responseHeadersToAdd, route.responseHeadersToRemove),
    filters: compileOverrides(route.typedPerFilterConfig, cors),
    bufferBytesMax: route.perRequestBufferLimitBytes ?? inherited.bufferBytesMax,
  };
}

function refuse(fields: readonly string[]): void {
  if (fields.length > 0) throw new PolicyRefusal(`${fields.join(", ")} not supported`);
}

function compileAction(route: Route, matched: MatchedPart | undefined, inherited: Inherited): RouteEntry["action"] {
  const { action } = route;
  switch (action.case) {
    case "route":
      return compileForward(action.value, matched, inherited);
    case "redirect":
      return compileRedirect(action.value, matched);
    case "directResponse":
      return compileDirect(action.value, inherited.directBodyBytesMax);
    default:
      throw new PolicyRefusal(`action ${action.case ?? "of no or unknown kind"} is not supported`);
  }
}

function compileDirect(
  action: {
    readonly status: number;
    readonly body?: { readonly specifier: { readonly case: string | undefined; readonly value?: unknown } } | undefined;
  },
  bytesMax: number,
): DirectResponse {
  if (action.status < 200 || action.status > 599)
    throw new PolicyRefusal(`direct_response: status ${action.status} is not between 200 and 599`);
  const specifier = action.body?.specifier;
  const body =
    specifier?.value === undefined
      ? ""
      : typeof specifier.value === "string" && specifier.case === "inlineString"
        ? toWireText(specifier.value)
        : inlineBytes(specifier);
  if (body.length > bytesMax) throw new PolicyRefusal(`direct_response: a body of ${body.length} bytes: at most ${bytesMax}`);
  return { kind: "direct", status: action.status, body };
}

function inlineBytes(specifier: { readonly case: string | undefined; readonly value?: unknown }): string {
  if (specifier.case !== "inlineBytes" || !(specifier.value instanceof Uint8Array))
    throw new PolicyRefusal("direct_response: the body must be inline");
  return Buffer.from(specifier.value).toString("latin1");
}

function compileForward(action: RouteAction, matched: MatchedPart | undefined, inherited: Inherited): ForwardAction {
  refuse(unsupportedFields(RouteActionSchema, action, ACTION_FIELDS));
  if (action.internalRedirectAction !== InternalRedirect.PASS_THROUGH_INTERNAL_REDIRECT)
    throw new PolicyRefusal("internal_redirect_action is not supported");
  const targets = compileTargets(action);
  let sum = 0;
  const duration = action.maxStreamDuration;
  return {
    kind: "forward",
    targets: targets.map(({ target }) => target),
    weightSums: targets.map(({ weight }) => (sum += weight)),
    clusterNotFoundStatus:
      action.clusterNotFoundResponseCode === ClusterNotFound.NOT_FOUND
        ? 404
        : action.clusterNotFoundResponseCode === ClusterNotFound.INTERNAL_SERVER_ERROR
          ? 500
          : 503,
    timeoutMs: action.timeout ? durationMs(action.timeout) : ROUTE_TIMEOUT_MS,
    idleTimeoutMs: action.idleTimeout && durationMs(action.idleTimeout),
    maxStreamDuration: duration
      ? {
          durationMs: duration.maxStreamDuration && durationMs(duration.maxStreamDuration),
          grpcMaxMs: duration.grpcTimeoutHeaderMax && durationMs(duration.grpcTimeoutHeaderMax),
          grpcOffsetMs: duration.grpcTimeoutHeaderOffset ? durationMs(duration.grpcTimeoutHeaderOffset) : 0,
        }
      : action.maxGrpcTimeout
        ? {
            durationMs: undefined,
            grpcMaxMs: durationMs(action.maxGrpcTimeout),
            grpcOffsetMs: action.grpcTimeoutOffset ? durationMs(action.grpcTimeoutOffset) : 0,
          }
        : undefined,
    retry: action.retryPolicy ? compileRetryPolicy(action.retryPolicy) : inherited.retry,
    pathRewrite: compilePathRewrite(action.prefixRewrite, action.regexRewrite, matched),
    hostRewrite: compileHostRewrite(action.hostRewriteSpecifier),
    appendForwardedHost: action.appendXForwardedHost,
    hashPolicy: compileHashPolicy(action.hashPolicy),
    upgrades: compileUpgrades(action.upgradeConfigs),
  };
}

function compileUpgrades(configs: readonly RouteAction_UpgradeConfig[]): ReadonlyMap<string, boolean> | undefined {
  if (configs.length === 0) return undefined;
  return new Map(
    configs.map((config) => {
      if (config.connectConfig)
        throw new PolicyRefusal(`upgrade_configs "${config.upgradeType}": connect_config (ending CONNECT here) is not supported`);
      return [config.upgradeType.toLowerCase(), config.enabled ?? true];
    }),
  );
}

function compileTargets(action: RouteAction): { readonly target: ClusterTarget; readonly weight: number }[] {
  const metadataMatch = lbMetadata(action.metadataMatch);
  const plain = { metadataMatch, requestOps: undefined, responseOps: undefined, hostRewrite: undefined, filters: undefined };
  const how = action.clusterSpecifier;
  switch (how.case) {
    case "cluster":
      if (how.value === "") throw new PolicyRefusal("cluster is empty");
      return [{ target: { cluster: how.value, clusterHeader: "", ...plain }, weight: 1 }];
    case "clusterHeader":
      if (how.value === "" || how.value.startsWith(":")) throw new PolicyRefusal(`cluster_header "${how.value}" is no header`);
      return [{ target: { cluster: "", clusterHeader: how.value.toLowerCase(), ...plain }, weight: 1 }];
    case "weightedClusters":
      return compileWeighted(how.value, metadataMatch);
    default:
      throw new PolicyRefusal(`${how.case ?? "a cluster specifier of no or unknown kind"} is not supported`);
  }
}

function compileWeighted(
  weighted: WeightedCluster,
  metadataMatch: Readonly<Record<string, string>> | undefined,
): { readonly target: ClusterTarget; readonly weight: number }[] {
  if (weighted.randomValueSpecifier.case !== undefined)
    throw new PolicyRefusal("weighted_clusters: random value from a header is not supported");
  const targets = weighted.clusters.map((one) => ({ target: compileTarget(one, metadataMatch), weight: one.weight ?? 0 }));
  if (targets.reduce((sum, { weight }) => sum + weight, 0) <= 0) throw new PolicyRefusal("weighted_clusters: the weights add up to 0");
  return targets;
}

function compileTarget(one: WeightedCluster_ClusterWeight, inherited: Readonly<Record<string, string>> | undefined): ClusterTarget {
  if ((one.name === "") === (one.clusterHeader === "")) throw new PolicyRefusal("weighted_clusters: each needs a name or a cluster_header");
  const own = lbMetadata(one.metadataMatch);
  return {
    cluster: one.name,
    clusterHeader: one.clusterHeader.toLowerCase(),
    metadataMatch: own || inherited ? { ...inherited, ...own } : undefined,
    requestOps: compileHeaderOps(one.requestHeadersToAdd, one.requestHeadersToRemove),
    responseOps: compileHeaderOps(one.responseHeadersToAdd, one.responseHeadersToRemove),
    hostRewrite: compileHostRewrite(
      one.hostRewriteSpecifier.case === "hostRewriteLiteral"
        ? { case: "hostRewriteLiteral", value: one.hostRewriteSpecifier.value }
        : { case: undefined },
    ),
    filters: compileOverrides(one.typedPerFilterConfig),
  };
}

function lbMetadata(metadata: Metadata | undefined): Readonly<Record<string, string>> | undefined {
  const lb = metadata && Object.hasOwn(metadata.filterMetadata, "envoy.lb") ? metadata.filterMetadata["envoy.lb"] : undefined;
  if (!lb) return undefined;
  const match: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of Object.entries(lb)) {
    if (typeof value !== "string") throw new PolicyRefusal(`metadata_match "${key}": only texts are supported`);
    match[key] = value;
  }
  return match;
}
