/**
 * Passes bytes between a client and a host of a cluster, with backpressure and half-close both ways. One record a connection.
 * Source: envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Channel, ChannelHandler, CloseReason } from "../../net/channel.ts";
import type { Counter, Gauge, MetricsRegistry } from "../../telemetry/metrics.ts";
import { StreamRecord } from "../../telemetry/record.ts";
import {
  type DownstreamConnection,
  type LoadBalancerContext,
  type ProxyContext,
  recordUpstream,
  type TerminalFilter,
  type UpstreamCluster,
  type UpstreamFailure,
  type UpstreamHost,
} from "../types.ts";
import type { TcpProxyConfig } from "./tcp-config.ts";

/** How often bytes of connections that go on are reported. Source: Istio's stats filter, tcp_reporting_duration. */
const REPORT_EVERY_MS = 5000;
/** How often a connection whose other side is gone is looked at, until it has written what it holds. */
const LINGER_MS = 50;
/** A side that does not take its last bytes for so long is cut off. */
const LINGER_MAX_MS = 30_000;

/** Hears of connections: metrics and access logs. */
export interface TcpReporter {
  opened(record: StreamRecord, direction: DownstreamConnection["direction"]): void;
  /** Bytes since the last report. */
  moved(
    record: StreamRecord,
    direction: DownstreamConnection["direction"],
    bytes: { readonly received: number; readonly sent: number },
  ): void;
  /** `wasOpen`: the upstream stood, and so `opened` was called. */
  closed(record: StreamRecord, direction: DownstreamConnection["direction"], wasOpen: boolean): void;
}

/** See the file's head. */
export class TcpProxy implements TerminalFilter {
  readonly config: TcpProxyConfig;
  readonly context: ProxyContext;
  readonly reporter: TcpReporter;
  readonly stats: TcpStats;
  readonly #sessions = new Set<Session>();
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(config: TcpProxyConfig, context: ProxyContext, reporter: TcpReporter) {
    this.config = config;
    this.context = context;
    this.reporter = reporter;
    this.stats = createTcpStats(context.metrics, config.statPrefix);
  }

  get activeConnections(): number {
    return this.#sessions.size;
  }

  accept(connection: DownstreamConnection): void {
    this.stats.cxTotal.add();
    this.stats.cxActive.add(1);
    const session = new Session(this, connection);
    this.#sessions.add(session);
    if (this.#isClosed) session.cut();
    else session.start();
    this.#arm();
  }

  refused(connection: DownstreamConnection, details: string): void {
    this.stats.cxTotal.add();
    const record = createRecord(connection, this.context.clock);
    record.terminationDetails = details;
    record.endMs = record.startMs;
    this.reporter.closed(record, connection.direction, false);
  }

  /** TCP has no way to ask a client to go: connections end with the drain time. */
  drain(): void {}

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const session of [...this.#sessions]) session.cut();
  }

  /** For Session. */
  ended(session: Session): void {
    if (!this.#sessions.delete(session)) return;
    this.stats.cxActive.add(-1);
  }

  #arm(): void {
    if (this.#timer || this.#isClosed) return;
    this.#timer = this.context.clock.after(REPORT_EVERY_MS, () => {
      this.#timer = undefined;
      for (const session of this.#sessions) session.report();
      if (this.#sessions.size > 0) this.#arm();
    });
  }
}

interface TcpStats {
  readonly cxTotal: Counter;
  readonly cxActive: Gauge;
  readonly cxNoRoute: Counter;
  readonly rxBytes: Counter;
  readonly txBytes: Counter;
  readonly idleTimeout: Counter;
}

function createTcpStats(metrics: MetricsRegistry, prefix: string): TcpStats {
  const name = (text: string): string => `tcp.${prefix}.${text}`;
  return {
    cxTotal: metrics.envoyCounter(name("downstream_cx_total")),
    cxActive: metrics.envoyGauge(name("downstream_cx_active")),
    cxNoRoute: metrics.envoyCounter(name("downstream_cx_no_route")),
    rxBytes: metrics.envoyCounter(name("downstream_cx_rx_bytes_total")),
    txBytes: metrics.envoyCounter(name("downstream_cx_tx_bytes_total")),
    idleTimeout: metrics.envoyCounter(name("idle_timeout")),
  };
}

/** One side of a session. `other` is set once both stand. */
class Side implements ChannelHandler {
  readonly channel: Channel;
  readonly #session: Session;
  readonly #isDownstream: boolean;
  other: Side | undefined;
  hasEnded = false;
  isGone = false;
  /** The channel said stop; its peer is paused until it drains. */
  isFull = false;

  constructor(channel: Channel, session: Session, isDownstream: boolean) {
    this.channel = channel;
    this.#session = session;
    this.#isDownstream = isDownstream;
  }

  onData(buffer: Buffer, start: number, end: number): void {
    const { other } = this;
    if (!other || other.isGone) return;
    this.#session.count(end - start, this.#isDownstream);
    if (other.channel.forward(buffer, start, end)) return;
    other.isFull = true;
    this.channel.pause();
  }

  onEnd(): void {
    this.hasEnded = true;
    // Before the upstream stands this waits: see onConnect.
    this.other?.channel.end();
  }

  onDrain(): void {
    this.isFull = false;
    if (this.other && !this.other.isGone) this.other.channel.resume();
  }

  onClose(reason: CloseReason): void {
    this.isGone = true;
    this.#session.onClose(this, reason);
  }
}

function createRecord(connection: DownstreamConnection, clock: Clock): StreamRecord {
  const record = new StreamRecord("tcp", clock.monotonicMs(), clock.nowMs());
  record.downstreamRemote = connection.remoteAddress;
  record.downstreamLocal = connection.localAddress;
  record.downstreamTls = connection.channel.tls;
  record.requestedServerName = connection.requestedServerName;
  record.listenerName = connection.listenerName;
  return record;
}

class Session {
  readonly #proxy: TcpProxy;
  readonly #connection: DownstreamConnection;
  readonly #record: StreamRecord;
  readonly #down: Side;
  readonly #lb: LoadBalancerContext & { triedHosts: Set<UpstreamHost> };
  #up: Side | undefined;
  #dial: { cancel(): void } | undefined;
  #idle: Timer | undefined;
  #lifetime: Timer | undefined;
  #lastMs: number;
  #reportedReceived = 0;
  #reportedSent = 0;
  #isEnded = false;
  #isOpenReported = false;

  constructor(proxy: TcpProxy, connection: DownstreamConnection) {
    const { clock } = proxy.context;
    this.#proxy = proxy;
    this.#connection = connection;
    this.#record = createRecord(connection, clock);
    this.#lastMs = this.#record.startMs;
    this.#lb = {
      originalDestination: connection.localAddress,
      triedHosts: new Set(),
      hash: undefined,
      metadataMatch: proxy.config.metadataMatch,
    };
    this.#down = new Side(connection.channel, this, true);
    connection.channel.handler = this.#down;
  }

  start(): void {
    const { config, context, stats } = this.#proxy;
    this.#down.channel.pause(); // Nothing is read before there is somewhere to send it.
    const name = config.chooseCluster(context.random);
    this.#record.upstreamCluster = name;
    const cluster = context.clusters.get(name);
    if (!cluster) {
      stats.cxNoRoute.add();
      this.#fail("NC", "cluster_not_found");
      return;
    }
    if (config.connectionDurationMaxMs !== undefined) {
      this.#lifetime = context.clock.after(config.connectionDurationMaxMs, () => {
        this.#record.flags.add("DT");
        this.cut();
      });
    }
    this.#connect(cluster);
  }

  /** Bytes moved. For Side. */
  count(bytes: number, isFromDownstream: boolean): void {
    const { stats, context } = this.#proxy;
    this.#lastMs = context.clock.monotonicMs();
    if (isFromDownstream) {
      this.#record.bytesReceived += bytes;
      stats.rxBytes.add(bytes);
    } else {
      this.#record.bytesSent += bytes;
      stats.txBytes.add(bytes);
    }
  }

  /** A side is gone. For Side. */
  onClose(side: Side, reason: CloseReason): void {
    const other = side.other;
    if (!other) {
      // The client went while the upstream was being connected.
      this.#dial?.cancel();
      this.#record.flags.add("DC");
      this.#end();
      return;
    }
    if (other.isGone) {
      this.#end();
      return;
    }
    if (reason.code !== undefined && other.channel.bufferedBytes === 0) {
      other.channel.destroy({ reset: true });
      return;
    }
    other.channel.resume(); // Or it would never notice that its peer is gone.
    other.channel.end();
    this.#linger(other, LINGER_MAX_MS);
  }

  /** Ends both sides now. */
  cut(): void {
    this.#dial?.cancel();
    this.#up?.channel.destroy();
    this.#down.channel.destroy();
    this.#end();
  }

  /** Tells the bytes since the last report. */
  report(): void {
    const received = this.#record.bytesReceived - this.#reportedReceived;
    const sent = this.#record.bytesSent - this.#reportedSent;
    if (!this.#isOpenReported || (received === 0 && sent === 0)) return;
    this.#reportedReceived += received;
    this.#reportedSent += sent;
    this.#proxy.reporter.moved(this.#record, this.#connection.direction, { received, sent });
  }

  #connect(cluster: UpstreamCluster): void {
    const host = cluster.chooseHost(this.#lb);
    if (!host) {
      this.#fail("UH", "no_healthy_upstream");
      return;
    }
    this.#record.attempts += 1;
    this.#lb.triedHosts.add(host);
    recordUpstream(this.#record, cluster, host);
    this.#dial = cluster.connect(host, {
      onConnect: (channel) => this.#onConnect(channel),
      onFailure: (failure) => this.#onFailure(cluster, failure),
    });
  }

  #onConnect(channel: Channel): void {
    this.#dial = undefined;
    const up = new Side(channel, this, false);
    channel.handler = up;
    up.other = this.#down;
    this.#down.other = up;
    this.#up = up;
    this.#record.upstreamLocal = channel.local;
    this.#record.upstreamTls = channel.tls;
    this.#isOpenReported = true;
    this.#proxy.reporter.opened(this.#record, this.#connection.direction);
    this.#armIdle();
    this.#down.channel.resume();
    if (this.#down.hasEnded) channel.end();
  }

  #onFailure(cluster: UpstreamCluster, failure: UpstreamFailure): void {
    this.#dial = undefined;
    this.#record.upstreamFailure = failure.detail;
    if (failure.kind !== "overflow" && this.#record.attempts < this.#proxy.config.connectAttemptsMax && !this.#down.isGone) {
      this.#connect(cluster);
      return;
    }
    if (failure.kind !== "overflow" && this.#proxy.config.connectAttemptsMax > 1) this.#record.flags.add("URX");
    this.#fail(failure.flag, failure.kind === "overflow" ? "upstream_overflow" : "upstream_connection_failure");
  }

  #fail(flag: Parameters<StreamRecord["flags"]["add"]>[0], details: string): void {
    this.#record.flags.add(flag);
    this.#record.details = details;
    this.#down.channel.destroy();
    this.#end();
  }

  #armIdle(): void {
    const { config, context, stats } = this.#proxy;
    const { idleTimeoutMs } = config;
    if (idleTimeoutMs === undefined) return;
    const wait = (ms: number): void => {
      this.#idle = context.clock.after(ms, () => {
        const left = this.#lastMs + idleTimeoutMs - context.clock.monotonicMs();
        if (left > 0) {
          wait(left);
          return;
        }
        stats.idleTimeout.add();
        this.#record.flags.add("SI");
        this.cut();
      });
    };
    wait(idleTimeoutMs);
  }

  #linger(side: Side, leftMs: number): void {
    if (side.isGone) return;
    const before = side.channel.bufferedBytes;
    if (before === 0 && leftMs < LINGER_MAX_MS) {
      side.channel.destroy();
      return;
    }
    const { clock } = this.#proxy.context;
    clock.after(LINGER_MS, () => {
      const isMoving = side.channel.bufferedBytes < before;
      if (leftMs <= 0) side.channel.destroy();
      else this.#linger(side, isMoving ? LINGER_MAX_MS - LINGER_MS : leftMs - LINGER_MS);
    });
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#idle?.cancel();
    this.#lifetime?.cancel();
    this.#record.endMs = this.#clock.monotonicMs();
    this.report();
    this.#proxy.reporter.closed(this.#record, this.#connection.direction, this.#isOpenReported);
    this.#proxy.ended(this);
  }

  get #clock(): Clock {
    return this.#proxy.context.clock;
  }
}
