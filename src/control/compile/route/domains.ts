/** The names under which a client may ask for a service. Source: Istio, short names of Kubernetes services. */
import type { Service } from "../../../model/service.ts";

/** Where the client stands: short names are those of its own namespace. */
export interface ClientDomain {
  readonly namespace: string;
  /** The DNS suffix of services: "cluster.local". */
  readonly domain: string;
}

/** Domains of a service, without ports: routes ignore the port of the host. */
export interface ServiceDomains {
  readonly all: readonly string[];
  /** Those that are made from the name and yield to a service that is really called so. */
  readonly derived: ReadonlySet<string>;
}

/** Full name, short forms that mean it in the client's namespace, and its addresses. */
export function serviceDomains(service: Pick<Service, "hostname" | "addresses">, client: ClientDomain): ServiceDomains {
  const derived = derivedDomains(service.hostname, client);
  const addresses = service.addresses.filter((address) => address !== "0.0.0.0" && address !== "::").map(domainOfAddress);
  return { all: [service.hostname, ...derived, ...addresses], derived: new Set(derived) };
}

/** A host that no service has, as a virtual host's domain. */
export function domainOfHost(host: string): string {
  return domainOfAddress(host.toLowerCase());
}

function domainOfAddress(text: string): string {
  return text.includes(":") ? `[${text}]` : text;
}

function derivedDomains(hostname: string, { namespace, domain }: ClientDomain): string[] {
  const isAddress = hostname.includes(":") || /^\d+(\.\d+){3}$/.test(hostname);
  const rooted = isAddress ? [] : [`${hostname}.`];
  const suffix = `.svc.${domain}`;
  if (!hostname.endsWith(suffix)) return rooted;
  const full = hostname.slice(0, -suffix.length); // name.namespace
  const dot = full.indexOf(".");
  if (dot <= 0 || dot === full.length - 1) return rooted;
  if (full.slice(dot + 1) !== namespace) return [...rooted, full, `${full}.svc`];
  return [...rooted, full.slice(0, dot), `${full}.svc`, full];
}
