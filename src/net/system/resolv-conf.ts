/** Reads what tells how names are found here. Source: resolv.conf(5), hosts(5). */
import net from "node:net";

/** How to ask. */
export interface ResolvConf {
  /** "ip" or "ip:port" in the form that dns.Resolver takes. */
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly ndots: number;
  readonly timeoutMs: number;
  readonly attempts: number;
}

const SERVERS_MAX = 3;
const SEARCH_MAX = 32;

/** The settings of a resolv.conf; what is missing or odd has the manual's default. */
export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let search: readonly string[] = [];
  let ndots = 1;
  let timeoutMs = 5000;
  let attempts = 2;
  for (const line of text.split("\n")) {
    const [word, ...rest] = (line.split(/[#;]/)[0] ?? "").trim().split(/\s+/);
    if (word === "nameserver") {
      const address = rest[0] ?? "";
      const bare = address.split("%")[0] ?? "";
      if (servers.length < SERVERS_MAX && net.isIP(bare)) servers.push(net.isIPv6(bare) ? `[${address}]` : address);
    } else if (word === "search" || word === "domain") {
      search = rest
        .slice(0, word === "domain" ? 1 : SEARCH_MAX)
        .map((name) => name.toLowerCase().replace(/\.$/, ""))
        .filter((name) => name !== "");
    } else if (word === "options") {
      for (const option of rest) {
        const [name, value] = option.split(":");
        const number = Number(value);
        if (!Number.isInteger(number) || number < 0) continue;
        if (name === "ndots") ndots = Math.min(number, 15);
        else if (name === "timeout") timeoutMs = Math.min(Math.max(number, 1), 30) * 1000;
        else if (name === "attempts") attempts = Math.min(Math.max(number, 1), 5);
      }
    }
  }
  return { servers: servers.length > 0 ? servers : ["127.0.0.1"], search, ndots, timeoutMs, attempts };
}

/** Addresses by lower-case name, in the order of the file. */
export function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [address = "", ...names] = (line.split("#")[0] ?? "").trim().split(/\s+/);
    if (!net.isIP(address)) continue;
    for (const name of names) {
      const key = name.toLowerCase().replace(/\.$/, "");
      const list = found.get(key) ?? [];
      if (!list.includes(address)) list.push(address);
      found.set(key, list);
    }
  }
  return found;
}

/** The full names to ask for, in order: as it is first when it has `ndots` dots or ends in one. */
export function namesToTry(name: string, { search, ndots }: ResolvConf): readonly string[] {
  if (name.endsWith(".")) return [name.slice(0, -1)];
  const searched = search.map((domain) => `${name}.${domain}`);
  return name.split(".").length - 1 >= ndots ? [name, ...searched] : [...searched, name];
}
