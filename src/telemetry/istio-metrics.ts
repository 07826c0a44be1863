/**
 * Istio's metrics of requests and connections, from the one record of a stream. Label sets are found once and kept by the identity of the
 * objects they come from, so that a request costs a few look-ups and no text. Source: Istio standard metrics.
 */
import { flagsText } from "./flags.ts";
import type { Counter, Histogram, LabelledMetric, MetricsRegistry } from "./metrics.ts";
import { namespaceOfPrincipal, UNKNOWN, UNKNOWN_PEER } from "./peer-metadata.ts";
import type { PeerInfo, StreamRecord } from "./record.ts";

/** Who reports: the client's proxy is the source, the server's the destination. */
export type Reporter = "source" | "destination";

/** Where a request went, as cluster metadata tells. */
type DestinationService = NonNullable<StreamRecord["destinationService"]>;

const PEER_LABELS = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_workload",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_service",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_service_name",
  "destination_service_namespace",
  "destination_cluster",
  "request_protocol",
] as const;

/** Labels of the request metrics, in the order Istio prints them. */
export const REQUEST_LABELS: readonly string[] = [
  ...PEER_LABELS,
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
];

/** Labels of the TCP metrics. */
export const TCP_LABELS: readonly string[] = [...PEER_LABELS, "response_flags", "connection_security_policy"];

/** Takes ended streams into the metrics. */
export interface IstioMetrics {
  /** A request that ended. `peer` is who was at the other end: the client for "destination", the server for "source" (else the record's upstreamPeer). */
  reportRequest(record: StreamRecord, reporter: Reporter, peer: PeerInfo | undefined): void;
  /** gRPC messages of a stream that ended. */
  reportMessages(
    record: StreamRecord,
    reporter: Reporter,
    peer: PeerInfo | undefined,
    counts: { readonly requests: number; readonly responses: number },
  ): void;
  /** A TCP connection began. */
  tcpOpened(record: StreamRecord, reporter: Reporter, peer?: PeerInfo): void;
  /** Bytes that a TCP connection carried since it was last told. */
  tcpBytes(record: StreamRecord, reporter: Reporter, bytes: { readonly sent: number; readonly received: number }, peer?: PeerInfo): void;
  /** A TCP connection ended. */
  tcpClosed(record: StreamRecord, reporter: Reporter, peer?: PeerInfo): void;
}

interface RequestHandles {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
  readonly requestMessages: Counter;
  readonly responseMessages: Counter;
}

interface TcpHandles {
  readonly opened: Counter;
  readonly closed: Counter;
  readonly sent: Counter;
  readonly received: Counter;
}

/** Handles by what follows the peers: protocol, code, flags; and by both principals. */
interface PeerCell {
  readonly requests: Map<string, Map<number, RequestHandles>>;
  readonly tcp: Map<string, Map<string, TcpHandles>>;
}

/** Principals and codes kept in one cell; a peer with more finds its handles by text. */
const CELL_ENTRIES_MAX = 1000;

const NO_SERVICE: DestinationService = { host: UNKNOWN, name: UNKNOWN, namespace: UNKNOWN };

/** Makes the metrics. `local` is this proxy's own workload. */
export function createIstioMetrics(registry: MetricsRegistry, local: PeerInfo): IstioMetrics {
  const request = (name: string, help: string): LabelledMetric<Counter> => registry.counter({ name, help, labels: REQUEST_LABELS });
  const distribution = (name: string, help: string): LabelledMetric<Histogram> =>
    registry.histogram({ name, help, labels: REQUEST_LABELS });
  const tcp = (name: string, help: string): LabelledMetric<Counter> => registry.counter({ name, help, labels: TCP_LABELS });
  const metrics = {
    requests: request("istio_requests_total", "Requests handled by this proxy."),
    duration: distribution("istio_request_duration_milliseconds", "Duration of requests."),
    requestBytes: distribution("istio_request_bytes", "Sizes of requests, head and body."),
    responseBytes: distribution("istio_response_bytes", "Sizes of responses, head and body."),
    requestMessages: request("istio_request_messages_total", "gRPC messages sent by clients."),
    responseMessages: request("istio_response_messages_total", "gRPC messages sent by servers."),
    opened: tcp("istio_tcp_connections_opened_total", "TCP connections opened."),
    closed: tcp("istio_tcp_connections_closed_total", "TCP connections closed."),
    sent: tcp("istio_tcp_sent_bytes_total", "Bytes sent to clients over TCP."),
    received: tcp("istio_tcp_received_bytes_total", "Bytes received from clients over TCP."),
  };
  const fallbacks = new Map<string, DestinationService>();
  const cells = {
    source: new WeakMap<PeerInfo, WeakMap<DestinationService, PeerCell>>(),
    destination: new WeakMap<PeerInfo, WeakMap<DestinationService, PeerCell>>(),
  };

  const cellOf = (reporter: Reporter, peer: PeerInfo, service: DestinationService): PeerCell => {
    let byService = cells[reporter].get(peer);
    if (!byService) {
      byService = new WeakMap();
      cells[reporter].set(peer, byService);
    }
    let cell = byService.get(service);
    if (!cell) {
      cell = { requests: new Map(), tcp: new Map() };
      byService.set(service, cell);
    }
    return cell;
  };

  const requestHandles = (record: StreamRecord, reporter: Reporter, given: PeerInfo | undefined): RequestHandles => {
    const peer = given ?? (reporter === "source" ? record.upstreamPeer : undefined) ?? UNKNOWN_PEER;
    const service = record.destinationService ?? fallbackService(fallbacks, record.upstreamCluster);
    const cell = cellOf(reporter, peer, service);
    const tls = reporter === "source" ? record.upstreamTls : record.downstreamTls;
    const remote = tls?.peer?.uriSans[0] ?? "";
    let byCode = cell.requests.get(remote);
    if (!byCode) {
      if (cell.requests.size >= CELL_ENTRIES_MAX) cell.requests.clear();
      byCode = new Map();
      cell.requests.set(remote, byCode);
    }
    const isGrpc = record.contentType?.startsWith("application/grpc") ?? false;
    const code = (record.status * 2 + (isGrpc ? 1 : 0)) * 32 + ((record.grpcStatus ?? 31) & 31);
    // A flagged stream is rare, and there are many mixes of flags: those are found by text.
    const isPlain = !record.hasFlags;
    const known = isPlain ? byCode.get(code) : undefined;
    if (known) return known;
    const principals = principalsOf(reporter, remote, tls?.localUriSans?.[0]);
    const labels = [
      ...peerLabels(reporter, local, withNamespace(peer, remote), service, principals),
      isGrpc ? "grpc" : "http",
      String(record.status),
      isGrpc && record.grpcStatus !== undefined ? String(record.grpcStatus) : "",
      (record.hasFlags && flagsText(record.flags)) || "-",
      securityPolicy(reporter, tls !== undefined && remote !== ""),
    ];
    const made: RequestHandles = {
      requests: metrics.requests.with(labels),
      duration: metrics.duration.with(labels),
      requestBytes: metrics.requestBytes.with(labels),
      responseBytes: metrics.responseBytes.with(labels),
      requestMessages: metrics.requestMessages.with(labels),
      responseMessages: metrics.responseMessages.with(labels),
    };
    if (isPlain && byCode.size < CELL_ENTRIES_MAX) byCode.set(code, made);
    return made;
  };

  const tcpHandles = (record: StreamRecord, reporter: Reporter, given: PeerInfo | undefined): TcpHandles => {
    const peer = given ?? (reporter === "source" ? record.upstreamPeer : undefined) ?? UNKNOWN_PEER;
    const service = record.destinationService ?? fallbackService(fallbacks, record.upstreamCluster);
    const cell = cellOf(reporter, peer, service);
    const tls = reporter === "source" ? record.upstreamTls : record.downstreamTls;
    const remote = tls?.peer?.uriSans[0] ?? "";
    const flags = (record.hasFlags && flagsText(record.flags)) || "-";
    let byFlags = cell.tcp.get(remote);
    if (!byFlags) {
      if (cell.tcp.size >= CELL_ENTRIES_MAX) cell.tcp.clear();
      byFlags = new Map();
      cell.tcp.set(remote, byFlags);
    }
    const known = byFlags.get(flags);
    if (known) return known;
    const labels = [
      ...peerLabels(reporter, local, withNamespace(peer, remote), service, principalsOf(reporter, remote, tls?.localUriSans?.[0])),
      "tcp",
      flags,
      securityPolicy(reporter, tls !== undefined && remote !== ""),
    ];
    const made: TcpHandles = {
      opened: metrics.opened.with(labels),
      closed: metrics.closed.with(labels),
      sent: metrics.sent.with(labels),
      received: metrics.received.with(labels),
    };
    byFlags.set(flags, made);
    return made;
  };

  return {
    reportRequest(record, reporter, peer) {
      const handles = requestHandles(record, reporter, peer);
      handles.requests.add();
      handles.duration.record((record.endMs ?? record.startMs) - record.startMs);
      handles.requestBytes.record(record.requestHeaderBytes + record.bytesReceived);
      handles.responseBytes.record(record.responseHeaderBytes + record.bytesSent);
    },
    reportMessages(record, reporter, peer, counts) {
      const handles = requestHandles(record, reporter, peer);
      handles.requestMessages.add(counts.requests);
      handles.responseMessages.add(counts.responses);
    },
    tcpOpened: (record, reporter, peer) => tcpHandles(record, reporter, peer).opened.add(),
    tcpBytes(record, reporter, bytes, peer) {
      const handles = tcpHandles(record, reporter, peer);
      handles.sent.add(bytes.sent);
      handles.received.add(bytes.received);
    },
    tcpClosed: (record, reporter, peer) => tcpHandles(record, reporter, peer).closed.add(),
  };
}

function securityPolicy(reporter: Reporter, isMutual: boolean): string {
  // A client's proxy cannot vouch for what the server required. Source: Istio, connection_security_policy.
  if (reporter === "source") return UNKNOWN;
  return isMutual ? "mutual_tls" : "none";
}

function principalsOf(
  reporter: Reporter,
  remote: string,
  local: string | undefined,
): { readonly source: string; readonly destination: string } {
  const remoteText = remote === "" ? UNKNOWN : remote;
  const localText = remote === "" ? UNKNOWN : (local ?? UNKNOWN);
  return reporter === "source" ? { source: localText, destination: remoteText } : { source: remoteText, destination: localText };
}

function withNamespace(peer: PeerInfo, principal: string): PeerInfo {
  if (peer.namespace !== UNKNOWN || principal === "") return peer;
  return { ...peer, namespace: namespaceOfPrincipal(principal) ?? UNKNOWN };
}

function peerLabels(
  reporter: Reporter,
  local: PeerInfo,
  peer: PeerInfo,
  service: DestinationService,
  principals: { readonly source: string; readonly destination: string },
): string[] {
  const source = reporter === "source" ? local : peer;
  const destination = reporter === "source" ? peer : local;
  return [
    reporter,
    source.workload,
    source.canonicalService,
    source.canonicalRevision,
    source.namespace,
    principals.source,
    source.app,
    source.version,
    source.cluster,
    destination.workload,
    destination.namespace,
    principals.destination,
    destination.app,
    destination.version,
    service.host,
    destination.canonicalService,
    destination.canonicalRevision,
    service.name,
    service.namespace,
    destination.cluster,
  ];
}

/** Clusters without metadata: passthrough ones are shown by their own name, named ones by the host in their name. Bounded: others are unknown. */
function fallbackService(fallbacks: Map<string, DestinationService>, cluster: string | undefined): DestinationService {
  if (cluster === undefined) return NO_SERVICE;
  const known = fallbacks.get(cluster);
  if (known) return known;
  const host = cluster.split("|")[3];
  const service: DestinationService = host
    ? { host, name: host, namespace: UNKNOWN }
    : { host: cluster, name: cluster, namespace: UNKNOWN };
  if (fallbacks.size >= CELL_ENTRIES_MAX) fallbacks.clear();
  fallbacks.set(cluster, service);
  return service;
}
