/** Statistics of a cluster that the router keeps: answers by status, retries, timeouts. Source: Envoy, Cluster statistics. */
import type { Counter, Histogram, MetricsRegistry } from "../../telemetry/metrics.ts";
import type { UpstreamCluster } from "../types.ts";

/** Handles of one cluster. */
export class ClusterCounters {
  readonly completed: Counter;
  readonly retry: Counter;
  readonly retrySuccess: Counter;
  readonly retryLimitExceeded: Counter;
  readonly timeout: Counter;
  readonly perTryTimeout: Counter;
  readonly timeMs: Histogram;
  readonly #metrics: MetricsRegistry;
  readonly #prefix: string;
  readonly #classes: (Counter | undefined)[] = [];
  readonly #statuses: (Counter | undefined)[] = [];

  constructor(metrics: MetricsRegistry, cluster: string) {
    this.#metrics = metrics;
    this.#prefix = `cluster.${cluster}.upstream_rq`;
    const counter = (name: string): Counter => metrics.envoyCounter(`${this.#prefix}_${name}`);
    this.completed = counter("completed");
    this.retry = counter("retry");
    this.retrySuccess = counter("retry_success");
    this.retryLimitExceeded = counter("retry_limit_exceeded");
    this.timeout = counter("timeout");
    this.perTryTimeout = counter("per_try_timeout");
    this.timeMs = metrics.envoyHistogram(`${this.#prefix}_time`);
  }

  /** An answer went to the client, the server's or our own in its place. */
  answered(status: number): void {
    this.completed.add();
    const group = Math.floor(status / 100);
    if (group < 1 || group > 5) return;
    (this.#classes[group] ?? this.#make(this.#classes, group, `${group}xx`)).add();
    (this.#statuses[status] ?? this.#make(this.#statuses, status, String(status))).add();
  }

  #make(known: (Counter | undefined)[], at: number, name: string): Counter {
    const made = this.#metrics.envoyCounter(`${this.#prefix}_${name}`);
    known[at] = made;
    return made;
  }
}

/** Finds a cluster's handles by the identity of the cluster: a look-up without text. */
export class ClusterCounterIndex {
  readonly #metrics: MetricsRegistry;
  readonly #known = new WeakMap<UpstreamCluster, ClusterCounters>();

  constructor(metrics: MetricsRegistry) {
    this.#metrics = metrics;
  }

  of(cluster: UpstreamCluster): ClusterCounters {
    const known = this.#known.get(cluster);
    if (known) return known;
    const made = new ClusterCounters(this.#metrics, cluster.name);
    this.#known.set(cluster, made);
    return made;
  }
}
