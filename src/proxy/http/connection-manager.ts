/**
 * The HTTP connection manager: the last network filter of HTTP listeners. Chooses each connection's codec and serves its requests.
 * Source: envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.
 */

import type { Clock } from "../../base/clock.ts";
import type { HttpConnectionManager } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { Channel } from "../../net/channel.ts";
import type { HttpLimits, ServerConnection, ServerHandler } from "../../net/http/stream.ts";
import type { IstioMetrics } from "../../telemetry/istio-metrics.ts";
import { createIstioMetrics } from "../../telemetry/istio-metrics.ts";
import { encodePeerMetadata } from "../../telemetry/peer-metadata.ts";
import { buildRouteTable, type RouteTable } from "../route/route-table.ts";
import type { RouteConfigSource } from "../route/source.ts";
import type { DownstreamConnection, LocalNode, ProxyContext, TerminalFilter } from "../types.ts";
import { compileAccessLogs } from "./access-logs.ts";
import { createFilterChain } from "./chain.ts";
import { ManagedConnection } from "./managed-connection.ts";
import { readManagerConfig } from "./manager-config.ts";
import { ManagerCore } from "./manager-core.ts";
import { createManagerStats } from "./manager-stats.ts";
import { sniffProtocol } from "./protocol-sniffer.ts";

/** What the HTTP/1 codec is made with. */
export interface Http1CodecOptions {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  readonly headerTimeoutMs: number;
  readonly acceptHttp10: boolean;
  /** The `server` of answers to what is no request. */
  readonly serverName: string;
}

/** Puts codecs on connections: net/http1 and net/http2, or a test's own. */
export interface ServerCodecs {
  http1(channel: Channel, options: Http1CodecOptions, handler: ServerHandler): ServerConnection;
  http2(channel: Channel, options: { readonly limits: HttpLimits; readonly clock: Clock }, handler: ServerHandler): ServerConnection;
}

/** What a connection manager takes from outside. */
export interface ConnectionManagerDeps {
  readonly context: ProxyContext;
  readonly routes: RouteConfigSource;
  readonly codecs: ServerCodecs;
  /** Shared by all listeners of the proxy; made of the context where absent. */
  readonly istio?: IstioMetrics | undefined;
}

/** Makes a connection manager of a config that validateHttpConnectionManager found good. */
export function createHttpConnectionManager(config: HttpConnectionManager, deps: ConnectionManagerDeps): TerminalFilter {
  return new ConnectionManager(config, deps);
}

class ConnectionManager implements TerminalFilter {
  readonly core: ManagerCore;
  readonly peerHeaders: { readonly id: string; readonly metadata: string } | undefined;
  readonly #codecs: ServerCodecs;
  readonly #connections = new Set<ManagedConnection>();
  readonly #watch: { close(): void } | undefined;
  #isDraining = false;
  #isClosed = false;

  constructor(message: HttpConnectionManager, { context, routes, codecs, istio }: ConnectionManagerDeps) {
    const config = readManagerConfig(message);
    const { clock, random, metrics } = context;
    this.#codecs = codecs;
    this.core = new ManagerCore({
      config,
      context,
      chain: createFilterChain(message.httpFilters, { clock, random, metrics, statPrefix: config.statPrefix }),
      stats: createManagerStats(metrics, config.statPrefix),
      accessLogs: compileAccessLogs(message.accessLog, context),
      istio: istio ?? createIstioMetrics(metrics, context.node.peer),
    });
    this.peerHeaders = exchangesMetadata(context.node)
      ? { id: context.node.id, metadata: encodePeerMetadata(context.node.peer) }
      : undefined;
    const specifier = message.routeSpecifier;
    if (specifier.case === "routeConfig") this.core.routeTable = buildRouteTable(specifier.value);
    else if (specifier.case === "rds") {
      this.#watch = routes.watch(specifier.value.routeConfigName, (table: RouteTable) => {
        this.core.routeTable = table;
      });
    }
  }

  get activeConnections(): number {
    return this.#connections.size;
  }

  accept(connection: DownstreamConnection): void {
    const managed = new ManagedConnection(this, connection);
    this.#connections.add(managed);
    if (this.#isDraining) managed.drain();
    const { codec } = this.core.config;
    const known = codec !== "auto" ? codec : protocolOf(connection);
    if (known) this.#serve(managed, connection.channel, known);
    else {
      sniffProtocol(connection.channel, {
        onProtocol: (protocol) => this.#serve(managed, connection.channel, protocol),
        onClose: () => managed.onClose(),
      });
    }
    if (this.#isClosed) managed.destroy();
  }

  drain(): void {
    this.#isDraining = true;
    for (const connection of this.#connections) connection.drain();
  }

  close(): void {
    this.#isClosed = true;
    this.#watch?.close();
    for (const connection of [...this.#connections]) connection.destroy();
    this.core.close();
  }

  onGone(connection: ManagedConnection): void {
    this.#connections.delete(connection);
  }

  #serve(managed: ManagedConnection, channel: Channel, protocol: "http1" | "http2"): void {
    const { config, clock } = this.core;
    const { limits } = config;
    managed.useCodec(
      protocol === "http2"
        ? this.#codecs.http2(channel, { limits, clock }, managed)
        : this.#codecs.http1(
            channel,
            { limits, clock, headerTimeoutMs: config.headerTimeoutMs, acceptHttp10: config.acceptHttp10, serverName: config.serverName },
            managed,
          ),
    );
  }
}

/** What ALPN or an inspector told; undefined: look at the first bytes. */
function protocolOf(connection: DownstreamConnection): "http1" | "http2" | undefined {
  const alpn = connection.channel.tls?.alpn;
  if (alpn === "h2" || alpn === "istio-h2") return "http2";
  if (alpn === "http/1.1" || alpn === "http/1.0" || alpn === "istio-http/1.1" || alpn === "istio-http/1.0") return "http1";
  switch (connection.applicationProtocol) {
    case "h2":
      return "http2";
    case "http/1.0":
    case "http/1.1":
      return "http1";
    default:
      return undefined;
  }
}

/** Peers are told who we are only where the node asks for it: metadata LATEEN_PEER_METADATA. */
function exchangesMetadata(node: LocalNode): boolean {
  const value = node.metadata["LATEEN_PEER_METADATA"];
  return value === true || value === "true" || value === "1";
}
