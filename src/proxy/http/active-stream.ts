/**
 * One request at a listener, from its head to its last byte: admission, route, filters, router, and the answer back through them. All that a
 * request needs stands on this object, so that a plain one makes no closures and no promises.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { Address, PeerCertificate } from "../../model/connection.ts";
import type { HeaderList } from "../../net/http/headers.ts";
import type { RequestHead, ResponseHead, ServerStream, StreamHandler, StreamReset } from "../../net/http/stream.ts";
import type { FieldTarget } from "../../policy/fields.ts";
import type { Reporter } from "../../telemetry/istio-metrics.ts";
import type { PeerInfo, StreamRecord } from "../../telemetry/record.ts";
import { TLS_REDIRECT } from "../route/redirect.ts";
import type { ClusterTarget, FilterOverride, ForwardAction, RouteEntry } from "../route/route-entry.ts";
import { isGrpcContentType } from "../route/route-match.ts";
import type { RouteTable } from "../route/route-table.ts";
import type { LoadBalancerContext, UpstreamCluster } from "../types.ts";
import type { ClusterCounters } from "./cluster-counters.ts";
import type { FilterStream } from "./filter.ts";
import type { GrpcMessageCounter } from "./filters/grpc-message-counter.ts";
import { encodeLocalReply, type LocalReply, REPLIES } from "./local-reply.ts";
import type { ManagerCore } from "./manager-core.ts";
import { type AdmissionContext, admitRequest } from "./request-admission.ts";
import { Router, type RouterStream } from "./router.ts";
import { Timeout, type TimeoutLists } from "./timeout-lists.ts";

/** What is kept of a request's body while a filter waits; more is answered with 413. */
const HELD_BYTES_MAX = 256 * 1024;

/** Takes what still comes of a request that was answered. */
const DEAF: StreamHandler = { onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };

/** What a request needs of its connection. */
export interface StreamConnection {
  readonly admission: AdmissionContext;
  readonly loadBalancing: LoadBalancerContext;
  readonly reporter: Reporter;
  readonly remoteAddress: Address;
  readonly localAddress: Address;
  readonly isHttp2: boolean;
  /** Clients of the mesh may tell who they are. */
  readonly learnsPeers: boolean;
  readonly peerHeaders: { readonly id: string; readonly metadata: string } | undefined;
  /** A request of it ended. */
  onStreamEnd(): void;
}

/** See the file's head. */
export class ActiveStream implements StreamHandler, FilterStream, RouterStream {
  readonly #core: ManagerCore;
  readonly #connection: StreamConnection;
  readonly #down: ServerStream;
  readonly head: RequestHead;
  readonly record: StreamRecord;
  isGrpc = false;
  hasOrders = false;
  hasExpect = false;
  hasPeerWords = false;
  // Routing.
  #table: RouteTable | undefined;
  #route: RouteEntry | undefined;
  #target: ClusterTarget | undefined;
  #router: Router | undefined;
  /** The next filter to ask. */
  #filterAt = 0;
  #filterState: Map<string, string> | undefined;
  #wait: Timer | undefined;
  #waitDone: (() => void) | undefined;
  requestMessages: GrpcMessageCounter | undefined;
  responseMessages: GrpcMessageCounter | undefined;
  corsOrigin: string | undefined;
  /** Who the client is, from its headers; taken out before anybody else sees them. */
  clientPeer: PeerInfo | undefined;
  // The request.
  #requestEnded = false;
  #held: Buffer[] | undefined;
  #heldBytes = 0;
  #heldTrailers: HeaderList | undefined;
  // The answer.
  responseHeaders: HeaderList | undefined;
  responseTrailers: HeaderList | undefined;
  #hasHead = false;
  #isTunnel = false;
  isGone = false;
  // Timeouts; made when they are needed.
  #idle: Timeout | undefined;
  #idleMs = 0;
  #overall: Timeout | undefined;
  #duration: Timeout | undefined;

  constructor(core: ManagerCore, connection: StreamConnection, down: ServerStream, head: RequestHead, record: StreamRecord) {
    this.#core = core;
    this.#connection = connection;
    this.#down = down;
    this.head = head;
    this.record = record;
  }

  /** Takes the request on; `this` is the stream's handler already. */
  start(requestEnded: boolean): void {
    const { config } = this.#core;
    const { head, record } = this;
    this.#requestEnded = requestEnded;
    record.protocol = head.version;
    record.method = head.method;
    record.path = head.path;
    record.authority = head.authority;
    this.#table = this.#core.routeTable;
    const refused = admitRequest(head, record, this.#connection.admission, this);
    this.isGrpc = isGrpcContentType(record.contentType);
    this.#startLimits(requestEnded);
    if (refused) {
      if (refused === REPLIES.lowVersion) this.#down.connection.drain();
      this.reply(refused);
      return;
    }
    if (this.hasExpect && !config.proxies100) this.#answerExpect();
    if (this.hasPeerWords) this.#learnPeer();
    this.#findRoute();
    this.#startDuration();
    // CONNECT without a route is answered as any request without one.
    if (head.upgrade !== undefined || (head.method === "CONNECT" && this.#route)) {
      if (!this.#allowsUpgrade(head.upgrade ?? "connect")) {
        this.reply(REPLIES.upgradeFailed);
        return;
      }
    }
    this.#runFilters();
  }

  // What the client sends.

  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    this.record.bytesReceived += end - start;
    this.requestMessages?.feed(buffer, start, end);
    if (this.#idle) this.#touch();
    if (endStream) this.#endRequest();
    if (this.#router) this.#router.onData(buffer, start, end, endStream);
    else this.#hold(buffer, start, end);
  }

  onTrailers(trailers: HeaderList): void {
    this.#endRequest();
    if (this.#router) this.#router.onTrailers(trailers);
    else this.#heldTrailers = trailers;
  }

  onReset(reset: StreamReset): void {
    const { record } = this;
    switch (reset.kind) {
      case "connection-closed":
        record.flags.add("DC");
        record.details = "downstream_remote_disconnect";
        break;
      case "protocol-error":
        record.flags.add("DPE");
        record.details = this.#connection.isHttp2 ? "http2.protocol_error" : "http1.codec_error";
        break;
      case "remote-reset":
      case "refused":
        record.flags.add("DR");
        record.details = "http2.remote_reset";
        break;
      case "local-reset":
        record.details = "downstream_local_disconnect";
        break;
    }
    this.#end();
  }

  onDrain(): void {
    this.#router?.onDownstreamDrain();
  }

  // FormatSource, RbacInput and HashInput.

  get request(): RequestHead {
    return this.head;
  }

  get directRemote(): Address {
    return this.#connection.remoteAddress;
  }

  get filterState(): ReadonlyMap<string, string> | undefined {
    return this.#filterState;
  }

  get peer(): PeerCertificate | undefined {
    return this.record.downstreamTls?.peer;
  }

  get isTls(): boolean {
    return this.record.downstreamTls !== undefined;
  }

  get destinationIp(): string {
    return this.#connection.localAddress.host;
  }

  get destinationPort(): number {
    return this.#connection.localAddress.port;
  }

  get directRemoteIp(): string {
    return this.#connection.remoteAddress.host;
  }

  get remoteIp(): string {
    return this.record.downstreamRemote?.host ?? this.directRemoteIp;
  }

  get requestedServerName(): string | undefined {
    return this.record.requestedServerName;
  }

  get hashInput(): ActiveStream {
    return this;
  }

  readonly uuid = (): string => this.#core.random.uuid();

  // FilterStream and RouterStream.

  get clock(): Clock {
    return this.#core.clock;
  }

  get random(): Random {
    return this.#core.random;
  }

  get timeouts(): TimeoutLists {
    return this.#core.timeouts;
  }

  get route(): RouteEntry {
    return this.#route as RouteEntry; // The router runs with a route only; filters see `routeOrNone`.
  }

  get forward(): ForwardAction {
    return this.route.action as ForwardAction; // As above: other actions never reach the router.
  }

  get target(): ClusterTarget {
    return this.#target as ClusterTarget;
  }

  get clusterName(): string | undefined {
    return this.#target?.cluster || undefined;
  }

  get isDownstreamHttp2(): boolean {
    return this.#connection.isHttp2;
  }

  get suppressesEnvoyHeaders(): boolean {
    return this.#core.router.suppressesEnvoyHeaders;
  }

  get plainLoadBalancing(): LoadBalancerContext {
    return this.#connection.loadBalancing;
  }

  get peerHeaders(): { readonly id: string; readonly metadata: string } | undefined {
    return this.#connection.peerHeaders;
  }

  findCluster(name: string): { readonly cluster: UpstreamCluster; readonly counters: ClusterCounters } | undefined {
    return this.#core.findCluster(name);
  }

  overrideOf(filterName: string): FilterOverride | undefined {
    const route = this.#route;
    return (
      this.#target?.filters?.get(filterName) ??
      route?.filters?.get(filterName) ??
      route?.virtualHost.filters?.get(filterName) ??
      this.#table?.filters?.get(filterName)
    );
  }

  setFilterState(key: string, value: string): void {
    this.#filterState ??= new Map();
    this.#filterState.set(key, value);
  }

  wait(delayMs: number, done: () => void): void {
    this.#waitDone = done;
    this.#wait = this.#core.clock.after(delayMs, () => this.#endWait());
  }

  resume(): void {
    if (!this.isGone && !this.#hasHead) this.#runFilters();
  }

  /** Narrow to wide, so that the widest comes last and wins, unless the table says otherwise. */
  applyRequestOps(headers: FieldTarget): void {
    const table = this.#table;
    const route = this.#route;
    if (table?.specificOpsWin) {
      table.requestOps?.apply(headers, this);
      route?.virtualHost.requestOps?.apply(headers, this);
      route?.requestOps?.apply(headers, this);
      this.#target?.requestOps?.apply(headers, this);
      return;
    }
    this.#target?.requestOps?.apply(headers, this);
    route?.requestOps?.apply(headers, this);
    route?.virtualHost.requestOps?.apply(headers, this);
    table?.requestOps?.apply(headers, this);
  }

  applyResponseOps(headers: FieldTarget): void {
    const table = this.#table;
    const route = this.#route;
    if (table?.specificOpsWin) {
      table.responseOps?.apply(headers, this);
      route?.virtualHost.responseOps?.apply(headers, this);
      route?.responseOps?.apply(headers, this);
      this.#target?.responseOps?.apply(headers, this);
      return;
    }
    this.#target?.responseOps?.apply(headers, this);
    route?.responseOps?.apply(headers, this);
    route?.virtualHost.responseOps?.apply(headers, this);
    table?.responseOps?.apply(headers, this);
  }

  reply(reply: LocalReply): "replied" {
    if (this.isGone) return "replied";
    const { record } = this;
    if (reply.flag) record.flags.add(reply.flag);
    record.details = reply.details;
    if (this.#hasHead) {
      this.abort();
      return "replied";
    }
    const { head, body, grpcStatus } = encodeLocalReply(reply, {
      method: this.head.method,
      isGrpc: this.isGrpc,
      version: this.head.version,
    });
    if (grpcStatus !== undefined) record.grpcStatus = grpcStatus;
    // Once there is a route its changes hold for every answer, ours too.
    if (this.#route && !reply.isBare) this.applyResponseOps(head.headers);
    const router = this.#router;
    this.sendHead(head, body === undefined);
    if (body) this.sendData(body, 0, body.length, true);
    router?.countAnswer(head.status);
    return "replied";
  }

  sendInformational(head: ResponseHead): void {
    if (!this.isGone && !this.#hasHead) this.#down.writeInformational(head);
  }

  sendHead(head: ResponseHead, endStream: boolean): void {
    if (this.isGone || this.#hasHead) return;
    this.#hasHead = true;
    const { filters } = this.#core;
    for (let i = Math.min(this.#filterAt, filters.length) - 1; i >= 0; i--) filters[i]?.onResponse?.(this, head);
    this.#finishHead(head.headers);
    const { record } = this;
    record.status = head.status;
    this.responseHeaders = head.headers;
    record.responseHeaderBytes = bytesOf(head.headers.flat);
    if (record.details === "via_upstream") this.#router?.countAnswer(head.status);
    if (this.#idle) this.#touch();
    this.#down.writeHead(head, endStream);
    if (endStream) this.#finishAnswer();
  }

  sendData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    if (this.isGone) return true;
    this.record.bytesSent += end - start;
    this.responseMessages?.feed(buffer, start, end);
    if (this.#idle) this.#touch();
    const goesOn = this.#down.writeData(buffer, start, end, endStream);
    if (endStream) this.#finishAnswer();
    return goesOn;
  }

  sendTrailers(trailers: HeaderList): void {
    if (this.isGone) return;
    this.responseTrailers = trailers;
    this.#down.writeTrailers(trailers);
    this.#finishAnswer();
  }

  abort(): void {
    if (this.isGone) return;
    const down = this.#down;
    down.handler = DEAF;
    this.#end();
    down.reset("internal-error");
  }

  pauseRequest(): void {
    if (!this.#requestEnded) this.#down.pauseReading();
  }

  resumeRequest(): void {
    if (!this.#requestEnded) this.#down.resumeReading();
  }

  becomeTunnel(): void {
    this.#isTunnel = true;
    this.#duration?.stop();
    this.#overall?.stop();
  }

  // Steps.

  #answerExpect(): void {
    const { head } = this;
    if (head.headers.get("expect")?.toLowerCase() !== "100-continue") return;
    head.headers.remove("expect");
    if (head.version !== "HTTP/1.0") this.#down.writeInformational({ status: 100, headers: this.#core.noHeaders(), version: head.version });
  }

  #startLimits(requestEnded: boolean): void {
    const { config, timeouts } = this.#core;
    this.#idleMs = config.streamIdleMs;
    if (this.#idleMs > 0) {
      this.#idle = new Timeout(() => this.#onIdle());
      timeouts.start(this.#idle, this.#idleMs, this.record.startMs);
    }
    if (config.requestTimeoutMs > 0 && !requestEnded) {
      this.#overall = new Timeout(() => this.reply(REPLIES.requestTimeout));
      timeouts.start(this.#overall, config.requestTimeoutMs, this.record.startMs);
    }
  }

  #touch(): void {
    if (this.#idle) this.#core.timeouts.start(this.#idle, this.#idleMs, this.#core.clock.monotonicMs());
  }

  /** A name is believed of those who proved who they are; nobody behind us sees it. */
  #learnPeer(): void {
    const { headers } = this.head;
    const metadata = headers.get("x-envoy-peer-metadata");
    if (metadata !== undefined && this.peer && this.#connection.learnsPeers) this.clientPeer = this.#core.peerFrom(metadata);
    headers.remove("x-envoy-peer-metadata");
    headers.remove("x-envoy-peer-metadata-id");
  }

  #findRoute(): void {
    const table = this.#table;
    const { head, record } = this;
    const host = table?.virtualHostOf(head.authority);
    if (!table || !host) return;
    const route = table.routeOf(host, head, this.#core.draw);
    this.#route = route;
    if (!route) return;
    record.routeName = route.name === "" ? undefined : route.name;
    if (route.action.kind !== "forward") return;
    this.#target = pickTarget(route.action, this.#core.draw);
    if (this.#target) this.#core.recordCluster(record, this.#target.cluster);
    const idleMs = route.action.idleTimeoutMs;
    if (idleMs === undefined || idleMs === this.#idleMs) return;
    this.#idleMs = idleMs;
    this.#idle ??= new Timeout(() => this.#onIdle());
    this.#core.timeouts.start(this.#idle, idleMs, this.record.startMs);
    if (idleMs <= 0) this.#idle = undefined;
  }

  /** Source: Envoy RouteAction.MaxStreamDuration, grpc_timeout_header_max. */
  #startDuration(): void {
    const action = this.#route?.action;
    const limit = action?.kind === "forward" ? action.maxStreamDuration : undefined;
    let durationMs = limit?.durationMs ?? this.#core.config.streamDurationMaxMs;
    if (limit?.grpcMaxMs !== undefined && this.isGrpc) {
      const asked = grpcTimeoutMs(this.head.headers.get("grpc-timeout"));
      if (asked !== undefined) {
        const capped = limit.grpcMaxMs > 0 ? Math.min(asked, limit.grpcMaxMs) : asked;
        durationMs = Math.max(1, capped > limit.grpcOffsetMs ? capped - limit.grpcOffsetMs : capped);
      }
    }
    if (durationMs <= 0) return;
    this.#duration = new Timeout(() => this.#onDuration());
    this.#core.timeouts.start(this.#duration, durationMs, this.record.startMs);
  }

  #allowsUpgrade(type: string): boolean {
    const action = this.#route?.action;
    const override = action?.kind === "forward" ? action.upgrades?.get(type) : undefined;
    return override ?? this.#core.config.upgrades.get(type) ?? false;
  }

  #runFilters(): void {
    const { filters } = this.#core;
    while (this.#filterAt < filters.length) {
      const filter = filters[this.#filterAt++];
      const verdict = filter?.onRequest(this) ?? "continue";
      if (verdict === "replied") return;
      if (verdict === "pause") {
        this.pauseRequest();
        return;
      }
    }
    this.#act();
  }

  /** All filters let it pass. */
  #act(): void {
    const route = this.#route;
    if (!route) {
      this.#core.stats.noRoute.add();
      this.reply(REPLIES.routeNotFound);
      return;
    }
    const { requireTls } = route.virtualHost;
    const action = requireTls !== "none" && this.#isPlaintext(requireTls) ? TLS_REDIRECT : route.action;
    switch (action.kind) {
      case "direct":
        this.#core.stats.directResponses.add();
        this.reply({ status: action.status, body: action.body, details: "direct_response" });
        return;
      case "redirect":
        this.#core.stats.redirects.add();
        this.reply({
          status: action.status,
          body: "",
          details: "direct_response",
          headers: [["location", action.location(this.head)]],
          isBare: action === TLS_REDIRECT,
        });
        return;
      case "forward":
        this.#forward();
    }
  }

  #isPlaintext(requireTls: "external" | "all"): boolean {
    if (requireTls === "external" && this.head.headers.get("x-envoy-internal") === "true") return false;
    return this.head.headers.get("x-forwarded-proto") !== "https";
  }

  #forward(): void {
    const router = new Router(this);
    this.#router = router;
    const held = this.#held;
    const trailers = this.#heldTrailers;
    router.start(this.#requestEnded && held === undefined && trailers === undefined);
    if (held === undefined && trailers === undefined) return;
    this.#held = undefined;
    const endsWithData = this.#requestEnded && trailers === undefined;
    for (const [i, chunk] of (held ?? []).entries()) router.onData(chunk, 0, chunk.length, endsWithData && i === (held?.length ?? 0) - 1);
    if (trailers) router.onTrailers(trailers);
    this.resumeRequest();
  }

  #hold(buffer: Buffer, start: number, end: number): void {
    this.#heldBytes += end - start;
    if (this.#heldBytes > HELD_BYTES_MAX) {
      this.reply(REPLIES.payloadTooLarge);
      return;
    }
    const copy = Buffer.from(buffer.subarray(start, end));
    if (this.#held) this.#held.push(copy);
    else this.#held = [copy];
  }

  #endRequest(): void {
    this.#requestEnded = true;
    this.#overall?.stop();
  }

  /** What every answer carries, the server's and ours. */
  #finishHead(headers: HeaderList): void {
    const { config } = this.#core;
    if (config.via !== "") headers.add("via", config.via);
    if (config.requestIdInResponse && this.record.requestId !== undefined) headers.set("x-request-id", this.record.requestId);
    if (!headers.has("date")) headers.add("date", this.#core.date());
    if (config.serverHeader === "overwrite" || (config.serverHeader === "if-absent" && !headers.has("server")))
      headers.set("server", config.serverName);
  }

  #onIdle(): void {
    this.#core.stats.idleTimeouts.add();
    this.reply({ status: this.#requestEnded ? 504 : 408, body: "stream timeout", details: "stream_idle_timeout", flag: "SI" });
  }

  #onDuration(): void {
    this.#core.stats.durationReached.add();
    this.reply({
      status: this.#requestEnded ? 504 : 408,
      body: "downstream duration timeout",
      details: "max_duration_timeout",
      flag: "UMSDR",
    });
  }

  #endWait(): void {
    const done = this.#waitDone;
    this.#wait?.cancel();
    this.#wait = undefined;
    this.#waitDone = undefined;
    done?.();
  }

  /** The answer is complete. What the client still sends is of no use to anybody. */
  #finishAnswer(): void {
    const down = this.#down;
    const wasWhole = this.#requestEnded;
    down.handler = DEAF;
    this.record.lastDownstreamByteMs = this.#core.clock.monotonicMs();
    this.#end();
    // HTTP/2: RST_STREAM follows the answer. HTTP/1.1: the codec closes, or reads what is left of the body, as it sees fit.
    if (!wasWhole && this.#connection.isHttp2) down.reset("cancel");
  }

  #end(): void {
    if (this.isGone) return;
    this.isGone = true;
    this.#idle?.stop();
    this.#overall?.stop();
    this.#duration?.stop();
    this.#router?.close();
    this.#held = undefined;
    if (this.#waitDone) this.#endWait();
    this.record.endMs = this.record.lastDownstreamByteMs ?? this.#core.clock.monotonicMs();
    this.#connection.onStreamEnd();
    this.#core.report(this, this.#connection);
  }

  /** Whether bytes pass both ways without end. */
  get isTunnel(): boolean {
    return this.#isTunnel;
  }
}

function bytesOf(flat: readonly string[]): number {
  let bytes = 0;
  for (const text of flat) bytes += text.length;
  return bytes;
}

function pickTarget(action: ForwardAction, draw: () => number): ClusterTarget | undefined {
  const { targets, weightSums } = action;
  if (targets.length === 1) return targets[0];
  const at = draw() * (weightSums.at(-1) ?? 0);
  for (let i = 0; i < targets.length; i++) if (at < (weightSums[i] as number)) return targets[i];
  return targets.at(-1);
}

const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 0.001, n: 0.000001 };

/** Source: gRPC over HTTP/2, Timeout. */
function grpcTimeoutMs(value: string | undefined): number | undefined {
  const match = value === undefined ? null : /^(\d{1,8})([HMSmun])$/.exec(value);
  return match ? Number(match[1]) * (UNIT_MS[match[2] as string] as number) : undefined;
}
