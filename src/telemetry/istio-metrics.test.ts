/** Istio's metrics: labels, who reports what, and that series stay bounded. Source: Istio standard metrics. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TlsInfo } from "../model/connection.ts";
import { createIstioMetrics } from "./istio-metrics.ts";
import { decodePeerMetadata, encodePeerMetadata, peerOf, UNKNOWN_PEER } from "./peer-metadata.ts";
import { type PeerInfo, StreamRecord } from "./record.ts";
import { createMetricsRegistry, LABEL_SETS_MAX } from "./registry.ts";

const peer = (name: string): PeerInfo => ({
  workload: `${name}-v1`,
  namespace: "shop",
  app: name,
  version: "v1",
  cluster: "Kubernetes",
  canonicalService: name,
  canonicalRevision: "v1",
});
const CLIENT = peer("client");
const SERVER = peer("server");
const service = { host: "server.shop.svc.cluster.local", name: "server", namespace: "shop" };
const tls = (uri: string, local: string): TlsInfo => ({
  protocol: "TLSv1.3",
  alpn: undefined,
  serverName: undefined,
  peer: { uriSans: [uri], dnsSans: [], subject: "", sha256: "", notAfterMs: 0 },
  localUriSans: [local],
});
const CLIENT_ID = "spiffe://cluster.local/ns/shop/sa/client";
const SERVER_ID = "spiffe://cluster.local/ns/shop/sa/server";

function ended({ flags, ...change }: Partial<StreamRecord> = {}): StreamRecord {
  const record = new StreamRecord("http", 0, 0);
  for (const flag of flags ?? []) record.flags.add(flag);
  return Object.assign(
    record,
    {
      status: 200,
      endMs: 7,
      requestHeaderBytes: 100,
      bytesReceived: 20,
      responseHeaderBytes: 50,
      bytesSent: 1000,
      destinationService: service,
    },
    change,
  );
}

test("the client's proxy reports as source, with the server's principal and no policy", () => {
  const registry = createMetricsRegistry();
  const metrics = createIstioMetrics(registry, CLIENT);
  const record = ended({ upstreamPeer: SERVER, upstreamTls: tls(SERVER_ID, CLIENT_ID) });
  for (let i = 0; i < 3; i++) metrics.reportRequest(record, "source", undefined);
  const line = registry
    .toPrometheus()
    .split("\n")
    .find((text) => text.startsWith("istio_requests_total{"));
  assert.equal(
    line,
    `istio_requests_total{reporter="source",source_workload="client-v1",source_canonical_service="client",source_canonical_revision="v1",source_workload_namespace="shop",source_principal="${CLIENT_ID}",source_app="client",source_version="v1",source_cluster="Kubernetes",destination_workload="server-v1",destination_workload_namespace="shop",destination_principal="${SERVER_ID}",destination_app="server",destination_version="v1",destination_service="server.shop.svc.cluster.local",destination_canonical_service="server",destination_canonical_revision="v1",destination_service_name="server",destination_service_namespace="shop",destination_cluster="Kubernetes",request_protocol="http",response_code="200",grpc_response_status="",response_flags="-",connection_security_policy="unknown"} 3`,
  );
  const text = registry.toPrometheus();
  assert.match(text, /istio_request_duration_milliseconds_bucket\{[^}]*le="10"\} 3/);
  assert.match(text, /istio_request_bytes_sum\{[^}]*\} 360/);
  assert.match(text, /istio_response_bytes_sum\{[^}]*\} 3150/);
});

/** [what, record, client, text that must be there, text that must not]. */
const rows: readonly (readonly [string, Partial<StreamRecord>, PeerInfo | undefined, RegExp])[] = [
  [
    "mutual TLS is told as such",
    { downstreamTls: tls(CLIENT_ID, SERVER_ID) },
    CLIENT,
    new RegExp(
      `source_workload="client-v1".*source_principal="${CLIENT_ID}".*destination_principal="${SERVER_ID}".*connection_security_policy="mutual_tls"`,
    ),
  ],
  [
    "a client that told nothing has the namespace of its certificate",
    { downstreamTls: tls(CLIENT_ID, SERVER_ID) },
    undefined,
    /source_workload="unknown".*source_workload_namespace="shop"/,
  ],
  [
    "plaintext has no principals and no policy",
    {},
    undefined,
    /source_principal="unknown".*destination_principal="unknown".*connection_security_policy="none"/,
  ],
  [
    "gRPC has its status",
    { contentType: "application/grpc", grpcStatus: 14 },
    undefined,
    /request_protocol="grpc",response_code="200",grpc_response_status="14"/,
  ],
  [
    "flags",
    { status: 503, flags: new Set(["UF", "URX"] as const) },
    undefined,
    /response_code="503",grpc_response_status="",response_flags="UF,URX"/,
  ],
  ["a client that left", { status: 0, flags: new Set(["DC"] as const) }, undefined, /response_code="0".*response_flags="DC"/],
  [
    "a cluster without metadata is named by its host",
    { destinationService: undefined, upstreamCluster: "outbound|80||x.example" },
    undefined,
    /destination_service="x.example"/,
  ],
  [
    "passthrough is named by its cluster",
    { destinationService: undefined, upstreamCluster: "PassthroughCluster" },
    undefined,
    /destination_service="PassthroughCluster"/,
  ],
  ["nothing chosen is unknown", { destinationService: undefined }, undefined, /destination_service="unknown"/],
];
for (const [name, change, client, want] of rows) {
  test(`destination: ${name}`, () => {
    const registry = createMetricsRegistry();
    createIstioMetrics(registry, SERVER).reportRequest(ended(change as Partial<StreamRecord>), "destination", client);
    assert.match(registry.toPrometheus(), want);
  });
}

test("different codes, flags and principals are different series; the same are one", () => {
  const registry = createMetricsRegistry();
  const metrics = createIstioMetrics(registry, SERVER);
  for (const status of [200, 200, 404]) metrics.reportRequest(ended({ status }), "destination", CLIENT);
  for (const id of [CLIENT_ID, SERVER_ID]) metrics.reportRequest(ended({ downstreamTls: tls(id, SERVER_ID) }), "destination", CLIENT);
  assert.equal(
    registry
      .toPrometheus()
      .split("\n")
      .filter((line) => line.startsWith("istio_requests_total{")).length,
    4,
  );
});

test("hosts without end make no series without end", () => {
  const registry = createMetricsRegistry();
  const metrics = createIstioMetrics(registry, CLIENT);
  for (let i = 0; i < LABEL_SETS_MAX + 500; i++)
    metrics.reportRequest(ended({ destinationService: { host: `h${i}`, name: `h${i}`, namespace: "" } }), "source", SERVER);
  const lines = registry
    .toPrometheus()
    .split("\n")
    .filter((line) => line.startsWith("istio_requests_total{"));
  assert.equal(lines.length, LABEL_SETS_MAX + 1);
  assert.match(lines.find((line) => line.includes('destination_service="other"')) ?? "", / 500$/);
});

test("TCP: opened, bytes, closed", () => {
  const registry = createMetricsRegistry();
  const metrics = createIstioMetrics(registry, CLIENT);
  const record = Object.assign(new StreamRecord("tcp", 0, 0), { destinationService: service, upstreamPeer: SERVER });
  metrics.tcpOpened(record, "source");
  metrics.tcpBytes(record, "source", { sent: 10, received: 4 });
  metrics.tcpBytes(record, "source", { sent: 1, received: 0 });
  metrics.tcpClosed(record, "source");
  const text = registry.toPrometheus();
  assert.match(
    text,
    /istio_tcp_connections_opened_total\{.*request_protocol="tcp",response_flags="-",connection_security_policy="unknown"\} 1/,
  );
  assert.match(text, /istio_tcp_sent_bytes_total\{.*\} 11/);
  assert.match(text, /istio_tcp_received_bytes_total\{.*\} 4/);
  assert.match(text, /istio_tcp_connections_closed_total\{.*\} 1/);
});

test("peer metadata: what one sidecar says, the other reads; garbage says nothing", () => {
  assert.deepEqual(decodePeerMetadata(encodePeerMetadata(CLIENT)), CLIENT);
  assert.deepEqual(decodePeerMetadata(encodePeerMetadata(UNKNOWN_PEER)), { ...UNKNOWN_PEER, canonicalRevision: "latest" });
  for (const garbage of ["", "!!!", "AAAA", "CgUKA2Zvbw==", "x".repeat(9000)])
    assert.equal(typeof (decodePeerMetadata(garbage)?.workload ?? "unknown"), "string", garbage);
  assert.equal(decodePeerMetadata("%%%"), undefined);
  assert.equal(peerOf({ WORKLOAD_NAME: "w".repeat(1000) }).workload.length, 256);
  assert.equal(peerOf({ LABELS: { app: "a" } }).canonicalService, "a");
  assert.equal(peerOf({ __proto__: { WORKLOAD_NAME: "x" } }).workload, "unknown");
});
