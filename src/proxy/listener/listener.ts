/**
 * A listener that runs: takes accepted connections, finds their filter chain, does TLS and hands them over.
 * accept -> listener filters -> filter chain -> TLS -> filters. Source: Envoy, Life of a request.
 */
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Address, Channel } from "../../net/channel.ts";
import type { Incoming } from "../../net/dial.ts";
import type { AccessLogSink } from "../../telemetry/access-log-sink.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import { StreamRecord } from "../../telemetry/record.ts";
import { addressText } from "../config/address.ts";
import { type AccessLogger, compileAccessLogs } from "../http/access-logs.ts";
import type { DownstreamConnection } from "../types.ts";
import { type ChainContext, type DrainOptions, RunningChain } from "./filter-chain.ts";
import { compileFilterChains, type FilterChainTable } from "./filter-chain-match.ts";
import { type Inspection, inspect, NOT_INSPECTED } from "./inspect.ts";
import type { ChainConfig, ListenerConfig } from "./listener-config.ts";
import { createListenerStats, type ListenerStats } from "./listener-stats.ts";

/** What listeners take from outside. */
export interface ListenerContext extends ChainContext {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: MetricsRegistry;
  /** Undefined: listeners log nothing. */
  readonly accessLogs?: AccessLogSink | undefined;
}

/** See the file's head. */
export class Listener {
  readonly config: ListenerConfig;
  readonly #context: ListenerContext;
  readonly #chains: readonly RunningChain[];
  readonly #defaultChain: RunningChain | undefined;
  readonly #table: FilterChainTable<RunningChain>;
  readonly #logs: readonly AccessLogger[];
  #stats: ListenerStats | undefined;

  /** Chains of `before` with the same digest are taken over as they run. `onReady` is called when a secret arrives. */
  constructor(config: ListenerConfig, context: ListenerContext, before: Listener | undefined, onReady: () => void) {
    this.config = config;
    this.#context = context;
    const { accessLogs, random } = context;
    this.#logs = accessLogs ? compileAccessLogs(config.accessLogs, { accessLogs, random }) : [];
    const known = new Map(before?.chains.map((chain) => [chain.config.digest, chain]));
    const run = (chain: ChainConfig): RunningChain => {
      const running = known.get(chain.digest);
      known.delete(chain.digest);
      return running ?? new RunningChain(chain, { name: config.name, direction: config.direction }, context, onReady);
    };
    this.#chains = config.chains.map(run);
    this.#defaultChain = config.defaultChain && run(config.defaultChain);
    this.#table = compileFilterChains(this.#chains.map((chain, i) => ({ name: chain.config.name, match: config.chains[i]?.match, chain })));
  }

  get chains(): readonly RunningChain[] {
    return this.#defaultChain ? [...this.#chains, this.#defaultChain] : this.#chains;
  }

  /** Whether all its secrets are there. */
  get isReady(): boolean {
    return this.chains.every((chain) => chain.isReady);
  }

  get activeConnections(): number {
    return this.chains.reduce((sum, chain) => sum + chain.activeConnections, 0);
  }

  get stats(): ListenerStats {
    this.#stats ??= createListenerStats(this.#context.metrics, this.config.statName);
    return this.#stats;
  }

  /** Takes a connection on. `isCaptured`: another listener read where it was going and hands it over. */
  accept(incoming: Incoming, isCaptured = false): void {
    const { config, stats } = this;
    const destination = isCaptured || config.originalDestination ? incoming.originalDestination : incoming.local;
    const tls = config.tlsInspector !== undefined && !config.tlsInspector.isDisabled(destination.port);
    const http = config.httpInspector !== undefined && !config.httpInspector.isDisabled(destination.port);
    if (!tls && !http) {
      this.#dispatch(incoming, destination, NOT_INSPECTED);
      return;
    }
    stats.preCxActive.add(1);
    inspect(incoming, { tls, http, timeoutMs: config.inspectTimeoutMs, clock: this.#context.clock }, (result) => {
      stats.preCxActive.add(-1);
      if (result.kind === "gone") {
        incoming.destroy();
        return;
      }
      if (result.kind === "timeout") {
        stats.preCxTimeout.add();
        if (!config.continueOnTimeout) {
          incoming.destroy();
          return;
        }
      }
      this.#dispatch(incoming, destination, result.inspection);
    });
  }

  /** Asks the clients of all chains to go. */
  startDrain(): void {
    for (const chain of this.chains) chain.startDrain();
  }

  /** Ends the chains that `successor` did not take over. */
  end(drain: DrainOptions, successor: Listener | undefined): void {
    const kept = new Set(successor?.chains);
    for (const chain of this.chains) if (!kept.has(chain)) chain.end(drain);
  }

  /** Ends everything now. */
  close(): void {
    for (const chain of this.chains) chain.close();
  }

  #dispatch(incoming: Incoming, destination: Address, inspection: Inspection): void {
    const { stats, config } = this;
    const chain =
      this.#table.find({
        destination,
        source: incoming.remote,
        serverName: inspection.serverName,
        transportProtocol: inspection.transportProtocol,
        applicationProtocols: inspection.applicationProtocols,
      }) ?? this.#defaultChain;
    stats.cxTotal.add();
    if (!chain) {
      stats.noFilterChainMatch.add();
      this.#logUnmatched(incoming, destination, inspection);
      this.#context.log.debug("connection closed: filter_chain_not_found", {
        listener: config.name,
        destination: addressText(destination),
        source: addressText(incoming.remote),
      });
      incoming.destroy();
      return;
    }
    if (!chain.isTls) {
      this.#handOver(chain, incoming.accept(), incoming, destination, inspection);
      return;
    }
    const context = chain.tlsContext;
    if (context === undefined) {
      this.#context.log.warn(`listener "${config.name}": filter chain "${chain.config.name}" has no certificate yet; connection closed`);
      incoming.destroy();
      return;
    }
    incoming.acceptTls(
      { context, timeoutMs: chain.config.handshakeTimeoutMs },
      {
        onConnect: (channel) => {
          stats.sslHandshake.add();
          if (chain.config.tls?.requireServerName && !channel.tls?.serverName) {
            stats.sslConnectionError.add();
            channel.handler = SINK;
            channel.destroy();
            return;
          }
          this.#handOver(chain, channel, incoming, destination, inspection);
        },
        onFail: (reason) => {
          stats.sslConnectionError.add();
          if (reason.message.includes("certificate")) stats.sslFailVerifyNoCert.add();
          this.#context.log.debug("TLS handshake failed", {
            listener: config.name,
            source: addressText(incoming.remote),
            reason: reason.message,
          });
        },
      },
    );
  }

  #logUnmatched(incoming: Incoming, destination: Address, inspection: Inspection): void {
    if (this.#logs.length === 0) return;
    const { clock } = this.#context;
    const record = new StreamRecord("tcp", clock.monotonicMs(), clock.nowMs());
    record.endMs = record.startMs;
    record.listenerName = this.config.name;
    record.downstreamRemote = incoming.remote;
    record.downstreamLocal = destination;
    record.requestedServerName = inspection.serverName || undefined;
    record.details = "filter_chain_not_found";
    record.flags.add("NR");
    const source = {
      record,
      request: undefined,
      responseHeaders: undefined,
      responseTrailers: undefined,
      directRemote: incoming.remote,
      filterState: undefined,
    };
    for (const log of this.#logs) log.log(source);
  }

  #handOver(chain: RunningChain, channel: Channel, incoming: Incoming, destination: Address, inspection: Inspection): void {
    chain.accept({
      channel,
      localAddress: destination,
      remoteAddress: incoming.remote,
      listenerName: this.config.name,
      direction: this.config.direction,
      requestedServerName: channel.tls?.serverName ?? (inspection.serverName || undefined),
      applicationProtocol: channel.tls ? protocolOfAlpn(channel.tls.alpn) : protocolOfSniff(inspection.applicationProtocols[0]),
    });
  }
}

const SINK = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

function protocolOfAlpn(alpn: string | undefined): DownstreamConnection["applicationProtocol"] {
  // Istio's clients may put "istio-" before the names.
  const plain = alpn?.replace(/^istio-/, "");
  return plain === "h2" || plain === "http/1.1" || plain === "http/1.0" ? plain : undefined;
}

function protocolOfSniff(protocol: string | undefined): DownstreamConnection["applicationProtocol"] {
  return protocol === "h2c" ? "h2" : protocol === "http/1.0" || protocol === "http/1.1" ? protocol : undefined;
}
