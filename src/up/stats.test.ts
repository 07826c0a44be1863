import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrometheus, quantile, serviceFigures } from "./stats.ts";

const scrape = `# TYPE istio_requests_total counter
istio_requests_total{reporter="destination",destination_service_name="payment",response_code="200",connection_security_policy="mutual_tls"} 98
istio_requests_total{reporter="destination",destination_service_name="payment",response_code="503",connection_security_policy="mutual_tls"} 2
istio_requests_total{reporter="source",destination_service_name="payment",response_code="503",connection_security_policy="unknown"} 50
istio_request_duration_milliseconds_bucket{reporter="destination",destination_service_name="payment",le="1"} 50
istio_request_duration_milliseconds_bucket{reporter="destination",destination_service_name="payment",le="5"} 100
istio_request_duration_milliseconds_bucket{reporter="destination",destination_service_name="payment",le="+Inf"} 100
istio_tcp_connections_opened_total{reporter="destination",destination_service_name="ledger",connection_security_policy="none"} 3
`;

test("figures come from the server's side, added up over proxies", () => {
  const [ledger, payment] = serviceFigures([
    { kind: "istio", text: scrape },
    { kind: "istio", text: scrape },
  ]);
  assert.deepEqual(ledger, {
    service: "ledger",
    protocol: "tcp",
    requests: 6,
    success: undefined,
    p50Ms: undefined,
    p99Ms: undefined,
    mutualTls: 0,
  });
  assert.equal(payment?.requests, 200);
  assert.equal(payment?.success, 0.98);
  assert.equal(payment?.p50Ms, 1);
  assert.equal(payment?.mutualTls, 1);
});

test("a label's value may hold quotes and commas", () => {
  assert.equal(parsePrometheus('x{a="b\\"c,d",e="f"} 1')[0]?.labels.get("a"), 'b"c,d');
});

test("a quantile is interpolated in its bucket, and nothing has none", () => {
  assert.equal(
    quantile(
      new Map([
        [10, 0],
        [20, 100],
      ]),
      0.5,
    ),
    15,
  );
  assert.equal(quantile(new Map(), 0.5), undefined);
});

test("a stock Envoy's own counters give the same figures", () => {
  const text = `http.inbound_0.0.0.0_8080;.downstream_cx_ssl_total: 2
http.inbound_0.0.0.0_8080;.downstream_cx_total: 2
http.inbound_0.0.0.0_8080;.downstream_rq_5xx: 1
http.inbound_0.0.0.0_8080;.downstream_rq_completed: 100
cluster.inbound|8080||;.upstream_cx_total: 7
listener.0.0.0.0_15006.ssl.handshake: 5
http.inbound_0.0.0.0_8080;.downstream_rq_time: B0.5(0,0) B1(3,50) B5(4,100) B1.8e+06(4,100)
`;
  const [http] = serviceFigures([{ kind: "envoy", text, service: "payment", ports: [8080] }]);
  assert.deepEqual(http, { service: "payment", protocol: "http", requests: 100, success: 0.99, p50Ms: 1, p99Ms: 4.92, mutualTls: 1 });
  const tcp = "cluster.inbound|9000||;.upstream_cx_total: 3\nlistener.0.0.0.0_15006.ssl.handshake: 3\n";
  const [ledger] = serviceFigures([{ kind: "envoy", text: tcp, service: "ledger", ports: [9000] }]);
  assert.deepEqual([ledger?.protocol, ledger?.requests, ledger?.mutualTls], ["tcp", 3, 1]);
});
