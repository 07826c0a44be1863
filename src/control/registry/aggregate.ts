/** All services of the mesh by name, with their endpoints: joined where entries of one namespace declare one host. */
import { digestOfObject } from "../../base/digest.ts";
import type { Hostname } from "../../model/host.ts";
import type { Endpoint, Service } from "../../model/service.ts";
import type { AnyConfig, MeshConfig, ServiceEntry, WorkloadEntry } from "../config/types.ts";
import { type DeclaredService, declareServices, selectWorkloads } from "./service-entry.ts";

/** The services of one moment. */
export interface Registry {
  /** By name, in alphabetical order. */
  readonly services: ReadonlyMap<Hostname, Service>;
  /** In the order of their addresses, all ports. */
  readonly endpoints: ReadonlyMap<Hostname, readonly Endpoint[]>;
  /** By namespace: kept so that an entry whose namespace did not change is not looked at again. */
  readonly workloads: ReadonlyMap<string, readonly WorkloadEntry[]>;
}

/** A registry without services. */
export const EMPTY_REGISTRY: Registry = { services: new Map(), endpoints: new Map(), workloads: new Map() };

/** What an entry gave, as long as nothing that it was made from changes. */
interface Declaration {
  readonly ofNamespace: readonly WorkloadEntry[];
  readonly workloads: readonly WorkloadEntry[];
  readonly trustDomain: string;
  readonly domain: string;
  readonly declared: readonly DeclaredService[];
}

const declarations = new WeakMap<ServiceEntry, Declaration>();

/** Builds the registry of `objects` (oldest first); what is as it was in `previous` is the same object. */
export function buildRegistry(previous: Registry, objects: readonly AnyConfig[], mesh: MeshConfig): Registry {
  const byNamespace = workloadsByNamespace(previous.workloads, objects);
  const byHost = new Map<Hostname, DeclaredService[]>();
  for (const object of objects) {
    if (object.meta.kind !== "ServiceEntry") continue;
    const entry = object as ServiceEntry;
    for (const declared of declare(entry, byNamespace.get(entry.meta.namespace) ?? NO_WORKLOADS, mesh)) {
      const { hostname } = declared.service;
      const others = byHost.get(hostname);
      if (others) others.push(declared);
      else byHost.set(hostname, [declared]);
    }
  }
  const services = new Map<Hostname, Service>();
  const endpoints = new Map<Hostname, readonly Endpoint[]>();
  for (const hostname of [...byHost.keys()].sort()) {
    const { service, endpoints: found } = joined(chooseOwner(byHost.get(hostname) ?? [], mesh));
    services.set(hostname, reuse(previous.services.get(hostname), service));
    endpoints.set(hostname, reuseList(previous.endpoints.get(hostname), found));
  }
  return { services, endpoints, workloads: byNamespace };
}

const NO_WORKLOADS: readonly WorkloadEntry[] = [];

function workloadsByNamespace(
  previous: ReadonlyMap<string, readonly WorkloadEntry[]>,
  objects: readonly AnyConfig[],
): ReadonlyMap<string, readonly WorkloadEntry[]> {
  const byNamespace = new Map<string, WorkloadEntry[]>();
  for (const object of objects) {
    if (object.meta.kind !== "WorkloadEntry") continue;
    const list = byNamespace.get(object.meta.namespace);
    if (list) list.push(object as WorkloadEntry);
    else byNamespace.set(object.meta.namespace, [object as WorkloadEntry]);
  }
  const kept = new Map<string, readonly WorkloadEntry[]>();
  for (const [namespace, list] of byNamespace) {
    const before = previous.get(namespace);
    kept.set(namespace, before && sameItems(before, list) ? before : list);
  }
  return kept;
}

function declare(
  entry: ServiceEntry,
  ofNamespace: readonly WorkloadEntry[],
  { trustDomain, domain }: MeshConfig,
): readonly DeclaredService[] {
  const before = declarations.get(entry);
  const sameMesh = before?.trustDomain === trustDomain && before.domain === domain;
  if (sameMesh && before.ofNamespace === ofNamespace) return before.declared;
  const workloads = selectWorkloads(entry, ofNamespace);
  const declared =
    sameMesh && sameItems(before.workloads, workloads) ? before.declared : declareServices(entry, workloads, { trustDomain, domain });
  declarations.set(entry, { ofNamespace, workloads, trustDomain, domain, declared });
  return declared;
}

/**
 * The declarations of one namespace for a host that several claim: that of the host's own namespace (payment.shop.svc.… belongs
 * to shop), else one that all may see, else the oldest. So nobody takes over a name by declaring it for himself.
 */
function chooseOwner(declared: readonly DeclaredService[], mesh: MeshConfig): readonly DeclaredService[] {
  const [first] = declared;
  if (!first || declared.every(({ service }) => service.namespace === first.service.namespace)) return declared;
  const labels = first.service.hostname.split(".");
  const own = labels[2] === "svc" && labels.slice(3).join(".") === mesh.domain ? labels[1] : undefined;
  const isPublic = ({ exportTo }: Service): boolean => (exportTo.length > 0 ? exportTo : mesh.defaultServiceExportTo).includes("*");
  const owner = declared.find(({ service }) => service.namespace === own) ?? declared.find(({ service }) => isPublic(service)) ?? first;
  return declared.filter(({ service }) => service.namespace === owner.service.namespace);
}

/** One service of several declarations of a namespace: the oldest, with the ports, addresses and endpoints that the others add. */
function joined(declared: readonly DeclaredService[]): DeclaredService {
  const [first, ...others] = declared;
  if (!first) throw new Error("assertion failed: a host has a declaration");
  if (others.length === 0) return first;
  const ports = [...first.service.ports];
  const addresses = new Set(first.service.addresses);
  const endpoints = [...first.endpoints];
  for (const { service, endpoints: more } of others) {
    if (service.resolution !== first.service.resolution) continue;
    for (const port of service.ports) if (!ports.some(({ number, name }) => number === port.number || name === port.name)) ports.push(port);
    for (const address of service.addresses) addresses.add(address);
    const seen = new Set(endpoints.map(({ address, port, servicePortName }) => `${address} ${port} ${servicePortName}`));
    for (const one of more) if (!seen.has(`${one.address} ${one.port} ${one.servicePortName}`)) endpoints.push(one);
  }
  const names = new Set(ports.map(({ name }) => name));
  const service = { ...first.service, ports, addresses: [...addresses] };
  return {
    service,
    endpoints: endpoints
      .filter(({ servicePortName }) => names.has(servicePortName))
      .sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port)),
  };
}

function reuse<T extends object>(before: T | undefined, now: T): T {
  return before !== undefined && (before === now || digestOfObject(before) === digestOfObject(now)) ? before : now;
}

function reuseList<T extends object>(before: readonly T[] | undefined, now: readonly T[]): readonly T[] {
  if (!before || before === now) return now;
  const known = new Map(before.map((item) => [digestOfObject(item), item]));
  const list = now.map((item) => known.get(digestOfObject(item)) ?? item);
  return sameItems(before, list) ? before : list;
}

function sameItems<T>(a: readonly T[], b: readonly T[]): boolean {
  return a === b || (a.length === b.length && a.every((item, i) => item === b[i]));
}
