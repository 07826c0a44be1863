/** Answers 403 to what policy forbids; rules on trial are only counted. Source: envoy.extensions.filters.http.rbac.v3.RBAC. */
import { fromBinary } from "@bufbuild/protobuf";
import { RBACSchema } from "../../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { type HttpFilterType, isActive } from "../filter.ts";
import { REPLIES } from "../local-reply.ts";
import { compileRbacRules } from "./rbac-rules.ts";

/** The filter's type. */
export const rbacFilter: HttpFilterType = {
  typeName: RBACSchema.typeName,
  validate(config) {
    compileRbacRules(fromBinary(RBACSchema, config.value));
  },
  create(config, context) {
    const own = compileRbacRules(fromBinary(RBACSchema, config.value));
    const counter = (prefix: string, name: string) => context.metrics.envoyCounter(`http.${context.statPrefix}.rbac.${prefix}${name}`);
    const allowed = counter(own.statPrefix, "allowed");
    const denied = counter(own.statPrefix, "denied");
    const shadowAllowed = counter(own.shadowStatPrefix, "shadow_allowed");
    const shadowDenied = counter(own.shadowStatPrefix, "shadow_denied");
    return {
      onRequest(stream) {
        const override = stream.overrideOf(context.name);
        if (!isActive(override, context)) return "continue";
        // A route's RBACPerRoute without rules switches the filter off for it.
        const rules = override?.kind === "rbac" ? override.rules : own;
        if (!rules) return "continue";
        if (rules.shadow) (rules.shadow(stream).allowed ? shadowAllowed : shadowDenied).add();
        if (!rules.enforced) return "continue";
        const verdict = rules.enforced(stream);
        if (verdict.allowed) {
          allowed.add();
          return "continue";
        }
        denied.add();
        const policy = verdict.policy === undefined ? "none" : verdict.policy.replaceAll(/\s/g, "_");
        return stream.reply({ ...REPLIES.rbacDenied, details: `rbac_access_denied_matched_policy[${policy}]` });
      },
    };
  },
};
