/** What differs where nothing is captured and the proxy shares its machine with others: services have addresses of the client's own. */
import type { ExplicitAddresses } from "../../model/proxy-node.ts";
import { isHttp, type Service } from "../../model/service.ts";
import type { VirtualHostInput } from "./route/configuration.ts";

/** The services that the client can dial, each at the address that it has for this client. Without explicit addresses: all, as they are. */
export function dialledServices(services: readonly Service[], explicit: ExplicitAddresses | undefined): readonly Service[] {
  if (!explicit) return services;
  return services.flatMap((service) => {
    const address = explicit.serviceAddresses[service.hostname];
    return address === undefined ? [] : [{ ...service, addresses: [address] }];
  });
}

/** The hosts of an HTTP proxy, which serves every port: made for each port by `hostsOn`, their domains say the port. */
export function proxiedHosts(services: readonly Service[], hostsOn: (port: number) => readonly VirtualHostInput[]): VirtualHostInput[] {
  const ports = new Set(
    services.flatMap((service) => service.ports.filter(({ protocol }) => isHttp(protocol)).map(({ number }) => number)),
  );
  return [...ports]
    .sort((a, b) => a - b)
    .flatMap((port) => hostsOn(port).map((host) => ({ ...host, domains: host.domains.flatMap((domain) => withPort(domain, port)) })));
}

/** A client leaves out the port that the scheme has anyway. */
function withPort(domain: string, port: number): readonly string[] {
  // A wildcard stands at one end alone: "foo.*" has no room for a port behind it.
  if (domain.endsWith("*")) return [];
  return port === 80 ? [domain, `${domain}:80`] : [`${domain}:${port}`];
}
