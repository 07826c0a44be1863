/**
 * A cluster that runs: hosts, the choice among them, and their connections. It is made of one config and never changes it: a changed
 * config makes a new cluster, and this one drains. Source: Envoy, Cluster manager.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Random } from "../../base/random.ts";
import { type Address, type ChannelHandler, type CloseReason, MESH_WATERMARKS } from "../../net/channel.ts";
import type { DialOptions, Network } from "../../net/dial.ts";
import { type HttpLimits, MESH_HTTP_LIMITS } from "../../net/http/stream.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import type { SecretStore } from "../config/secret-store.ts";
import type { UpstreamTlsConfig } from "../config/tls-config.ts";
import { createUpstreamSlot, type TlsContextSlot, type TlsFactory } from "../config/tls-context.ts";
import { isIpText } from "../listener/cidr.ts";
import type {
  LoadBalancerContext,
  UpstreamCluster,
  UpstreamConnectHandler,
  UpstreamHost,
  UpstreamRequest,
  UpstreamStream,
  UpstreamStreamHandler,
} from "../types.ts";
import { type Assignment, readAssignment } from "./assignment.ts";
import { CircuitBreaker } from "./breaker.ts";
import type { ClusterConfig } from "./cluster-config.ts";
import { type ClusterStats, createClusterStats } from "./cluster-stats.ts";
import { DnsDiscovery } from "./dns.ts";
import { connectFailure, OVERFLOW } from "./failure.ts";
import { Host, type HostUpdate, hostKey } from "./host.ts";
import { type ClientCodecs, HttpPool } from "./http-pool.ts";
import { isMetadataMatch, LoadBalancer, SubsetBalancer } from "./load-balancer.ts";

/** Hosts that an ORIGINAL_DST cluster keeps at once; more are refused as unhealthy. */
const ORIGINAL_DST_HOSTS_MAX = 16_384;

/** What clusters take from outside. */
export interface ClusterContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly network: Network;
  readonly metrics: MetricsRegistry;
  readonly secrets: SecretStore;
  readonly tls: TlsFactory;
  readonly codecs: ClientCodecs;
}

/** A transport socket with its context. */
interface Socket {
  readonly match: Readonly<Record<string, unknown>>;
  readonly config: UpstreamTlsConfig | undefined;
  readonly slot: TlsContextSlot | undefined;
}

/** See the file's head. */
export class Cluster implements UpstreamCluster {
  readonly config: ClusterConfig;
  readonly breaker: CircuitBreaker;
  readonly #context: ClusterContext;
  readonly #sockets: readonly Socket[];
  readonly #hosts = new Map<string, Host>();
  readonly #limits: HttpLimits;
  readonly #dns: DnsDiscovery | undefined;
  readonly #onWarm: () => void;
  #balancer: LoadBalancer | SubsetBalancer | undefined;
  #overprovisioningPercent = 140;
  #hasHosts = false;
  /** Its maker has it: only then is anything told. */
  #isMade = false;
  #isWarm = false;
  #isClosed = false;
  #stats: ClusterStats | undefined;
  #cleanup: Timer | undefined;

  /** `onWarm` is called once hosts (even none) and secrets are known; never from inside the constructor. */
  constructor(config: ClusterConfig, context: ClusterContext, onWarm: () => void) {
    this.config = config;
    this.#context = context;
    this.#onWarm = onWarm;
    this.breaker = new CircuitBreaker(config.breaker);
    this.#limits = {
      ...MESH_HTTP_LIMITS,
      concurrentStreamsMax: config.http2StreamsMax,
      headerFieldsMax: config.headerFieldsMax ?? MESH_HTTP_LIMITS.headerFieldsMax,
      streamWindowBytes: config.http2StreamWindowBytes ?? MESH_HTTP_LIMITS.streamWindowBytes,
      connectionWindowBytes: config.http2ConnectionWindowBytes ?? MESH_HTTP_LIMITS.connectionWindowBytes,
    };
    this.#sockets = [...config.sockets, { name: "", match: {}, tls: config.socket }].map(({ match, tls }) => ({
      match,
      config: tls,
      slot:
        tls &&
        createUpstreamSlot(tls, context.tls, {
          secrets: context.secrets,
          log: context.log,
          owner: `cluster "${config.name}"`,
          onReady: () => this.#checkWarm(),
        }),
    }));
    const { discovery } = config;
    switch (discovery.kind) {
      case "static":
        this.applyAssignment(readAssignment(discovery.assignment));
        break;
      case "original-dst":
        this.#hasHosts = true;
        this.#armCleanup(discovery.cleanupMs);
        break;
      case "dns":
        this.#dns = new DnsDiscovery(discovery, {
          clock: context.clock,
          log: context.log,
          resolver: context.network.resolver,
          clusterName: config.name,
          onHosts: (assignment) => this.applyAssignment(assignment),
        });
        break;
      case "eds":
        break;
    }
    queueMicrotask(() => {
      this.#isMade = true;
      this.#checkWarm();
    });
  }

  get name(): string {
    return this.config.name;
  }

  get destinationService(): UpstreamCluster["destinationService"] {
    return this.config.destinationService;
  }

  get maxStreamDurationMs(): number | undefined {
    return this.config.streamDurationMaxMs;
  }

  get hosts(): readonly Host[] {
    return [...this.#hosts.values()];
  }

  get isWarm(): boolean {
    return this.#isWarm;
  }

  /** Statistics, made when first asked for. */
  get stats(): ClusterStats {
    this.#stats ??= createClusterStats(this.#context.metrics, this.config.statName);
    return this.#stats;
  }

  /** Takes over a new set of hosts: those that stay keep their pools, those that left drain. */
  applyAssignment(assignment: Assignment): void {
    if (this.#isClosed) return;
    const seen = new Set<string>();
    let isChanged = false;
    for (const update of assignment.hosts) {
      const key = hostKey(update.address);
      if (seen.has(key)) continue;
      seen.add(key);
      const known = this.#hosts.get(key);
      if (known?.update(update)) known.drainPools();
      const host = known ?? new Host(update);
      if (!known) {
        this.#hosts.set(key, host);
        isChanged = true;
      }
      host.usesMutualTls = this.#isMutualTls(host);
    }
    for (const [key, host] of this.#hosts) {
      if (seen.has(key)) continue;
      this.#remove(key, host);
      isChanged = true;
    }
    if (isChanged && this.config.drainsOnHostChange) for (const host of this.#hosts.values()) host.drainPools();
    this.#overprovisioningPercent = assignment.overprovisioningPercent;
    this.#rebalance();
    this.#hasHosts = true;
    this.#checkWarm();
  }

  /** The first endpoints did not come in time: goes on with none. */
  giveUpWaiting(): void {
    this.#hasHosts = true;
    this.#isWarm = true;
    this.#onWarm();
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    const host = this.config.discovery.kind === "original-dst" ? this.#originalDestination(context) : this.#balancer?.choose(context);
    if (!host) this.stats.cxNoneHealthy.add();
    return host;
  }

  openStream(host: UpstreamHost, request: UpstreamRequest, handler: UpstreamStreamHandler): UpstreamStream {
    return this.#poolOf(this.#own(host), request).openStream(request, handler);
  }

  connect(host: UpstreamHost, handler: UpstreamConnectHandler): { cancel(): void } {
    const own = this.#own(host);
    const { breaker, stats } = this;
    let isCancelled = false;
    let dial: { cancel(): void } | undefined;
    const options = breaker.mayConnect ? this.#dialOptions(own, undefined) : undefined;
    if (!options) stats.cxOverflow.add();
    if (!options || typeof options === "string") {
      const failure = options ? connectFailure({ code: undefined, message: options, phase: "tls" }) : OVERFLOW;
      queueMicrotask(() => {
        if (!isCancelled) handler.onFailure(failure);
      });
    } else {
      breaker.connections += 1;
      own.activeConnections += 1;
      own.connectionsTotal += 1;
      stats.cxTotal.add();
      stats.cxActive.add(1);
      const release = (): void => {
        breaker.connections -= 1;
        own.activeConnections -= 1;
        stats.cxActive.add(-1);
      };
      dial = this.#context.network.dialer.dial(options, {
        onConnect: (channel) => {
          dial = undefined;
          handler.onConnect(channel);
          channel.handler = new CountedHandler(channel.handler, () => {
            stats.cxDestroy.add();
            release();
          });
        },
        onFail: (reason) => {
          dial = undefined;
          own.connectFailures += 1;
          (reason.phase === "timeout" ? stats.cxConnectTimeout : stats.cxConnectFail).add();
          release();
          handler.onFailure(connectFailure(reason));
        },
      });
      return {
        cancel: () => {
          if (!dial) return;
          dial.cancel();
          dial = undefined;
          release();
        },
      };
    }
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  }

  tryStartRetry(): boolean {
    if (this.breaker.tryStartRetry()) return true;
    this.stats.rqRetryOverflow.add();
    return false;
  }

  endRetry(): void {
    this.breaker.endRetry();
  }

  /** How to connect to a host outside of pools: for a gRPC channel, which has its own connection. */
  dialOptionsFor(host: UpstreamHost): DialOptions | string {
    return this.#dialOptions(this.#own(host), this.config.protocol === "http2" ? "h2" : undefined);
  }

  /** What was begun ends by itself; nothing new is kept. */
  close(): void {
    this.#isClosed = true;
    this.#dns?.close();
    this.#cleanup?.cancel();
    for (const host of this.#hosts.values()) {
      host.isMember = false;
      host.drainPools();
    }
    for (const { slot } of this.#sockets) slot?.close();
  }

  /** Closes every connection of the pools at once. */
  destroy(): void {
    for (const host of this.#hosts.values()) for (const pool of host.pools) pool.destroy();
    this.close();
  }

  #own(host: UpstreamHost): Host {
    if (host instanceof Host) return host;
    throw new Error(`host ${host.address.host} is of no cluster here`);
  }

  #remove(key: string, host: Host): void {
    this.#hosts.delete(key);
    host.isMember = false;
    host.drainPools();
  }

  #rebalance(): void {
    const { lb, leastRequestChoices, leastRequestBias, localityWeighted, panicThresholdPercent, subset, statName } = this.config;
    const options = {
      lb,
      leastRequestChoices,
      leastRequestBias,
      localityWeighted,
      panicThresholdPercent,
      overprovisioningPercent: this.#overprovisioningPercent,
      random: this.#context.random,
    };
    const hosts = [...this.#hosts.values()];
    this.#balancer = subset ? new SubsetBalancer(hosts, subset, options) : new LoadBalancer(hosts, options);
    const { metrics } = this.#context;
    metrics.envoyGauge(`cluster.${statName}.membership_total`).set(hosts.length);
    metrics.envoyGauge(`cluster.${statName}.membership_healthy`).set(hosts.filter((host) => host.isHealthy).length);
    metrics.envoyCounter(`cluster.${statName}.membership_change`).add();
  }

  #checkWarm(): void {
    if (!this.#isMade || this.#isWarm || this.#isClosed || !this.#hasHosts || this.#sockets.some(({ slot }) => slot && !slot.isReady))
      return;
    this.#isWarm = true;
    this.#onWarm();
  }

  #originalDestination({ originalDestination }: LoadBalancerContext): Host | undefined {
    if (!originalDestination || !isIpText(originalDestination.host)) return undefined;
    const { discovery } = this.config;
    const port = discovery.kind === "original-dst" ? (discovery.portOverride ?? originalDestination.port) : originalDestination.port;
    const address: Address = port === originalDestination.port ? originalDestination : { host: originalDestination.host, port };
    const key = hostKey(address);
    let host = this.#hosts.get(key);
    if (!host) {
      if (this.#hosts.size >= ORIGINAL_DST_HOSTS_MAX) return undefined;
      host = new Host({ ...PASSTHROUGH, address });
      host.usesMutualTls = this.#isMutualTls(host);
      this.#hosts.set(key, host);
    }
    host.usedAtMs = this.#context.clock.monotonicMs();
    return host;
  }

  #armCleanup(everyMs: number): void {
    this.#cleanup = this.#context.clock.after(everyMs, () => {
      const before = this.#context.clock.monotonicMs() - everyMs;
      for (const [key, host] of this.#hosts) if (host.usedAtMs < before && host.activeConnections === 0) this.#remove(key, host);
      this.#armCleanup(everyMs);
    });
  }

  #poolOf(host: Host, { downstreamIsHttp2, head }: UpstreamRequest): HttpPool {
    const { protocol, usesRequestName } = this.config;
    const kind = protocol === "downstream" ? (downstreamIsHttp2 ? "http2" : "http1") : protocol;
    // A connection is for the name that its handshake asked for.
    const serverName = usesRequestName ? serverNameOf(head.authority) : undefined;
    const name = serverName === undefined ? undefined : `${kind} ${serverName}`;
    const known = name === undefined ? host[kind] : host.named.get(name);
    if (known) return known;
    const { clock, network, codecs } = this.#context;
    const pool = new HttpPool({
      clock,
      dialer: network.dialer,
      dialOptions: () => this.#dialOptions(host, kind === "http1" ? "http/1.1" : kind === "http2" ? "h2" : "any", serverName),
      protocol: kind,
      codecs,
      limits: this.#limits,
      bufferBytesMax: this.config.bufferBytes ?? MESH_WATERMARKS.highBytes,
      idleTimeoutMs: this.config.idleTimeoutMs,
      connectionDurationMaxMs: this.config.connectionDurationMaxMs,
      requestsPerConnectionMax: this.config.requestsPerConnectionMax,
      host,
      breaker: this.breaker,
      stats: this.stats,
    });
    if (this.#isClosed || !host.isMember) {
      // A retry may still hold a host that left: served, but nothing is kept.
      pool.drain();
      return pool;
    }
    if (name === undefined) host[kind] = pool;
    else host.keepNamed(name, pool);
    return pool;
  }

  #socketOf(host: Host): Socket | undefined {
    const last = this.#sockets.length - 1;
    // A match without criteria takes every endpoint, as Envoy has it.
    for (let i = 0; i < last; i++) if (isMetadataMatch(this.#sockets[i]?.match ?? {}, host.socketMetadata)) return this.#sockets[i];
    return this.#sockets[last];
  }

  #isMutualTls(host: Host): boolean {
    const tls = this.#socketOf(host)?.config;
    return tls?.certificate !== undefined && tls.trust !== undefined && tls.verifyPeer !== undefined;
  }

  #dialOptions(host: Host, wanted: "http/1.1" | "h2" | "any" | undefined, requestName?: string): DialOptions | string {
    const { bind, connectTimeoutMs, bufferBytes } = this.config;
    const socket = this.#socketOf(host);
    const isUnix = host.address.port === 0 && host.address.host.startsWith("/");
    const base = {
      to: host.address,
      from: isUnix || !bind.from || bind.from.includes(":") !== host.address.host.includes(":") ? undefined : bind.from,
      mark: isUnix ? undefined : bind.mark,
      timeoutMs: connectTimeoutMs,
      watermarks: bufferBytes === undefined ? undefined : { highBytes: bufferBytes, lowBytes: bufferBytes >> 1 },
    };
    if (!socket?.config) return base;
    const context = socket.slot?.context;
    if (context === undefined) return "Secret is not supplied by SDS";
    const { alpn, serverName } = socket.config;
    return { ...base, tls: { context, serverName: serverName ?? requestName, alpn: alpn.length > 0 ? alpn : defaultAlpn(wanted) } };
  }
}

/** The host of an authority, where it is a name: an address is asked for by none. Source: Envoy UpstreamHttpProtocolOptions.auto_sni. */
function serverNameOf(authority: string): string | undefined {
  const host = authority.replace(/:\d*$/, "").toLowerCase();
  return host === "" || host.includes(":") || /^[\d.]+$/.test(host) ? undefined : host;
}

/** What is offered where the config names no protocols. Source: Envoy offers those of the codec it will use. */
function defaultAlpn(wanted: "http/1.1" | "h2" | "any" | undefined): readonly string[] {
  return wanted === "any" ? ["h2", "http/1.1"] : wanted === undefined ? [] : [wanted];
}

const PASSTHROUGH: Omit<HostUpdate, "address"> = {
  hostname: "",
  weight: 1,
  health: "healthy",
  priority: 0,
  locality: { region: "", zone: "", subZone: "" },
  localityWeight: 0,
  peer: undefined,
  lbMetadata: {},
  socketMetadata: {},
};

/** Passes events on and notes the end. */
class CountedHandler implements ChannelHandler {
  readonly #inner: ChannelHandler;
  readonly #onGone: () => void;

  constructor(inner: ChannelHandler, onGone: () => void) {
    this.#inner = inner;
    this.#onGone = onGone;
  }

  onData(buffer: Buffer, start: number, end: number): void {
    this.#inner.onData(buffer, start, end);
  }

  onEnd(): void {
    this.#inner.onEnd();
  }

  onDrain(): void {
    this.#inner.onDrain();
  }

  onClose(reason: CloseReason): void {
    this.#onGone();
    this.#inner.onClose(reason);
  }
}
