/** All clusters: those of the bootstrap, those that CDS sent and serve, and those that still wait for endpoints or secrets. */
import { toBinary } from "@bufbuild/protobuf";
import type { Timer } from "../../base/clock.ts";
import { type Cluster as ClusterMessage, ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import type { ClusterManager } from "../types.ts";
import type { Assignment } from "./assignment.ts";
import { Cluster, type ClusterContext } from "./cluster.ts";
import { type ReadCluster, type ReadClusterOptions, readCluster } from "./cluster-config.ts";

/** Clusters at once; more are refused. */
const CLUSTERS_MAX = 100_000;

/** Tells the endpoints of a service: at once when they are known, then at each change. */
export interface EndpointSource {
  watch(serviceName: string, source: ConfigSource | undefined, onAssignment: (assignment: Assignment) => void): { close(): void };
}

/** One version of a cluster. */
export interface ClusterEntry {
  readonly bytes: Uint8Array;
  readonly version: string;
  readonly updatedAtMs: number;
  readonly isStatic: boolean;
  readonly cluster: Cluster;
}

interface LiveEntry extends ClusterEntry {
  endpoints: { close(): void } | undefined;
  timeout: Timer | undefined;
}

/** What the manager takes from outside. */
export interface ClustersOptions {
  readonly context: ClusterContext;
  readonly read: ReadClusterOptions;
}

/** See the file's head. */
export class Clusters implements ClusterManager {
  readonly #options: ClustersOptions;
  readonly #active = new Map<string, LiveEntry>();
  readonly #warming = new Map<string, LiveEntry>();
  readonly #waiting: (() => void)[] = [];
  #endpoints: EndpointSource | undefined;

  constructor(options: ClustersOptions) {
    this.#options = options;
  }

  /** Where EDS clusters get their endpoints. Set once, before the first of them. */
  set endpointSource(source: EndpointSource) {
    this.#endpoints = source;
  }

  get(name: string): Cluster | undefined {
    return this.#active.get(name)?.cluster;
  }

  get names(): readonly string[] {
    return [...this.#active.keys()];
  }

  get active(): readonly ClusterEntry[] {
    return [...this.#active.values()];
  }

  get warming(): readonly ClusterEntry[] {
    return [...this.#warming.values()];
  }

  /** Reads without applying. Throws ConfigRefused. */
  validate(message: ClusterMessage): ReadCluster {
    if (this.#active.get(message.name)?.isStatic) throw new Error("a static cluster of that name exists");
    if (this.#active.size >= CLUSTERS_MAX && !this.#active.has(message.name)) throw new Error(`more than ${CLUSTERS_MAX} clusters`);
    return readCluster(message, this.#options.read);
  }

  /** A cluster of the bootstrap. Throws ConfigRefused. Serves at once: what it waits for may come through another static cluster. */
  addStatic(message: ClusterMessage): void {
    const read = readCluster(message, this.#options.read);
    const entry = this.#create(read, toBinary(ClusterSchema, message), "", true);
    this.#active.set(message.name, entry);
    this.#followEndpoints(entry);
  }

  /** Takes over a cluster that was validated. The same content keeps what runs; another one warms and then takes its place. */
  apply(read: ReadCluster, bytes: Uint8Array, version: string): void {
    const { name } = read.config;
    const newest = this.#warming.get(name) ?? this.#active.get(name);
    if (newest && Buffer.compare(newest.bytes, bytes) === 0) return;
    this.#discard(this.#warming, name);
    const entry = this.#create(read, bytes, version, false);
    this.#warming.set(name, entry);
    this.#followEndpoints(entry);
  }

  /** A cluster is gone: what runs on it ends by itself. */
  remove(name: string): void {
    if (this.#active.get(name)?.isStatic) return;
    this.#discard(this.#warming, name);
    this.#discard(this.#active, name);
    this.#tellIfWarm();
  }

  /** Calls back once nothing warms (maybe at once). */
  onceWarm(done: () => void): void {
    if (this.#warming.size === 0) done();
    else this.#waiting.push(done);
  }

  /** Ends everything at once. */
  destroy(): void {
    for (const entry of [...this.#active.values(), ...this.#warming.values()]) {
      entry.timeout?.cancel();
      entry.endpoints?.close();
      entry.cluster.destroy();
    }
    this.#active.clear();
    this.#warming.clear();
  }

  #create({ config, warnings }: ReadCluster, bytes: Uint8Array, version: string, isStatic: boolean): LiveEntry {
    const { context } = this.#options;
    if (warnings.length > 0) context.log.warn(`cluster "${config.name}": not carried out: ${warnings.join(", ")}`);
    const cluster = new Cluster(config, context, () => this.#onWarm(entry));
    const entry: LiveEntry = {
      bytes,
      version,
      isStatic,
      updatedAtMs: context.clock.nowMs(),
      cluster,
      endpoints: undefined,
      timeout: undefined,
    };
    return entry;
  }

  /** Endpoints that are known already come from inside, so the entry must have its place by now. */
  #followEndpoints(entry: LiveEntry): void {
    const { cluster } = entry;
    const { discovery, name } = cluster.config;
    if (discovery.kind !== "eds") return;
    const { clock, log } = this.#options.context;
    entry.endpoints = this.#endpoints?.watch(discovery.serviceName, discovery.source, (assignment) => cluster.applyAssignment(assignment));
    if (discovery.initialFetchTimeoutMs === 0 || cluster.isWarm) return;
    entry.timeout = clock.after(discovery.initialFetchTimeoutMs, () => {
      if (cluster.isWarm) return;
      log.warn(`cluster "${name}": no endpoints came within ${discovery.initialFetchTimeoutMs} ms; going on with none`);
      cluster.giveUpWaiting();
    });
  }

  #onWarm(entry: LiveEntry): void {
    const { name } = entry.cluster;
    entry.timeout?.cancel();
    if (this.#warming.get(name) !== entry) return;
    this.#warming.delete(name);
    const before = this.#active.get(name);
    this.#active.set(name, entry);
    if (before) this.#end(before);
    this.#tellIfWarm();
  }

  #discard(from: Map<string, LiveEntry>, name: string): void {
    const entry = from.get(name);
    if (!entry) return;
    from.delete(name);
    this.#end(entry);
  }

  #end(entry: LiveEntry): void {
    entry.timeout?.cancel();
    entry.endpoints?.close();
    entry.cluster.close();
  }

  #tellIfWarm(): void {
    if (this.#warming.size > 0) return;
    for (const done of this.#waiting.splice(0)) done();
  }
}
