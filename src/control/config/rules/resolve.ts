/** Short names in full. Source: Istio, short names of hosts and gateways. */
import { type Hostname, hostname, resolveShortName } from "../../../model/host.ts";
import { isIpAddress } from "./address.ts";

/** The full name of a host as an object of this namespace means it; addresses stay as they are. */
export function resolveHost(host: string, here: { readonly namespace: string; readonly domain: string }): Hostname {
  return isIpAddress(host) ? hostname(host) : resolveShortName(host, here);
}

/** "mesh", or "namespace/name" of a gateway written in any of Istio's forms. */
export function resolveGateway(name: string, namespace: string): string {
  if (name === "mesh") return name;
  const slash = name.indexOf("/");
  if (slash !== -1) return name.slice(0, slash) === "." ? `${namespace}/${name.slice(slash + 1)}` : name;
  // The old form: name.namespace.svc.cluster.local.
  const [gateway = "", where] = name.split(".");
  return `${where ?? namespace}/${gateway}`;
}
