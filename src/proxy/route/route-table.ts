/**
 * A route configuration, compiled: the virtual host of an authority in a few map look-ups, then its routes in order.
 * Source: envoy.config.route.v3.RouteConfiguration, VirtualHost.domains.
 */

import type { VirtualHost } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { type RouteConfiguration, RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.ts";
import type { MatchedHead } from "../../policy/header-match.ts";
import { compileHeaderOps, type HeaderOps } from "../../policy/header-ops.ts";
import { pathWithoutQuery } from "../../policy/path-normalise.ts";
import { collectRefusal } from "../../policy/refusal.ts";
import { unsupportedFields } from "../config/fields.ts";
import { type CompiledVirtualHost, compileVirtualHost } from "./compile-route.ts";
import { compileOverrides } from "./filter-overrides.ts";
import type { FilterOverrides, RouteEntry, VirtualHostEntry } from "./route-entry.ts";

/** See the file's head. Immutable. */
export interface RouteTable {
  readonly name: string;
  readonly virtualHosts: readonly VirtualHostEntry[];
  readonly requestOps: HeaderOps | undefined;
  readonly responseOps: HeaderOps | undefined;
  /** Whether narrower levels' header changes come last and so win. Source: most_specific_header_mutations_wins. */
  readonly specificOpsWin: boolean;
  readonly filters: FilterOverrides | undefined;
  /** Headers, lower case, that only internal requests may carry. */
  readonly internalOnlyHeaders: readonly string[];
  virtualHostOf(authority: string): VirtualHostEntry | undefined;
  /** The first route that takes the request; `draw` gives chance in [0, 1) for routes that take a share. */
  routeOf(virtualHost: VirtualHostEntry, head: MatchedHead, draw: () => number): RouteEntry | undefined;
}

/** Source: RouteConfiguration.max_direct_response_body_size_bytes, default. */
const DIRECT_BODY_BYTES_MAX = 4096;

const TABLE_FIELDS: ReadonlySet<string> = new Set([
  "name",
  "virtualHosts",
  "internalOnlyHeaders",
  "responseHeadersToAdd",
  "responseHeadersToRemove",
  "requestHeadersToAdd",
  "requestHeadersToRemove",
  "mostSpecificHeaderMutationsWins",
  "maxDirectResponseBodySizeBytes",
  "ignorePortInHostMatching",
  "ignorePathParametersInPathMatching",
  "typedPerFilterConfig",
  "metadata",
  // VHDS is its source's matter; clusters are looked up for each request, so their absence is never an error here.
  "vhds",
  "validateClusters",
]);

/** Compiled once an object: an update that keeps a virtual host's message keeps its routes too. */
const compiledHosts = new WeakMap<VirtualHost, { readonly bytesMax: number; readonly compiled: CompiledVirtualHost }>();

function compiledHost(host: VirtualHost, config: RouteConfiguration): CompiledVirtualHost {
  const bytesMax = config.maxDirectResponseBodySizeBytes ?? DIRECT_BODY_BYTES_MAX;
  const known = compiledHosts.get(host);
  if (known?.bytesMax === bytesMax) return known.compiled;
  const compiled = compileVirtualHost(host, { directBodyBytesMax: bytesMax });
  compiledHosts.set(host, { bytesMax, compiled });
  return compiled;
}

/** Everything in `config` that is wrong or not carried out; empty: it may be built. Texts name the place and the field. */
export function validateRouteConfiguration(config: RouteConfiguration): string[] {
  const violations = unsupportedFields(RouteConfigurationSchema, config, TABLE_FIELDS).map((field) => `${field} is not supported`);
  collectRefusal(violations, "request_headers", () => compileHeaderOps(config.requestHeadersToAdd, config.requestHeadersToRemove));
  collectRefusal(violations, "response_headers", () => compileHeaderOps(config.responseHeadersToAdd, config.responseHeadersToRemove));
  collectRefusal(violations, "filters", () => compileOverrides(config.typedPerFilterConfig));
  const domains = new Map<string, string>();
  const names = new Set<string>();
  for (const host of config.virtualHosts) {
    if (names.has(host.name)) violations.push(`virtual host "${host.name}": there is another one of this name`);
    names.add(host.name);
    if (host.domains.length === 0) violations.push(`virtual host "${host.name}": no domains`);
    for (const domain of host.domains) {
      const folded = domain.toLowerCase();
      const other = domains.get(folded);
      if (other !== undefined)
        violations.push(`virtual host "${host.name}": domain "${domain}" belongs to virtual host "${other}" already`);
      else domains.set(folded, host.name);
      if (!isDomain(folded))
        violations.push(`virtual host "${host.name}": "${domain}" is no domain: a star may stand alone, in front or at the end`);
    }
    violations.push(...compiledHost(host, config).violations);
  }
  return violations.map((text) => `route configuration "${config.name}": ${text}`);
}

/** Compiles a configuration that has no violations. */
export function buildRouteTable(config: RouteConfiguration): RouteTable {
  const virtualHosts = config.virtualHosts.map((host) => compiledHost(host, config).entry);
  const index = new DomainIndex(virtualHosts);
  const dropsPort = config.ignorePortInHostMatching;
  const dropsParameters = config.ignorePathParametersInPathMatching;
  return {
    name: config.name,
    virtualHosts,
    requestOps: compileHeaderOps(config.requestHeadersToAdd, config.requestHeadersToRemove),
    responseOps: compileHeaderOps(config.responseHeadersToAdd, config.responseHeadersToRemove),
    specificOpsWin: config.mostSpecificHeaderMutationsWins,
    filters: compileOverrides(config.typedPerFilterConfig),
    internalOnlyHeaders: config.internalOnlyHeaders.map((name) => name.toLowerCase()),
    virtualHostOf: (authority) => index.find(dropsPort ? withoutPort(authority) : authority),
    routeOf(virtualHost, head, draw) {
      let path = pathWithoutQuery(head.path);
      if (dropsParameters && path.includes(";")) path = path.slice(0, path.indexOf(";"));
      for (const route of virtualHost.routes) if (route.matches(head, path) && (route.ratio === 1 || draw() < route.ratio)) return route;
      return undefined;
    },
  };
}

/** The authority without ":port". */
export function withoutPort(authority: string): string {
  return authority.replace(/:\d+$/, "");
}

function isDomain(domain: string): boolean {
  if (domain === "*") return true;
  const stars = domain.split("*").length - 1;
  if (domain === "" || stars > 1) return false;
  return stars === 0 || domain.startsWith("*") || domain.endsWith("*");
}

/** Exact names first, then the longest "*.suffix", then the longest "prefix.*", then "*". */
class DomainIndex {
  readonly #exact = new Map<string, VirtualHostEntry>();
  /** By length of the text without its star, longest first. */
  readonly #suffixes: { readonly length: number; readonly hosts: Map<string, VirtualHostEntry> }[];
  readonly #prefixes: { readonly length: number; readonly hosts: Map<string, VirtualHostEntry> }[];
  #default: VirtualHostEntry | undefined;

  constructor(hosts: readonly VirtualHostEntry[]) {
    const suffixes = new Map<number, Map<string, VirtualHostEntry>>();
    const prefixes = new Map<number, Map<string, VirtualHostEntry>>();
    for (const host of hosts) {
      for (const given of host.domains) {
        const domain = given.toLowerCase();
        if (domain === "*") this.#default = host;
        else if (domain.startsWith("*")) byLength(suffixes, domain.slice(1)).set(domain.slice(1), host);
        else if (domain.endsWith("*")) byLength(prefixes, domain.slice(0, -1)).set(domain.slice(0, -1), host);
        else this.#exact.set(domain, host);
      }
    }
    this.#suffixes = longestFirst(suffixes);
    this.#prefixes = longestFirst(prefixes);
  }

  find(authority: string): VirtualHostEntry | undefined {
    if (authority === "") return this.#default;
    const name = authority.toLowerCase();
    const exact = this.#exact.get(name);
    if (exact) return exact;
    // A star stands for at least one character.
    for (const { length, hosts } of this.#suffixes) {
      if (name.length <= length) continue;
      const host = hosts.get(name.slice(name.length - length));
      if (host) return host;
    }
    for (const { length, hosts } of this.#prefixes) {
      if (name.length <= length) continue;
      const host = hosts.get(name.slice(0, length));
      if (host) return host;
    }
    return this.#default;
  }
}

function byLength(groups: Map<number, Map<string, VirtualHostEntry>>, text: string): Map<string, VirtualHostEntry> {
  const known = groups.get(text.length);
  if (known) return known;
  const made = new Map<string, VirtualHostEntry>();
  groups.set(text.length, made);
  return made;
}

function longestFirst(
  groups: Map<number, Map<string, VirtualHostEntry>>,
): { readonly length: number; readonly hosts: Map<string, VirtualHostEntry> }[] {
  return [...groups].map(([length, hosts]) => ({ length, hosts })).sort((a, b) => b.length - a.length);
}
