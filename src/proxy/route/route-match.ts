/** Which requests a route takes, compiled to one function. Source: envoy.config.route.v3.RouteMatch. */
import type { QueryParameterMatcher, RouteMatch } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { ratioOf } from "../../policy/fraction.ts";
import { compileHeaderMatch, type MatchedHead } from "../../policy/header-match.ts";
import { PolicyRefusal } from "../../policy/refusal.ts";
import { compileRegex } from "../../policy/regex.ts";
import { compileStringMatch, foldCase } from "../../policy/string-match.ts";
import { toWireText } from "../../policy/wire-text.ts";
import { queryParameter } from "./query.ts";
import type { MatchedPart } from "./rewrite.ts";

/** A compiled match. */
export interface CompiledMatch {
  /** `path` is the head's path without query (and without parameters, where the table ignores them). */
  readonly matches: (head: MatchedHead, path: string) => boolean;
  readonly ratio: number;
  /** What a prefix rewrite replaces; undefined where there is no such thing. */
  readonly matchedPart: MatchedPart | undefined;
}

type PathTest = (path: string, head: MatchedHead) => boolean;

/** Compiles a match. Throws PolicyRefusal for what is not carried out. */
export function compileRouteMatch(match: RouteMatch | undefined): CompiledMatch {
  if (!match) throw new PolicyRefusal("a route has no match");
  if (match.tlsContext) throw new PolicyRefusal("match: tls_context is not supported");
  if (match.dynamicMetadata.length > 0) throw new PolicyRefusal("match: dynamic_metadata is not supported");
  const { test, matchedPart } = compilePathTest(match);
  const tests = match.headers.map((one) => compileHeaderMatch(one));
  const queries = match.queryParameters.map(compileQuery);
  const isGrpc = match.grpc !== undefined;
  const ratio = match.runtimeFraction ? ratioOf(match.runtimeFraction.defaultValue, 1) : 1;
  if (tests.length === 0 && queries.length === 0 && !isGrpc) return { matches: (head, path) => test(path, head), ratio, matchedPart };
  return {
    matches(head, path) {
      if (!test(path, head)) return false;
      if (isGrpc && !isGrpcRequest(head)) return false;
      for (const one of tests) if (!one(head)) return false;
      for (const one of queries) if (!one(head.path)) return false;
      return true;
    },
    ratio,
    matchedPart,
  };
}

/** Source: gRPC over HTTP/2, content-type. */
export function isGrpcRequest(head: MatchedHead): boolean {
  return isGrpcContentType(head.headers.get("content-type"));
}

/** "application/grpc", alone or with a suffix or parameters; not grpc-web. */
export function isGrpcContentType(type: string | undefined): boolean {
  if (!type?.startsWith("application/grpc")) return false;
  return type.length === 16 || type[16] === "+" || type[16] === ";";
}

function compilePathTest(match: RouteMatch): { readonly test: PathTest; readonly matchedPart: MatchedPart | undefined } {
  const how = match.pathSpecifier;
  const isFolded = match.caseSensitive === false;
  switch (how.case) {
    case "prefix": {
      const prefix = toWireText(how.value);
      if (prefix === "/" || prefix === "") return { test: (path) => path.startsWith(prefix), matchedPart: prefix.length };
      if (!isFolded) return { test: (path) => path.startsWith(prefix), matchedPart: prefix.length };
      const folded = foldCase(prefix);
      return {
        test: (path) => path.length >= folded.length && foldCase(path.slice(0, folded.length)) === folded,
        matchedPart: prefix.length,
      };
    }
    case "path": {
      const whole = toWireText(how.value);
      if (!isFolded) return { test: (path) => path === whole, matchedPart: "whole" };
      const folded = foldCase(whole);
      return { test: (path) => path.length === folded.length && foldCase(path) === folded, matchedPart: "whole" };
    }
    case "pathSeparatedPrefix": {
      const prefix = toWireText(how.value);
      if (!/^[^?#]+[^?#/]$/.test(prefix) || !prefix.startsWith("/"))
        throw new PolicyRefusal(`path_separated_prefix "${prefix}" must begin with a slash and not end in one`);
      const folded = isFolded ? foldCase(prefix) : prefix;
      return {
        test: (path) => {
          if (path.length < prefix.length || (path.length > prefix.length && path[prefix.length] !== "/")) return false;
          return isFolded ? foldCase(path.slice(0, prefix.length)) === folded : path.startsWith(prefix);
        },
        matchedPart: prefix.length,
      };
    }
    case "safeRegex":
      return { test: compileRegex(how.value.regex), matchedPart: "whole" };
    case "connectMatcher":
      return { test: (_path, head) => head.method === "CONNECT", matchedPart: undefined };
    default:
      throw new PolicyRefusal(`match: ${how.case ?? "a path specifier of no or unknown kind"} is not supported`);
  }
}

function compileQuery(matcher: QueryParameterMatcher): (path: string) => boolean {
  const { name } = matcher;
  const how = matcher.queryParameterMatchSpecifier;
  if (how.case === "stringMatch") {
    const test = compileStringMatch(how.value);
    return (path) => {
      const value = queryParameter(path, name);
      return value !== undefined && test(value);
    };
  }
  const wanted = how.case === "presentMatch" ? how.value : true;
  return (path) => (queryParameter(path, name) !== undefined) === wanted;
}
