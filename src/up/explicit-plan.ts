/** What a mesh without capture comes to: loopback addresses and ports for every part, and what each application is told. Pure. */
import { SidecarPorts } from "../agent/capture-rules.ts";
import { UserError } from "../base/errors.ts";
import type { ExplicitAddresses } from "../model/proxy-node.ts";
import type { MeshDescription } from "./description.ts";
import { portVariables, type ReachedService, serviceVariables } from "./environment.ts";
import { type Instance, type Plan, type PlannedService, planMesh } from "./plan.ts";

/** Meshes at once on one machine: each has a /16 of 127.64.0.0/10. */
export const SLOTS = 64;

/** Port of a sidecar at its own address that takes requests for every service by its name. Source: Istio's examples of proxyHttpPort. */
export const HTTP_PROXY_PORT = 15007;

const SERVICE_ADDRESSES_MAX = 120 * 250;
const APP_PORTS = { first: 10_000, end: 32_700 } as const; // Below the ports that the kernel gives to clients.

/** What an instance has beside its plan. Gateways have none. */
export interface ExplicitPart {
  readonly addresses: ExplicitAddresses;
  readonly variables: Readonly<Record<string, string>>;
}

/** A plan, and what its instances have, by name. */
export interface ExplicitPlan {
  readonly plan: Plan;
  readonly controlPlaneIp: string;
  readonly parts: ReadonlyMap<string, ExplicitPart>;
  /** Ports that are listened on at addresses of the mesh, so that nobody may have them on all addresses. */
  readonly ports: ReadonlySet<number>;
}

/** What the plan depends on beside the description. */
export interface ExplicitOptions {
  /** Below SLOTS: which /16 the mesh has. */
  readonly slot: number;
  /** Whether somebody on this machine listens on a port. */
  readonly isTaken: (port: number) => boolean;
  /** The user's own NO_PROXY, which is kept. */
  readonly noProxy: string;
}

/** Plans it. Throws a UserError when addresses or ports do not suffice. */
export function planExplicit(mesh: MeshDescription, { slot, isTaken, noProxy }: ExplicitOptions): ExplicitPlan {
  const network = `127.${64 + slot}`;
  const ports = meshPorts(mesh);
  const nextPort = portSequence(slot, (port) => ports.has(port) || isTaken(port));
  const appPorts = new Map<string, Map<number, number>>();
  const appPortsOf = ({ name, workload }: Instance): ReadonlyMap<number, number> => {
    const known = appPorts.get(name) ?? new Map(workload.ports.map(({ targetPort }) => [targetPort, nextPort()]));
    appPorts.set(name, known);
    return known;
  };
  const plan = planMesh(mesh, {
    instance: (n) => `${network}.${1 + Math.floor(n / 250)}.${1 + (n % 250)}`,
    // Without a sidecar nobody listens for the application: clients go to itself.
    reachedAt: (instance) => {
      if (instance.spiffeId !== undefined) return undefined;
      const own = appPortsOf(instance);
      return {
        address: "127.0.0.1",
        ports: Object.fromEntries(instance.workload.ports.map(({ name, targetPort }) => [name, own.get(targetPort) ?? targetPort])),
      };
    },
  });
  let given = 0;
  const nextServiceAddress = (): string => {
    given += 1;
    if (given > SERVICE_ADDRESSES_MAX)
      throw new UserError(`instances times services are more than ${SERVICE_ADDRESSES_MAX}: without capture each pair needs an address`, {
        hint: "Run it where capture is possible, or with fewer replicas.",
      });
    return `${network}.${128 + Math.floor(given / 250)}.${1 + (given % 250)}`;
  };
  const parts = plan.instances.map((instance): [string, ExplicitPart] => {
    const { workload, spiffeId } = instance;
    const own = appPortsOf(instance);
    const hasSidecar = spiffeId !== undefined;
    const serviceAddresses = hasSidecar ? Object.fromEntries(plan.services.map(({ hostname }) => [hostname, nextServiceAddress()])) : {};
    const reached = plan.services.flatMap((service) =>
      hasSidecar ? [{ ...service, host: serviceAddresses[service.hostname] ?? "" }] : reachedBare(service, plan, appPortsOf),
    );
    const variables = {
      ...serviceVariables(workload.namespace, reached),
      ...portVariables(workload.ports.map(({ name, targetPort }) => ({ name, port: own.get(targetPort) ?? targetPort }))),
      ...(hasSidecar ? proxyVariables(instance.ip, Object.values(serviceAddresses), noProxy) : {}),
    };
    return [
      instance.name,
      { variables, addresses: { serviceAddresses, appPorts: Object.fromEntries(own), httpProxyPort: HTTP_PROXY_PORT } },
    ];
  });
  return { plan, controlPlaneIp: `${network}.0.1`, parts: new Map(parts), ports };
}

/** For the clients that take their proxy from the environment. The services' addresses are dialled without it. */
function proxyVariables(ip: string, addresses: readonly string[], noProxy: string): Record<string, string> {
  const proxy = `http://${ip}:${HTTP_PROXY_PORT}`;
  const direct = ["localhost", "127.0.0.1", "::1", ...addresses, ...(noProxy === "" ? [] : [noProxy])].join(",");
  return { HTTP_PROXY: proxy, http_proxy: proxy, NO_PROXY: direct, no_proxy: direct, NODE_USE_ENV_PROXY: "1" };
}

/** A service for a client without sidecar: its first instance, as there is nobody to choose among them. */
function reachedBare(
  service: PlannedService,
  plan: Plan,
  appPortsOf: (instance: Instance) => ReadonlyMap<number, number>,
): ReachedService[] {
  const first = plan.instances.find(({ workload }) => workload.service === service.name && workload.namespace === service.namespace);
  if (!first) return [];
  const own = first.spiffeId === undefined ? appPortsOf(first) : undefined;
  const ports = service.ports.map(({ name, targetPort }) => ({ name, port: own?.get(targetPort) ?? targetPort }));
  return [{ name: service.name, namespace: service.namespace, host: own ? "127.0.0.1" : first.ip, ports }];
}

function meshPorts(mesh: MeshDescription): Set<number> {
  const { admin, appProbe, health, prometheus } = SidecarPorts;
  const ofWorkloads = mesh.workloads.flatMap(({ ports }) => ports.flatMap(({ port, targetPort }) => [port, targetPort]));
  return new Set([
    admin,
    appProbe,
    health,
    prometheus,
    HTTP_PROXY_PORT,
    ...ofWorkloads,
    ...mesh.gateways.flatMap(({ listen }) => listen.map(({ gatewayPort }) => gatewayPort)),
  ]);
}

/** Free ports, one after the other; meshes of different slots begin at different ones. */
function portSequence(slot: number, isTaken: (port: number) => boolean): () => number {
  const size = APP_PORTS.end - APP_PORTS.first;
  let tried = 0;
  return () => {
    while (tried < size) {
      const port = APP_PORTS.first + ((Math.floor((slot * size) / SLOTS) + tried) % size);
      tried += 1;
      if (!isTaken(port)) return port;
    }
    throw new UserError(`the ports of 127.0.0.1 from ${APP_PORTS.first} to ${APP_PORTS.end - 1} are all taken`);
  };
}
