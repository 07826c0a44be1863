/** Host names: of services, of routes, and with wildcards in front. Source: Istio VirtualService `hosts`. */

/** A lower-case DNS name without a final dot, maybe with "*." or "*" in front. */
export type Hostname = string & { readonly __brand: "Hostname" };

/** The name in lower case and without its final dot. */
export function hostname(text: string): Hostname {
  const lower = text.toLowerCase();
  return (lower.length > 1 && lower.endsWith(".") ? lower.slice(0, -1) : lower) as Hostname;
}

/** Whether the name begins with a wildcard ("*.example" or "*"). */
export function isWildcard(host: string): boolean {
  return host.startsWith("*");
}

/** Whether every name that `inner` stands for is one that `outer` stands for. */
export function hostCovers(outer: string, inner: string): boolean {
  if (outer === "*") return true;
  if (!isWildcard(outer)) return outer === inner;
  return inner.length > outer.length - 1 && inner.endsWith(outer.slice(1)) && inner !== outer.slice(1);
}

/** The host of `hosts` that names `ask` most closely: exact beats wildcard, longer wildcard beats shorter. */
export function mostSpecificHost<H extends string>(ask: string, hosts: readonly H[]): H | undefined {
  const wanted = ask.toLowerCase();
  let best: H | undefined;
  for (const host of hosts) {
    if (host === wanted) return host;
    if (isWildcard(host) && hostCovers(host, wanted) && (best === undefined || host.length > best.length)) best = host;
  }
  return best;
}

/**
 * The full name of a host as a config in `namespace` means it: a name without a dot is a service of that namespace.
 * Source: Istio, short names in `destination.host`.
 */
export function resolveShortName(host: string, options: { readonly namespace: string; readonly domain: string }): Hostname {
  if (host.includes(".") || isWildcard(host)) return hostname(host);
  return hostname(`${host}.${options.namespace}.svc.${options.domain}`);
}
