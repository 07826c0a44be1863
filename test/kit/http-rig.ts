/** A connection manager over made-up codecs and clusters: a test plays the client and the servers, and the clock is its own. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { silentLog } from "../../src/base/log.ts";
import { createSeededRandom, type Random } from "../../src/base/random.ts";
import { type AccessLog, AccessLogSchema } from "../../src/gen/envoy/config/accesslog/v3/accesslog_pb.ts";
import { FileAccessLogSchema } from "../../src/gen/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import { RouterSchema } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import {
  HttpConnectionManagerSchema,
  type HttpFilterSchema,
} from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { Channel, TlsInfo } from "../../src/net/channel.ts";
import { HeaderList } from "../../src/net/http/headers.ts";
import type {
  HttpVersion,
  RequestHead,
  ResponseHead,
  ServerConnection,
  ServerHandler,
  ServerStream,
  StreamHandler,
  StreamReset,
} from "../../src/net/http/stream.ts";
import { createHttpConnectionManager } from "../../src/proxy/http/connection-manager.ts";
import { validateHttpConnectionManager } from "../../src/proxy/http/manager-config.ts";
import type {
  DownstreamConnection,
  LoadBalancerContext,
  ProxyContext,
  TerminalFilter,
  UpstreamCluster,
  UpstreamFailure,
  UpstreamHost,
  UpstreamRequest,
  UpstreamStream,
  UpstreamStreamHandler,
} from "../../src/proxy/types.ts";
import { createMetricsRegistry } from "../../src/telemetry/registry.ts";
import { FakeClock } from "./fake-clock.ts";

/** What a fake stream was told. */
class Sent {
  head: ResponseHead | undefined;
  readonly informational: number[] = [];
  body = "";
  trailers: HeaderList | undefined;
  isEnded = false;
  wasReset: string | undefined;
  isPaused = false;
  /** What writeData answers. */
  takesMore = true;
}

/** The client's side of one request. */
export class RigStream extends Sent implements ServerStream {
  handler: StreamHandler = { onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
  readonly connection: ServerConnection;

  constructor(connection: ServerConnection) {
    super();
    this.connection = connection;
  }

  writeInformational(head: ResponseHead): void {
    this.informational.push(head.status);
  }

  writeHead(head: ResponseHead, endStream: boolean): void {
    this.head = head;
    this.isEnded = endStream;
  }

  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    this.body += buffer.toString("latin1", start, end);
    this.isEnded = endStream;
    return this.takesMore;
  }

  writeTrailers(trailers: HeaderList): void {
    this.trailers = trailers;
    this.isEnded = true;
  }

  pauseReading(): void {
    this.isPaused = true;
  }

  resumeReading(): void {
    this.isPaused = false;
  }

  reset(code = "cancel"): void {
    this.wasReset = code;
  }

  /** Sends a piece of the body. */
  data(text: string, endStream = false): void {
    const bytes = Buffer.from(text, "latin1");
    this.handler.onData(bytes, 0, bytes.length, endStream);
  }

  get status(): number | undefined {
    return this.head?.status;
  }

  /** A header of the answer. */
  header(name: string): string | undefined {
    return this.head?.headers.getJoined(name);
  }
}

/** A server's side of one attempt. */
export class RigAttempt extends Sent implements UpstreamStream {
  readonly host: UpstreamHost;
  readonly request: UpstreamRequest;
  /** As it was when it was sent: later attempts change the head in place. */
  readonly headers: Readonly<Record<string, string>>;
  readonly path: string;
  readonly authority: string;
  readonly handler: UpstreamStreamHandler;
  readonly cluster: RigCluster;

  constructor(cluster: RigCluster, host: UpstreamHost, request: UpstreamRequest, handler: UpstreamStreamHandler) {
    super();
    this.cluster = cluster;
    this.host = host;
    this.request = request;
    this.handler = handler;
    const { head } = request;
    this.path = head.path;
    this.authority = head.authority;
    this.headers = Object.fromEntries([...head.headers].map(([name]) => [name, head.headers.getJoined(name) ?? ""]));
    this.isEnded = request.endStream;
  }

  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    this.body += buffer.toString("latin1", start, end);
    this.isEnded = endStream;
    return this.takesMore;
  }

  writeTrailers(trailers: HeaderList): void {
    this.trailers = trailers;
    this.isEnded = true;
  }

  pauseReading(): void {
    this.isPaused = true;
  }

  resumeReading(): void {
    this.isPaused = false;
  }

  reset(code = "cancel"): void {
    this.wasReset = code;
  }

  /** The connection stands. */
  connect(tls?: TlsInfo): this {
    this.handler.onConnected({ ...FAKE_CHANNEL, tls, local: { host: "10.0.0.1", port: 40000 } });
    return this;
  }

  /** Answers with a head, and its body where there is one. */
  answer(
    status: number,
    options: { readonly headers?: Readonly<Record<string, string>>; readonly body?: string; readonly more?: boolean } = {},
  ): this {
    const head: ResponseHead = { status, headers: HeaderList.of(options.headers ?? {}), version: "HTTP/1.1" };
    this.handler.onResponse(head, options.body === undefined && !options.more);
    if (options.body !== undefined) this.data(options.body, !options.more);
    return this;
  }

  data(text: string, endStream = false): void {
    const bytes = Buffer.from(text, "latin1");
    this.handler.onData(bytes, 0, bytes.length, endStream);
  }

  fail(failure: Partial<UpstreamFailure> & Pick<UpstreamFailure, "kind" | "flag">): void {
    this.handler.onFailure({ detail: failure.kind, isStaleConnection: false, ...failure });
  }
}

/** A cluster of hosts 10.0.1.1, 10.0.1.2 ... */
export class RigCluster implements UpstreamCluster {
  readonly name: string;
  readonly destinationService = { host: "svc.default.svc.cluster.local", name: "svc", namespace: "default" };
  readonly attempts: RigAttempt[] = [];
  readonly contexts: LoadBalancerContext[] = [];
  hosts: UpstreamHost[];
  maxStreamDurationMs: number | undefined;
  retriesMax = 1000;
  retriesUnderWay = 0;

  constructor(name: string, hosts = 1) {
    this.name = name;
    this.hosts = Array.from({ length: hosts }, (_, i) => ({
      address: { host: `10.0.1.${i + 1}`, port: 80 },
      hostname: `host-${i + 1}.example`,
      peer: undefined,
      activeRequests: 0,
      isHealthy: true,
      usesMutualTls: false,
    }));
  }

  chooseHost(context: LoadBalancerContext): UpstreamHost | undefined {
    this.contexts.push(context);
    return this.hosts.find((host) => !context.triedHosts?.has(host)) ?? this.hosts[0];
  }

  openStream(host: UpstreamHost, request: UpstreamRequest, handler: UpstreamStreamHandler): UpstreamStream {
    const attempt = new RigAttempt(this, host, request, handler);
    this.attempts.push(attempt);
    return attempt;
  }

  connect(): { cancel(): void } {
    throw new Error("not for HTTP");
  }

  tryStartRetry(): boolean {
    if (this.retriesUnderWay >= this.retriesMax) return false;
    this.retriesUnderWay += 1;
    return true;
  }

  endRetry(): void {
    this.retriesUnderWay -= 1;
  }

  /** The latest attempt. */
  get last(): RigAttempt {
    const last = this.attempts.at(-1);
    if (!last) throw new Error(`nothing was sent to ${this.name}`);
    return last;
  }
}

/** A channel that does nothing. */
export const FAKE_CHANNEL: Channel = {
  handler: { onData() {}, onEnd() {}, onDrain() {}, onClose() {} },
  local: { host: "10.0.0.1", port: 15001 },
  remote: { host: "10.0.0.9", port: 5000 },
  tls: undefined,
  isOpen: true,
  bufferedBytes: 0,
  writeLatin1: () => true,
  writeBytes: () => true,
  forward: () => true,
  pause() {},
  resume() {},
  end() {},
  destroy() {},
};

/** TLS of a mesh client. */
export function meshTls(uri = "spiffe://cluster.local/ns/default/sa/client"): TlsInfo {
  return {
    protocol: "TLSv1.3",
    alpn: "http/1.1",
    serverName: "outbound_.80_._.svc",
    peer: { uriSans: [uri], dnsSans: [], subject: "", sha256: "ab".repeat(32), notAfterMs: 2e12 },
    localUriSans: ["spiffe://cluster.local/ns/default/sa/server"],
  };
}

/** An access log of one format. */
export function accessLog(format: string): AccessLog {
  const file = create(FileAccessLogSchema, {
    path: "/log",
    accessLogFormat: {
      case: "logFormat",
      value: { format: { case: "textFormatSource", value: { specifier: { case: "inlineString", value: format } } } },
    },
  });
  return create(AccessLogSchema, { name: "log", configType: { case: "typedConfig", value: anyPack(FileAccessLogSchema, file) } });
}

/** What a rig is made of. */
export interface RigOptions {
  /** Without http_filters and route_specifier where these are to be the defaults. */
  readonly config?: MessageInitShape<typeof HttpConnectionManagerSchema>;
  readonly filters?: readonly MessageInitShape<typeof HttpFilterSchema>[];
  readonly clusters?: readonly RigCluster[];
  readonly connection?: Partial<DownstreamConnection>;
  readonly tls?: TlsInfo;
  readonly version?: "HTTP/1.1" | "HTTP/2";
  readonly random?: Random;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** See the file's head. */
export class HttpRig {
  readonly clock = new FakeClock();
  readonly metrics = createMetricsRegistry();
  readonly lines: string[] = [];
  readonly clusters: ReadonlyMap<string, RigCluster>;
  readonly manager: TerminalFilter;
  isDrained = false;
  #handler: ServerHandler | undefined;
  readonly #connection: ServerConnection;

  constructor(options: RigOptions = {}) {
    const clusters = options.clusters ?? [new RigCluster("a"), new RigCluster("b")];
    this.clusters = new Map(clusters.map((cluster) => [cluster.name, cluster]));
    const context: ProxyContext = {
      clock: this.clock,
      random: options.random ?? createSeededRandom(1),
      log: silentLog,
      network: {
        dialer: { dial: () => ({ cancel() {} }) },
        acceptor: { listen: () => Promise.reject(new Error("no")) },
        resolver: { resolve: () => Promise.reject(new Error("no")) },
      },
      metrics: this.metrics,
      accessLogs: { open: () => ({ write: (text) => this.lines.push(text), reopen() {} }) },
      node: {
        id: "sidecar~10.0.0.1~client.default~default.svc.cluster.local",
        cluster: "client.default",
        metadata: options.metadata ?? {},
        peer: {
          workload: "client",
          namespace: "default",
          app: "client",
          version: "v1",
          cluster: "Kubernetes",
          canonicalService: "client",
          canonicalRevision: "v1",
        },
        locality: { region: "", zone: "", subZone: "" },
      },
      clusters: { get: (name) => this.clusters.get(name), names: clusters.map(({ name }) => name) },
    };
    const config = create(HttpConnectionManagerSchema, {
      statPrefix: "test",
      httpFilters: [
        ...(options.filters ?? []),
        { name: "envoy.filters.http.router", configType: { case: "typedConfig", value: anyPack(RouterSchema, create(RouterSchema)) } },
      ],
      routeSpecifier: {
        case: "routeConfig",
        value: {
          virtualHosts: [
            {
              name: "all",
              domains: ["*"],
              routes: [
                {
                  match: { pathSpecifier: { case: "prefix", value: "/" } },
                  action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "a" } } },
                },
              ],
            },
          ],
        },
      },
      ...options.config,
    });
    const violations = validateHttpConnectionManager(config);
    if (violations.length > 0) throw new Error(violations.join("\n"));
    const channel: Channel = { ...FAKE_CHANNEL, tls: options.tls };
    this.#connection = {
      channel,
      version: options.version ?? "HTTP/1.1",
      activeStreams: 0,
      drain: () => (this.isDrained = true),
      destroy() {},
    };
    const makeCodec = (_channel: Channel, _options: unknown, handler: ServerHandler): ServerConnection => {
      this.#handler = handler;
      return this.#connection;
    };
    this.manager = createHttpConnectionManager(config, {
      context,
      routes: { watch: () => ({ close() {} }) },
      codecs: { http1: makeCodec, http2: makeCodec },
    });
    this.manager.accept({
      channel,
      localAddress: { host: "10.96.0.7", port: 80 },
      remoteAddress: { host: "10.0.0.9", port: 5000 },
      listenerName: "test",
      direction: "outbound",
      requestedServerName: undefined,
      applicationProtocol: options.version === "HTTP/2" ? "h2" : "http/1.1",
      ...options.connection,
    });
  }

  /** A client's request. `body` undefined: the head is all of it; "" leaves it open. */
  request(
    options: {
      readonly method?: string;
      readonly path?: string;
      readonly authority?: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
      readonly open?: boolean;
      readonly version?: HttpVersion;
      readonly upgrade?: string;
    } = {},
  ): RigStream {
    const stream = new RigStream(this.#connection);
    const head: RequestHead = {
      method: options.method ?? "GET",
      path: options.path ?? "/",
      authority: options.authority ?? "svc",
      scheme: "http",
      headers: HeaderList.of(options.headers ?? {}),
      version: options.version ?? this.#connection.version,
      upgrade: options.upgrade,
    };
    const isAll = options.body === undefined && !options.open;
    if (!this.#handler) throw new Error("no codec");
    this.#handler.onRequest(stream, head, isAll);
    if (options.body !== undefined) stream.data(options.body, !options.open);
    return stream;
  }

  /** The client goes away. */
  drop(stream: RigStream, kind: StreamReset["kind"] = "connection-closed"): void {
    stream.handler.onReset({ kind, detail: "gone" });
  }

  /** The codec refuses a request by itself. */
  refuse(error: { readonly status: number; readonly details: string; readonly message: string }): void {
    this.#handler?.onCodecError(error);
  }

  /** The connection is gone. */
  closeConnection(): void {
    this.#handler?.onClose();
  }

  cluster(name = "a"): RigCluster {
    const cluster = this.clusters.get(name);
    if (!cluster) throw new Error(`no cluster ${name}`);
    return cluster;
  }

  /** The value of an Envoy statistic. */
  stat(name: string): number {
    return this.metrics.envoyCounter(name).value;
  }
}
