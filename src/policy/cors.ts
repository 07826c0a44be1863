/** Cross-origin rules, compiled. Source: envoy.extensions.filters.http.cors.v3.CorsPolicy; Fetch standard, CORS protocol. */

import type { RuntimeFractionalPercent } from "../gen/envoy/config/core/v3/base_pb.ts";
import type { StringMatcher } from "../gen/envoy/type/matcher/v3/string_pb.ts";
import { ratioOf } from "./fraction.ts";
import { PolicyRefusal } from "./refusal.ts";
import type { TextTest } from "./regex.ts";
import { compileStringMatch } from "./string-match.ts";

/** A route's rules. Empty texts add no header. */
export interface CorsRules {
  readonly allowsOrigin: (origin: string) => boolean;
  readonly methods: string;
  readonly headers: string;
  readonly exposeHeaders: string;
  readonly maxAge: string;
  readonly credentials: boolean;
  readonly privateNetworkAccess: boolean;
  /** Preflights of other origins go to the app (the default) or are answered here without permission. */
  readonly forwardsOthers: boolean;
}

/** What both kinds of policy message (of the filter, and the older one of routes) have. */
export interface CorsConfig {
  readonly allowOriginStringMatch: readonly StringMatcher[];
  readonly allowMethods: string;
  readonly allowHeaders: string;
  readonly exposeHeaders: string;
  readonly maxAge: string;
  readonly allowCredentials?: boolean | undefined;
  readonly allowPrivateNetworkAccess?: boolean | undefined;
  readonly forwardNotMatchingPreflights?: boolean | undefined;
}

/** Compiles a policy; undefined when it is switched off. Throws PolicyRefusal. */
export function compileCors(
  config: CorsConfig,
  enabled: RuntimeFractionalPercent | undefined,
  shadow: RuntimeFractionalPercent | undefined,
): CorsRules | undefined {
  if (shadow && ratioOf(shadow.defaultValue, 0) > 0) throw new PolicyRefusal("cors: shadow_enabled is not supported");
  const ratio = enabled ? ratioOf(enabled.defaultValue, 1) : 1;
  if (ratio === 0) return undefined;
  if (ratio < 1) throw new PolicyRefusal("cors: filter_enabled for a part of the requests is not supported");
  const tests: TextTest[] = config.allowOriginStringMatch.map((matcher) =>
    // "*" is any origin, not a text. Source: CorsPolicy.allow_origin_string_match.
    matcher.matchPattern.case === "exact" && matcher.matchPattern.value === "*" ? () => true : compileStringMatch(matcher),
  );
  return {
    allowsOrigin: (origin) => tests.some((test) => test(origin)),
    methods: config.allowMethods,
    headers: config.allowHeaders,
    exposeHeaders: config.exposeHeaders,
    maxAge: config.maxAge,
    credentials: config.allowCredentials ?? false,
    privateNetworkAccess: config.allowPrivateNetworkAccess ?? false,
    forwardsOthers: config.forwardNotMatchingPreflights ?? true,
  };
}
