/**
 * Metrics as numbers in arrays behind handles that are found once; text is made when somebody asks. Names and labels come from config
 * and are bounded: a metric with more label sets than its limit counts the rest in one set whose values are "other".
 * Source: Prometheus text format 0.0.4; Envoy's /stats.
 */

/** A number that grows. */
export interface Counter {
  add(amount?: number): void;
  readonly value: number;
}

/** A number that goes up and down. */
export interface Gauge {
  set(value: number): void;
  add(amount: number): void;
  readonly value: number;
}

/** A distribution. */
export interface Histogram {
  record(value: number): void;
  readonly count: number;
  readonly sum: number;
}

/** A metric with labels: `with` finds the handle of one label set (keep it; finding costs a string and a map look-up). */
export interface LabelledMetric<M> {
  with(values: readonly string[]): M;
}

/** What to make. */
export interface MetricOptions {
  readonly name: string;
  readonly help: string;
  readonly labels: readonly string[];
  /** Label sets kept apart; default 2,000. */
  readonly setsMax?: number;
}

/** Buckets in ms (or bytes) as Envoy has them; +Inf is implied. Source: a running Envoy 1.40. */
export const ENVOY_BUCKETS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
];

/** All metrics of a process. Asking twice for one name gives the same metric. */
export interface MetricsRegistry {
  counter(options: MetricOptions): LabelledMetric<Counter>;
  gauge(options: MetricOptions): LabelledMetric<Gauge>;
  histogram(options: MetricOptions & { readonly buckets?: readonly number[] }): LabelledMetric<Histogram>;
  /** Envoy's own statistics by dotted name ("cluster.xds-grpc.upstream_cx_active"), shown by /stats and, with "envoy_" in front, to Prometheus. */
  envoyCounter(name: string): Counter;
  envoyGauge(name: string): Gauge;
  envoyHistogram(name: string): Histogram;
  /** Prometheus text. `usedOnly` leaves out what never changed. */
  toPrometheus(options?: { readonly usedOnly?: boolean; readonly filter?: RegExp }): string;
  /** "name: value" lines in the order of names, as Envoy's /stats. */
  toEnvoyText(options?: { readonly usedOnly?: boolean; readonly filter?: RegExp }): string;
  /** Sets all counters and histograms to zero. */
  resetCounters(): void;
}
