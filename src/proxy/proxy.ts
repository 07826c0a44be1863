/**
 * The proxy: all its parts, made and tied together here and nowhere else. main.ts runs one on the system's network; a simulation runs
 * many in memory.
 * Start-up: static secrets, clusters and listeners -> admin -> CDS -> LDS -> live.
 */
import type { Clock } from "../base/clock.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { Lru } from "../base/lru.ts";
import type { Random } from "../base/random.ts";
import { type Bootstrap, BootstrapSchema } from "../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import type { Address } from "../net/channel.ts";
import type { ListeningSocket, Network } from "../net/dial.ts";
import { MESH_HTTP_LIMITS } from "../net/http/stream.ts";
import { createHttp1ClientConnection } from "../net/http1/client-connection.ts";
import { createHttp1ServerConnection } from "../net/http1/server-connection.ts";
import { createHttp2ClientConnection } from "../net/http2/client-connection.ts";
import { createClientTls, createServerTls } from "../net/tls/contexts.ts";
import type { AccessLogFile, AccessLogSink } from "../telemetry/access-log-sink.ts";
import { createIstioMetrics } from "../telemetry/istio-metrics.ts";
import type { MetricsRegistry } from "../telemetry/metrics.ts";
import { createMetricsRegistry } from "../telemetry/registry.ts";
import type { AdminSource, ServerState } from "./admin/admin-source.ts";
import { openAdminServer } from "./admin/server.ts";
import type { Environment } from "./bootstrap/environment.ts";
import type { Flags } from "./bootstrap/flags.ts";
import type { LeveledLog } from "./bootstrap/log.ts";
import { buildNode, readLocalNode } from "./bootstrap/node.ts";
import type { ClusterContext } from "./cluster/cluster.ts";
import { Clusters } from "./cluster/manager.ts";
import { addressText, readAddress } from "./config/address.ts";
import { Discovery } from "./config/discovery.ts";
import { unsupportedFields } from "./config/fields.ts";
import { RouteConfigs } from "./config/route-configs.ts";
import { RouteTables } from "./config/route-tables.ts";
import { SecretStore } from "./config/secret-store.ts";
import type { TlsFactory } from "./config/tls-context.ts";
import { XdsConfig } from "./config/xds-config.ts";
import { Listeners } from "./listener/manager.ts";
import type { FilterTypes } from "./network/filters.ts";
import { createHttpFilterType } from "./network/http-filter.ts";
import { createRbacFilterType } from "./network/rbac.ts";
import { createTcpFilterType } from "./network/tcp-filter.ts";
import { validateRouteConfiguration } from "./route/route-table.ts";
import type { SecretSource } from "./secrets.ts";
import type { ProxyContext } from "./types.ts";

/** What a proxy is made of. */
export interface ProxyOptions {
  readonly bootstrap: Bootstrap;
  readonly flags: Flags;
  readonly environment: Environment;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: LeveledLog;
  readonly network: Network;
  readonly version: string;
  readonly accessLogs: AccessLogSink;
  /** Default: a registry of its own. */
  readonly metrics?: MetricsRegistry;
  /** Secrets that are made in this process instead of being asked of an SDS server. */
  readonly localSecrets?: { readonly source: SecretSource; readonly names: ReadonlySet<string> } | undefined;
  /** Somebody asked over the admin to end at once. */
  readonly onQuit: () => void;
}

/** Time between looks at whether a drain is over. */
const DRAIN_POLL_MS = 50;

const KNOWN_FIELDS: ReadonlySet<string> = new Set([
  "node",
  "staticResources",
  "dynamicResources",
  "clusterManager",
  "admin",
  "layeredRuntime",
  // These tune what this proxy does not have, and change no request.
  "deferredStatOptions",
  "statsFlush",
  "statsFlushInterval",
  "watchdog",
  "watchdogs",
  "enableDispatcherStats",
  "memoryAllocatorManager",
  "grpcAsyncClientManagerConfig",
]);

/** See the file's head. */
export class ProxyServer {
  readonly clusters: Clusters;
  readonly listeners: Listeners;
  readonly metrics: MetricsRegistry;
  readonly #options: ProxyOptions;
  readonly #secrets: SecretStore;
  readonly #discovery: Discovery;
  readonly #xds: XdsConfig;
  readonly #adminSource: AdminSource;
  #admin: ListeningSocket | undefined;
  #state: ServerState = "PRE_INITIALIZING";
  #isHealthFailed = false;
  #isClosed = false;
  #onLive: (() => void)[] = [];

  constructor(options: ProxyOptions) {
    const { bootstrap, flags, environment, clock, random, log, network } = options;
    this.#options = options;
    const metrics = options.metrics ?? createMetricsRegistry();
    this.metrics = metrics;
    const node = buildNode(bootstrap.node, flags, options.version);
    const reader = { environment: environment.variables };
    const drain = { timeMs: flags.drainTimeMs, strategy: flags.drainStrategy };
    const secrets = new SecretStore({
      clock,
      reader,
      checkKeyPair: (keyPair) => void createServerTls({ keyPair, trustPem: undefined, alpn: [], requireClientCertificate: false }),
      local: options.localSecrets,
    });
    const clusterContext: ClusterContext = {
      clock,
      random,
      log,
      network,
      metrics,
      secrets,
      tls,
      codecs: {
        http1: (channel, handler, limits) => createHttp1ClientConnection(channel, { limits }, handler),
        http2: (channel, handler, limits) => createHttp2ClientConnection(channel, { limits, clock }, handler),
      },
    };
    const clusters = new Clusters({
      context: clusterContext,
      read: { reader, bind: bootstrap.clusterManager?.upstreamBindConfig, mark: environment.socketMark },
    });
    const openLogs = new Map<string, AccessLogFile>();
    const accessLogs: AccessLogSink = {
      open(path) {
        const file = options.accessLogs.open(path);
        openLogs.set(path, file);
        return file;
      },
    };
    const context: ProxyContext = { clock, random, log, network, metrics, accessLogs, node: readLocalNode(node), clusters };
    const discovery = new Discovery({
      clock,
      random,
      log,
      metrics,
      network,
      node,
      ads: bootstrap.dynamicResources?.adsConfig,
      cluster: (name) => clusters.get(name),
    });
    const routes = new RouteConfigs({ clock, log, discovery, validate: validateRouteConfiguration });
    const istio = createIstioMetrics(metrics, context.node.peer);
    const filters: FilterTypes = {
      terminal: [createHttpFilterType(context, istio, new RouteTables(routes)), createTcpFilterType(context, istio)],
      network: [createRbacFilterType(metrics)],
    };
    const listeners = new Listeners({
      context: { clock, random, log, metrics, accessLogs, secrets, tls, filters },
      acceptor: network.acceptor,
      reader,
      drain,
      inherited: environment.listenFds,
    });
    listeners.routeWaiter = routes;
    const xds = new XdsConfig({
      clock,
      log,
      discovery,
      clusters,
      listeners,
      secrets,
      dynamic: bootstrap.dynamicResources,
      unknownFields: flags.rejectUnknownDynamicFields ? "reject" : flags.ignoreUnknownDynamicFields ? "ignore" : "warn",
    });
    clusters.endpointSource = xds;
    routes.onApplied(() => xds.onRoutes());
    secrets.fetcher = (name, source) => xds.fetchSecret(name, source);
    this.clusters = clusters;
    this.listeners = listeners;
    this.#secrets = secrets;
    this.#discovery = discovery;
    this.#xds = xds;
    const proxy = this;
    this.#adminSource = {
      version: options.version,
      startedAtMs: clock.nowMs(),
      clock,
      flags,
      node,
      bootstrap,
      log,
      metrics,
      clusters,
      listeners,
      secrets,
      routes,
      xds,
      heapDump: environment.heapDump,
      get state() {
        return proxy.state;
      },
      setHealthFailed: (isFailed) => {
        this.#isHealthFailed = isFailed;
        if (isFailed) listeners.startDrain();
      },
      drainListeners: ({ inboundOnly, graceful }) => this.#drainListeners(inboundOnly ? "inbound" : undefined, graceful),
      reopenLogs: () => {
        for (const file of openLogs.values()) file.reopen();
      },
      quit: options.onQuit,
    };
  }

  get state(): ServerState {
    return this.#isHealthFailed ? "DRAINING" : this.#state;
  }

  /** Where the admin listens; undefined where the bootstrap names no address. */
  get adminAddress(): Address | undefined {
    return this.#admin?.address;
  }

  /** Calls back when the proxy serves (maybe at once). */
  onceLive(done: () => void): void {
    if (this.#state === "LIVE") done();
    else this.#onLive.push(done);
  }

  /** Reads the static config. Throws a UserError with everything that is wrong; opens nothing yet but DNS and xDS clients. */
  loadStatic(): void {
    const { bootstrap, log } = this.#options;
    const ignored = unsupportedFields(BootstrapSchema, bootstrap, KNOWN_FIELDS);
    if (ignored.length > 0) log.warn(`bootstrap: not carried out: ${ignored.join(", ")}`);
    const violations: string[] = [];
    const attempt = (where: string, apply: () => void): void => {
      try {
        apply();
      } catch (error) {
        violations.push(`${where}: ${messageOf(error)}`);
      }
    };
    const fixed = bootstrap.staticResources;
    for (const secret of fixed?.secrets ?? []) attempt(`secret "${secret.name}"`, () => this.#secrets.addStatic(secret));
    for (const cluster of fixed?.clusters ?? []) attempt(`cluster "${cluster.name}"`, () => this.clusters.addStatic(cluster));
    fixed?.listeners.forEach((listener, i) => {
      if (listener.name === "") listener.name = `listener_${i}`;
      attempt(`listener "${listener.name}"`, () => this.listeners.addStatic(listener));
    });
    if (violations.length > 0) throw new UserError(`bootstrap rejected: ${violations.join("; ")}`);
  }

  /** Opens the sockets and connects to the management server. Rejects with a UserError when a static listener or the admin cannot listen. */
  async start(): Promise<void> {
    const { network, environment, log, bootstrap, clock } = this.#options;
    const address = bootstrap.admin?.address;
    if (address) {
      const at = readAddress(address);
      this.#admin = await openAdminServer(at, this.#adminSource, {
        acceptor: network.acceptor,
        fd: environment.listenFds.get(addressText(at)),
        createConnection: (channel, handler) => createHttp1ServerConnection(channel, { limits: MESH_HTTP_LIMITS, clock }, handler),
        log,
      });
      log.info(`admin address: ${addressText(this.#admin.address)}`);
    }
    await this.listeners.onceBound();
    const [failure] = this.listeners.failures.values();
    if (failure !== undefined) throw new UserError(failure);
    if (this.#isClosed) return;
    this.#state = "INITIALIZING";
    this.#xds.start(() => this.listeners.onceWarm(() => void this.listeners.onceBound().then(() => this.#setLive())));
  }

  /** Stops accepting, asks clients to go, and calls back when none is left or `timeMs` is over. */
  drain(timeMs: number, done: () => void): void {
    const { clock, log } = this.#options;
    this.#isHealthFailed = true;
    this.listeners.stopAccepting();
    this.listeners.startDrain();
    const untilMs = clock.monotonicMs() + timeMs;
    const look = (): void => {
      const left = this.listeners.activeConnections;
      if (left === 0 || clock.monotonicMs() >= untilMs) {
        if (left > 0) log.warn(`drain time is over: ${left} connections are cut`);
        done();
      } else clock.after(DRAIN_POLL_MS, look);
    };
    look();
  }

  /** Ends everything now. */
  close(): void {
    this.#isClosed = true;
    this.#admin?.close();
    this.listeners.close();
    this.clusters.destroy();
    this.#discovery.close();
  }

  #setLive(): void {
    if (this.#isClosed || this.#state === "LIVE") return;
    this.#state = "LIVE";
    this.#options.log.info("all clusters and listeners are there: live");
    for (const done of this.#onLive.splice(0)) done();
  }

  #drainListeners(direction: "inbound" | undefined, isGraceful: boolean): void {
    const { clock, flags } = this.#options;
    this.listeners.startDrain(direction);
    if (!isGraceful) this.listeners.stopAccepting(direction);
    else clock.after(flags.drainTimeMs, () => this.listeners.stopAccepting(direction));
  }
}

const tls: TlsFactory = {
  server: createServerTls,
  client(options, sessionsMax) {
    const context = createClientTls(options);
    return sessionsMax === undefined ? context : { ...context, sessions: new Lru(sessionsMax) };
  },
};
