/** Route tables by name, each compiled once a version however many listeners use it. */
import type { RouteReference } from "../network/filters.ts";
import { buildRouteTable, type RouteTable } from "../route/route-table.ts";
import type { CurrentRoutes, RouteConfigs } from "./route-configs.ts";

/** Compiled tables over route configurations. */
export class RouteTables {
  readonly #configs: RouteConfigs;
  readonly #compiled = new WeakMap<
    CurrentRoutes["config"],
    { readonly hosts: CurrentRoutes["virtualHosts"]; readonly table: RouteTable }
  >();

  constructor(configs: RouteConfigs) {
    this.#configs = configs;
  }

  /** Calls back with the table at once when it is known, then with each later version, until closed. Throws ConfigRefused. */
  watch(reference: RouteReference, onRoutes: (table: RouteTable) => void): { close(): void } {
    return this.#configs.watch(reference, (routes) => onRoutes(this.#compile(routes)));
  }

  #compile({ config, virtualHosts }: CurrentRoutes): RouteTable {
    const known = this.#compiled.get(config);
    if (known && known.hosts === virtualHosts) return known.table;
    // The order of hosts means nothing: the most specific domain wins, and duplicates were refused.
    const table = buildRouteTable(
      virtualHosts.size === 0 ? config : { ...config, virtualHosts: [...config.virtualHosts, ...virtualHosts.values()] },
    );
    this.#compiled.set(config, { hosts: virtualHosts, table });
    return table;
  }
}
