/** Which requests a route takes. Source: Istio HTTPMatchRequest, envoy.config.route.v3.RouteMatch. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  HeaderMatcherSchema,
  QueryParameterMatcherSchema,
  RouteMatchSchema,
} from "../../../gen/envoy/config/route/v3/route_components_pb.ts";
import type { HttpMatch, StringMatch } from "../../config/types.ts";

type HeaderInit = MessageInitShape<typeof HeaderMatcherSchema>;

/** The client as far as matches ask for it: what is known of it when routes are made is not asked again for each request. */
export interface RouteClient {
  /** "mesh" for a sidecar, "namespace/name" for a gateway. */
  readonly gateway: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The port of the listener: the service's, or the gateway server's. */
  readonly port: number;
}

/** Whether the match could hold for any request of this client. */
export function matchesClient(match: HttpMatch | undefined, client: RouteClient): boolean {
  if (!match) return true;
  if (match.port !== undefined && match.port !== client.port) return false;
  // As in Istio: where a match names its gateways, that alone decides.
  if (match.gateways.length > 0) return match.gateways.includes(client.gateway);
  if (match.sourceNamespace !== undefined && match.sourceNamespace !== client.namespace) return false;
  return Object.entries(match.sourceLabels).every(([key, value]) => client.labels[key] === value);
}

/** Whether every request is taken: nothing behind such a route is ever reached. */
export function takesEverything(match: HttpMatch | undefined): boolean {
  if (!match) return true;
  const { uri } = match;
  const anyPath = !uri || ("prefix" in uri && uri.prefix === "/") || ("regex" in uri && uri.regex === ".*");
  return anyPath && headerMatchers(match).length === 0 && Object.keys(match.queryParams).length === 0;
}

/** The route's match. */
export function buildMatch(match: HttpMatch | undefined): MessageInitShape<typeof RouteMatchSchema> {
  if (!match) return { pathSpecifier: { case: "prefix", value: "/" } };
  return {
    pathSpecifier: pathSpecifier(match.uri),
    caseSensitive: !match.ignoreUriCase,
    headers: headerMatchers(match),
    queryParameters: Object.entries(match.queryParams)
      .sort(byKey)
      .map(([name, wanted]) => queryMatcher(name, wanted)),
  };
}

function pathSpecifier(uri: StringMatch | undefined): NonNullable<MessageInitShape<typeof RouteMatchSchema>["pathSpecifier"]> {
  if (uri && "exact" in uri) return { case: "path", value: uri.exact };
  if (uri && "regex" in uri) return { case: "safeRegex", value: { regex: uri.regex } };
  return { case: "prefix", value: uri && "prefix" in uri ? uri.prefix : "/" };
}

function headerMatchers(match: HttpMatch): HeaderInit[] {
  const named: HeaderInit[] = [
    ...Object.entries(match.headers).map(([name, wanted]) => headerMatcher(name, wanted)),
    ...Object.entries(match.withoutHeaders).map(([name, unwanted]) => ({
      ...headerMatcher(name, unwanted),
      invertMatch: true,
      // A header that is not there has none of the values that are not wanted. Without this Envoy's inverted matcher would refuse it.
      treatMissingHeaderAsEmpty: !isPresence(unwanted),
    })),
  ].sort((a, b) => ((a.name ?? "") < (b.name ?? "") ? -1 : (a.name ?? "") > (b.name ?? "") ? 1 : 0));
  const pseudo = [
    [":method", match.method],
    [":authority", match.authority],
    [":scheme", match.scheme],
  ] as const;
  return [...named, ...pseudo.flatMap(([name, wanted]) => (wanted ? [headerMatcher(name, wanted)] : []))];
}

function headerMatcher(name: string, wanted: StringMatch) {
  if (isPresence(wanted)) return { name, headerMatchSpecifier: { case: "presentMatch" as const, value: true } };
  return { name, headerMatchSpecifier: { case: "stringMatch" as const, value: { matchPattern: stringPattern(wanted) } } };
}

function queryMatcher(name: string, wanted: StringMatch): MessageInitShape<typeof QueryParameterMatcherSchema> {
  if (isPresence(wanted)) return { name, queryParameterMatchSpecifier: { case: "presentMatch", value: true } };
  return { name, queryParameterMatchSpecifier: { case: "stringMatch", value: { matchPattern: stringPattern(wanted) } } };
}

/** "*" is no RE2 expression: Istio takes it for "any value". */
function isPresence(wanted: StringMatch): boolean {
  return "present" in wanted || ("regex" in wanted && wanted.regex === "*");
}

function stringPattern(wanted: StringMatch) {
  if ("exact" in wanted) return { case: "exact" as const, value: wanted.exact };
  if ("prefix" in wanted) return { case: "prefix" as const, value: wanted.prefix };
  return { case: "safeRegex" as const, value: { regex: "regex" in wanted ? wanted.regex : ".*" } };
}

function byKey([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
