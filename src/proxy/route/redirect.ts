/** Where a redirect points to, compiled. Source: envoy.config.route.v3.RedirectAction. */
import {
  type RedirectAction,
  RedirectAction_RedirectResponseCode as ResponseCode,
} from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import type { MatchedHead } from "../../policy/header-match.ts";
import { pathWithoutQuery } from "../../policy/path-normalise.ts";
import { PolicyRefusal } from "../../policy/refusal.ts";
import { toWireText } from "../../policy/wire-text.ts";
import { compilePathRewrite, type MatchedPart, type PathRewrite } from "./rewrite.ts";
import type { RedirectRoute } from "./route-entry.ts";

const STATUS: ReadonlyMap<number, number> = new Map([
  [ResponseCode.MOVED_PERMANENTLY, 301],
  [ResponseCode.FOUND, 302],
  [ResponseCode.SEE_OTHER, 303],
  [ResponseCode.TEMPORARY_REDIRECT, 307],
  [ResponseCode.PERMANENT_REDIRECT, 308],
]);

/** Compiles a redirect of a route that matches `matched` of the path. Throws PolicyRefusal. */
export function compileRedirect(action: RedirectAction, matched: MatchedPart | undefined): RedirectRoute {
  const status = STATUS.get(action.responseCode);
  if (status === undefined) throw new PolicyRefusal(`redirect: response_code ${action.responseCode} is not known`);
  const how = action.schemeRewriteSpecifier;
  const newScheme =
    how.case === "httpsRedirect" ? (how.value ? "https" : "") : how.case === "schemeRedirect" ? how.value.toLowerCase() : "";
  const newHost = toWireText(action.hostRedirect);
  const newPort = action.portRedirect;
  const pathOf = compilePath(action, matched);
  return {
    kind: "redirect",
    status,
    location(head) {
      const scheme = newScheme || schemeOf(head);
      const host = newHost || hostOf(head, scheme, newPort);
      return `${scheme}://${host}${newPort === 0 ? "" : `:${newPort}`}${pathOf(head.path)}`;
    },
  };
}

/** Where a virtual host that requires TLS sends plaintext requests. Source: VirtualHost.require_tls. */
export const TLS_REDIRECT: RedirectRoute = {
  kind: "redirect",
  status: 301,
  location: (head) => `https://${head.authority}${head.path}`,
};

function compilePath(action: RedirectAction, matched: MatchedPart | undefined): PathRewrite {
  const how = action.pathRewriteSpecifier;
  const queryOf = (path: string): string => (action.stripQuery ? "" : path.slice(pathWithoutQuery(path).length));
  switch (how.case) {
    case undefined:
      return (path) => pathWithoutQuery(path) + queryOf(path);
    case "pathRedirect": {
      const text = toWireText(how.value);
      const fixed = text === "" || text.startsWith("/") ? text : `/${text}`;
      return fixed.includes("?") ? () => fixed : (path) => fixed + queryOf(path);
    }
    case "prefixRewrite":
    case "regexRewrite": {
      const rewrite =
        how.case === "prefixRewrite" ? compilePathRewrite(how.value, undefined, matched) : compilePathRewrite("", how.value, matched);
      if (!rewrite) throw new PolicyRefusal("redirect: an empty rewrite");
      return (path) => pathWithoutQuery(rewrite(pathWithoutQuery(path))) + queryOf(path);
    }
  }
}

function schemeOf(head: MatchedHead): string {
  const forwarded = head.headers.get("x-forwarded-proto");
  return forwarded === "http" || forwarded === "https" ? forwarded : head.scheme;
}

/** The request's host; its port goes when there is another, or when it was the old scheme's own. */
function hostOf(head: MatchedHead, scheme: string, newPort: number): string {
  const { authority } = head;
  const match = /:(\d+)$/.exec(authority);
  if (!match) return authority;
  const before = schemeOf(head);
  const isDefault = scheme !== before && match[1] === (before === "https" ? "443" : "80");
  return newPort !== 0 || isDefault ? authority.slice(0, match.index) : authority;
}
