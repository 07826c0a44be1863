/** Which virtual hosts a gateway has on a port: hosts that its servers and the VirtualServices bound to them both name. */
import { hostCovers } from "../../../model/host.ts";
import type { Service } from "../../../model/service.ts";
import type { Gateway, GatewayServer, HttpRetry, VirtualService } from "../../config/types.ts";
import type { VirtualHostInput } from "./configuration.ts";
import { domainOfHost } from "./domains.ts";
import { takesEverything } from "./match.ts";
import { planRoutes, type VirtualServiceRoutePlan } from "./plan.ts";

/** A server of a gateway on the port. */
export interface PortServer {
  readonly gateway: Gateway;
  readonly server: GatewayServer;
}

/** What the hosts are made from. */
export interface GatewayHostsInput {
  /** Servers that share the port, of the oldest gateway first. */
  readonly servers: readonly PortServer[];
  readonly client: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> };
  /** VirtualServices bound to a gateway ("namespace/name"), oldest first. */
  virtualServices(gateway: string): readonly VirtualService[];
  findService(hostname: string, virtualService: VirtualService): Pick<Service, "ports"> | undefined;
  readonly meshRetries: HttpRetry | undefined;
}

interface Host {
  readonly name: string;
  readonly routes: VirtualServiceRoutePlan[];
  /** VirtualServices whose routes are in `routes`, so that a host named twice does not have them twice. */
  readonly sources: string[];
  requireTls: boolean;
}

/** The virtual hosts. Hosts with the same routes share one, named for the first of them. Nothing to serve gives one that answers 404. */
export function gatewayHosts(input: GatewayHostsInput): VirtualHostInput[] {
  const port = input.servers[0]?.server.port.number ?? 0;
  const hosts = new Map<string, Host>();
  const hostOf = (host: string): Host => {
    const name = host.toLowerCase();
    const known = hosts.get(name) ?? { name, routes: [], sources: [], requireTls: false };
    hosts.set(name, known);
    return known;
  };
  for (const { gateway, server } of input.servers) {
    const gatewayName = `${gateway.meta.namespace}/${gateway.meta.name}`;
    for (const virtualService of input.virtualServices(gatewayName)) {
      const shared = sharedHosts(serverHosts(server, gateway.meta.namespace, virtualService.meta.namespace), virtualService.spec.hosts);
      if (shared.length === 0) continue;
      const routes = planRoutes(virtualService, {
        client: { gateway: gatewayName, ...input.client, port: server.port.number },
        isTls: server.httpsRedirect,
        meshRetries: input.meshRetries,
        findService: (hostname) => input.findService(hostname, virtualService),
      });
      if (routes.length === 0) continue;
      const source = `${gatewayName}|${virtualService.meta.namespace}/${virtualService.meta.name}|${server.port.number}|${server.httpsRedirect}`;
      for (const host of shared) {
        const entry = hostOf(host);
        entry.requireTls ||= server.httpsRedirect;
        if (entry.sources.includes(source)) continue;
        entry.sources.push(source);
        entry.routes.push(...routes);
      }
    }
    if (server.httpsRedirect) for (const host of server.hosts) hostOf(host).requireTls = true;
  }
  if (hosts.size === 0) return [{ name: `blackhole:${port}`, domains: ["*"], routes: [], requireTls: false }];
  return collapse(
    [...hosts.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    port,
  );
}

/** Hosts of a server that a VirtualService of that namespace may use. */
function serverHosts({ hosts, hostNamespaces }: GatewayServer, gatewayNamespace: string, namespace: string): readonly string[] {
  return hosts.filter((_, i) => {
    const allowed = hostNamespaces[i] ?? "*";
    return allowed === "*" || allowed === namespace || (allowed === "." && gatewayNamespace === namespace);
  });
}

/** The closer one of each pair where one covers the other. */
function sharedHosts(server: readonly string[], virtualService: readonly string[]): string[] {
  const shared = new Set<string>();
  for (const a of server) {
    for (const b of virtualService) {
      if (hostCovers(a, b)) shared.add(b);
      else if (hostCovers(b, a)) shared.add(a);
    }
  }
  return [...shared];
}

function collapse(hosts: readonly Host[], port: number): VirtualHostInput[] {
  const byRoutes = new Map<string, { readonly name: string; readonly domains: string[]; readonly host: Host }>();
  for (const host of hosts) {
    const key = `${host.requireTls}|${host.sources.join(",")}`;
    const known = byRoutes.get(key);
    if (known) known.domains.push(domainOfHost(host.name));
    else byRoutes.set(key, { name: `${domainOfHost(host.name)}:${port}`, domains: [domainOfHost(host.name)], host });
  }
  return [...byRoutes.values()].map(({ name, domains, host }) => ({
    name,
    domains,
    routes: catchAllLast(host.routes),
    requireTls: host.requireTls,
  }));
}

/** Routes that take every request go behind all others: those of another VirtualService must be reached. */
function catchAllLast(routes: readonly VirtualServiceRoutePlan[]): VirtualServiceRoutePlan[] {
  return [...routes.filter(({ match }) => !takesEverything(match)), ...routes.filter(({ match }) => takesEverything(match))];
}
