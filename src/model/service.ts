/** The nouns of discovery: services, their ports, their endpoints, and the workloads behind them. */
import type { Hostname } from "./host.ts";
import type { SpiffeId } from "./identity.ts";

/** What is spoken on a port. Source: Istio, protocol selection. `unsupported` is treated as tcp. */
export type Protocol = "http" | "http2" | "grpc" | "grpc-web" | "https" | "tls" | "tcp" | "udp" | "unsupported";

/** Whether the proxy reads requests on such a port. */
export function isHttp(protocol: Protocol): boolean {
  return protocol === "http" || isHttp2(protocol);
}

/** Whether the application speaks HTTP/2 without TLS on such a port. */
export function isHttp2(protocol: Protocol): boolean {
  return protocol === "http2" || protocol === "grpc" || protocol === "grpc-web";
}

/** One port of a service. */
export interface ServicePort {
  readonly name: string;
  readonly number: number;
  readonly protocol: Protocol;
  /** The workload's port, where it is another. */
  readonly targetPort: number | undefined;
}

/** How the addresses behind a service are found. Source: Istio ServiceEntry.Resolution. */
export type Resolution = "none" | "static" | "dns" | "dns-round-robin";

/** A service as its clients name it. */
export interface Service {
  readonly hostname: Hostname;
  readonly namespace: string;
  /** The name of the object that declares it, for metrics: "reviews" of reviews.default.svc.cluster.local. */
  readonly name: string;
  /** Virtual addresses (no CIDR ranges with a mask other than the whole address). Empty where clients find it by name alone. */
  readonly addresses: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly resolution: Resolution;
  /** In the mesh: endpoints have identities and mutual TLS. */
  readonly meshExternal: boolean;
  /** Namespaces that may see it: "*" all, "." its own, else names. */
  readonly exportTo: readonly string[];
  /** SPIFFE ids or DNS names that its servers may have; empty means as derived from the endpoints. */
  readonly subjectAltNames: readonly string[];
  /** For status messages and conflicts: the older object wins. Milliseconds since 1970, or the order of the source. */
  readonly createdAt: number;
}

/** Region, zone and sub-zone; empty where unknown. */
export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** One instance of a service's port. */
export interface Endpoint {
  /** IPv4, IPv6, or a DNS name (resolution dns), or an absolute path of a Unix socket. */
  readonly address: string;
  /** The workload's port, 0 for a Unix socket. */
  readonly port: number;
  /** The name of the service port that this serves. */
  readonly servicePortName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly namespace: string;
  readonly workloadName: string;
  /** Undefined where the workload has no identity in the mesh. */
  readonly identity: SpiffeId | undefined;
  /** Whether it takes mutual TLS (label security.istio.io/tlsMode: istio, or an identity). */
  readonly tlsReady: boolean;
  readonly locality: Locality;
  readonly network: string;
  /** Relative weight, 1 by default. */
  readonly weight: number;
}

/** Region/zone/subzone from Istio's `locality` text ("a/b/c"). */
export function parseLocality(text: string | undefined): Locality {
  const [region = "", zone = "", subzone = ""] = (text ?? "").split("/");
  return { region, zone, subzone };
}
