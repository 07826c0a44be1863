/** Which settings hold for one cluster, when a rule, its subset and their ports each say something. */
import type { DestinationRuleSpec, Subset, TrafficPolicy } from "../../config/types.ts";

/** Settings after merging. */
export type EffectivePolicy = Omit<TrafficPolicy, "portLevelSettings">;

const NONE: EffectivePolicy = { loadBalancer: undefined, connectionPool: undefined, tls: undefined };

/**
 * The settings of a port, and of a subset's port where `subset` is given. A subset's members win over the rule's; settings of a
 * port replace all others of their level, so that what they leave out is the default and not the level above.
 * Source: Istio DestinationRule, "port level settings".
 */
export function effectivePolicy(
  rule: Pick<DestinationRuleSpec, "trafficPolicy"> | undefined,
  subset: Subset | undefined,
  port: number,
): EffectivePolicy {
  const outer = rule ? ofPort(rule.trafficPolicy, port).policy : NONE;
  if (!subset) return outer;
  const { policy: inner, isPortLevel } = ofPort(subset.trafficPolicy, port);
  if (isPortLevel) return inner;
  return {
    loadBalancer: inner.loadBalancer ?? outer.loadBalancer,
    connectionPool: inner.connectionPool ?? outer.connectionPool,
    tls: inner.tls ?? outer.tls,
  };
}

function ofPort(policy: TrafficPolicy, port: number): { readonly policy: EffectivePolicy; readonly isPortLevel: boolean } {
  const own = policy.portLevelSettings.find((setting) => setting.port === port);
  const { loadBalancer, connectionPool, tls } = own?.policy ?? policy;
  return { policy: { loadBalancer, connectionPool, tls }, isPortLevel: own !== undefined };
}
