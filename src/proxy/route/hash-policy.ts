/** What of a request decides its endpoint under consistent hashing. Source: envoy.config.route.v3.RouteAction.HashPolicy. */
import type { RouteAction_HashPolicy } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import type { MatchedHead } from "../../policy/header-match.ts";
import { PolicyRefusal } from "../../policy/refusal.ts";
import { compileReplace } from "../../policy/regex.ts";
import { durationMs } from "../../policy/retry.ts";
import { queryParameter } from "./query.ts";

/** What a policy looks at. */
export interface HashInput {
  readonly head: MatchedHead;
  readonly directRemoteIp: string;
  readonly filterState: ReadonlyMap<string, string> | undefined;
  /** Makes a cookie's value when the client has none. */
  readonly uuid: () => string;
}

/** A request's hash (32 bits; undefined: any endpoint), and the cookie that the answer must set for it. */
export type HashPolicy = (input: HashInput) => { readonly hash: number | undefined; readonly setCookie: string | undefined };

interface Source {
  readonly read: (input: HashInput) => string | undefined;
  readonly makeCookie: ((value: string) => string) | undefined;
  readonly terminal: boolean;
}

/** Compiles a list of policies; undefined for none. Throws PolicyRefusal. */
export function compileHashPolicy(policies: readonly RouteAction_HashPolicy[]): HashPolicy | undefined {
  if (policies.length === 0) return undefined;
  const sources = policies.map(compileSource);
  return (input) => {
    let hash: number | undefined;
    let setCookie: string | undefined;
    for (const source of sources) {
      let value = source.read(input);
      if (value === undefined && source.makeCookie) {
        value = input.uuid();
        setCookie = source.makeCookie(value);
      }
      if (value !== undefined) hash = hash === undefined ? hashText(value) : (((hash << 1) | (hash >>> 31)) ^ hashText(value)) >>> 0;
      // A terminal policy ends the list as soon as there is a hash.
      if (source.terminal && hash !== undefined) break;
    }
    return { hash, setCookie };
  };
}

function compileSource(policy: RouteAction_HashPolicy): Source {
  const how = policy.policySpecifier;
  const { terminal } = policy;
  switch (how.case) {
    case "header": {
      const name = how.value.headerName.toLowerCase();
      const rewrite = how.value.regexRewrite;
      const replace = rewrite ? compileReplace(rewrite.pattern?.regex ?? "", rewrite.substitution) : (text: string): string => text;
      const pseudo = name === ":path" || name === ":authority" || name === "host";
      return {
        read: ({ head }) => {
          const value = pseudo ? (name === ":path" ? head.path : head.authority) : (joinValues(head.headers.getAll(name)) ?? undefined);
          return value === undefined ? undefined : replace(value);
        },
        makeCookie: undefined,
        terminal,
      };
    }
    case "cookie": {
      const { name, ttl, path, attributes } = how.value;
      const parts = [
        ttl && durationMs(ttl) > 0 ? `Max-Age=${Math.floor(durationMs(ttl) / 1000)}` : "",
        path ? `Path=${path}` : "",
        ...attributes.map((one) => (one.value === "" ? one.name : `${one.name}=${one.value}`)),
        "HttpOnly",
      ];
      return {
        read: ({ head }) => cookieValue(head.headers.getAll("cookie"), name),
        // Without a ttl a client's cookie is used but none is made.
        makeCookie: ttl ? (value) => [`${name}="${value}"`, ...parts.filter((part) => part !== "")].join("; ") : undefined,
        terminal,
      };
    }
    case "connectionProperties":
      if (!how.value.sourceIp) throw new PolicyRefusal("hash_policy connection_properties: source_ip must be true");
      return { read: ({ directRemoteIp }) => directRemoteIp || undefined, makeCookie: undefined, terminal };
    case "queryParameter": {
      const { name } = how.value;
      return { read: ({ head }) => queryParameter(head.path, name), makeCookie: undefined, terminal };
    }
    case "filterState": {
      const { key } = how.value;
      return { read: ({ filterState }) => filterState?.get(key), makeCookie: undefined, terminal };
    }
    default:
      throw new PolicyRefusal("a hash_policy of an unknown kind");
  }
}

/** Sorted, so that the order of lines does not matter. */
function joinValues(values: string[]): string | undefined {
  if (values.length < 2) return values[0];
  return values.sort().join(",");
}

function cookieValue(lines: readonly string[], name: string): string | undefined {
  for (const line of lines) {
    for (const pair of line.split(";")) {
      const equals = pair.indexOf("=");
      if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
      const value = pair.slice(equals + 1).trim();
      return value.length >= 2 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value;
    }
  }
  return undefined;
}

/** 32 bits of MurmurHash3 over the text's bytes. */
function hashText(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) {
    let k = Math.imul(text.charCodeAt(i) & 0xff, 0xcc9e2d51);
    k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
    hash ^= k;
    hash = (Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64) | 0;
  }
  hash ^= text.length;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
