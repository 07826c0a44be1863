/**
 * What in an Envoy statistic's dotted name is a label for Prometheus: the cluster, the listener, the HTTP prefix and the class of a status.
 * Source: Istio's bootstrap, stats_config.stats_tags.
 */

/** A metric name and its labels. */
export interface TaggedName {
  readonly name: string;
  readonly labels: readonly string[];
  readonly values: readonly string[];
}

/** Where a cluster's name, which has dots itself, ends: what follows it begins with one of these. */
const CLUSTER_SUFFIX =
  /^cluster\.(.+?)\.((?:upstream_|lb_|membership_|update_|bind_errors|max_host_weight|version|assignment_|original_dst_|retry_or_shadow_|ssl\.|circuit_breakers\.|outlier_detection\.|health_check\.|external\.|internal\.|canary\.|zone\.|http1\.|http2\.|client_ssl_).*)$/;

/** Splits "cluster.outbound|80||a.b.upstream_rq_2xx" into envoy_cluster_upstream_rq_xx and its labels. */
export function tagsOfEnvoyName(dotted: string): TaggedName {
  const labels: string[] = [];
  const values: string[] = [];
  let name = dotted;
  const take = (label: string, value: string, rest: string): void => {
    labels.push(label);
    values.push(value);
    name = rest;
  };
  const cluster = CLUSTER_SUFFIX.exec(name) ?? /^cluster\.(.+)\.([^.]+)$/.exec(name);
  if (cluster) take("cluster_name", cluster[1] as string, `cluster.${cluster[2]}`);
  const http = /^http\.(.+?)\.((?:downstream_|rq_|no_route|no_cluster|rs_too_large|passthrough_|tracing\.|rbac\.|fault\.).*)$/.exec(name);
  if (http) take("http_conn_manager_prefix", http[1] as string, `http.${http[2]}`);
  const listener =
    /^listener\.(?!admin\.)(.+?)\.(downstream_|ssl\.|http\.|no_filter_chain_match|extension_|connections_|worker_|network\.)(.*)$/.exec(
      name,
    );
  if (listener) take("listener_address", listener[1] as string, `listener.${listener[2]}${listener[3]}`);
  const status = /^(.*_rq)_(\d{3})$/.exec(name);
  if (status) take("response_code", status[2] as string, status[1] as string);
  const statusClass = /^(.*_rq)_(\d)xx$/.exec(name);
  if (statusClass) take("response_code_class", `${statusClass[2]}xx`, `${statusClass[1]}_xx`);
  return { name: `envoy_${name.replace(/[^A-Za-z0-9_]/g, "_")}`, labels, values };
}
