/**
 * Which DestinationRule holds for a host, as a client sees it. Source: Istio, cross-namespace lookup of destination rules: the
 * client's namespace, then the service's, then the root namespace.
 */
import { type Hostname, hostCovers, isWildcard } from "../../model/host.ts";
import type { DestinationRule, MeshConfig } from "../config/types.ts";
import { isPrivate, isVisible, selects } from "./visibility.ts";

/** The rules of a namespace by host, oldest first. */
interface NamespaceRules {
  readonly exact: ReadonlyMap<Hostname, readonly DestinationRule[]>;
  readonly wildcard: ReadonlyMap<Hostname, readonly DestinationRule[]>;
}

/** A client, as far as rules depend on it. */
export interface RuleClient {
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** Finds rules. Built once for a set of rules; what it gives for equal questions is the same object. */
export class DestinationRules {
  readonly rules: readonly DestinationRule[];
  /** Whether the labels of a client matter to any answer. */
  readonly hasSelectors: boolean;
  readonly #mesh: MeshConfig;
  readonly #byNamespace: ReadonlyMap<string, NamespaceRules>;

  /** `rules` are oldest first. */
  constructor(rules: readonly DestinationRule[], mesh: MeshConfig) {
    this.rules = rules;
    this.hasSelectors = rules.some(({ spec }) => spec.workloadSelector !== undefined);
    this.#mesh = mesh;
    const grouped = new Map<string, DestinationRule[]>();
    for (const rule of rules) {
      const list = grouped.get(rule.meta.namespace);
      if (list) list.push(rule);
      else grouped.set(rule.meta.namespace, [rule]);
    }
    this.#byNamespace = new Map([...grouped].map(([namespace, list]) => [namespace, byHost(list)]));
  }

  /** The rule for a host whose service is of `serviceNamespace` (undefined where there is no service). */
  find(host: Hostname, serviceNamespace: string | undefined, client: RuleClient): DestinationRule | undefined {
    const { rootNamespace } = this.#mesh;
    const own = (rule: DestinationRule): boolean => this.#isSeenAtHome(rule);
    const ownPrivate = (rule: DestinationRule): boolean => own(rule) && isPrivate(this.#exportTo(rule), rule.meta.namespace);
    const exported = (rule: DestinationRule): boolean => this.#isExported(rule, client.namespace);
    // In the root namespace, rules for all must not hide a service's own from a gateway that runs there.
    const first = this.#pick(host, client.namespace, client, client.namespace === rootNamespace ? ownPrivate : own);
    if (first) return first;
    const second = serviceNamespace === undefined ? undefined : this.#pick(host, serviceNamespace, client, exported);
    return second ?? this.#pick(host, rootNamespace, client, exported);
  }

  #exportTo(rule: DestinationRule): readonly string[] {
    if (rule.spec.workloadSelector) return ["."];
    return rule.spec.exportTo.length > 0 ? rule.spec.exportTo : this.#mesh.defaultDestinationRuleExportTo;
  }

  #isSeenAtHome(rule: DestinationRule): boolean {
    return isVisible(this.#exportTo(rule), rule.meta.namespace, rule.meta.namespace);
  }

  #isExported(rule: DestinationRule, namespace: string): boolean {
    return isVisible(this.#exportTo(rule), rule.meta.namespace, namespace);
  }

  #pick(host: Hostname, namespace: string, client: RuleClient, takes: (rule: DestinationRule) => boolean): DestinationRule | undefined {
    const rules = this.#byNamespace.get(namespace);
    if (!rules) return undefined;
    for (const list of candidates(host, rules)) {
      const taken = list.filter(takes);
      if (taken.length === 0) continue;
      // A rule for these workloads beats one for all.
      const [chosen] = taken.filter(
        ({ spec, meta }) => spec.workloadSelector && meta.namespace === client.namespace && selects(spec.workloadSelector, client.labels),
      );
      const selector = chosen?.spec.workloadSelector;
      const same = taken.filter(({ spec }) =>
        selector ? spec.workloadSelector !== undefined && isSameSelector(spec.workloadSelector, selector) : !spec.workloadSelector,
      );
      if (same.length > 0) return merge(same);
    }
    return undefined;
  }
}

function byHost(rules: readonly DestinationRule[]): NamespaceRules {
  const exact = new Map<Hostname, DestinationRule[]>();
  const wildcard = new Map<Hostname, DestinationRule[]>();
  for (const rule of rules) {
    const map = isWildcard(rule.spec.host) ? wildcard : exact;
    const list = map.get(rule.spec.host);
    if (list) list.push(rule);
    else map.set(rule.spec.host, [rule]);
  }
  return { exact, wildcard };
}

/** The lists of rules that name the host, the most specific first. */
function candidates(host: Hostname, { exact, wildcard }: NamespaceRules): readonly (readonly DestinationRule[])[] {
  const lists: (readonly DestinationRule[])[] = [];
  const own = exact.get(host) ?? wildcard.get(host);
  if (own) lists.push(own);
  if (wildcard.size === 0) return lists;
  const covering = [...wildcard].filter(([pattern]) => pattern !== host && hostCovers(pattern, host));
  covering.sort(([a], [b]) => b.length - a.length);
  for (const [, list] of covering) lists.push(list);
  return lists;
}

function isSameSelector(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  return Object.keys(a).length === Object.keys(b).length && selects(a, b);
}

/** Merged rules by their oldest, so that equal questions give the same object. */
const merged = new WeakMap<DestinationRule, { readonly of: readonly DestinationRule[]; readonly rule: DestinationRule }[]>();

/** How many merges that begin with one rule are remembered. */
const MERGES_MAX = 64;

/** Subsets joined by name, the oldest policy kept. */
function merge(rules: readonly DestinationRule[]): DestinationRule | undefined {
  const [first, ...others] = rules;
  if (!first || others.length === 0) return first;
  const known = merged.get(first) ?? [];
  const before = known.find(({ of }) => of.length === rules.length && of.every((rule, i) => rule === rules[i]));
  if (before) return before.rule;
  const subsets = [...first.spec.subsets];
  const names = new Set(subsets.map(({ name }) => name));
  let { trafficPolicy } = first.spec;
  for (const { spec } of others) {
    for (const subset of spec.subsets) {
      if (names.has(subset.name)) continue;
      names.add(subset.name);
      subsets.push(subset);
    }
    if (isEmptyPolicy(trafficPolicy)) trafficPolicy = spec.trafficPolicy;
  }
  const rule: DestinationRule = { meta: first.meta, spec: { ...first.spec, trafficPolicy, subsets } };
  merged.set(first, [...known, { of: rules, rule }].slice(-MERGES_MAX));
  return rule;
}

function isEmptyPolicy(policy: DestinationRule["spec"]["trafficPolicy"]): boolean {
  return !policy.loadBalancer && !policy.connectionPool && !policy.tls && policy.portLevelSettings.length === 0;
}
