/**
 * What is taken and still looks wrong across objects: references to hosts, subsets and gateways that nobody declared, and hosts
 * that two objects claim. Warnings, as in Istio: the other object may come a moment later.
 */
import { type Hostname, hostCovers, isWildcard, mostSpecificHost } from "../../model/host.ts";
import { formatPath, nearestName, type Path, type Problem } from "./finding.ts";
import type {
  AnyConfig,
  DestinationRule,
  Gateway,
  MeshConfig,
  PeerAuthentication,
  ServiceEntry,
  SourcePosition,
  VirtualService,
} from "./types.ts";

/** The objects of one moment, and where their fields stand. */
export interface AnalyzedConfig {
  /** Oldest first. */
  readonly objects: readonly AnyConfig[];
  locate(key: string, path: Path): SourcePosition | undefined;
}

/** How many warnings are given. */
export const ANALYSIS_WARNINGS_MAX = 1000;

/** All warnings, in the order of the objects. */
export function analyze(config: AnalyzedConfig, mesh: MeshConfig): readonly Problem[] {
  const analysis = new Analysis(config, mesh);
  analysis.run();
  return analysis.warnings;
}

class Analysis {
  readonly warnings: Problem[] = [];
  readonly #config: AnalyzedConfig;
  readonly #mesh: MeshConfig;
  readonly #services = new Map<Hostname, ServiceEntry>();
  readonly #wildcardServices: Hostname[] = [];
  readonly #rules = new Map<Hostname, DestinationRule[]>();
  readonly #gateways = new Map<string, Gateway>();

  constructor(config: AnalyzedConfig, mesh: MeshConfig) {
    this.#config = config;
    this.#mesh = mesh;
    for (const object of config.objects) {
      switch (object.meta.kind) {
        case "ServiceEntry":
          for (const host of (object as ServiceEntry).spec.hosts) {
            if (!this.#services.has(host)) this.#services.set(host, object as ServiceEntry);
            if (isWildcard(host)) this.#wildcardServices.push(host);
          }
          break;
        case "DestinationRule": {
          const rule = object as DestinationRule;
          const rules = this.#rules.get(rule.spec.host);
          if (rules) rules.push(rule);
          else this.#rules.set(rule.spec.host, [rule]);
          break;
        }
        case "Gateway":
          this.#gateways.set(`${object.meta.namespace}/${object.meta.name}`, object as Gateway);
          break;
        default:
      }
    }
  }

  run(): void {
    for (const object of this.#config.objects) {
      switch (object.meta.kind) {
        case "ServiceEntry":
          this.#checkServiceEntry(object as ServiceEntry);
          break;
        case "VirtualService":
          this.#checkVirtualService(object as VirtualService);
          break;
        case "DestinationRule":
          this.#checkDestinationRule(object as DestinationRule);
          break;
        default:
      }
    }
    this.#checkSharedHosts();
    this.#checkPeerAuthentications();
  }

  #warn(object: AnyConfig, path: Path, message: string, hint?: string): void {
    if (this.warnings.length >= ANALYSIS_WARNINGS_MAX) return;
    const { kind, namespace, name, position } = object.meta;
    this.warnings.push({
      severity: "warning",
      path: formatPath(path),
      message,
      ...(hint === undefined ? {} : { hint }),
      object: `${kind} ${namespace}/${name}`,
      position: this.#config.locate(`${kind}/${namespace}/${name}`, path) ?? position,
    });
  }

  /** Something is named that nobody declares. */
  #dangles(object: AnyConfig, path: Path, message: string, hint?: string): void {
    const before = this.warnings.length;
    this.#warn(object, path, message, hint);
    const added = this.warnings[before];
    if (added) this.warnings[before] = { ...added, isDangling: true };
  }

  #serviceOf(host: Hostname): ServiceEntry | undefined {
    const named = this.#services.get(host);
    if (named) return named;
    const wildcard = mostSpecificHost(host, this.#wildcardServices);
    return wildcard && this.#services.get(wildcard);
  }

  #nearService(host: Hostname): string | undefined {
    const near = nearestName(host, this.#services.keys());
    return near ? `did you mean ${near}?` : undefined;
  }

  #checkServiceEntry(entry: ServiceEntry): void {
    for (const [i, host] of entry.spec.hosts.entries()) {
      const owner = this.#services.get(host);
      if (!owner || owner === entry || owner.meta.namespace === entry.meta.namespace) continue;
      this.#warn(
        entry,
        ["spec", "hosts", i],
        `host ${host} is declared by ServiceEntry ${owner.meta.namespace}/${owner.meta.name} too`,
        "only one of them is used",
      );
    }
  }

  #checkVirtualService(rule: VirtualService): void {
    const { spec } = rule;
    for (const [i, name] of spec.gateways.entries()) {
      if (name === "mesh" || this.#gateways.has(name)) continue;
      const near = nearestName(name, this.#gateways.keys());
      this.#dangles(rule, ["spec", "gateways", i], `gateway ${name}: no such Gateway`, near ? `did you mean ${near}?` : undefined);
    }
    for (const [i, route] of spec.http.entries()) {
      for (const [j, { destination }] of route.route.entries())
        this.#checkDestination(rule, destination, ["spec", "http", i, "route", j, "destination"]);
    }
  }

  #checkDestination(
    rule: VirtualService,
    { host, subset, port }: VirtualService["spec"]["http"][number]["route"][number]["destination"],
    path: Path,
  ): void {
    const service = this.#serviceOf(host);
    if (!service) {
      this.#dangles(rule, [...path, "host"], `host ${host}: no such service`, this.#nearService(host));
      return;
    }
    const ports = service.spec.ports.map(({ number }) => number);
    if (port !== undefined && !ports.includes(port))
      this.#dangles(rule, [...path, "port", "number"], `port ${port}: ${host} has no such port`, `it has ${ports.join(", ") || "none"}`);
    if (subset === undefined) return;
    const rules = this.#rules.get(host) ?? this.#wildcardRules(host);
    const subsets = rules.flatMap((one) => one.spec.subsets.map(({ name }) => name));
    if (subsets.includes(subset)) return;
    const known = subsets.length > 0 ? `it has ${[...new Set(subsets)].join(", ")}` : "declare it in a DestinationRule";
    this.#dangles(rule, [...path, "subset"], `subset ${subset}: no DestinationRule of ${host} has it, so requests get 503`, known);
  }

  #wildcardRules(host: Hostname): readonly DestinationRule[] {
    return [...this.#rules].filter(([pattern]) => isWildcard(pattern) && hostCovers(pattern, host)).flatMap(([, rules]) => rules);
  }

  #checkDestinationRule(rule: DestinationRule): void {
    const { host } = rule.spec;
    const known = isWildcard(host)
      ? [...this.#services.keys()].some((name) => hostCovers(host, name))
      : this.#serviceOf(host) !== undefined;
    if (!known) this.#dangles(rule, ["spec", "host"], `host ${host}: no such service`, this.#nearService(host));
    const [first] = this.#rules.get(host) ?? [];
    if (!first || first === rule || first.meta.namespace !== rule.meta.namespace) return;
    const taken = new Set(
      (this.#rules.get(host) ?? [])
        .slice(0, this.#rules.get(host)?.indexOf(rule))
        .flatMap((one) => one.spec.subsets.map(({ name }) => name)),
    );
    for (const [i, { name }] of rule.spec.subsets.entries()) {
      if (taken.has(name))
        this.#warn(
          rule,
          ["spec", "subsets", i, "name"],
          `subset ${name} of ${host} is declared by an older DestinationRule too`,
          "only the older one is used",
        );
    }
  }

  /** Two VirtualServices for one host of the mesh: sidecars take only the first, as in Istio. */
  #checkSharedHosts(): void {
    const owners = new Map<string, VirtualService>();
    for (const object of this.#config.objects) {
      if (object.meta.kind !== "VirtualService") continue;
      const rule = object as VirtualService;
      if (!rule.spec.gateways.includes("mesh")) continue;
      const scope = rule.spec.exportTo.length > 0 ? rule.spec.exportTo : this.#mesh.defaultVirtualServiceExportTo;
      for (const [i, host] of rule.spec.hosts.entries()) {
        const key = `${host} ${scope.includes("*") ? "*" : rule.meta.namespace}`;
        const owner = owners.get(key);
        if (!owner) owners.set(key, rule);
        else
          this.#warn(
            rule,
            ["spec", "hosts", i],
            `host ${host} has a VirtualService already: ${owner.meta.namespace}/${owner.meta.name}, which is the one that sidecars use`,
            "join the two",
          );
      }
    }
  }

  #checkPeerAuthentications(): void {
    const owners = new Map<string, PeerAuthentication>();
    for (const object of this.#config.objects) {
      if (object.meta.kind !== "PeerAuthentication") continue;
      const policy = object as PeerAuthentication;
      const { namespace } = policy.meta;
      if (policy.spec.selector) {
        if (namespace === this.#mesh.rootNamespace)
          this.#warn(
            policy,
            ["spec", "selector"],
            "a policy of the root namespace with a selector has no effect",
            "remove the selector, or move it to the workload's namespace",
          );
        continue;
      }
      const owner = owners.get(namespace);
      if (!owner) owners.set(namespace, policy);
      else
        this.#warn(
          policy,
          ["spec"],
          `namespace ${namespace} has a policy already: ${owner.meta.name}, which is the one that holds`,
          "join the two",
        );
    }
  }
}
