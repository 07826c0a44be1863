/** A route of a virtual host: match, and what happens then. Source: envoy.config.route.v3.Route. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  RedirectAction_RedirectResponseCode as RedirectCode,
  type RouteActionSchema,
  type RouteSchema,
} from "../../../gen/envoy/config/route/v3/route_components_pb.ts";
import { clusterName, parseClusterName } from "../../../model/cluster-name.ts";
import type { HttpRedirect } from "../../config/types.ts";
import { istioMetadata } from "../metadata.ts";
import { durationFromMs } from "../pack.ts";
import { buildFault } from "./fault.ts";
import { buildHeaders } from "./headers.ts";
import { buildMatch } from "./match.ts";
import type { DefaultRoutePlan, RoutePlan, VirtualServiceRoutePlan } from "./plan.ts";
import { buildRetryPolicy } from "./retry.ts";

type RouteInit = MessageInitShape<typeof RouteSchema>;
type ActionInit = NonNullable<RouteInit["action"]>;
type RouteActionInit = MessageInitShape<typeof RouteActionSchema>;

/** Builds the route of a plan. */
export function buildRoute(plan: RoutePlan): RouteInit {
  return plan.kind === "default" ? buildDefaultRoute(plan) : buildVirtualServiceRoute(plan);
}

/** A route without limits of its own: what the client asks for (grpc-timeout, its own deadline) holds. */
export function noTimeout() {
  // max_grpc_timeout 0 lets grpc-timeout hold without an upper bound; left out, the header would be ignored.
  return { timeout: durationFromMs(0), maxGrpcTimeout: durationFromMs(0) };
}

function buildDefaultRoute({ hostname, port, retries }: DefaultRoutePlan): RouteInit {
  return {
    name: "default",
    match: buildMatch(undefined),
    decorator: { operation: `${hostname}:${port}/*` },
    action: {
      case: "route",
      value: {
        clusterSpecifier: { case: "cluster", value: clusterName({ direction: "outbound", port, hostname }) },
        ...noTimeout(),
        retryPolicy: buildRetryPolicy(retries),
      },
    },
  };
}

function buildVirtualServiceRoute(plan: VirtualServiceRoutePlan): RouteInit {
  const { route, match } = plan;
  const only = route.redirect || route.directResponse || route.route.length !== 1 ? undefined : route.route[0];
  // With a single destination its header operations stand on the route, behind the route's own.
  const headers = buildHeaders(route.headers, ...(only ? [only.headers] : []));
  return {
    name: `${route.name ?? ""}${match?.name ? `.${match.name}` : ""}`,
    match: buildMatch(match),
    metadata: istioMetadata({ config: plan.config }),
    decorator: { operation: operationOf(plan) },
    ...headers.fields,
    typedPerFilterConfig: buildFault(route.fault),
    action: buildAction(plan, headers.authority),
  };
}

function buildAction(plan: VirtualServiceRoutePlan, authority: string | undefined): ActionInit {
  const { redirect, directResponse } = plan.route;
  if (redirect) return { case: "redirect", value: buildRedirect(redirect, plan) };
  if (directResponse) {
    const body =
      directResponse.body === undefined ? undefined : { specifier: { case: "inlineString" as const, value: directResponse.body } };
    return { case: "directResponse", value: { status: directResponse.status, body } };
  }
  return { case: "route", value: buildRouteAction(plan, authority) };
}

function buildRouteAction(plan: VirtualServiceRoutePlan, headerAuthority: string | undefined): RouteActionInit {
  const { route, retries } = plan;
  const timeout = durationFromMs(route.timeoutMs ?? 0);
  const rewrite = route.rewrite;
  const authority = rewrite?.authority || headerAuthority;
  return {
    clusterSpecifier: clusterSpecifier(plan),
    timeout,
    maxGrpcTimeout: timeout,
    retryPolicy: buildRetryPolicy(retries),
    hostRewriteSpecifier: authority ? { case: "hostRewriteLiteral", value: authority } : undefined,
    regexRewrite: rewrite?.uriRegexRewrite && {
      pattern: { regex: rewrite.uriRegexRewrite.match },
      substitution: rewrite.uriRegexRewrite.rewrite,
    },
    prefixRewrite: rewrite?.uriRegexRewrite ? "" : (rewrite?.uri ?? ""),
  };
}

function clusterSpecifier({ route, clusters }: VirtualServiceRoutePlan): RouteActionInit["clusterSpecifier"] {
  if (clusters.length === 1) return { case: "cluster", value: clusters[0] ?? "" };
  return {
    case: "weightedClusters",
    value: {
      // A destination of weight 0 beside others gets nothing and is left out.
      clusters: route.route.flatMap(({ weight, headers }, i) => {
        if (weight === 0) return [];
        const built = buildHeaders(headers);
        return [
          {
            name: clusters[i] ?? "",
            weight,
            ...built.fields,
            hostRewriteSpecifier:
              built.authority === undefined ? undefined : { case: "hostRewriteLiteral" as const, value: built.authority },
          },
        ];
      }),
    },
  };
}

const REDIRECT_CODES: Readonly<Record<number, RedirectCode>> = {
  301: RedirectCode.MOVED_PERMANENTLY,
  302: RedirectCode.FOUND,
  303: RedirectCode.SEE_OTHER,
  307: RedirectCode.TEMPORARY_REDIRECT,
  308: RedirectCode.PERMANENT_REDIRECT,
};

function buildRedirect(redirect: HttpRedirect, { port, isTls }: VirtualServiceRoutePlan) {
  return {
    hostRedirect: redirect.authority ?? "",
    pathRewriteSpecifier: redirect.uri ? { case: "pathRedirect" as const, value: redirect.uri } : undefined,
    schemeRewriteSpecifier: redirect.scheme ? { case: "schemeRedirect" as const, value: redirect.scheme } : undefined,
    portRedirect: redirectPort(redirect, port, redirect.scheme || (isTls ? "https" : "http")),
    responseCode: REDIRECT_CODES[redirect.redirectCode] ?? RedirectCode.MOVED_PERMANENTLY,
  };
}

/** 0 leaves the port out: so does the one that the scheme means anyway. */
function redirectPort(redirect: HttpRedirect, listenerPort: number, scheme: string): number {
  const port = redirect.port ?? (redirect.derivePort === "FROM_REQUEST_PORT" ? listenerPort : 0);
  return (scheme === "http" && port === 80) || (scheme === "https" && port === 443) ? 0 : port;
}

/** The name of a span: "host:port/path" of the only destination, else of the VirtualService. */
function operationOf({ route, match, clusters, virtualService, port }: VirtualServiceRoutePlan): string {
  const uri = match?.uri;
  const path = uri && "exact" in uri ? uri.exact : uri && "regex" in uri ? uri.regex : `${uri && "prefix" in uri ? uri.prefix : "/"}*`;
  const only = !route.redirect && !route.directResponse && clusters.length === 1 ? parseClusterName(clusters[0] ?? "") : undefined;
  return only ? `${only.hostname}:${only.port}${path}` : `${virtualService}:${port}${path}`;
}
