/** Statistics of a connection manager under Envoy's names. Source: Envoy, HTTP connection manager statistics. */
import type { Counter, Gauge, Histogram, MetricsRegistry } from "../../telemetry/metrics.ts";

/** Handles of one prefix. */
export interface ManagerStats {
  readonly cxTotal: Counter;
  readonly cxActive: Gauge;
  readonly cxHttp1Total: Counter;
  readonly cxHttp2Total: Counter;
  readonly cxDestroy: Counter;
  readonly cxProtocolError: Counter;
  readonly cxIdleTimeout: Counter;
  readonly cxDurationReached: Counter;
  readonly cxRequestsReached: Counter;
  readonly cxSslTotal: Counter;
  readonly rqTotal: Counter;
  readonly rqActive: Gauge;
  readonly rqHttp1Total: Counter;
  readonly rqHttp2Total: Counter;
  readonly rqCompleted: Counter;
  readonly rqTimeMs: Histogram;
  readonly rqClasses: readonly Counter[];
  readonly idleTimeouts: Counter;
  readonly durationReached: Counter;
  readonly noRoute: Counter;
  readonly noCluster: Counter;
  readonly redirects: Counter;
  readonly directResponses: Counter;
}

/** The handles of `statPrefix`. */
export function createManagerStats(metrics: MetricsRegistry, statPrefix: string): ManagerStats {
  const counter = (name: string): Counter => metrics.envoyCounter(`http.${statPrefix}.${name}`);
  const gauge = (name: string): Gauge => metrics.envoyGauge(`http.${statPrefix}.${name}`);
  return {
    cxTotal: counter("downstream_cx_total"),
    cxActive: gauge("downstream_cx_active"),
    cxHttp1Total: counter("downstream_cx_http1_total"),
    cxHttp2Total: counter("downstream_cx_http2_total"),
    cxDestroy: counter("downstream_cx_destroy"),
    cxProtocolError: counter("downstream_cx_protocol_error"),
    cxIdleTimeout: counter("downstream_cx_idle_timeout"),
    cxDurationReached: counter("downstream_cx_max_duration_reached"),
    cxRequestsReached: counter("downstream_cx_max_requests_reached"),
    cxSslTotal: counter("downstream_cx_ssl_total"),
    rqTotal: counter("downstream_rq_total"),
    rqActive: gauge("downstream_rq_active"),
    rqHttp1Total: counter("downstream_rq_http1_total"),
    rqHttp2Total: counter("downstream_rq_http2_total"),
    rqCompleted: counter("downstream_rq_completed"),
    rqTimeMs: metrics.envoyHistogram(`http.${statPrefix}.downstream_rq_time`),
    rqClasses: [1, 2, 3, 4, 5].map((group) => counter(`downstream_rq_${group}xx`)),
    idleTimeouts: counter("downstream_rq_idle_timeout"),
    durationReached: counter("downstream_rq_max_duration_reached"),
    noRoute: counter("no_route"),
    noCluster: counter("no_cluster"),
    redirects: counter("rq_redirect"),
    directResponses: counter("rq_direct_response"),
  };
}

/** The counter of a status's class; undefined for none (0). */
export function statusClassOf(stats: ManagerStats, status: number): Counter | undefined {
  return stats.rqClasses[Math.floor(status / 100) - 1];
}
