/** Which outbound listeners a sidecar has: one a port for HTTP, one an address and port for everything else. */
import { isHttp, type Service, type ServicePort } from "../../../model/service.ts";
import { type OutboundChain, takesAll } from "./outbound.ts";
import { INBOUND_PORT, OUTBOUND_PORT } from "./virtual-outbound.ts";

/** Where listeners are and what their chains are. */
export interface PlannedListener {
  readonly bind: string;
  readonly port: number;
  readonly chains: readonly OutboundChain[];
}

/** What the plan is made from. */
export interface OutboundPlanInput {
  /** Services that the client may see. */
  readonly services: readonly Service[];
  /** "0.0.0.0" or "::". */
  readonly wildcard: string;
  /** The only address to bind to where nothing is captured; undefined where capture hands connections over. */
  readonly localhost: string | undefined;
  /** Every service has an address that is this client's way to it alone, so no listener is shared and nothing has to be looked at. */
  readonly isDedicated?: boolean;
  /** Addresses of a service's endpoints on a port: those of a service without virtual address that are known one by one. */
  endpointAddresses(service: Service, port: ServicePort): readonly string[];
  /** How long a connection to the service may be silent, from the rule that holds for it. */
  tcpIdleTimeoutMs(service: Service): number | undefined;
}

/**
 * The listeners, in the order of their names. Where services collide (no virtual address, same port), HTTP and others share a
 * listener that looks at the first bytes, and among others the oldest service keeps the connections that both would take.
 */
export function planOutboundListeners(input: OutboundPlanInput): PlannedListener[] {
  const planned = new Map<string, { readonly bind: string; readonly port: number; readonly chains: OutboundChain[] }>();
  const isCaptured = input.localhost === undefined;
  const add = (bind: string, port: number, chain: OutboundChain): void => {
    const key = `${bind}_${port}`;
    const listener = planned.get(key) ?? { bind, port, chains: [] };
    planned.set(key, listener);
    if (!listener.chains.some((other) => collide(other, chain))) listener.chains.push(chain);
  };
  const byAge = [...input.services].sort((a, b) => a.createdAt - b.createdAt || (a.hostname < b.hostname ? -1 : 1));
  for (const service of byAge) {
    for (const port of service.ports) {
      // The proxy's own ports: a listener there would make it refuse all of them.
      if (port.protocol === "udp" || port.number === OUTBOUND_PORT || port.number === INBOUND_PORT) continue;
      if (isHttp(port.protocol)) {
        const binds = input.isDedicated ? service.addresses : [input.localhost ?? input.wildcard];
        for (const bind of binds)
          add(bind, port.number, { kind: "http", routes: String(port.number), sniffed: isCaptured && !input.isDedicated });
        continue;
      }
      for (const bind of input.localhost ? [input.localhost] : bindAddresses(service, port, input)) {
        const serverNames = service.hostname !== "*" && needsServerName(port, bind, input.wildcard) ? [service.hostname] : [];
        add(bind, port.number, {
          kind: "tcp",
          hostname: service.hostname,
          port: port.number,
          serverNames,
          idleTimeoutMs: input.tcpIdleTimeoutMs(service),
        });
      }
    }
  }
  return [...planned.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, listener]) => listener);
}

/** A service's virtual addresses; without any, its endpoints' where connections go to each of them; else every address. */
function bindAddresses(service: Service, port: ServicePort, { wildcard, endpointAddresses }: OutboundPlanInput): readonly string[] {
  const addresses = service.addresses.filter((address) => address !== "0.0.0.0" && address !== "::");
  if (addresses.length > 0) return addresses;
  if (service.resolution === "none" && !isTls(port)) {
    const endpoints = endpointAddresses(service, port);
    if (endpoints.length > 0) return endpoints;
  }
  return [wildcard];
}

/** On every address only the server name tells whose connection it is. */
function needsServerName(port: ServicePort, bind: string, wildcard: string): boolean {
  return isTls(port) && (bind === wildcard || bind === "127.0.0.1" || bind === "::1");
}

function isTls(port: ServicePort): boolean {
  return port.protocol === "https" || port.protocol === "tls";
}

function collide(a: OutboundChain, b: OutboundChain): boolean {
  if (a.kind === "http" && b.kind === "http") return true;
  if (a.kind === "tcp" && b.kind === "tcp" && a.serverNames.join() === b.serverNames.join()) return true;
  return takesAll(a) && takesAll(b);
}
