/** Statistics of a cluster under Envoy's names. Made at the cluster's first use: most clusters of a large mesh are never dialled. */
import type { Counter, Gauge, MetricsRegistry } from "../../telemetry/metrics.ts";

/** Handles of one cluster. Source: Envoy, Cluster manager statistics. */
export interface ClusterStats {
  readonly cxTotal: Counter;
  readonly cxActive: Gauge;
  readonly cxHttp1Total: Counter;
  readonly cxHttp2Total: Counter;
  readonly cxConnectFail: Counter;
  readonly cxConnectTimeout: Counter;
  readonly cxOverflow: Counter;
  readonly cxDestroy: Counter;
  readonly cxNoneHealthy: Counter;
  readonly cxMaxRequests: Counter;
  readonly rqTotal: Counter;
  readonly rqActive: Gauge;
  readonly rqPendingTotal: Counter;
  readonly rqPendingActive: Gauge;
  readonly rqPendingOverflow: Counter;
  readonly rqPendingFailureEject: Counter;
  readonly rqRxReset: Counter;
  readonly rqTxReset: Counter;
  readonly rqRetryOverflow: Counter;
}

/** The handles of `statName`. */
export function createClusterStats(metrics: MetricsRegistry, statName: string): ClusterStats {
  const counter = (name: string): Counter => metrics.envoyCounter(`cluster.${statName}.upstream_${name}`);
  const gauge = (name: string): Gauge => metrics.envoyGauge(`cluster.${statName}.upstream_${name}`);
  return {
    cxTotal: counter("cx_total"),
    cxActive: gauge("cx_active"),
    cxHttp1Total: counter("cx_http1_total"),
    cxHttp2Total: counter("cx_http2_total"),
    cxConnectFail: counter("cx_connect_fail"),
    cxConnectTimeout: counter("cx_connect_timeout"),
    cxOverflow: counter("cx_overflow"),
    cxDestroy: counter("cx_destroy"),
    cxNoneHealthy: counter("cx_none_healthy"),
    cxMaxRequests: counter("cx_max_requests"),
    rqTotal: counter("rq_total"),
    rqActive: gauge("rq_active"),
    rqPendingTotal: counter("rq_pending_total"),
    rqPendingActive: gauge("rq_pending_active"),
    rqPendingOverflow: counter("rq_pending_overflow"),
    rqPendingFailureEject: counter("rq_pending_failure_eject"),
    rqRxReset: counter("rq_rx_reset"),
    rqTxReset: counter("rq_tx_reset"),
    rqRetryOverflow: counter("rq_retry_overflow"),
  };
}
