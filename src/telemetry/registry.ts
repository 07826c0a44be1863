/** The metrics of a process: plain numbers behind handles, and the two texts they are shown as. Source: Prometheus text format 0.0.4. */

import { tagsOfEnvoyName } from "./envoy-tags.ts";
import {
  type Counter,
  ENVOY_BUCKETS,
  type Gauge,
  type Histogram,
  type LabelledMetric,
  type MetricOptions,
  type MetricsRegistry,
} from "./metrics.ts";

/** Label sets of one metric that are kept apart, unless its maker says otherwise. */
export const LABEL_SETS_MAX = 2000;

/** Envoy-named statistics of each kind; what is asked for beyond goes into one named "other". */
export const ENVOY_STATS_MAX = 200_000;

type Kind = "counter" | "gauge" | "histogram";

class CounterCell implements Counter {
  value = 0;

  add(amount = 1): void {
    this.value += amount;
  }

  get isUsed(): boolean {
    return this.value !== 0;
  }

  reset(): void {
    this.value = 0;
  }
}

class GaugeCell implements Gauge {
  value = 0;
  isUsed = false;

  set(value: number): void {
    this.value = value;
    this.isUsed = true;
  }

  add(amount: number): void {
    this.value += amount;
    this.isUsed = true;
  }

  /** A gauge tells what is now: a reset leaves it. */
  reset(): void {}
}

class HistogramCell implements Histogram {
  readonly bounds: readonly number[];
  /** One more than bounds: the last is what is above all of them. Not cumulative. */
  readonly counts: Float64Array;
  count = 0;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  record(value: number): void {
    const { bounds, counts } = this;
    let i = 0;
    while (i < bounds.length && value > (bounds[i] as number)) i++;
    counts[i] = (counts[i] as number) + 1;
    this.count += 1;
    this.sum += value;
  }

  get isUsed(): boolean {
    return this.count !== 0;
  }

  reset(): void {
    this.counts.fill(0);
    this.count = 0;
    this.sum = 0;
  }
}

type Cell = CounterCell | GaugeCell | HistogramCell;

/** One metric and its label sets. */
class Family<C extends Cell> implements LabelledMetric<C> {
  readonly kind: Kind;
  readonly options: MetricOptions;
  readonly cells = new Map<string, { readonly labels: string; readonly cell: C }>();
  readonly #make: () => C;
  readonly #setsMax: number;

  constructor(kind: Kind, options: MetricOptions, make: () => C) {
    this.kind = kind;
    this.options = options;
    this.#make = make;
    this.#setsMax = options.setsMax ?? LABEL_SETS_MAX;
  }

  with(values: readonly string[]): C {
    const key = values.join("\u0000");
    const known = this.cells.get(key);
    if (known) return known.cell;
    if (this.cells.size >= this.#setsMax && values.some((value) => value !== "other"))
      return this.with(this.options.labels.map(() => "other"));
    const made = { labels: labelText(this.options.labels, values), cell: this.#make() };
    this.cells.set(key, made);
    return made.cell;
  }
}

/** Makes an empty registry. */
export function createMetricsRegistry(): MetricsRegistry {
  return new Registry();
}

class Registry implements MetricsRegistry {
  readonly #families = new Map<string, Family<Cell>>();
  readonly #envoy = {
    counter: new Map<string, CounterCell>(),
    gauge: new Map<string, GaugeCell>(),
    histogram: new Map<string, HistogramCell>(),
  };

  counter(options: MetricOptions): LabelledMetric<Counter> {
    return this.#family("counter", options, () => new CounterCell());
  }

  gauge(options: MetricOptions): LabelledMetric<Gauge> {
    return this.#family("gauge", options, () => new GaugeCell());
  }

  histogram(options: MetricOptions & { readonly buckets?: readonly number[] }): LabelledMetric<Histogram> {
    const bounds = options.buckets ?? ENVOY_BUCKETS;
    return this.#family("histogram", options, () => new HistogramCell(bounds));
  }

  envoyCounter(name: string): Counter {
    return find(this.#envoy.counter, name, () => new CounterCell());
  }

  envoyGauge(name: string): Gauge {
    return find(this.#envoy.gauge, name, () => new GaugeCell());
  }

  envoyHistogram(name: string): Histogram {
    return find(this.#envoy.histogram, name, () => new HistogramCell(ENVOY_BUCKETS));
  }

  toPrometheus(options: { readonly usedOnly?: boolean; readonly filter?: RegExp } = {}): string {
    const out: string[] = [];
    const passes = (name: string): boolean => {
      if (!options.filter) return true;
      options.filter.lastIndex = 0;
      return options.filter.test(name);
    };
    for (const { kind, options: metric, cells } of this.#families.values()) {
      if (!passes(metric.name)) continue;
      const shown = [...cells.values()].filter(({ cell }) => !options.usedOnly || cell.isUsed);
      if (shown.length === 0) continue;
      if (metric.help !== "") out.push(`# HELP ${metric.name} ${metric.help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n`);
      out.push(`# TYPE ${metric.name} ${kind}\n`);
      for (const { labels, cell } of shown) writeCell(out, metric.name, labels, cell);
    }
    // Envoy's names carry what Prometheus wants as labels, so several of them are one metric there.
    for (const kind of ["counter", "gauge", "histogram"] as const) {
      const byName = new Map<string, { readonly labels: string; readonly cell: Cell }[]>();
      for (const [name, cell] of this.#envoy[kind]) {
        if (options.usedOnly && !cell.isUsed) continue;
        const tagged = tagsOfEnvoyName(name);
        if (!passes(tagged.name)) continue;
        const labels = labelText(tagged.labels, tagged.values);
        const group = byName.get(tagged.name);
        if (group) group.push({ labels, cell });
        else byName.set(tagged.name, [{ labels, cell }]);
      }
      for (const [name, group] of byName) {
        out.push(`# TYPE ${name} ${kind}\n`);
        for (const { labels, cell } of group) writeCell(out, name, labels, cell);
      }
    }
    return out.join("");
  }

  toEnvoyText(options: { readonly usedOnly?: boolean; readonly filter?: RegExp } = {}): string {
    const shown = (maps: readonly ReadonlyMap<string, Cell>[]): [string, Cell][] =>
      maps
        .flatMap((map) => [...map])
        .filter(([name, cell]) => {
          if (options.usedOnly && !cell.isUsed) return false;
          if (!options.filter) return true;
          options.filter.lastIndex = 0;
          return options.filter.test(name);
        })
        .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    // Envoy prints numbers first and distributions after them.
    const lines = [...shown([this.#envoy.counter, this.#envoy.gauge]), ...shown([this.#envoy.histogram])];
    return lines.map(([name, cell]) => `${name}: ${cell instanceof HistogramCell ? quantileText(cell) : cell.value}\n`).join("");
  }

  resetCounters(): void {
    for (const { cells } of this.#families.values()) for (const { cell } of cells.values()) cell.reset();
    for (const map of Object.values(this.#envoy)) for (const cell of map.values()) cell.reset();
  }

  #family<C extends Cell>(kind: Kind, options: MetricOptions, make: () => C): LabelledMetric<C> {
    const known = this.#families.get(options.name);
    if (known) {
      if (known.kind !== kind) throw new Error(`metric ${options.name} is a ${known.kind} and was asked for as a ${kind}`);
      return known as unknown as Family<C>; // The kind was checked: it names the cell's class.
    }
    const made = new Family(kind, options, make);
    this.#families.set(options.name, made as unknown as Family<Cell>);
    return made;
  }
}

function find<C>(map: Map<string, C>, name: string, make: () => C): C {
  const known = map.get(name);
  if (known) return known;
  if (map.size >= ENVOY_STATS_MAX && name !== "other") return find(map, "other", make);
  const made = make();
  map.set(name, made);
  return made;
}

function writeCell(out: string[], name: string, labels: string, cell: Cell): void {
  if (!(cell instanceof HistogramCell)) {
    out.push(labels === "" ? `${name} ${cell.value}\n` : `${name}{${labels}} ${cell.value}\n`);
    return;
  }
  const before = labels === "" ? "" : `${labels},`;
  let cumulative = 0;
  cell.bounds.forEach((bound, i) => {
    cumulative += cell.counts[i] as number;
    out.push(`${name}_bucket{${before}le="${bound}"} ${cumulative}\n`);
  });
  out.push(`${name}_bucket{${before}le="+Inf"} ${cell.count}\n`);
  const braces = labels === "" ? "" : `{${labels}}`;
  out.push(`${name}_sum${braces} ${cell.sum}\n${name}_count${braces} ${cell.count}\n`);
}

function labelText(labels: readonly string[], values: readonly string[]): string {
  return labels.map((label, i) => `${label}="${escapeLabel(values[i] ?? "")}"`).join(",");
}

function escapeLabel(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n") : value;
}

const QUANTILES = [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100] as const;

/** Envoy's line of a distribution: the interval's value (not kept here: nan) and that since the start, read from the buckets. */
function quantileText(cell: HistogramCell): string {
  if (cell.count === 0) return "No recorded values";
  return QUANTILES.map((q) => `P${q}(nan,${Number(quantileOf(cell, q / 100).toPrecision(6))})`).join(" ");
}

function quantileOf(cell: HistogramCell, q: number): number {
  const rank = q * cell.count;
  let below = 0;
  for (let i = 0; i < cell.counts.length; i++) {
    const here = cell.counts[i] as number;
    if (here === 0 || below + here < rank) {
      below += here;
      continue;
    }
    const from = i === 0 ? 0 : (cell.bounds[i - 1] as number);
    const to = cell.bounds[i] ?? from;
    return from + (to - from) * Math.max(0, (rank - below) / here);
  }
  return cell.bounds.at(-1) ?? 0;
}
