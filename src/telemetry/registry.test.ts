/** The registry: label sets, their limit, and both texts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { tagsOfEnvoyName } from "./envoy-tags.ts";
import { createMetricsRegistry } from "./registry.ts";

test("registry: a label set is found again, and the same name gives the same metric", () => {
  const registry = createMetricsRegistry();
  const options = { name: "requests", help: "all of them", labels: ["code", "who"] };
  registry.counter(options).with(["200", "a"]).add();
  registry.counter(options).with(["200", "a"]).add(2);
  registry.counter(options).with(["503", 'b"\n\\']).add();
  assert.equal(
    registry.toPrometheus(),
    '# HELP requests all of them\n# TYPE requests counter\nrequests{code="200",who="a"} 3\nrequests{code="503",who="b\\"\\n\\\\"} 1\n',
  );
  assert.throws(() => registry.gauge(options), /is a counter/);
});

test("registry: label sets beyond the limit are counted as other", () => {
  const metric = createMetricsRegistry().counter({ name: "m", help: "", labels: ["a", "b"], setsMax: 2 });
  metric.with(["1", "x"]).add();
  metric.with(["2", "x"]).add();
  metric.with(["3", "x"]).add();
  metric.with(["4", "x"]).add();
  assert.equal(metric.with(["1", "x"]).value, 1);
  assert.equal(metric.with(["other", "other"]).value, 2);
  assert.equal(metric.with(["9", "9"]), metric.with(["other", "other"]));
});

test("registry: a histogram's buckets are cumulative, their bounds inclusive", () => {
  const registry = createMetricsRegistry();
  const histogram = registry.histogram({ name: "h", help: "", labels: ["l"], buckets: [1, 5] }).with(["v"]);
  for (const value of [0.5, 1, 4, 100]) histogram.record(value);
  assert.equal(
    registry.toPrometheus(),
    '# TYPE h histogram\nh_bucket{l="v",le="1"} 2\nh_bucket{l="v",le="5"} 3\nh_bucket{l="v",le="+Inf"} 4\nh_sum{l="v"} 105.5\nh_count{l="v"} 4\n',
  );
});

test("registry: Envoy's text is sorted, shows distributions last, and usedOnly hides what never changed", () => {
  const registry = createMetricsRegistry();
  registry.envoyGauge("server.live").set(1);
  registry.envoyCounter("cluster.b.upstream_rq_total").add(3);
  registry.envoyCounter("cluster.a.upstream_rq_total");
  registry.envoyHistogram("cluster.b.upstream_rq_time");
  assert.equal(
    registry.toEnvoyText(),
    "cluster.a.upstream_rq_total: 0\ncluster.b.upstream_rq_total: 3\nserver.live: 1\ncluster.b.upstream_rq_time: No recorded values\n",
  );
  assert.equal(registry.toEnvoyText({ usedOnly: true, filter: /cluster/g }), "cluster.b.upstream_rq_total: 3\n");
  registry.envoyHistogram("cluster.b.upstream_rq_time").record(3);
  assert.match(registry.toEnvoyText({ filter: /rq_time/ }), /^cluster\.b\.upstream_rq_time: P0\(nan,1\) .*P100\(nan,5\)\n$/);
  registry.resetCounters();
  assert.equal(registry.toEnvoyText({ usedOnly: true }), "server.live: 1\n", "a reset leaves gauges");
});

const rows = [
  [
    "cluster.outbound|80||a.default.svc.cluster.local.upstream_rq_total",
    'envoy_cluster_upstream_rq_total{cluster_name="outbound|80||a.default.svc.cluster.local"}',
  ],
  ["cluster.xds-grpc.upstream_rq_2xx", 'envoy_cluster_upstream_rq_xx{cluster_name="xds-grpc",response_code_class="2xx"}'],
  ["cluster.a.b.circuit_breakers.default.cx_open", 'envoy_cluster_circuit_breakers_default_cx_open{cluster_name="a.b"}'],
  ["cluster.a.upstream_rq_503", 'envoy_cluster_upstream_rq{cluster_name="a",response_code="503"}'],
  ["http.inbound_0.0.0.0_80.downstream_rq_total", 'envoy_http_downstream_rq_total{http_conn_manager_prefix="inbound_0.0.0.0_80"}'],
  ["http.admin.downstream_rq_5xx", 'envoy_http_downstream_rq_xx{http_conn_manager_prefix="admin",response_code_class="5xx"}'],
  ["listener.0.0.0.0_15006.downstream_cx_total", 'envoy_listener_downstream_cx_total{listener_address="0.0.0.0_15006"}'],
  ["server.live", "envoy_server_live{}"],
] as const;

for (const [dotted, want] of rows) {
  test(`tagsOfEnvoyName: ${dotted}`, () => {
    const { name, labels, values } = tagsOfEnvoyName(dotted);
    assert.equal(`${name}{${labels.map((label, i) => `${label}="${values[i]}"`).join(",")}}`, want);
  });
}
