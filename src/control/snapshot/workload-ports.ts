/** Which ports the workload beside a proxy serves: those of the endpoints that have the proxy's address. */
import type { Hostname } from "../../model/host.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import type { Endpoint, Service } from "../../model/service.ts";
import type { WorkloadPort } from "./types.ts";

/** An endpoint and the service whose it is. */
interface Served {
  readonly service: Service;
  readonly endpoint: Endpoint;
}

/** Endpoints by "namespace/address". */
export class WorkloadPorts {
  readonly #byAddress = new Map<string, Served[]>();

  constructor(services: ReadonlyMap<Hostname, Service>, endpoints: ReadonlyMap<Hostname, readonly Endpoint[]>) {
    for (const [hostname, list] of endpoints) {
      const service = services.get(hostname);
      if (!service) continue;
      for (const endpoint of list) {
        const key = `${endpoint.namespace}/${endpoint.address}`;
        const served = this.#byAddress.get(key);
        if (served) served.push({ service, endpoint });
        else this.#byAddress.set(key, [{ service, endpoint }]);
      }
    }
  }

  /** Ports in ascending order; where several services declare one, the older service first. */
  of({ namespace, ip, labels }: ProxyNode): readonly WorkloadPort[] {
    const ports: WorkloadPort[] = [];
    for (const { service, endpoint } of this.#byAddress.get(`${namespace}/${ip}`) ?? []) {
      if (!isOfWorkload(endpoint.labels, labels)) continue;
      const servicePort = service.ports.find(({ name }) => name === endpoint.servicePortName);
      if (servicePort) ports.push({ port: endpoint.port, service, servicePort });
    }
    return ports.sort(byPort);
  }

  /** What is served at the address of an endpoint, as text to compare. */
  describe({ namespace, address }: Endpoint): string {
    const served = this.#byAddress.get(`${namespace}/${address}`) ?? [];
    return served.map(describeServed).sort().join(" ");
  }
}

function describeServed({ service, endpoint }: Served): string {
  return `${service.hostname}:${endpoint.servicePortName}:${endpoint.port}`;
}

/** Several workloads may share an address (on loopback): labels that both name must agree. */
function isOfWorkload(endpoint: Readonly<Record<string, string>>, node: Readonly<Record<string, string>>): boolean {
  return Object.entries(endpoint).every(([key, value]) => node[key] === undefined || node[key] === value);
}

function byPort(a: WorkloadPort, b: WorkloadPort): number {
  return (
    a.port - b.port ||
    a.service.createdAt - b.service.createdAt ||
    (a.service.hostname < b.service.hostname ? -1 : a.service.hostname > b.service.hostname ? 1 : 0)
  );
}
