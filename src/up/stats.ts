/** Figures of services from the sidecars' own metrics, as Prometheus would scrape them. Source: Istio's standard metrics. */
import type { ServiceFigures } from "./messages.ts";

interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

interface Sums {
  requests: number;
  failed: number;
  mutualTls: number;
  tcp: number;
  readonly buckets: Map<number, number>;
}

/** Samples of a text in Prometheus' format; comments and lines that are none are left out. */
export function parsePrometheus(text: string): Sample[] {
  const samples: Sample[] = [];
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const labels = new Map<string, string>();
    for (const [, key = "", value = ""] of (match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels.set(key, value.replaceAll(/\\(.)/g, "$1"));
    samples.push({ name: match[1] as string, labels, value: Number(match[3]) });
  }
  return samples;
}

/** One proxy's metrics as it gives them: Lateen's in Istio's names, a stock Envoy in its own. */
export type Scrape =
  | { readonly kind: "istio"; readonly text: string }
  /** Envoy's /stats with cumulative histograms, and the service that the workload stands behind with its ports. */
  | { readonly kind: "envoy"; readonly text: string; readonly service: string; readonly ports: readonly number[] };

/** Adds up what the proxies in front of the services' workloads counted (reporter "destination"). Sorted by service. */
export function serviceFigures(scrapes: readonly Scrape[]): ServiceFigures[] {
  const byService = new Map<string, Sums>();
  const sumsOf = (service: string): Sums => {
    const sums = byService.get(service) ?? { requests: 0, failed: 0, mutualTls: 0, tcp: 0, buckets: new Map<number, number>() };
    byService.set(service, sums);
    return sums;
  };
  for (const scrape of scrapes) {
    if (scrape.kind === "istio") addIstioMetrics(scrape.text, sumsOf);
    else addEnvoyStats(scrape, sumsOf(scrape.service));
  }
  return [...byService].sort(([a], [b]) => (a < b ? -1 : 1)).map(([service, sums]) => figuresOf(service, sums));
}

function addIstioMetrics(text: string, sumsOf: (service: string) => Sums): void {
  for (const { name, labels, value } of parsePrometheus(text)) {
    if (labels.get("reporter") !== "destination") continue;
    const service = labels.get("destination_service_name");
    if (!service || service === "unknown") continue;
    const sums = sumsOf(service);
    const isMutual = labels.get("connection_security_policy") === "mutual_tls";
    if (name === "istio_requests_total") {
      sums.requests += value;
      if (/^(5\d\d|0)$/.test(labels.get("response_code") ?? "")) sums.failed += value;
      if (isMutual) sums.mutualTls += value;
    } else if (name === "istio_tcp_connections_opened_total") {
      sums.tcp += value;
      if (isMutual) sums.mutualTls += value;
    } else if (name === "istio_request_duration_milliseconds_bucket") {
      const bound = labels.get("le") === "+Inf" ? Number.POSITIVE_INFINITY : Number(labels.get("le"));
      sums.buckets.set(bound, (sums.buckets.get(bound) ?? 0) + value);
    }
  }
}

/** A stock Envoy counts by listener and cluster: what came in on the workload's ports is its service's. Source: Envoy, HTTP and cluster statistics. */
function addEnvoyStats({ text, ports }: Extract<Scrape, { kind: "envoy" }>, sums: Sums): void {
  const stats = new Map(
    text.split("\n").map((line): [string, string] => [line.slice(0, line.lastIndexOf(": ")), line.slice(line.lastIndexOf(": ") + 2)]),
  );
  const count = (name: string): number => Number(stats.get(name) ?? 0);
  const handshakes = count("listener.0.0.0.0_15006.ssl.handshake");
  for (const port of ports) {
    const http = `http.inbound_0.0.0.0_${port};`;
    const requests = count(`${http}.downstream_rq_completed`);
    const connections = count(`${http}.downstream_cx_total`);
    const tcp = count(`cluster.inbound|${port}||;.upstream_cx_total`);
    if (connections === 0) {
      sums.tcp += tcp;
      sums.mutualTls += Math.min(tcp, handshakes);
      continue;
    }
    sums.requests += requests;
    sums.failed += count(`${http}.downstream_rq_5xx`);
    // Requests are not counted by connection: each stands for its connection's share.
    sums.mutualTls += requests * (count(`${http}.downstream_cx_ssl_total`) / connections);
    for (const [, bound = "", upTo = ""] of (stats.get(`${http}.downstream_rq_time`) ?? "").matchAll(/B([\d.e+]+)\(\d+,(\d+)\)/g)) {
      sums.buckets.set(Number(bound), (sums.buckets.get(Number(bound)) ?? 0) + Number(upTo));
    }
  }
}

function figuresOf(service: string, sums: Sums): ServiceFigures {
  const isTcp = sums.requests === 0;
  const total = isTcp ? sums.tcp : sums.requests;
  return {
    service,
    protocol: isTcp ? "tcp" : "http",
    requests: total,
    success: isTcp || total === 0 ? undefined : 1 - sums.failed / total,
    p50Ms: quantile(sums.buckets, 0.5),
    p99Ms: quantile(sums.buckets, 0.99),
    mutualTls: total === 0 ? 0 : sums.mutualTls / total,
  };
}

/** The quantile of a histogram, interpolated within its bucket as Prometheus does. Undefined without samples. */
export function quantile(buckets: ReadonlyMap<number, number>, q: number): number | undefined {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (total === 0) return undefined;
  const rank = q * total;
  let below = 0;
  let from = 0;
  for (const [bound, count] of sorted) {
    if (count >= rank) {
      if (!Number.isFinite(bound)) return from;
      return from + ((bound - from) * (rank - below)) / Math.max(1, count - below);
    }
    below = count;
    from = bound;
  }
  return from;
}
