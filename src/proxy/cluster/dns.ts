/**
 * Hosts of a DNS cluster: names are resolved again and again; what was found last stays when a server does not answer.
 * Source: Envoy, strict DNS and logical DNS.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Resolver } from "../../net/dial.ts";
import { isIpText } from "../listener/cidr.ts";
import { type Assignment, readAssignment } from "./assignment.ts";
import type { DiscoveryConfig } from "./cluster-config.ts";
import type { HostUpdate } from "./host.ts";

/** Shortest wait between two questions, whatever a TTL says. */
const REFRESH_MIN_MS = 1000;
/** Addresses taken of one name. */
const ADDRESSES_MAX = 256;

/** What DNS discovery takes from outside. */
export interface DnsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly resolver: Resolver;
  readonly clusterName: string;
  /** All names have been asked about at least once; called again when something changed. */
  readonly onHosts: (assignment: Assignment) => void;
}

interface Name {
  readonly host: HostUpdate;
  addresses: readonly string[] | undefined;
  timer: Timer | undefined;
}

/** See the file's head. */
export class DnsDiscovery {
  readonly #config: Extract<DiscoveryConfig, { kind: "dns" }>;
  readonly #options: DnsOptions;
  readonly #assignment: Assignment;
  readonly #names: readonly Name[];
  #isClosed = false;

  /** Throws ConfigRefused. Begins to resolve at once; calls back never from inside. */
  constructor(config: Extract<DiscoveryConfig, { kind: "dns" }>, options: DnsOptions) {
    this.#config = config;
    this.#options = options;
    this.#assignment = readAssignment(config.assignment);
    this.#names = this.#assignment.hosts.map((host) => ({ host, addresses: undefined, timer: undefined }));
    for (const name of this.#names) void this.#resolve(name);
    if (this.#names.length === 0) queueMicrotask(() => this.#publish());
  }

  close(): void {
    this.#isClosed = true;
    for (const { timer } of this.#names) timer?.cancel();
  }

  async #resolve(name: Name): Promise<void> {
    const { resolver, log, clusterName, clock } = this.#options;
    const { host } = name.host.address;
    if (isIpText(host) || host.startsWith("/")) {
      name.addresses = [host];
      await Promise.resolve();
      this.#publish();
      return;
    }
    let waitMs = this.#config.failureRefreshMs;
    try {
      const { addresses, ttlMs } = await resolver.resolve(host, { family: this.#config.family });
      if (this.#isClosed) return;
      waitMs = this.#config.respectTtl ? ttlMs : this.#config.refreshMs;
      const found = this.#config.isLogical ? addresses.slice(0, 1) : addresses.slice(0, ADDRESSES_MAX);
      const isChanged = [...found].sort().join() !== [...(name.addresses ?? [])].sort().join() || name.addresses === undefined;
      name.addresses = found;
      if (isChanged) this.#publish();
    } catch (error) {
      if (this.#isClosed) return;
      log.warn(
        `cluster "${clusterName}": ${host} cannot be resolved: ${messageOf(error)}; ${name.addresses?.length ? "what was found last stays" : "it has no host"}`,
      );
      if (name.addresses === undefined) {
        name.addresses = [];
        this.#publish();
      }
    }
    name.timer = clock.after(Math.max(REFRESH_MIN_MS, waitMs), () => void this.#resolve(name));
  }

  #publish(): void {
    if (this.#isClosed || this.#names.some(({ addresses }) => addresses === undefined)) return;
    const hosts = this.#names.flatMap(({ host, addresses }) =>
      (addresses ?? []).map((address) => ({
        ...host,
        hostname: host.hostname || host.address.host,
        address: { host: address, port: host.address.port },
      })),
    );
    this.#options.onHosts({ ...this.#assignment, hosts });
  }
}
