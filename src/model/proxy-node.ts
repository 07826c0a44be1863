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
}

/** type, ip, name and namespace of a node id. Throws with what is wrong when it is not of Istio's form. */
export function parseNodeId(id: string): { readonly kind: ProxyKind; readonly ip: string; readonly name: string; readonly namespace: string; readonly domain: string } {
  const parts = id.split("~");
  if (parts.length !== 4) throw new Error(`node id "${id}" is not of the form type~ip~name.namespace~domain`);
  const [kind, ip, full, domain] = parts as [string, string, string, string];
  if (kind !== "sidecar" && kind !== "router") throw new Error(`node id "${id}": the type must be sidecar or router, not "${kind}"`);
  const dot = full.lastIndexOf(".");
  if (dot <= 0 || dot === full.length - 1) throw new Error(`node id "${id}": "${full}" is not of the form name.namespace`);
  return { kind, ip, name: full.slice(0, dot), namespace: full.slice(dot + 1), domain };
}
