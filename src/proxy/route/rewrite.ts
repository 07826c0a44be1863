/** Rewrites of path and host, compiled. Source: envoy.config.route.v3.RouteAction, prefix_rewrite, regex_rewrite, host_rewrite_*. */
import type { RouteAction } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import type { RegexMatchAndSubstitute } from "../../gen/envoy/type/matcher/v3/regex_pb.ts";
import type { MatchedHead } from "../../policy/header-match.ts";
import { pathWithoutQuery } from "../../policy/path-normalise.ts";
import { PolicyRefusal } from "../../policy/refusal.ts";
import { compileReplace } from "../../policy/regex.ts";
import { toWireText } from "../../policy/wire-text.ts";

/** The new path and query of a path that the route matched. */
export type PathRewrite = (path: string) => string;

/** "auto" takes the chosen endpoint's name; a function gives the host, or undefined to leave it. */
export type HostRewrite = "auto" | ((head: MatchedHead) => string | undefined);

/** How much of a path a route matched: a prefix of so many characters, or all of it. */
export type MatchedPart = number | "whole";

/** Compiles a prefix or regex rewrite; undefined when there is none. Throws PolicyRefusal. */
export function compilePathRewrite(
  prefix: string,
  regex: RegexMatchAndSubstitute | undefined,
  matched: MatchedPart | undefined,
): PathRewrite | undefined {
  if (prefix !== "" && regex) throw new PolicyRefusal("prefix_rewrite and regex_rewrite exclude each other");
  if (prefix !== "") {
    if (matched === undefined) throw new PolicyRefusal("prefix_rewrite does not go with this kind of match");
    const replacement = toWireText(prefix);
    if (matched === "whole") {
      return (path) => {
        const part = pathWithoutQuery(path);
        return replacement + path.slice(part.length);
      };
    }
    return (path) => replacement + path.slice(matched);
  }
  if (!regex) return undefined;
  const replace = compileReplace(regex.pattern?.regex ?? "", regex.substitution);
  return (path) => {
    const part = pathWithoutQuery(path);
    return replace(part) + path.slice(part.length);
  };
}

/** Compiles a route's host rewrite; undefined when there is none. Throws PolicyRefusal. */
export function compileHostRewrite(how: RouteAction["hostRewriteSpecifier"]): HostRewrite | undefined {
  switch (how.case) {
    case undefined:
      return undefined;
    case "hostRewriteLiteral": {
      const host = toWireText(how.value);
      return host === "" ? undefined : () => host;
    }
    case "autoHostRewrite":
      return how.value.value ? "auto" : undefined;
    case "hostRewriteHeader": {
      const name = how.value.toLowerCase();
      return ({ headers }) => headers.get(name) || undefined;
    }
    case "hostRewritePathRegex": {
      const replace = compileReplace(how.value.pattern?.regex ?? "", how.value.substitution);
      return ({ path }) => replace(pathWithoutQuery(path)) || undefined;
    }
  }
}
