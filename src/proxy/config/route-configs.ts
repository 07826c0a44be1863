/**
 * Route configurations by name, with the virtual hosts that VHDS brings beside them. A name that is not there yet is waited for, as
 * long as its config source says. Source: Envoy RDS and VHDS.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import { type VirtualHost, VirtualHostSchema } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.ts";
import type { XdsClient, XdsSubscriber, XdsUpdate } from "../../xds/client-types.ts";
import { TypeUrl } from "../../xds/types.ts";
import type { RouteWaiter } from "../listener/manager.ts";
import type { RouteReference } from "../network/filters.ts";
import { ConfigRefused } from "./address.ts";
import type { ClientSource } from "./discovery.ts";
import { type NamedResource, NamedResources, type Refusal } from "./named-resources.ts";
import { RDS, VHDS } from "./services.ts";

/** A listener waits so long for its routes where its config source does not say. Source: ConfigSource.initial_fetch_timeout. */
const INITIAL_FETCH_TIMEOUT_MS = 15_000;
/** Virtual hosts of one route configuration. */
const VIRTUAL_HOSTS_MAX = 100_000;

/** A route configuration as it is now. */
export interface CurrentRoutes {
  readonly config: RouteConfiguration;
  readonly version: string;
  /** Of VHDS alone, by resource name; they are not in `config`. */
  readonly virtualHosts: ReadonlyMap<string, VirtualHost>;
}

/** What route configurations take from outside. */
export interface RouteConfigsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly discovery: ClientSource;
  /** Everything that is wrong with a route configuration. */
  readonly validate: (config: RouteConfiguration) => readonly string[];
}

/** See the file's head. */
export class RouteConfigs implements RouteWaiter {
  readonly #options: RouteConfigsOptions;
  readonly #hubs = new Map<XdsClient, Hub>();
  readonly #onApplied: (() => void)[] = [];

  constructor(options: RouteConfigsOptions) {
    this.#options = options;
  }

  /** Calls back at once when the routes are known, then at each change, until closed. Throws ConfigRefused. */
  watch(reference: RouteReference, onRoutes: (routes: CurrentRoutes) => void): { close(): void } {
    return this.#hubOf(reference.source).watch(reference.name, onRoutes);
  }

  /** Calls back after each response of routes or virtual hosts. */
  onApplied(listener: () => void): void {
    this.#onApplied.push(listener);
  }

  onceKnown(routes: readonly RouteReference[], done: () => void): { cancel(): void } {
    const { clock, log } = this.#options;
    const waits: { close(): void }[] = [];
    const missing = new Set(routes.map(({ name }) => name));
    let timeoutMs = 0;
    let isOver = false;
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      timer?.cancel();
      // Later, so that whoever the listener's filters are has its own watch by then and no name is dropped in between.
      queueMicrotask(() => {
        for (const wait of waits) wait.close();
      });
      done();
    };
    let timer: { cancel(): void } | undefined;
    for (const route of routes) {
      const own = route.source?.initialFetchTimeout;
      const ms = own ? durationMs(own) : INITIAL_FETCH_TIMEOUT_MS;
      timeoutMs = ms === 0 ? Number.POSITIVE_INFINITY : Math.max(timeoutMs, ms);
    }
    const onKnown = (name: string): void => {
      missing.delete(name);
      if (missing.size === 0) finish();
    };
    for (const route of routes) waits.push(this.watch(route, () => onKnown(route.name)));
    if (!isOver && Number.isFinite(timeoutMs)) {
      timer = clock.after(timeoutMs, () => {
        log.warn(`routes ${[...missing].join(", ")} did not come within ${timeoutMs} ms; their listener goes on without them`);
        finish();
      });
    }
    return {
      cancel() {
        if (isOver) return;
        isOver = true;
        timer?.cancel();
        for (const wait of waits) wait.close();
      },
    };
  }

  /** Everything that is known, for the admin. */
  get known(): readonly NamedResource<RouteConfiguration>[] {
    return [...this.#hubs.values()].flatMap((hub) => hub.routes.known);
  }

  get refusals(): ReadonlyMap<string, Refusal> {
    return new Map([...this.#hubs.values()].flatMap((hub) => [...hub.routes.refusals]));
  }

  /** The virtual hosts that VHDS brought to a route configuration. */
  virtualHostsOf(name: string): readonly VirtualHost[] {
    return [...this.#hubs.values()].flatMap((hub) => [...hub.virtualHosts.of(name).values()]);
  }

  #hubOf(source: ConfigSource | undefined): Hub {
    const client = this.#options.discovery.clientOf(source, RDS);
    let hub = this.#hubs.get(client);
    if (!hub) {
      hub = new Hub(client, this.#options, () => {
        for (const listener of this.#onApplied) listener();
      });
      this.#hubs.set(client, hub);
    }
    return hub;
  }
}

/** Routes and virtual hosts of one server. */
class Hub {
  readonly routes: NamedResources<RouteConfiguration>;
  readonly virtualHosts: VirtualHosts;
  readonly #watchers = new Map<string, Set<() => void>>();

  constructor(client: XdsClient, options: RouteConfigsOptions, onApplied: () => void) {
    this.virtualHosts = new VirtualHosts(options, (names) => {
      for (const name of names) for (const tell of [...(this.#watchers.get(name) ?? [])]) tell();
      onApplied();
    });
    this.routes = new NamedResources(client, {
      typeUrl: TypeUrl.route,
      clock: options.clock,
      onApplied,
      read: (bytes) => {
        const config = fromBinary(RouteConfigurationSchema, bytes);
        const violations = [...options.validate(config)];
        if (config.vhds) {
          const refusal = options.discovery.refusalOf(config.vhds.configSource);
          if (refusal !== undefined) violations.push(`vhds: ${refusal}`);
        }
        if (violations.length > 0) throw new ConfigRefused(violations.join(", "));
        return config;
      },
    });
  }

  watch(name: string, onRoutes: (routes: CurrentRoutes) => void): { close(): void } {
    let config: RouteConfiguration | undefined;
    const tell = (): void => {
      if (!config) return;
      // With VHDS a configuration is known once its first hosts are, or the wait for them would end in 404s.
      if (config.vhds && !this.virtualHosts.isKnown(name)) return;
      const version = this.routes.known.find((known) => known.name === name)?.version ?? "";
      onRoutes({ config, version, virtualHosts: this.virtualHosts.of(name) });
    };
    const watchers = this.#watchers.get(name) ?? new Set();
    this.#watchers.set(name, watchers);
    watchers.add(tell);
    const watch = this.routes.watch(name, (next) => {
      config = next;
      if (next.vhds) this.virtualHosts.follow(name, next.vhds.configSource);
      tell();
    });
    return {
      close: () => {
        watch.close();
        watchers.delete(tell);
        if (watchers.size > 0 || this.#watchers.get(name) !== watchers) return;
        this.#watchers.delete(name);
        this.virtualHosts.forget(name);
      },
    };
  }
}

/** Virtual hosts by route configuration. Resources are named ROUTE-CONFIGURATION/HOST. */
class VirtualHosts implements XdsSubscriber {
  readonly #options: RouteConfigsOptions;
  readonly #onChange: (routeNames: ReadonlySet<string>) => void;
  readonly #byRoute = new Map<string, Map<string, VirtualHost>>();
  readonly #followed = new Set<string>();
  #isSubscribed = false;

  constructor(options: RouteConfigsOptions, onChange: (routeNames: ReadonlySet<string>) => void) {
    this.#options = options;
    this.#onChange = onChange;
  }

  of(routeName: string): ReadonlyMap<string, VirtualHost> {
    return this.#byRoute.get(routeName) ?? NO_HOSTS;
  }

  isKnown(routeName: string): boolean {
    return this.#byRoute.has(routeName);
  }

  /** Asks for the virtual hosts of a route configuration. */
  follow(routeName: string, source: ConfigSource | undefined): void {
    this.#followed.add(routeName);
    if (this.#isSubscribed) return;
    this.#isSubscribed = true;
    // One wildcard subscription brings the hosts of all route configurations.
    this.#options.discovery.clientOf(source, VHDS).subscribe(TypeUrl.virtualHost, { wildcard: true }, this);
  }

  forget(routeName: string): void {
    this.#followed.delete(routeName);
    this.#byRoute.delete(routeName);
  }

  onUpdate(update: XdsUpdate): string | undefined {
    const violations: string[] = [];
    const changed = new Set<string>();
    const next = new Map<string, Map<string, VirtualHost>>();
    const edit = (name: string): Map<string, VirtualHost> | undefined => {
      const routeName = name.slice(0, name.lastIndexOf("/"));
      changed.add(routeName);
      let hosts = next.get(routeName);
      if (!hosts) {
        hosts = new Map(this.#byRoute.get(routeName));
        next.set(routeName, hosts);
      }
      return hosts;
    };
    for (const { name, bytes } of update.resources) {
      try {
        if (!name.includes("/")) throw new Error("a virtual host is named ROUTE-CONFIGURATION/HOST");
        const hosts = edit(name);
        if (hosts && hosts.size >= VIRTUAL_HOSTS_MAX && !hosts.has(name)) throw new Error(`more than ${VIRTUAL_HOSTS_MAX} virtual hosts`);
        hosts?.set(name, fromBinary(VirtualHostSchema, bytes));
      } catch (error) {
        violations.push(`${name}: ${messageOf(error)}`);
      }
    }
    for (const name of update.removed) edit(name)?.delete(name);
    for (const [routeName, hosts] of next) violations.push(...this.#flaws(routeName, hosts));
    if (violations.length > 0) return violations.join("; ");
    for (const [routeName, hosts] of next) this.#byRoute.set(routeName, hosts);
    if (update.resources.length === 0 && update.removed.length === 0) {
      // The server has no host for anybody: those who wait may go on.
      for (const routeName of this.#followed) {
        if (this.#byRoute.has(routeName)) continue;
        this.#byRoute.set(routeName, new Map());
        changed.add(routeName);
      }
    }
    this.#onChange(changed);
    return undefined;
  }

  /** The same checks as for hosts inside a route configuration, duplicate domains among them. */
  #flaws(routeName: string, hosts: ReadonlyMap<string, VirtualHost>): string[] {
    const config: Partial<RouteConfiguration> = { virtualHosts: [...hosts.values()], name: routeName };
    return this.#options.validate({ ...EMPTY_ROUTES, ...config }).map((flaw) => `${routeName}: ${flaw}`);
  }
}

const NO_HOSTS: ReadonlyMap<string, VirtualHost> = new Map();
const EMPTY_ROUTES: RouteConfiguration = fromBinary(RouteConfigurationSchema, new Uint8Array());
