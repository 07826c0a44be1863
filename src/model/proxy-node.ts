/** What a proxy says of itself when it connects. Source: Istio's node id `type~ip~name.namespace~domain` and its metadata. */
import type { Locality } from "./service.ts";

/** sidecar stands beside a workload, router is a gateway. */
export type ProxyKind = "sidecar" | "router";

/** A connected proxy, parsed once from its xDS node. */
export interface ProxyNode {
  /** The node id as sent. */
  readonly id: string;
  readonly kind: ProxyKind;
  readonly ip: string;
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly workloadName: string;
  readonly clusterId: string;
  readonly network: string;
  readonly locality: Locality;
  /** REDIRECT (default), TPROXY, or NONE: no capture, the listeners bind to the services' addresses. */
  readonly interception: "REDIRECT" | "TPROXY" | "NONE";
  /** Whether this is Lateen's own proxy (user agent "lateen"): it knows extensions that a stock Envoy does not. */
  readonly isLateen: boolean;
  /** With interception NONE: where it listens, on a machine that it shares with other proxies. */
  readonly explicit?: ExplicitAddresses | undefined;
}

/** Addresses and ports of a proxy that captures nothing. */
export interface ExplicitAddresses {
  /** Where the proxy listens for each service, by hostname. Services that are missing cannot be dialled. */
  readonly serviceAddresses: Readonly<Record<string, string>>;
  /** Where on 127.0.0.1 the application listens, by the port that clients know. */
  readonly appPorts: Readonly<Record<string, number>>;
  /** Port of the HTTP proxy that takes every service by its name; undefined: none. */
  readonly httpProxyPort: number | undefined;
}

const EXPLICIT_ENTRIES_MAX = 10_000;

/**
 * Explicit addresses from a node's metadata: LATEEN_SERVICE_ADDRESSES, LATEEN_APP_PORTS and HTTP_PROXY_PORT (Istio's name). Undefined where
 * INTERCEPTION_MODE is not NONE or the first is missing. Entries that are no loopback address or no port are left out.
 */
export function readExplicitAddresses(metadata: Readonly<Record<string, unknown>>): ExplicitAddresses | undefined {
  const addresses = metadata["LATEEN_SERVICE_ADDRESSES"];
  if (metadata["INTERCEPTION_MODE"] !== "NONE" || typeof addresses !== "object" || addresses === null) return undefined;
  const proxyPort = Number(metadata["HTTP_PROXY_PORT"]);
  return {
    serviceAddresses: Object.fromEntries(
      entriesOf(addresses).filter(
        (entry): entry is [string, string] => typeof entry[1] === "string" && /^127(\.\d{1,3}){3}$/.test(entry[1]),
      ),
    ),
    appPorts: Object.fromEntries(
      entriesOf(metadata["LATEEN_APP_PORTS"]).flatMap(([port, own]) =>
        isPort(Number(port)) && isPort(Number(own)) ? [[port, Number(own)]] : [],
      ),
    ),
    httpProxyPort: isPort(proxyPort) ? proxyPort : undefined,
  };
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value).slice(0, EXPLICIT_ENTRIES_MAX) : [];
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port > 0 && port <= 65535;
}

/** type, ip, name and namespace of a node id. Throws with what is wrong when it is not of Istio's form. */
export function parseNodeId(id: string): {
  readonly kind: ProxyKind;
  readonly ip: string;
  readonly name: string;
  readonly namespace: string;
  readonly domain: string;
} {
  const parts = id.split("~");
  if (parts.length !== 4) throw new Error(`node id "${id}" is not of the form type~ip~name.namespace~domain`);
  const [kind, ip, full, domain] = parts as [string, string, string, string];
  if (kind !== "sidecar" && kind !== "router") throw new Error(`node id "${id}": the type must be sidecar or router, not "${kind}"`);
  const dot = full.lastIndexOf(".");
  if (dot <= 0 || dot === full.length - 1) throw new Error(`node id "${id}": "${full}" is not of the form name.namespace`);
  return { kind, ip, name: full.slice(0, dot), namespace: full.slice(dot + 1), domain };
}
