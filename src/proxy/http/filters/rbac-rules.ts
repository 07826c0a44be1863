/** The RBAC filter's config, compiled: rules that are enforced and rules that are only counted. Source: envoy.extensions.filters.http.rbac.v3.RBAC. */
import type { RBAC } from "../../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { compileRbac, type RbacEngine } from "../../../policy/rbac.ts";
import { PolicyRefusal } from "../../../policy/refusal.ts";

/** Undefined: no such rules, so everything passes. */
export interface RbacRules {
  readonly enforced: RbacEngine | undefined;
  readonly shadow: RbacEngine | undefined;
  readonly statPrefix: string;
  readonly shadowStatPrefix: string;
}

/** Compiles the filter's config. Throws PolicyRefusal. */
export function compileRbacRules(config: RBAC): RbacRules {
  if (config.matcher || config.shadowMatcher) throw new PolicyRefusal("rbac: matcher and shadow_matcher are not supported");
  if (config.trackPerRuleStats) throw new PolicyRefusal("rbac: track_per_rule_stats is not supported");
  return {
    enforced: config.rules && compileRbac(config.rules),
    shadow: config.shadowRules && compileRbac(config.shadowRules),
    statPrefix: config.rulesStatPrefix,
    shadowStatPrefix: config.shadowRulesStatPrefix,
  };
}
