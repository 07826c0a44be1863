/** Builds the immutable world from config. Indexes are made when first asked for, and kept while what they are made of stays. */
import type { Hostname } from "../../model/host.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import type { Endpoint, Service } from "../../model/service.ts";
import type { AnyConfig, DestinationRule, Gateway, MeshConfig, PeerAuthentication, VirtualService } from "../config/types.ts";
import { buildRegistry, EMPTY_REGISTRY, type Registry } from "../registry/aggregate.ts";
import { DestinationRules, type RuleClient } from "./destination-rules.ts";
import { MtlsPolicies } from "./mtls.ts";
import type { MtlsModes, Snapshot, WorkloadPort } from "./types.ts";
import { isPrivate, isVisible, selects } from "./visibility.ts";
import { WorkloadPorts } from "./workload-ports.ts";

/** What a snapshot is built from. */
export interface SnapshotInputs {
  /** Oldest first, as the config store gives them. */
  readonly objects: readonly AnyConfig[];
  readonly mesh: MeshConfig;
}

/** The world after `previous`; undefined for the first one. Objects and indexes that did not change are the same. */
export function buildSnapshot(previous: World | undefined, inputs: SnapshotInputs): World {
  return new World(previous, inputs);
}

/** How many answers of an index are remembered before it begins anew. */
const REMEMBERED_MAX = 50_000;

/** A snapshot with what it was built from. Immutable but for answers that it remembers. */
export class World implements Snapshot {
  readonly version: string;
  readonly mesh: MeshConfig;
  readonly objects: readonly AnyConfig[];
  readonly registry: Registry;
  readonly #virtualServices: VirtualServices;
  readonly #destinationRules: DestinationRules;
  readonly #gateways: Gateways;
  readonly #mtls: MtlsPolicies;
  readonly #visible: Map<string, readonly Service[]>;
  readonly #rulesFound: Map<string, DestinationRule | undefined>;
  #workloadPorts: WorkloadPorts | undefined;

  constructor(previous: World | undefined, { objects, mesh }: SnapshotInputs) {
    this.version = String(Number(previous?.version ?? 0) + 1);
    this.mesh = mesh;
    this.objects = objects;
    const sameMesh = previous?.mesh === mesh;
    const before = sameMesh ? previous : undefined;
    this.registry = buildRegistry(previous?.registry ?? EMPTY_REGISTRY, objects, mesh);
    const sameServices = before !== undefined && sameMaps(before.registry.services, this.registry.services);
    const sameEndpoints = sameServices && sameMaps(before.registry.endpoints, this.registry.endpoints);

    const ofKind = <T extends AnyConfig>(kind: T["meta"]["kind"]): readonly T[] =>
      objects.filter((object): object is T => object.meta.kind === kind);
    const virtualServices = ofKind<VirtualService>("VirtualService");
    const destinationRules = ofKind<DestinationRule>("DestinationRule");
    const gateways = ofKind<Gateway>("Gateway");
    const policies = ofKind<PeerAuthentication>("PeerAuthentication");
    this.#virtualServices =
      before && sameItems(before.#virtualServices.rules, virtualServices)
        ? before.#virtualServices
        : new VirtualServices(virtualServices, mesh);
    this.#gateways = before && sameItems(before.#gateways.gateways, gateways) ? before.#gateways : new Gateways(gateways);
    this.#mtls = before && sameItems(before.#mtls.policies, policies) ? before.#mtls : new MtlsPolicies(policies, mesh);
    const sameRules = before !== undefined && sameItems(before.#destinationRules.rules, destinationRules);
    this.#destinationRules = sameRules ? before.#destinationRules : new DestinationRules(destinationRules, mesh);
    this.#visible = sameServices ? before.#visible : new Map();
    this.#rulesFound = sameRules && sameServices ? before.#rulesFound : new Map();
    this.#workloadPorts = sameEndpoints ? before.#workloadPorts : undefined;
  }

  get services(): ReadonlyMap<Hostname, Service> {
    return this.registry.services;
  }

  endpoints(service: Hostname): readonly Endpoint[] {
    return this.registry.endpoints.get(service) ?? [];
  }

  visibleServices(namespace: string): readonly Service[] {
    return remember(this.#visible, namespace, () => [...this.services.values()].filter((service) => this.#isVisible(service, namespace)));
  }

  findService(hostname: Hostname, namespace: string): Service | undefined {
    const service = this.services.get(hostname);
    return service && this.#isVisible(service, namespace) ? service : undefined;
  }

  #isVisible(service: Service, namespace: string): boolean {
    const exportTo = service.exportTo.length > 0 ? service.exportTo : this.mesh.defaultServiceExportTo;
    return isVisible(exportTo, service.namespace, namespace);
  }

  meshVirtualServices(namespace: string): readonly VirtualService[] {
    return this.#virtualServices.boundTo("mesh", namespace);
  }

  gatewayVirtualServices(gateway: string): readonly VirtualService[] {
    return this.#virtualServices.boundTo(gateway, gateway.slice(0, gateway.indexOf("/")));
  }

  destinationRule(hostname: Hostname, client: RuleClient): DestinationRule | undefined {
    const find = (): DestinationRule | undefined => this.#destinationRules.find(hostname, this.services.get(hostname)?.namespace, client);
    // Labels matter to rules with a selector only, which are few: those answers are not remembered.
    if (this.#destinationRules.hasSelectors) return find();
    return remember(this.#rulesFound, `${client.namespace} ${hostname}`, find);
  }

  gateways(labels: Readonly<Record<string, string>>): readonly Gateway[] {
    return this.#gateways.selecting(labels);
  }

  mtlsMode(namespace: string, labels: Readonly<Record<string, string>>): MtlsModes {
    return this.#mtls.modes(namespace, labels);
  }

  workloadPorts(node: ProxyNode): readonly WorkloadPort[] {
    return this.workloads.of(node);
  }

  /** The index behind `workloadPorts`. */
  get workloads(): WorkloadPorts {
    this.#workloadPorts ??= new WorkloadPorts(this.registry.services, this.registry.endpoints);
    return this.#workloadPorts;
  }
}

/** VirtualServices by what they are bound to. */
class VirtualServices {
  readonly rules: readonly VirtualService[];
  readonly #mesh: MeshConfig;
  readonly #byGateway = new Map<string, VirtualService[]>();
  readonly #found = new Map<string, readonly VirtualService[]>();

  constructor(rules: readonly VirtualService[], mesh: MeshConfig) {
    this.rules = rules;
    this.#mesh = mesh;
    for (const rule of rules) {
      for (const gateway of new Set(rule.spec.gateways)) {
        const list = this.#byGateway.get(gateway);
        if (list) list.push(rule);
        else this.#byGateway.set(gateway, [rule]);
      }
    }
  }

  /** Those that a namespace keeps to itself first, so that they override what all see; each group oldest first. */
  boundTo(gateway: string, namespace: string): readonly VirtualService[] {
    return remember(this.#found, `${gateway} ${namespace}`, () => {
      const seen = (this.#byGateway.get(gateway) ?? []).filter((rule) => isVisible(this.#exportTo(rule), rule.meta.namespace, namespace));
      const rank = (rule: VirtualService): number => {
        if (this.#exportTo(rule).includes("*")) return 2;
        return rule.meta.namespace === namespace && isPrivate(this.#exportTo(rule), namespace) ? 0 : 1;
      };
      return seen.sort((a, b) => rank(a) - rank(b));
    });
  }

  #exportTo(rule: VirtualService): readonly string[] {
    return rule.spec.exportTo.length > 0 ? rule.spec.exportTo : this.#mesh.defaultVirtualServiceExportTo;
  }
}

/** Gateways by the labels that they select. */
class Gateways {
  readonly gateways: readonly Gateway[];
  readonly #found = new Map<string, readonly Gateway[]>();

  constructor(gateways: readonly Gateway[]) {
    this.gateways = gateways;
  }

  selecting(labels: Readonly<Record<string, string>>): readonly Gateway[] {
    const key = JSON.stringify(Object.entries(labels).sort());
    return remember(this.#found, key, () => this.gateways.filter(({ spec }) => selects(spec.selector, labels)));
  }
}

function remember<V>(map: Map<string, V>, key: string, build: () => V): V {
  if (map.has(key)) return map.get(key) as V;
  if (map.size >= REMEMBERED_MAX) map.clear();
  const value = build();
  map.set(key, value);
  return value;
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}

function sameMaps<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
