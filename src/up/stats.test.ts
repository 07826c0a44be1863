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
  const [ledger, payment] = serviceFigures([scrape, scrape]);
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
