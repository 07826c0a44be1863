/**
 * Resolves names as the machine would: /etc/hosts, then the name servers and search list of /etc/resolv.conf, over UDP and, for
 * answers that do not fit, TCP (c-ares in Node does the wire). Both files are read again when they change.
 */
import dns from "node:dns";
import fs from "node:fs";
import type { Clock } from "../../base/clock.ts";
import { codeOf, messageOf } from "../../base/errors.ts";
import type { Resolver } from "../dial.ts";
import { familyOf } from "./address.ts";
import { namesToTry, parseHosts, parseResolvConf, type ResolvConf } from "./resolv-conf.ts";

/** How long names of /etc/hosts hold, and addresses themselves. */
const HOSTS_TTL_MS = 30_000;
const ADDRESS_TTL_MS = 24 * 3_600_000;
/** How often the files are looked at. */
const CHECK_MS = 5000;
const QUERIES_MAX = 1024;

/** A name that has no address, or that nobody could tell. `code` is c-ares' ("ENOTFOUND", "ENODATA", "ETIMEOUT", "ESERVFAIL"). */
export class ResolveError extends Error {
  readonly code: string;

  constructor(name: string, code: string) {
    super(`the name "${name}" cannot be resolved: ${code}`);
    this.name = "ResolveError";
    this.code = code;
  }
}

type Answer = { readonly addresses: readonly string[]; readonly ttlMs: number };
type Family = 4 | 6 | "any";

/** Makes a resolver. The same question asked twice at a time is sent once. */
export function createSystemResolver(options: {
  readonly clock: Clock;
  readonly resolvConfPath?: string | undefined;
  readonly hostsPath?: string | undefined;
}): Resolver {
  const files = new ResolverFiles(options.clock, options.resolvConfPath ?? "/etc/resolv.conf", options.hostsPath ?? "/etc/hosts");
  const asking = new Map<string, Promise<Answer>>();
  return {
    resolve(name, { family }) {
      const key = `${family}|${name}`;
      const before = asking.get(key);
      if (before !== undefined) return before;
      if (asking.size >= QUERIES_MAX) return Promise.reject(new ResolveError(name, "EBUSY"));
      const answer = resolve(name.toLowerCase(), family, files).finally(() => asking.delete(key));
      asking.set(key, answer);
      return answer;
    },
  };
}

async function resolve(name: string, family: Family, files: ResolverFiles): Promise<Answer> {
  const own = familyOf(name);
  if (own) {
    if (family !== "any" && family !== own) throw new ResolveError(name, "ENODATA");
    return { addresses: [name], ttlMs: ADDRESS_TTL_MS };
  }
  if (name === "" || name.length > 254) throw new ResolveError(name, "EBADNAME");
  const { hosts, conf, resolver } = files.current();
  const listed = hosts.get(name.replace(/\.$/, ""))?.filter((address) => family === "any" || familyOf(address) === family);
  if (listed?.length) return { addresses: ipv4First(listed), ttlMs: HOSTS_TTL_MS };
  if (name === "localhost" || name.endsWith(".localhost"))
    return { addresses: family === 6 ? ["::1"] : family === 4 ? ["127.0.0.1"] : ["127.0.0.1", "::1"], ttlMs: HOSTS_TTL_MS };
  let worst = "ENOTFOUND";
  for (const full of namesToTry(name, conf)) {
    const answer = await ask(resolver, full, family);
    if (typeof answer !== "string") return answer;
    // A server that fails is no statement that there is no such name; the next name may still be found.
    if (answer !== "ENOTFOUND" && (worst === "ENOTFOUND" || worst === "ENODATA")) worst = answer;
  }
  throw new ResolveError(name, worst);
}

/** The answer, or why there is none. */
async function ask(resolver: dns.promises.Resolver, name: string, family: Family): Promise<Answer | string> {
  const families = family === "any" ? ([4, 6] as const) : [family];
  const results = await Promise.all(
    families.map(async (one): Promise<readonly dns.RecordWithTtl[] | string> => {
      try {
        return await (one === 4 ? resolver.resolve4(name, { ttl: true }) : resolver.resolve6(name, { ttl: true }));
      } catch (error) {
        return codeOf(error) ?? messageOf(error);
      }
    }),
  );
  const records = results.flatMap((result) => (typeof result === "string" ? [] : result));
  if (records.length > 0)
    return { addresses: records.map((record) => record.address), ttlMs: Math.min(...records.map((record) => record.ttl)) * 1000 };
  const faults = results.filter((result) => typeof result === "string");
  return faults.find((fault) => fault !== "ENOTFOUND" && fault !== "ENODATA") ?? faults[0] ?? "ENODATA";
}

function ipv4First(addresses: readonly string[]): readonly string[] {
  return [...addresses.filter((address) => familyOf(address) === 4), ...addresses.filter((address) => familyOf(address) !== 4)];
}

interface ResolverState {
  readonly conf: ResolvConf;
  readonly hosts: ReadonlyMap<string, readonly string[]>;
  readonly resolver: dns.promises.Resolver;
}

/** The two files, read at the first question and when they have changed. */
class ResolverFiles {
  readonly #clock: Clock;
  readonly #confPath: string;
  readonly #hostsPath: string;
  #checkedMs = -CHECK_MS;
  #confText: string | undefined;
  #hostsText: string | undefined;
  #state: ResolverState | undefined;

  constructor(clock: Clock, confPath: string, hostsPath: string) {
    this.#clock = clock;
    this.#confPath = confPath;
    this.#hostsPath = hostsPath;
  }

  current(): ResolverState {
    const nowMs = this.#clock.monotonicMs();
    if (this.#state && nowMs - this.#checkedMs < CHECK_MS) return this.#state;
    this.#checkedMs = nowMs;
    const confText = readOr(this.#confPath, "");
    const hostsText = readOr(this.#hostsPath, "");
    if (this.#state && confText === this.#confText && hostsText === this.#hostsText) return this.#state;
    this.#confText = confText;
    this.#hostsText = hostsText;
    const conf = parseResolvConf(confText);
    const resolver = new dns.promises.Resolver({ timeout: conf.timeoutMs, tries: conf.attempts });
    resolver.setServers(conf.servers);
    this.#state = { conf, hosts: parseHosts(hostsText), resolver };
    return this.#state;
  }
}

/** Missing is as empty: then the manual's defaults hold. */
function readOr(path: string, otherwise: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT" || codeOf(error) === "EACCES") return otherwise;
    throw error;
  }
}
