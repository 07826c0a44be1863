/** Statistics of a listener under Envoy's names. */
import type { Counter, Gauge, MetricsRegistry } from "../../telemetry/metrics.ts";

/** Handles of one listener. Source: Envoy, Listener statistics. */
export interface ListenerStats {
  readonly cxTotal: Counter;
  readonly cxActive: Gauge;
  readonly preCxTimeout: Counter;
  readonly preCxActive: Gauge;
  readonly noFilterChainMatch: Counter;
  readonly sslHandshake: Counter;
  readonly sslConnectionError: Counter;
  readonly sslFailVerifyNoCert: Counter;
}

/** The handles of `statName`. */
export function createListenerStats(metrics: MetricsRegistry, statName: string): ListenerStats {
  const counter = (name: string): Counter => metrics.envoyCounter(`listener.${statName}.${name}`);
  return {
    cxTotal: counter("downstream_cx_total"),
    cxActive: metrics.envoyGauge(`listener.${statName}.downstream_cx_active`),
    preCxTimeout: counter("downstream_pre_cx_timeout"),
    preCxActive: metrics.envoyGauge(`listener.${statName}.downstream_pre_cx_active`),
    noFilterChainMatch: counter("no_filter_chain_match"),
    sslHandshake: counter("ssl.handshake"),
    sslConnectionError: counter("ssl.connection_error"),
    sslFailVerifyNoCert: counter("ssl.fail_verify_no_cert"),
  };
}
