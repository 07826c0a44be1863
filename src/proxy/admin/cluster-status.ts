/** Clusters and their hosts as /clusters shows them. Source: envoy.admin.v3.Clusters, Envoy /clusters. */

import type { Host } from "../cluster/host.ts";
import type { ClusterEntry } from "../cluster/manager.ts";
import { addressText } from "../config/address.ts";
import type { Json } from "./lazy-json.ts";

/** One line a fact, as Envoy. */
export function clustersText(entries: readonly ClusterEntry[]): string {
  return entries.map(clusterLines).join("");
}

function clusterLines({ cluster, isStatic }: ClusterEntry): string {
  const { name, config } = cluster;
  const { breaker, discovery } = config;
  const lines = [
    `observability_name::${config.statName}`,
    `default_priority::max_connections::${breaker.connectionsMax}`,
    `default_priority::max_pending_requests::${breaker.pendingMax}`,
    `default_priority::max_requests::${breaker.requestsMax}`,
    `default_priority::max_retries::${breaker.retriesMax}`,
    "high_priority::max_connections::1024",
    "high_priority::max_pending_requests::1024",
    "high_priority::max_requests::1024",
    "high_priority::max_retries::3",
    `added_via_api::${!isStatic}`,
  ];
  if (discovery.kind === "eds") lines.push(`eds_service_name::${discovery.serviceName}`);
  for (const host of cluster.hosts) lines.push(...hostLines(host));
  return lines.map((line) => `${name}::${line}\n`).join("");
}

function hostLines(host: Host): string[] {
  const facts: readonly (readonly [string, string | number | boolean])[] = [
    ["cx_active", host.activeConnections],
    ["cx_connect_fail", host.connectFailures],
    ["cx_total", host.connectionsTotal],
    ["rq_active", host.activeRequests],
    ["rq_error", host.requestErrors],
    ["rq_success", host.requestSuccesses],
    ["rq_total", host.requestsTotal],
    ["hostname", host.hostname],
    ["health_flags", healthFlags(host)],
    ["weight", host.weight],
    ["region", host.locality.region],
    ["zone", host.locality.zone],
    ["sub_zone", host.locality.subZone],
    ["canary", false],
    ["priority", host.priority],
    ["success_rate", -1],
    ["local_origin_success_rate", -1],
  ];
  const address = addressText(host.address);
  return facts.map(([name, value]) => `${address}::${name}::${value}`);
}

function healthFlags(host: Host): string {
  return host.health === "healthy" ? "healthy" : host.health === "degraded" ? "/degraded_eds_health" : "/failed_eds_health";
}

/** The same as JSON. */
export function clustersJson(entries: readonly ClusterEntry[]): Json {
  return {
    cluster_statuses: entries.map(({ cluster, isStatic }): Json => {
      const { config } = cluster;
      const { breaker, discovery } = config;
      return {
        name: cluster.name,
        ...(isStatic ? {} : { added_via_api: true }),
        ...(cluster.hosts.length > 0 ? { host_statuses: cluster.hosts.map(hostJson) } : {}),
        circuit_breakers: {
          thresholds: [
            {
              max_connections: breaker.connectionsMax,
              max_pending_requests: breaker.pendingMax,
              max_requests: breaker.requestsMax,
              max_retries: breaker.retriesMax,
            },
            { priority: "HIGH", max_connections: 1024, max_pending_requests: 1024, max_requests: 1024, max_retries: 3 },
          ],
        },
        observability_name: config.statName,
        ...(discovery.kind === "eds" ? { eds_service_name: discovery.serviceName } : {}),
      };
    }),
  };
}

function hostJson(host: Host): Json {
  const counter = (name: string, value: number): Json => (value === 0 ? { name } : { name, value: String(value) });
  const gauge = (name: string, value: number): Json => ({ type: "GAUGE", ...(value === 0 ? {} : { value: String(value) }), name });
  return {
    address: addressJson(host.address),
    stats: [
      counter("cx_connect_fail", host.connectFailures),
      counter("cx_total", host.connectionsTotal),
      counter("rq_error", host.requestErrors),
      counter("rq_success", host.requestSuccesses),
      counter("rq_total", host.requestsTotal),
      gauge("cx_active", host.activeConnections),
      gauge("rq_active", host.activeRequests),
    ],
    health_status: { eds_health_status: host.health === "healthy" ? "HEALTHY" : host.health === "degraded" ? "DEGRADED" : "UNHEALTHY" },
    weight: host.weight,
    ...(host.hostname ? { hostname: host.hostname } : {}),
    ...(host.priority ? { priority: host.priority } : {}),
    locality: {
      ...(host.locality.region ? { region: host.locality.region } : {}),
      ...(host.locality.zone ? { zone: host.locality.zone } : {}),
      ...(host.locality.subZone ? { sub_zone: host.locality.subZone } : {}),
    },
  };
}

/** An address in protobuf's JSON. */
export function addressJson({ host, port }: { readonly host: string; readonly port: number }): Json {
  return host.startsWith("/") && port === 0 ? { pipe: { path: host } } : { socket_address: { address: host, port_value: port } };
}
