/** What all connections and requests of one connection manager share. */
import type { Clock } from "../../base/clock.ts";
import { Lru } from "../../base/lru.ts";
import type { Random } from "../../base/random.ts";
import { HeaderList } from "../../net/http/headers.ts";
import type { FormatSource } from "../../telemetry/format-source.ts";
import { httpDate } from "../../telemetry/format-time.ts";
import type { IstioMetrics, Reporter } from "../../telemetry/istio-metrics.ts";
import { decodePeerMetadata, UNKNOWN_PEER } from "../../telemetry/peer-metadata.ts";
import type { PeerInfo, StreamRecord } from "../../telemetry/record.ts";
import type { RouteTable } from "../route/route-table.ts";
import type { ProxyContext, UpstreamCluster } from "../types.ts";
import type { AccessLogger } from "./access-logs.ts";
import type { FilterChain } from "./chain.ts";
import { ClusterCounterIndex, type ClusterCounters } from "./cluster-counters.ts";
import type { HttpFilter } from "./filter.ts";
import type { GrpcMessageCounter } from "./filters/grpc-message-counter.ts";
import type { RouterOptions } from "./filters/router-options.ts";
import type { ManagerConfig } from "./manager-config.ts";
import { type ManagerStats, statusClassOf } from "./manager-stats.ts";
import { TimeoutLists } from "./timeout-lists.ts";

/** Peers whose metadata header was read, kept by the header's text. */
const PEERS_MAX = 1024;

/** A request that ended, as reports see it. */
export interface EndedStream extends FormatSource {
  readonly record: StreamRecord;
  readonly clientPeer: PeerInfo | undefined;
  readonly requestMessages: GrpcMessageCounter | undefined;
  readonly responseMessages: GrpcMessageCounter | undefined;
}

/** See the file's head. */
export class ManagerCore {
  readonly config: ManagerConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly timeouts: TimeoutLists;
  readonly filters: readonly HttpFilter[];
  readonly router: RouterOptions;
  readonly stats: ManagerStats;
  /** Undefined until the route configuration is known: every request is then 404. */
  routeTable: RouteTable | undefined;
  /** Chance in [0, 1). */
  readonly draw: () => number;
  readonly #context: ProxyContext;
  readonly #accessLogs: readonly AccessLogger[];
  readonly #istio: IstioMetrics;
  readonly #counters: ClusterCounterIndex;
  readonly #peers = new Lru<string, PeerInfo>(PEERS_MAX);
  /** One answer of findCluster a cluster, so that a request makes none. */
  readonly #found = new WeakMap<UpstreamCluster, { readonly cluster: UpstreamCluster; readonly counters: ClusterCounters }>();
  #dateSecond = Number.NaN;
  #date = "";

  constructor(options: {
    readonly config: ManagerConfig;
    readonly context: ProxyContext;
    readonly chain: FilterChain;
    readonly stats: ManagerStats;
    readonly accessLogs: readonly AccessLogger[];
    readonly istio: IstioMetrics;
  }) {
    const { config, context, chain } = options;
    this.config = config;
    this.clock = context.clock;
    this.random = context.random;
    this.draw = () => context.random.next();
    this.timeouts = new TimeoutLists(context.clock);
    this.filters = chain.filters;
    this.router = chain.router;
    this.stats = options.stats;
    this.#context = context;
    this.#accessLogs = options.accessLogs;
    this.#istio = options.istio;
    this.#counters = new ClusterCounterIndex(context.metrics);
  }

  findCluster(name: string): { readonly cluster: UpstreamCluster; readonly counters: ClusterCounters } | undefined {
    const cluster = name === "" ? undefined : this.#context.clusters.get(name);
    if (!cluster) {
      this.stats.noCluster.add();
      return undefined;
    }
    const known = this.#found.get(cluster);
    if (known) return known;
    const made = { cluster, counters: this.#counters.of(cluster) };
    this.#found.set(cluster, made);
    return made;
  }

  /** What a request would have gone to stands in its record whatever becomes of it. */
  recordCluster(record: StreamRecord, name: string): void {
    const cluster = name === "" ? undefined : this.#context.clusters.get(name);
    if (!cluster) return;
    record.upstreamCluster = cluster.name;
    record.destinationService = cluster.destinationService;
  }

  /** The peer of a metadata header; the same object for the same text, which is what metrics look for. */
  peerFrom(metadata: string): PeerInfo {
    const known = this.#peers.get(metadata);
    if (known) return known;
    const peer = decodePeerMetadata(metadata) ?? UNKNOWN_PEER;
    this.#peers.set(metadata, peer);
    return peer;
  }

  /** The Date header's value; its text is made once a second. */
  date(): string {
    const nowMs = this.clock.nowMs();
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#dateSecond) {
      this.#dateSecond = second;
      this.#date = httpDate(nowMs);
    }
    return this.#date;
  }

  noHeaders(): HeaderList {
    return new HeaderList();
  }

  /** A request ended: counters, metrics and logs are made of its record. */
  report(stream: EndedStream, where: { readonly reporter: Reporter }): void {
    const { record } = stream;
    const { stats } = this;
    stats.rqActive.add(-1);
    stats.rqCompleted.add();
    statusClassOf(stats, record.status)?.add();
    stats.rqTimeMs.record((record.endMs ?? record.startMs) - record.startMs);
    this.#istio.reportRequest(record, where.reporter, stream.clientPeer);
    if (stream.requestMessages && stream.responseMessages) {
      this.#istio.reportMessages(record, where.reporter, stream.clientPeer, {
        requests: stream.requestMessages.count,
        responses: stream.responseMessages.count,
      });
    }
    for (const log of this.#accessLogs) log.log(stream);
  }

  close(): void {
    this.timeouts.close();
  }
}
