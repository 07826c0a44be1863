/**
 * Where the proxy's parts meet: what a filter chain gives to its terminal filter, and what that asks of the clusters. Narrowing goes by type:
 * a cluster is logical, a host is concrete, a channel or stream is a connection to it.
 */
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { Address, Channel } from "../net/channel.ts";
import type { Network } from "../net/dial.ts";
import type { ClientStream, ClientStreamHandler, RequestHead } from "../net/http/stream.ts";
import type { AccessLogSink } from "../telemetry/access-log-sink.ts";
import type { MetricsRegistry } from "../telemetry/metrics.ts";
import type { PeerInfo, ResponseFlag, StreamRecord } from "../telemetry/record.ts";

/** The proxy's own node, as its bootstrap tells. */
export interface LocalNode {
  readonly id: string;
  readonly cluster: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly peer: PeerInfo;
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string };
}

/** All that the parts of the proxy take from outside. One object, made in main.ts. */
export interface ProxyContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly network: Network;
  readonly metrics: MetricsRegistry;
  readonly accessLogs: AccessLogSink;
  readonly node: LocalNode;
  readonly clusters: ClusterManager;
}

/** A downstream connection that found its filter chain; TLS, if any, is done. */
export interface DownstreamConnection {
  readonly channel: Channel;
  /** Where the client meant to go (before capture), else the listener's address. Access logs call it the downstream local address. */
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly listenerName: string;
  readonly direction: "inbound" | "outbound" | "unspecified";
  /** From the TLS inspector, also where TLS is passed through. */
  readonly requestedServerName: string | undefined;
  /** What the HTTP inspector or ALPN told: undefined where nobody looked. */
  readonly applicationProtocol: "http/1.0" | "http/1.1" | "h2" | undefined;
}

/** The last filter of a chain: takes connections over. Made once a filter chain, by the factory of its type. */
export interface TerminalFilter {
  accept(connection: DownstreamConnection): void;
  /** A filter before this one refused the connection, which is closed: for logs. `details` is its termination detail. */
  refused?(connection: DownstreamConnection, details: string): void;
  /** Asks clients to go (GOAWAY, connection: close); new connections of a draining filter are closed after their first answer. */
  drain(): void;
  /** Connections that are open now. */
  readonly activeConnections: number;
  /** Ends what is left and lets go of routes and subscriptions. */
  close(): void;
}

/** A network filter before the terminal one (RBAC). Synchronous: decides when the connection is accepted, or at its first byte. */
export interface NetworkFilter {
  /** Undefined lets it pass; a text closes the connection and is its termination detail. */
  onConnection(connection: DownstreamConnection): string | undefined;
}

/** The clusters that exist now. */
export interface ClusterManager {
  get(name: string): UpstreamCluster | undefined;
  readonly names: readonly string[];
}

/** What a load balancer may look at. */
export interface LoadBalancerContext {
  /** Where a captured client meant to go: the ORIGINAL_DST cluster sends there. */
  readonly originalDestination: Address | undefined;
  /** Hosts already tried for this request, to be passed over where there is another. */
  readonly triedHosts: ReadonlySet<UpstreamHost> | undefined;
  /** For consistent hashing; undefined picks any. */
  readonly hash: number | undefined;
  /** Endpoint metadata that the route asks for (subset load balancing), by "envoy.lb" key. */
  readonly metadataMatch: Readonly<Record<string, string>> | undefined;
}

/** A named set of hosts with one way of choosing among them and of talking to them. */
export interface UpstreamCluster {
  readonly name: string;
  /** filter_metadata "istio" of the cluster: which service it stands for. */
  readonly destinationService: { readonly host: string; readonly name: string; readonly namespace: string } | undefined;
  /** Undefined: no healthy upstream (flag UH). */
  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined;
  /** Opens a request to a host: takes a pooled connection or makes one. Events come later, never from inside. */
  openStream(host: UpstreamHost, request: UpstreamRequest, handler: UpstreamStreamHandler): UpstreamStream;
  /** A connection of its own, for TCP. */
  connect(host: UpstreamHost, handler: UpstreamConnectHandler): { cancel(): void };
  /** Whether one more retry may be under way (circuit breaker max_retries, or the retry budget). Call endRetry for each true. */
  tryStartRetry(): boolean;
  endRetry(): void;
  /** The cluster's idea of a request's time limits (common_http_protocol_options); undefined: none. */
  readonly maxStreamDurationMs: number | undefined;
}

/** One endpoint of a cluster. */
export interface UpstreamHost {
  readonly address: Address;
  /** The name it was resolved from or carries in its assignment, for auto_host_rewrite; empty or absent where there is none. */
  readonly hostname?: string | undefined;
  /** From the endpoint's metadata. */
  readonly peer: PeerInfo | undefined;
  /** Requests under way, for least-request. */
  readonly activeRequests: number;
  readonly isHealthy: boolean;
  /** Its connections are mutual TLS and only a peer whose name is let in is spoken to. */
  readonly usesMutualTls: boolean;
}

/** What to send. */
export interface UpstreamRequest {
  readonly head: RequestHead;
  readonly endStream: boolean;
  /** The downstream's wire format, for clusters that use the client's protocol. */
  readonly downstreamIsHttp2: boolean;
}

/** A request on its way to a host. Before the connection stands, `writeData` buffers up to the watermark. */
export type UpstreamStream = ClientStream;

/** Why a stream could not be opened or was lost. */
export interface UpstreamFailure {
  /**
   * connect: the connection could not be made. overflow: a circuit breaker is open. reset: it broke while open. refused: the
   * peer had not begun (safe to repeat). `isStaleConnection`: it died before the first answer on a reused connection.
   */
  readonly kind: "connect-failure" | "connect-timeout" | "tls-failure" | "overflow" | "reset" | "refused" | "protocol-error";
  readonly flag: ResponseFlag;
  /** For %UPSTREAM_TRANSPORT_FAILURE_REASON% and details. */
  readonly detail: string;
  readonly isStaleConnection: boolean;
}

/** The router's ear on a stream. */
export interface UpstreamStreamHandler extends ClientStreamHandler {
  /** The request went onto this connection. */
  onConnected(channel: Channel): void;
  /** Instead of onReset: why the stream failed. Nothing follows. */
  onFailure(failure: UpstreamFailure): void;
}

/** Who waits for a TCP connection. */
export interface UpstreamConnectHandler {
  onConnect(channel: Channel): void;
  onFailure(failure: UpstreamFailure): void;
}

/** Fills the upstream part of a record. */
export function recordUpstream(record: StreamRecord, cluster: UpstreamCluster, host: UpstreamHost): void {
  record.upstreamCluster = cluster.name;
  record.upstreamHost = host.address;
  record.upstreamPeer = host.peer;
  record.destinationService = cluster.destinationService;
}
