/**
 * Chooses hosts: priority by health, then locality by weight, then the policy. All that can be computed is computed when the hosts
 * change. Source: Envoy, Load balancing.
 */
import { type Random, randomInt } from "../../base/random.ts";
import type { LoadBalancerContext } from "../types.ts";
import type { LbKind, SubsetConfig } from "./cluster-config.ts";
import { EdfScheduler } from "./edf.ts";
import type { Host } from "./host.ts";
import { computePriorityLoad } from "./priority-load.ts";

/** What decides how hosts are chosen. */
export interface BalancerOptions {
  readonly lb: LbKind;
  readonly leastRequestChoices: number;
  readonly leastRequestBias: number;
  readonly localityWeighted: boolean;
  readonly panicThresholdPercent: number;
  readonly overprovisioningPercent: number;
  readonly random: Random;
}

/** How often another host is looked for when one was tried already, before all are gone through. */
const RESELECTIONS_MAX = 3;
/** Subsets kept per membership. */
const SUBSETS_MAX = 256;

/** Over a fixed list of hosts; made anew when hosts, weights or health change. */
export class LoadBalancer {
  readonly #options: BalancerOptions;
  readonly #hosts: readonly Host[];
  readonly #priorities: readonly { readonly percent: number; readonly chooser: Chooser }[];
  readonly #only: Chooser | undefined;

  constructor(hosts: readonly Host[], options: BalancerOptions) {
    this.#options = options;
    this.#hosts = hosts;
    const levels = byPriority(hosts);
    const loads = computePriorityLoad(
      levels.map((level) => ({ hosts: level.length, healthy: level.filter(isUsable).length })),
      options,
    );
    this.#priorities = levels
      .map((level, i) => ({ percent: loads[i]?.percent ?? 0, chooser: createChooser(level, loads[i]?.isPanic ?? false, options) }))
      .filter(({ percent }) => percent > 0);
    this.#only = this.#priorities.length === 1 ? this.#priorities[0]?.chooser : undefined;
  }

  /** Undefined: nobody is there, or nobody healthy. */
  choose(context: LoadBalancerContext): Host | undefined {
    const { triedHosts } = context;
    const first = this.#pick(context.hash);
    if (!first || !triedHosts || triedHosts.size === 0 || !triedHosts.has(first)) return first;
    for (let i = 0; i < RESELECTIONS_MAX; i++) {
      const next = this.#pick(undefined);
      if (next && !triedHosts.has(next)) return next;
    }
    const offset = randomInt(this.#options.random, this.#hosts.length);
    for (let i = 0; i < this.#hosts.length; i++) {
      const host = this.#hosts[(offset + i) % this.#hosts.length];
      if (host && isUsable(host) && !triedHosts.has(host)) return host;
    }
    return first;
  }

  #pick(hash: number | undefined): Host | undefined {
    if (this.#only) return this.#only(hash);
    let left = hash === undefined ? this.#options.random.next() * 100 : hash % 100;
    for (const { percent, chooser } of this.#priorities) {
      left -= percent;
      if (left < 0) return chooser(hash);
    }
    return undefined;
  }
}

/** Balancers of the subsets that routes ask for, made when asked for. */
export class SubsetBalancer {
  readonly #hosts: readonly Host[];
  readonly #config: SubsetConfig;
  readonly #options: BalancerOptions;
  readonly #all: LoadBalancer;
  readonly #subsets = new Map<string, LoadBalancer | undefined>();

  constructor(hosts: readonly Host[], config: SubsetConfig, options: BalancerOptions) {
    this.#hosts = hosts;
    this.#config = config;
    this.#options = options;
    this.#all = new LoadBalancer(hosts, options);
  }

  choose(context: LoadBalancerContext): Host | undefined {
    const match = context.metadataMatch;
    const balancer = match && Object.keys(match).length > 0 ? this.#of(match) : undefined;
    return (balancer ?? this.#fallback())?.choose(context);
  }

  #of(match: Readonly<Record<string, string>>): LoadBalancer | undefined {
    const keys = Object.keys(match).sort();
    const name = keys.map((key) => `${key}=${match[key]}`).join("\0");
    if (this.#subsets.has(name)) return this.#subsets.get(name);
    const isSelector = this.#config.selectors.some(
      (selector) => selector.length === keys.length && selector.every((key, i) => key === keys[i]),
    );
    const balancer = isSelector ? this.#over(match) : undefined;
    if (this.#subsets.size < SUBSETS_MAX) this.#subsets.set(name, balancer);
    return balancer;
  }

  #fallback(): LoadBalancer | undefined {
    switch (this.#config.fallback) {
      case "any":
        return this.#all;
      case "default": {
        if (!this.#subsets.has("")) this.#subsets.set("", this.#over(this.#config.defaultSubset));
        return this.#subsets.get("");
      }
      case "none":
        return undefined;
    }
  }

  #over(match: Readonly<Record<string, unknown>>): LoadBalancer | undefined {
    const hosts = this.#hosts.filter(({ lbMetadata }) => isMetadataMatch(match, lbMetadata));
    return hosts.length === 0 ? undefined : new LoadBalancer(hosts, this.#options);
  }
}

/** Whether all values of `match` are in `metadata`. */
export function isMetadataMatch(match: Readonly<Record<string, unknown>>, metadata: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(match).every(([key, value]) => {
    const held = metadata[key];
    return (
      held === value ||
      (typeof held === "object" && JSON.stringify(held) === JSON.stringify(value)) ||
      (typeof held !== "object" && held !== undefined && String(held) === value)
    );
  });
}

type Chooser = (hash: number | undefined) => Host | undefined;

function isUsable(host: Host): boolean {
  return host.health !== "unhealthy";
}

function byPriority(hosts: readonly Host[]): Host[][] {
  const levels: Host[][] = [];
  for (const host of hosts) {
    while (levels.length <= host.priority) levels.push([]);
    levels[host.priority]?.push(host);
  }
  return levels;
}

function createChooser(level: readonly Host[], isPanic: boolean, options: BalancerOptions): Chooser {
  const healthy = level.filter((host) => host.health === "healthy");
  const usable = isPanic ? level : healthy.length > 0 ? healthy : level.filter(isUsable);
  if (!options.localityWeighted || isPanic) return createPolicy(usable, options);
  const localities = new Map<string, { hosts: Host[]; all: number; weight: number }>();
  for (const host of level) {
    const key = `${host.locality.region}/${host.locality.zone}/${host.locality.subZone}`;
    const entry = localities.get(key) ?? { hosts: [], all: 0, weight: host.localityWeight };
    entry.all += 1;
    if (usable.includes(host)) entry.hosts.push(host);
    localities.set(key, entry);
  }
  const scheduler = new EdfScheduler<{ chooser: Chooser; weight: number }>();
  for (const { hosts, all, weight } of localities.values()) {
    const effective = weight * Math.min(1, ((options.overprovisioningPercent / 100) * hosts.length) / all);
    if (effective > 0) scheduler.add({ chooser: createPolicy(hosts, options), weight: effective }, effective);
  }
  if (scheduler.size === 0) return () => undefined;
  return (hash) => scheduler.pick(({ weight }) => weight)?.chooser(hash);
}

function createPolicy(hosts: readonly Host[], options: BalancerOptions): Chooser {
  if (hosts.length === 0) return () => undefined;
  const only = hosts.length === 1 ? hosts[0] : undefined;
  if (only) return () => only;
  const isWeighted = hosts.some(({ weight }) => weight !== hosts[0]?.weight);
  switch (options.lb) {
    case "round-robin":
      return isWeighted ? weightedRoundRobin(hosts, options) : roundRobin(hosts, options);
    case "least-request":
      return isWeighted ? weightedLeastRequest(hosts, options) : leastRequest(hosts, options);
    case "random":
      return isWeighted ? weightedRandom(hosts, options) : () => hosts[randomInt(options.random, hosts.length)];
    case "hash":
      return rendezvous(hosts, options);
  }
}

function roundRobin(hosts: readonly Host[], { random }: BalancerOptions): Chooser {
  // Proxies that start together do not all begin at the first host.
  let at = randomInt(random, hosts.length);
  return () => {
    at = at + 1 >= hosts.length ? 0 : at + 1;
    return hosts[at];
  };
}

function weightedRoundRobin(hosts: readonly Host[], { random }: BalancerOptions): Chooser {
  const scheduler = new EdfScheduler<Host>();
  for (const host of hosts) scheduler.add(host, host.weight);
  for (let i = randomInt(random, hosts.length); i > 0; i--) scheduler.pick(({ weight }) => weight);
  return () => scheduler.pick(({ weight }) => weight);
}

function leastRequest(hosts: readonly Host[], { random, leastRequestChoices }: BalancerOptions): Chooser {
  return () => {
    let best = hosts[randomInt(random, hosts.length)];
    for (let i = 1; i < leastRequestChoices; i++) {
      const other = hosts[randomInt(random, hosts.length)];
      if (best && other && other.activeRequests < best.activeRequests) best = other;
    }
    return best;
  };
}

/** Weights count against requests under way. Source: Envoy, weighted least request: weight / (active + 1)^bias. */
function weightedLeastRequest(hosts: readonly Host[], { leastRequestBias, random }: BalancerOptions): Chooser {
  const weightOf = (host: Host): number => host.weight / (host.activeRequests + 1) ** leastRequestBias;
  const scheduler = new EdfScheduler<Host>();
  for (const host of hosts) scheduler.add(host, weightOf(host));
  for (let i = randomInt(random, hosts.length); i > 0; i--) scheduler.pick(weightOf);
  return () => scheduler.pick(weightOf);
}

function weightedRandom(hosts: readonly Host[], { random }: BalancerOptions): Chooser {
  const total = hosts.reduce((sum, { weight }) => sum + weight, 0);
  return () => {
    let left = random.next() * total;
    for (const host of hosts) {
      left -= host.weight;
      if (left < 0) return host;
    }
    return hosts.at(-1);
  };
}

/**
 * The host that scores highest for this hash: a host that leaves moves only its own share. Serves RING_HASH and MAGLEV alike; their
 * table sizes mean nothing to it.
 */
function rendezvous(hosts: readonly Host[], { random }: BalancerOptions): Chooser {
  const seeds = hosts.map(({ key }) => hashText(key));
  return (hash) => {
    if (hash === undefined) return hosts[randomInt(random, hosts.length)];
    let best: Host | undefined;
    let bestScore = Number.NEGATIVE_INFINITY;
    hosts.forEach((host, i) => {
      const score = -host.weight / Math.log((mix((seeds[i] as number) ^ (hash >>> 0) ^ Math.floor(hash / 4294967296)) + 0.5) / 4294967296);
      if (score > bestScore) {
        bestScore = score;
        best = host;
      }
    });
    return best;
  };
}

function hashText(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return mix(h);
}

function mix(value: number): number {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
