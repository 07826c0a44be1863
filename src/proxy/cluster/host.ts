/** One endpoint of a cluster, with its pools. It outlives updates that leave its address in place. */
import type { Address } from "../../net/channel.ts";
import type { PeerInfo } from "../../telemetry/record.ts";
import type { UpstreamHost } from "../types.ts";
import type { HttpPool } from "./http-pool.ts";

/** Health as EDS tells it. Degraded hosts take traffic only when no healthy one is left. */
export type HostHealth = "healthy" | "degraded" | "unhealthy";

/** What an update says of a host. */
export interface HostUpdate {
  readonly address: Address;
  readonly hostname: string;
  readonly weight: number;
  readonly health: HostHealth;
  readonly priority: number;
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string };
  readonly localityWeight: number;
  readonly peer: PeerInfo | undefined;
  /** Values of "envoy.lb", for subsets. */
  readonly lbMetadata: Readonly<Record<string, unknown>>;
  /** Values of "envoy.transport_socket_match". */
  readonly socketMetadata: Readonly<Record<string, unknown>>;
}

/** See the file's head. */
export class Host implements UpstreamHost {
  readonly address: Address;
  readonly key: string;
  hostname: string;
  peer: PeerInfo | undefined;
  weight: number;
  health: HostHealth;
  priority: number;
  locality: HostUpdate["locality"];
  localityWeight: number;
  lbMetadata: Readonly<Record<string, unknown>>;
  socketMetadata: Readonly<Record<string, unknown>>;
  activeRequests = 0;
  activeConnections = 0;
  connectionsTotal = 0;
  connectFailures = 0;
  requestsTotal = 0;
  requestSuccesses = 0;
  requestErrors = 0;
  /** False once it left its cluster. */
  isMember = true;
  usesMutualTls = false;
  /** When it was chosen last (monotonic ms); ORIGINAL_DST hosts go when unused. */
  usedAtMs = 0;
  http1: HttpPool | undefined;
  http2: HttpPool | undefined;
  alpn: HttpPool | undefined;
  /** Pools of clusters whose TLS asks for each request's name, by kind and name. */
  readonly named = new Map<string, HttpPool>();

  constructor(update: HostUpdate) {
    this.address = update.address;
    this.key = hostKey(update.address);
    this.hostname = update.hostname;
    this.peer = update.peer;
    this.weight = update.weight;
    this.health = update.health;
    this.priority = update.priority;
    this.locality = update.locality;
    this.localityWeight = update.localityWeight;
    this.lbMetadata = update.lbMetadata;
    this.socketMetadata = update.socketMetadata;
  }

  get isHealthy(): boolean {
    return this.health === "healthy";
  }

  /** Takes over what an update says. True when its transport socket may be another one now. */
  update(update: HostUpdate): boolean {
    const isSocketChanged = JSON.stringify(update.socketMetadata) !== JSON.stringify(this.socketMetadata);
    this.hostname = update.hostname;
    this.peer = update.peer;
    this.weight = update.weight;
    this.health = update.health;
    this.priority = update.priority;
    this.locality = update.locality;
    this.localityWeight = update.localityWeight;
    this.lbMetadata = update.lbMetadata;
    this.socketMetadata = update.socketMetadata;
    this.isMember = true;
    return isSocketChanged;
  }

  get pools(): HttpPool[] {
    return [this.http1, this.http2, this.alpn, ...this.named.values()].filter((pool) => pool !== undefined);
  }

  /** Lets go of the pools: what runs on them goes on, the next request makes new ones. */
  drainPools(): void {
    for (const pool of this.pools) pool.drain();
    this.http1 = undefined;
    this.http2 = undefined;
    this.alpn = undefined;
    this.named.clear();
  }

  /** Keeps a pool; beyond the limit the oldest is let go. */
  keepNamed(name: string, pool: HttpPool): void {
    this.named.set(name, pool);
    const [oldest] = this.named;
    if (this.named.size <= NAMED_POOLS_MAX || !oldest) return;
    this.named.delete(oldest[0]);
    oldest[1].drain();
  }
}

/** Names for which a host has a pool of its own. */
const NAMED_POOLS_MAX = 64;

/** What tells hosts apart. */
export function hostKey(address: Address): string {
  return `${address.host} ${address.port}`;
}
