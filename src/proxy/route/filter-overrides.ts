/** typed_per_filter_config of routes and virtual hosts, compiled. A type that is not known is refused. Source: envoy.config.route.v3.Route. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { FilterConfigSchema, type CorsPolicy as RouteCors } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { CorsPolicySchema } from "../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { HTTPFaultSchema } from "../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { RBACPerRouteSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { compileCors } from "../../policy/cors.ts";
import { compileFault } from "../../policy/fault.ts";
import { PolicyRefusal } from "../../policy/refusal.ts";
import { compileRbacRules } from "../http/filters/rbac-rules.ts";
import type { FilterOverride, FilterOverrides } from "./route-entry.ts";

/** The name under which the older `cors` field of routes is kept. */
export const CORS_FILTER_NAME = "envoy.filters.http.cors";

/** Compiles one level's overrides; undefined when there are none. Throws PolicyRefusal. */
export function compileOverrides(configs: Readonly<Record<string, Any>>, cors?: RouteCors | undefined): FilterOverrides | undefined {
  const names = Object.keys(configs);
  if (names.length === 0 && !cors) return undefined;
  const overrides = new Map<string, FilterOverride>();
  if (cors) {
    const enabled = cors.enabledSpecifier.case === "filterEnabled" ? cors.enabledSpecifier.value : undefined;
    overrides.set(CORS_FILTER_NAME, { kind: "cors", rules: compileCors(cors, enabled, cors.shadowEnabled) });
  }
  for (const name of names) {
    const override = compileOne(name, configs[name] as Any, false);
    if (override) overrides.set(name, override);
  }
  return overrides;
}

function compileOne(name: string, config: Any, isOptional: boolean): FilterOverride | undefined {
  const type = config.typeUrl.slice(config.typeUrl.lastIndexOf("/") + 1);
  try {
    switch (type) {
      case HTTPFaultSchema.typeName:
        return { kind: "fault", rules: compileFault(fromBinary(HTTPFaultSchema, config.value)) };
      case RBACPerRouteSchema.typeName: {
        const { rbac } = fromBinary(RBACPerRouteSchema, config.value);
        return { kind: "rbac", rules: rbac && compileRbacRules(rbac) };
      }
      case CorsPolicySchema.typeName: {
        const policy = fromBinary(CorsPolicySchema, config.value);
        return { kind: "cors", rules: compileCors(policy, policy.filterEnabled, policy.shadowEnabled) };
      }
      case FilterConfigSchema.typeName: {
        const inner = fromBinary(FilterConfigSchema, config.value);
        if (inner.disabled) return { kind: "disabled" };
        if (!inner.config || inner.config.typeUrl === "") return { kind: "enabled" };
        return compileOne(name, inner.config, inner.isOptional);
      }
      default:
        if (isOptional) return undefined;
        throw new PolicyRefusal(`type ${type || "(none)"} is not known`);
    }
  } catch (error) {
    throw new PolicyRefusal(`typed_per_filter_config "${name}": ${error instanceof Error ? error.message : String(error)}`);
  }
}
