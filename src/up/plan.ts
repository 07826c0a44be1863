/** What a mesh description comes to on this machine: addresses, instances, services, and the Istio objects that declare them. Pure. */
import { stringify } from "yaml";
import { formatSpiffeId } from "../model/identity.ts";
import type { GatewayDescription, MeshDescription, PortDescription, WorkloadDescription } from "./description.ts";

/** The mesh's own network. 198.18.0.0/15 is for tests between networks (RFC 2544), 240.0.0.0/4 is never routed: neither is anybody's. */
export const MESH_NETWORK = { bridge: "198.18.0.1", prefix: 16, domain: "cluster.local", clusterId: "lateen-up" } as const;

const INSTANCES_MAX = 2000;

/** One process of a workload with its own address. */
export interface Instance {
  /** "payment-v1", with several replicas "payment-v1-1". */
  readonly name: string;
  readonly ip: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spiffeId: string | undefined;
  readonly workload: WorkloadDescription;
}

/** A gateway's proxy. */
export interface GatewayInstance {
  readonly name: string;
  readonly ip: string;
  readonly spiffeId: string;
  readonly gateway: GatewayDescription;
}

/** A service that workloads stand behind. */
export interface PlannedService {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  readonly vip: string;
  readonly ports: readonly PortDescription[];
}

/** All of it. */
export interface Plan {
  readonly name: string;
  readonly trustDomain: string;
  readonly instances: readonly Instance[];
  readonly gateways: readonly GatewayInstance[];
  readonly services: readonly PlannedService[];
  /** YAML documents: ServiceEntries and WorkloadEntries. */
  readonly objects: string;
  /** Istio's MeshConfig as YAML. */
  readonly meshConfig: string;
  readonly hasAccessLog: boolean;
}

/** Label that ties the generated ServiceEntries to their workloads. */
export const SERVICE_LABEL = "lateen.dev/service";

/** Which addresses the parts of a mesh have. */
export interface Addressing {
  /** Of the n-th part, from 1. */
  instance(n: number): string;
  /** Where others reach a workload, if not at its own address and its target ports. */
  reachedAt?(instance: Instance): { readonly address: string; readonly ports: Readonly<Record<string, number>> } | undefined;
}

const MESH_ADDRESSES: Addressing = { instance: (n) => `198.18.${1 + Math.floor(n / 250)}.${1 + (n % 250)}` };

/** Plans a mesh. Throws when it has more instances than addresses. */
export function planMesh(mesh: MeshDescription, addressing: Addressing = MESH_ADDRESSES): Plan {
  const trustDomain = typeof mesh.meshConfig["trustDomain"] === "string" ? mesh.meshConfig["trustDomain"] : "cluster.local";
  let made = 0;
  const nextIp = (): string => {
    made += 1;
    if (made > INSTANCES_MAX) throw new Error(`more than ${INSTANCES_MAX} instances do not fit on one machine`);
    return addressing.instance(made);
  };
  const instances = mesh.workloads.flatMap((workload) =>
    Array.from(
      { length: workload.replicas },
      (_, i): Instance => ({
        name: workload.replicas === 1 ? workload.name : `${workload.name}-${i + 1}`,
        ip: nextIp(),
        labels: { ...workload.labels, ...(workload.service ? { [SERVICE_LABEL]: workload.service } : {}) },
        spiffeId: workload.hasSidecar
          ? formatSpiffeId({ trustDomain, namespace: workload.namespace, serviceAccount: workload.serviceAccount })
          : undefined,
        workload,
      }),
    ),
  );
  const gateways = mesh.gateways.map(
    (gateway): GatewayInstance => ({
      name: gateway.name,
      ip: nextIp(),
      spiffeId: formatSpiffeId({ trustDomain, namespace: gateway.namespace, serviceAccount: gateway.serviceAccount }),
      gateway,
    }),
  );
  const services = planServices(mesh);
  const meshConfig = {
    trustDomain,
    rootNamespace: "istio-system",
    pathNormalization: { normalization: "DECODE_AND_MERGE_SLASHES" },
    ...mesh.meshConfig,
  };
  return {
    name: mesh.name,
    trustDomain,
    instances,
    gateways,
    services,
    objects: [
      ...services.map(serviceEntry),
      ...instances
        .filter((instance) => instance.workload.service)
        .map((instance) => workloadEntry(instance, addressing.reachedAt?.(instance))),
    ]
      .map((object) => stringify(object))
      .join("---\n"),
    meshConfig: stringify(meshConfig),
    hasAccessLog: Boolean(mesh.meshConfig["accessLogFile"]),
  };
}

function planServices(mesh: MeshDescription): PlannedService[] {
  const byHost = new Map<string, PlannedService & { ports: PortDescription[] }>();
  for (const workload of mesh.workloads) {
    if (!workload.service) continue;
    const hostname = `${workload.service}.${workload.namespace}.svc.${MESH_NETWORK.domain}`;
    const at = byHost.size + 1;
    const service = byHost.get(hostname) ?? {
      name: workload.service,
      namespace: workload.namespace,
      hostname,
      vip: `240.240.${Math.floor(at / 250)}.${at % 250}`,
      ports: [],
    };
    for (const port of workload.ports) if (!service.ports.some((other) => other.port === port.port)) service.ports.push(port);
    byHost.set(hostname, service);
  }
  return [...byHost.values()];
}

function serviceEntry(service: PlannedService): object {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name: `lateen-${service.name}`, namespace: service.namespace },
    spec: {
      hosts: [service.hostname],
      addresses: [service.vip],
      location: "MESH_INTERNAL",
      resolution: "STATIC",
      ports: service.ports.map((port) => ({
        number: port.port,
        name: port.name,
        protocol: port.protocol.toUpperCase(),
        targetPort: port.targetPort,
      })),
      workloadSelector: { labels: { [SERVICE_LABEL]: service.name } },
    },
  };
}

function workloadEntry(
  { name, ip, labels, workload }: Instance,
  reachedAt: { readonly address: string; readonly ports: Readonly<Record<string, number>> } | undefined,
): object {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: { name: `lateen-${name}`, namespace: workload.namespace, annotations: { "lateen.dev/workload": workload.name } },
    spec: { address: ip, ...reachedAt, labels, ...(workload.hasSidecar ? { serviceAccount: workload.serviceAccount } : {}) },
  };
}

/**
 * Addresses for a name as asked for by a workload of `namespace`: of a service its virtual address, of an instance its own. Short names and
 * every form between them and the full name are known. Undefined: no such name.
 */
export function createNameTable(plan: Plan): (name: string, namespace: string) => readonly string[] | undefined {
  const table = new Map<string, string>();
  for (const { name, namespace, hostname, vip } of plan.services) {
    for (const form of [hostname, `${name}.${namespace}`, `${name}.${namespace}.svc`]) table.set(form, vip);
    table.set(`${namespace}/${name}`, vip);
  }
  return (name, namespace) => {
    const address = table.get(name) ?? table.get(`${namespace}/${name}`);
    return address === undefined ? undefined : [address];
  };
}
