/** Workloads of a simulated mesh: their addresses, and the Istio objects that declare them. Pure. */
import { stringify } from "yaml";

/** A port that a service declares. */
export interface MeshPort {
  readonly number: number;
  readonly name: string;
  /** As a ServiceEntry has it: HTTP, GRPC, TCP ... What the application speaks there follows from it. */
  readonly protocol: string;
  /** Default: 8000 and the service's port ("80" listens on 8080). */
  readonly targetPort?: number;
}

/** What a test says of a workload. */
export interface MeshWorkload {
  /** "payment-v1"; replicas are "payment-v1-1", "payment-v1-2" ... */
  readonly name: string;
  /** Default "shop". */
  readonly namespace?: string;
  /** The service that it stands behind; undefined: it is a client alone. */
  readonly service?: string;
  /** Default: HTTP on 80, where there is a service. */
  readonly ports?: readonly MeshPort[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Default: the service's name, else its own. */
  readonly serviceAccount?: string;
  readonly replicas?: number;
  /** false: no proxy, no identity, no capture. */
  readonly sidecar?: boolean;
  /** A gateway has a proxy and no application. */
  readonly kind?: "sidecar" | "router";
}

/** One instance with its own machine. */
export interface MeshInstance {
  readonly name: string;
  readonly workloadName: string;
  readonly namespace: string;
  readonly ip: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly hasProxy: boolean;
  readonly kind: "sidecar" | "router";
  readonly ports: readonly (MeshPort & { readonly targetPort: number })[];
}

/** A service of the mesh and its virtual address. */
export interface MeshService {
  readonly hostname: string;
  readonly name: string;
  readonly namespace: string;
  readonly vip: string;
  readonly ports: readonly (MeshPort & { readonly targetPort: number })[];
}

/** All that follows from the workloads. */
export interface MeshPlan {
  readonly instances: readonly MeshInstance[];
  readonly services: readonly MeshService[];
}

/** The label that ties a ServiceEntry to its workloads. */
const SERVICE_LABEL = "test/service";
const DEFAULT_PORTS: readonly MeshPort[] = [{ number: 80, name: "http", protocol: "HTTP" }];

/** Plans a mesh. */
export function planWorkloads(workloads: readonly MeshWorkload[]): MeshPlan {
  const instances: MeshInstance[] = [];
  const services = new Map<string, MeshService>();
  for (const workload of workloads) {
    const { namespace = "shop", service, replicas = 1, kind = "sidecar" } = workload;
    const ports = (workload.ports ?? (service ? DEFAULT_PORTS : [])).map((port) => ({
      ...port,
      targetPort: port.targetPort ?? 8000 + port.number,
    }));
    for (let i = 1; i <= replicas; i++) {
      instances.push({
        name: replicas === 1 ? workload.name : `${workload.name}-${i}`,
        workloadName: workload.name,
        namespace,
        ip: `10.0.${1 + Math.floor(instances.length / 200)}.${1 + (instances.length % 200)}`,
        labels: { app: service ?? workload.name, ...workload.labels, ...(service ? { [SERVICE_LABEL]: service } : {}) },
        serviceAccount: workload.serviceAccount ?? service ?? workload.name,
        hasProxy: workload.sidecar ?? true,
        kind,
        ports,
      });
    }
    if (!service) continue;
    const hostname = `${service}.${namespace}.svc.cluster.local`;
    const known = services.get(hostname);
    const more = ports.filter((port) => !known?.ports.some(({ number }) => number === port.number));
    services.set(hostname, {
      hostname,
      name: service,
      namespace,
      vip: known?.vip ?? `240.240.0.${services.size + 1}`,
      ports: [...(known?.ports ?? []), ...more],
    });
  }
  return { instances, services: [...services.values()] };
}

/** ServiceEntries and WorkloadEntries of a plan, one file for each object so that a test can take one away. */
export function workloadFiles({ instances, services }: MeshPlan): Record<string, string> {
  const files: Record<string, string> = {};
  for (const { name, namespace, hostname, vip, ports } of services) {
    files[`service-${namespace}-${name}.yaml`] = stringify({
      apiVersion: "networking.istio.io/v1",
      kind: "ServiceEntry",
      metadata: { name, namespace },
      spec: {
        hosts: [hostname],
        addresses: [vip],
        location: "MESH_INTERNAL",
        resolution: "STATIC",
        ports: ports.map((port) => ({ number: port.number, name: port.name, protocol: port.protocol, targetPort: port.targetPort })),
        workloadSelector: { labels: { [SERVICE_LABEL]: name } },
      },
    });
  }
  for (const instance of instances) {
    if (instance.labels[SERVICE_LABEL] === undefined) continue;
    files[workloadFile(instance)] = stringify({
      apiVersion: "networking.istio.io/v1",
      kind: "WorkloadEntry",
      metadata: { name: instance.name, namespace: instance.namespace, annotations: { "lateen.dev/workload": instance.workloadName } },
      spec: { address: instance.ip, labels: instance.labels, ...(instance.hasProxy ? { serviceAccount: instance.serviceAccount } : {}) },
    });
  }
  return files;
}

/** The file that declares an instance. */
export function workloadFile({ name, namespace }: Pick<MeshInstance, "name" | "namespace">): string {
  return `workload-${namespace}-${name}.yaml`;
}
