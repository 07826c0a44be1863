/** Which virtual hosts a sidecar has on a port: its services, and hosts that only a VirtualService names. */
import { digestOfObject } from "../../../base/digest.ts";
import { hostCovers, isWildcard, mostSpecificHost } from "../../../model/host.ts";
import { isHttp, type Service } from "../../../model/service.ts";
import type { HttpRetry, VirtualService } from "../../config/types.ts";
import { IdentityMemo, NOTHING } from "../memo.ts";
import type { VirtualHostInput } from "./configuration.ts";
import { type ClientDomain, domainOfHost, type ServiceDomains, serviceDomains } from "./domains.ts";
import { dependsOnClient, planRoutes, type RoutePlan } from "./plan.ts";

/** What the hosts are made from. */
export interface SidecarHostsInput {
  readonly port: number;
  readonly client: ClientDomain & { readonly labels: Readonly<Record<string, string>> };
  /** Services that the client may see, in a stable order. */
  readonly services: readonly Service[];
  /** VirtualServices for sidecars of the client's namespace, oldest first. */
  readonly virtualServices: readonly VirtualService[];
  readonly meshRetries: HttpRetry | undefined;
}

/** The port on which a VirtualService's host is served even when no service has it. Source: Istio, traffic to hosts outside the registry. */
const UNREGISTERED_HOSTS_PORT = 80;

/** Plans and hosts that stay the same objects while what they are made of does: so their digests and bytes stay, too. */
export class HostMemo {
  readonly plans = new IdentityMemo<readonly RoutePlan[]>();
  readonly domains = new IdentityMemo<ServiceDomains>();
  readonly hosts = new IdentityMemo<VirtualHostInput>();
}

/** The virtual hosts; no domain stands in two of them, the first one keeps it. */
export function sidecarHosts(input: SidecarHostsInput, memo = new HostMemo()): VirtualHostInput[] {
  const { port, client } = input;
  const retries = input.meshRetries ?? NOTHING;
  const onPort = new Map(
    input.services
      .filter((service) => service.ports.some((p) => p.number === port))
      .map((service) => [service.hostname as string, service]),
  );
  const claimed = new Set<string>();
  const hosts: { readonly service: Service | undefined; readonly host: string; readonly routes: readonly RoutePlan[] }[] = [];

  const owners = wildcardOwners(input.virtualServices, onPort);
  for (const virtualService of input.virtualServices) {
    const { services, others } = splitHosts(virtualService, onPort, owners);
    if (services.length === 0 && port !== UNREGISTERED_HOSTS_PORT) continue;
    const who = dependsOnClient(virtualService) ? `${client.namespace}|${digestOfObject(client.labels)}` : "";
    const routes = memo.plans.get([virtualService, retries], `${port}|${who}`, () =>
      planRoutes(virtualService, {
        client: { gateway: "mesh", namespace: client.namespace, labels: client.labels, port },
        isTls: false,
        meshRetries: input.meshRetries,
        // A destination without a port means the listener's: here a service has that port or is none.
        findService: () => undefined,
      }),
    );
    if (routes.length === 0) continue;
    const httpServices = services.filter((service) => isHttpOn(service, port));
    if (services.length > 0 && httpServices.length === 0 && port !== UNREGISTERED_HOSTS_PORT) continue;
    for (const host of others) hosts.push({ service: undefined, host, routes });
    for (const service of httpServices) {
      claimed.add(service.hostname);
      hosts.push({ service, host: service.hostname, routes });
    }
  }
  for (const [hostname, service] of onPort) {
    if (claimed.has(hostname) || !isHttpOn(service, port)) continue;
    const routes = memo.plans.get([service, retries], `${port}`, () => [{ kind: "default", hostname, port, retries: input.meshRetries }]);
    hosts.push({ service, host: hostname, routes });
  }
  return withDomains(hosts, port, client, memo);
}

function isHttpOn(service: Service, port: number): boolean {
  return service.ports.some((p) => p.number === port && isHttp(p.protocol));
}

/** For each service the VirtualService that names it most closely: a wildcard takes only what nobody names better. */
function wildcardOwners(
  virtualServices: readonly VirtualService[],
  services: ReadonlyMap<string, Service>,
): ReadonlyMap<string, VirtualService> {
  const byHost = new Map<string, VirtualService>();
  for (const virtualService of virtualServices)
    for (const host of virtualService.spec.hosts) if (!byHost.has(host)) byHost.set(host, virtualService);
  const named = [...byHost.keys()];
  if (!named.some(isWildcard)) return byHost;
  const owners = new Map<string, VirtualService>();
  for (const hostname of services.keys()) {
    const best = byHost.has(hostname) ? hostname : isWildcard(hostname) ? undefined : mostSpecificHost(hostname, named);
    const owner = best === undefined ? undefined : byHost.get(best);
    if (owner) owners.set(hostname, owner);
  }
  return owners;
}

/** The hosts of a VirtualService that are services on this port, and those that are none. */
function splitHosts(
  virtualService: VirtualService,
  onPort: ReadonlyMap<string, Service>,
  owners: ReadonlyMap<string, VirtualService>,
): { readonly services: readonly Service[]; readonly others: readonly string[] } {
  const services: Service[] = [];
  const others: string[] = [];
  for (const host of virtualService.spec.hosts) {
    if (!isWildcard(host)) {
      const service = onPort.get(host);
      if (service) services.push(service);
      else others.push(host);
      continue;
    }
    const covered = [...onPort.values()].filter((service) => hostCovers(host, service.hostname));
    if (covered.length === 0) others.push(host);
    else services.push(...covered.filter((service) => owners.get(service.hostname) === virtualService));
  }
  return { services: [...new Set(services)], others };
}

function withDomains(
  hosts: readonly { readonly service: Service | undefined; readonly host: string; readonly routes: readonly RoutePlan[] }[],
  port: number,
  client: ClientDomain,
  memo: HostMemo,
): VirtualHostInput[] {
  const home = `.${client.namespace}.svc.${client.domain}`;
  const realNames = new Set(hosts.flatMap(({ service }) => (service ? [service.hostname as string] : [])));
  const names = new Set<string>();
  // "*" is the catch-all of the configuration.
  const taken = new Set(["*"]);
  const result: VirtualHostInput[] = [];
  for (const { service, host, routes } of hosts) {
    const name = `${domainOfHost(host)}:${port}`;
    if (names.has(name)) continue;
    names.add(name);
    // Its names are others only in its own namespace.
    const where = service?.hostname.endsWith(home) ? home : `.svc.${client.domain}`;
    const { all, derived } = service
      ? memo.domains.get([service], where, () => serviceDomains(service, client))
      : { all: [domainOfHost(host)], derived: new Set<string>() };
    const domains = all.filter((domain) => {
      const key = domain.toLowerCase();
      // "foo.com" that is short for foo.com.svc.cluster.local yields to a service that is called foo.com.
      if (taken.has(key) || (derived.has(domain) && realNames.has(domain))) return false;
      taken.add(key);
      return true;
    });
    if (domains.length > 0)
      result.push(memo.hosts.get([routes], [name, ...domains].join(), () => ({ name, domains, routes, requireTls: false })));
  }
  return result;
}
