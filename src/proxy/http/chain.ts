/**
 * The HTTP filters and the order they stand in. Config gives the order, and it is obeyed; what follows is the order of a mesh, and why:
 *
 *   grpc_stats        counts messages whatever becomes of the request
 *   set_filter_state  names the peer before anybody asks who it is
 *   rbac              DENY, then ALLOW: no later filter may work for, or answer, a request that policy forbids
 *   cors              answers preflights without the app, but not for those that policy forbids
 *   fault             what it breaks has passed everything else, as a broken server would be found
 *   router            last, always: sends the request on
 *
 * Requests pass them in this order, answers the other way round. A filter is made once a listener; what it knows of one request it keeps
 * on the stream. It decides at once (continue, or a reply of its own), or pauses and resumes later. Source: Envoy, HTTP filters.
 */
import type { Any } from "@bufbuild/protobuf/wkt";
import type { HttpFilter as HttpFilterConfig } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { collectRefusal } from "../../policy/refusal.ts";
import type { FilterDeps, HttpFilter, HttpFilterType } from "./filter.ts";
import { corsFilter } from "./filters/cors.ts";
import { faultFilter } from "./filters/fault.ts";
import { grpcStatsFilter } from "./filters/grpc-stats.ts";
import { rbacFilter } from "./filters/rbac.ts";
import { ROUTER_TYPE, type RouterOptions, readRouterOptions } from "./filters/router-options.ts";
import { setFilterStateFilter } from "./filters/set-filter-state.ts";

const TYPES: readonly HttpFilterType[] = [grpcStatsFilter, setFilterStateFilter, rbacFilter, corsFilter, faultFilter];

/** A listener's filters, made; the router's options stand apart since it is always there. */
export interface FilterChain {
  readonly filters: readonly HttpFilter[];
  readonly router: RouterOptions;
}

/** Why a list of filters cannot be used; empty when it can. An unknown filter is refused, unless config says that it may be left out. */
export function validateFilters(configs: readonly HttpFilterConfig[]): string[] {
  const violations: string[] = [];
  configs.forEach((config, i) => {
    const where = `http filter "${config.name}"`;
    if (config.configType.case === "configDiscovery") {
      violations.push(`${where}: config_discovery is not supported`);
      return;
    }
    const any = config.configType.value;
    const isLast = i === configs.length - 1;
    if (typeOf(any, config.name) === ROUTER_TYPE) {
      if (!isLast) violations.push(`${where} must be the last filter`);
      collectRefusal(violations, where, () => readRouterOptions(any));
      return;
    }
    if (isLast) violations.push(`${where} cannot be the last filter: that must be the router`);
    const type = find(any);
    if (type && any) collectRefusal(violations, where, () => type.validate(any));
    else if (!config.isOptional) violations.push(`${where} (${any?.typeUrl ?? "without typed_config"}) is not supported`);
  });
  if (configs.length === 0) violations.push("http_filters is empty: a router is needed");
  return violations;
}

/** Makes the filters of a list that was validated. */
export function createFilterChain(configs: readonly HttpFilterConfig[], deps: FilterDeps): FilterChain {
  const filters: HttpFilter[] = [];
  for (const config of configs.slice(0, -1)) {
    const any = config.configType.case === "typedConfig" ? config.configType.value : undefined;
    const type = find(any);
    if (type && any) filters.push(type.create(any, { ...deps, name: config.name, isDisabled: config.disabled }));
  }
  const last = configs.at(-1)?.configType;
  return { filters, router: readRouterOptions(last?.case === "typedConfig" ? last.value : undefined) };
}

function find(any: Any | undefined): HttpFilterType | undefined {
  return any && TYPES.find(({ typeName }) => typeName === typeOf(any, ""));
}

function typeOf(any: Any | undefined, name: string): string {
  if (any) return any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  return name === "envoy.filters.http.router" ? ROUTER_TYPE : "";
}
