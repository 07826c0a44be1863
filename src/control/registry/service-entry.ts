/** ServiceEntries and WorkloadEntries as services and endpoints. Source: Istio networking/v1 ServiceEntry, WorkloadEntry. */
import type { Hostname } from "../../model/host.ts";
import { formatSpiffeId } from "../../model/identity.ts";
import { type Endpoint, parseLocality, type Service, type ServicePort } from "../../model/service.ts";
import type { ServiceEntry, WorkloadEntry, WorkloadEntrySpec } from "../config/types.ts";

/** What a declaration of one host gives. */
export interface DeclaredService {
  readonly service: Service;
  readonly endpoints: readonly Endpoint[];
}

/** What the mesh adds to a declaration. */
export interface RegistryContext {
  readonly trustDomain: string;
  /** The DNS suffix of services. */
  readonly domain: string;
}

/** How the address of a Unix socket begins. */
const UNIX_PREFIX = "unix://";
/** Says whether a workload takes mutual TLS, before its account does. Source: Istio. */
const TLS_MODE_LABEL = "security.istio.io/tlsMode";

/** The services of an entry, one a host. `workloads` are those of its namespace that its selector selects. */
export function declareServices(
  entry: ServiceEntry,
  workloads: readonly WorkloadEntry[],
  context: RegistryContext,
): readonly DeclaredService[] {
  return entry.spec.hosts.map((host) => ({
    service: buildService(entry, host, context),
    endpoints: buildEndpoints(entry, host, workloads, context),
  }));
}

/** The WorkloadEntries that an entry's selector selects, out of those of its namespace; none without a selector. */
export function selectWorkloads(entry: ServiceEntry, ofNamespace: readonly WorkloadEntry[]): readonly WorkloadEntry[] {
  const { workloadSelector, resolution } = entry.spec;
  if (!workloadSelector || resolution === "none") return [];
  const wanted = Object.entries(workloadSelector);
  const [first] = wanted;
  const candidates = first ? (byLabel(ofNamespace).get(`${first[0]}=${first[1]}`) ?? []) : ofNamespace;
  const isDns = resolution === "dns" || resolution === "dns-round-robin";
  return candidates.filter(({ spec }) => {
    // A static service cannot have endpoints with names.
    if (!isDns && !isLiteralAddress(spec.address)) return false;
    return wanted.every(([key, value]) => spec.labels[key] === value);
  });
}

const labelIndexes = new WeakMap<readonly WorkloadEntry[], ReadonlyMap<string, readonly WorkloadEntry[]>>();

/** Workloads by "key=value", made once for a list: a namespace has many entries, and each asks. */
function byLabel(workloads: readonly WorkloadEntry[]): ReadonlyMap<string, readonly WorkloadEntry[]> {
  const known = labelIndexes.get(workloads);
  if (known) return known;
  const index = new Map<string, WorkloadEntry[]>();
  for (const workload of workloads) {
    for (const [key, value] of Object.entries(workload.spec.labels)) {
      const list = index.get(`${key}=${value}`);
      if (list) list.push(workload);
      else index.set(`${key}=${value}`, [workload]);
    }
  }
  labelIndexes.set(workloads, index);
  return index;
}

function isLiteralAddress(address: string): boolean {
  return address.startsWith(UNIX_PREFIX) || address.includes(":") || /^\d+\.\d+\.\d+\.\d+$/.test(address);
}

function buildService({ meta, spec }: ServiceEntry, host: Hostname, { domain }: RegistryContext): Service {
  return {
    hostname: host,
    namespace: meta.namespace,
    name: serviceName(host, domain),
    addresses: spec.addresses,
    ports: spec.ports,
    resolution: spec.resolution,
    meshExternal: spec.meshExternal,
    exportTo: spec.exportTo,
    subjectAltNames: spec.subjectAltNames,
    createdAt: meta.createdAt,
  };
}

/** "reviews" of reviews.default.svc.cluster.local; the whole host of any other. Source: Istio destination_service_name. */
function serviceName(host: Hostname, domain: string): string {
  const labels = host.split(".");
  return labels[2] === "svc" && labels.slice(3).join(".") === domain ? (labels[0] ?? host) : host;
}

function buildEndpoints(
  entry: ServiceEntry,
  host: Hostname,
  workloads: readonly WorkloadEntry[],
  context: RegistryContext,
): readonly Endpoint[] {
  const { meta, spec } = entry;
  if (spec.resolution === "none") return [];
  const workloadsOf = (): readonly { name: string; spec: WorkloadEntrySpec }[] => {
    if (spec.workloadSelector) return workloads.map((workload) => ({ name: workload.meta.name, spec: workload.spec }));
    return spec.endpoints.map((endpoint, i) => ({ name: `${meta.name}-${i}`, spec: endpoint }));
  };
  const found = workloadsOf();
  if (found.length === 0 && !spec.workloadSelector && spec.resolution !== "static")
    return spec.ports.map((port) => lookedUp(entry, host, port));
  const endpoints = found.flatMap((workload) => spec.ports.map((port) => buildEndpoint(workload, port, meta.namespace, context)));
  return endpoints.sort(byAddress);
}

/** A service of names without endpoints: its own name is looked up. */
function lookedUp({ meta }: ServiceEntry, host: Hostname, port: ServicePort): Endpoint {
  return {
    address: host,
    port: port.targetPort ?? port.number,
    servicePortName: port.name,
    labels: {},
    namespace: meta.namespace,
    workloadName: meta.name,
    identity: undefined,
    tlsReady: false,
    locality: parseLocality(undefined),
    network: "",
    weight: 1,
  };
}

function buildEndpoint(
  workload: { readonly name: string; readonly spec: WorkloadEntrySpec },
  port: ServicePort,
  namespace: string,
  context: RegistryContext,
): Endpoint {
  const { address, ports, labels, serviceAccount, locality, network, weight } = workload.spec;
  const unix = address.startsWith(UNIX_PREFIX);
  const ownPort = Object.hasOwn(ports, port.name) ? ports[port.name] : undefined;
  const tlsMode = labels[TLS_MODE_LABEL];
  return {
    address: unix ? address.slice(UNIX_PREFIX.length) : address,
    port: unix ? 0 : (ownPort ?? port.targetPort ?? port.number),
    servicePortName: port.name,
    labels,
    namespace,
    workloadName: workload.name,
    identity: serviceAccount === undefined ? undefined : formatSpiffeId({ trustDomain: context.trustDomain, namespace, serviceAccount }),
    tlsReady: tlsMode === undefined ? serviceAccount !== undefined : tlsMode === "istio",
    locality: parseLocality(locality),
    network,
    weight,
  };
}

function byAddress(a: Endpoint, b: Endpoint): number {
  if (a.address !== b.address) return a.address < b.address ? -1 : 1;
  return a.port - b.port || (a.servicePortName < b.servicePortName ? -1 : a.servicePortName > b.servicePortName ? 1 : 0);
}
