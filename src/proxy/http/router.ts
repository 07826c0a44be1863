/**
 * The last filter: sends a request to a host of its cluster, again where that is right, and hands back the answer. One object a request.
 * Source: Envoy, Router filter.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { Channel } from "../../net/channel.ts";
import type { HeaderList } from "../../net/http/headers.ts";
import type { RequestHead, ResponseHead, StreamReset } from "../../net/http/stream.ts";
import type { FieldTarget } from "../../policy/fields.ts";
import {
  askedWaitMs,
  backoffMs,
  isRetriableReset,
  isRetriableResponse,
  type ResetKind,
  type RetryAsk,
  type RetryRules,
  readRetryAsk,
} from "../../policy/retry.ts";
import type { ResponseFlag, StreamRecord } from "../../telemetry/record.ts";
import type { HashInput } from "../route/hash-policy.ts";
import type { ClusterTarget, ForwardAction, RouteEntry } from "../route/route-entry.ts";
import {
  type LoadBalancerContext,
  recordUpstream,
  type UpstreamCluster,
  type UpstreamFailure,
  type UpstreamHost,
  type UpstreamStream,
  type UpstreamStreamHandler,
} from "../types.ts";
import type { ClusterCounters } from "./cluster-counters.ts";
import { type LocalReply, REPLIES, type UpstreamEnd, upstreamFailureReply } from "./local-reply.ts";
import { Timeout, type TimeoutLists } from "./timeout-lists.ts";

/** What is kept of a request's body so that it can be sent again; a longer one is sent once. */
export const RETRY_BUFFER_BYTES_MAX = 256 * 1024;

/** What the router needs of the stream that it works for. */
export interface RouterStream {
  readonly head: RequestHead;
  readonly record: StreamRecord;
  readonly clock: Clock;
  readonly random: Random;
  readonly timeouts: TimeoutLists;
  readonly route: RouteEntry;
  readonly forward: ForwardAction;
  readonly target: ClusterTarget;
  readonly isGrpc: boolean;
  /** The client may give orders by x-envoy-* headers, and gave some. */
  readonly hasOrders: boolean;
  readonly isDownstreamHttp2: boolean;
  readonly suppressesEnvoyHeaders: boolean;
  readonly hashInput: HashInput;
  /** For requests that ask for nothing special; kept by the connection. */
  readonly plainLoadBalancing: LoadBalancerContext;
  /** Headers that tell peers of the mesh who we are; undefined: none are sent. */
  readonly peerHeaders: { readonly id: string; readonly metadata: string } | undefined;
  findCluster(name: string): { readonly cluster: UpstreamCluster; readonly counters: ClusterCounters } | undefined;
  /** Applies all levels' request header operations. */
  applyRequestOps(headers: FieldTarget): void;
  applyResponseOps(headers: FieldTarget): void;
  reply(reply: LocalReply): "replied";
  sendInformational(head: ResponseHead): void;
  sendHead(head: ResponseHead, endStream: boolean): void;
  sendData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean;
  sendTrailers(trailers: HeaderList): void;
  /** The answer has begun and cannot be finished. */
  abort(): void;
  pauseRequest(): void;
  resumeRequest(): void;
  /** The answer is a tunnel: limits on its whole duration end. */
  becomeTunnel(): void;
}

/** See the file's head. */
export class Router {
  readonly #stream: RouterStream;
  #cluster: UpstreamCluster | undefined;
  #counters: ClusterCounters | undefined;
  #attempt: Attempt | undefined;
  // Retries; `#rules` is undefined where none are asked for.
  #rules: RetryRules | undefined;
  #ask: RetryAsk | undefined;
  #retryOn = 0;
  #retriesLeft = 0;
  #retries = 0;
  #holdsRetry = false;
  #triedHosts: Set<UpstreamHost> | undefined;
  #backoff: Timer | undefined;
  #kept: Buffer[] | undefined;
  #keptBytes = 0;
  // The request.
  #requestEnded = false;
  #requestTrailers: HeaderList | undefined;
  #requestEndMs = 0;
  #loadBalancing: LoadBalancerContext;
  #setCookie: string | undefined;
  #timeoutMs = 0;
  #perTryMs = 0;
  #timeout: Timeout | undefined;
  #perTry: Timeout | undefined;
  #perTryIdle: Timeout | undefined;
  #hasAnswer = false;
  #isTunnel = false;
  #isOver = false;

  constructor(stream: RouterStream) {
    this.#stream = stream;
    this.#loadBalancing = stream.plainLoadBalancing;
  }

  /** Begins. `requestEnded`: the head is all of it. */
  start(requestEnded: boolean): void {
    const { head, target } = this.#stream;
    const name = target.clusterHeader === "" ? target.cluster : (head.headers.get(target.clusterHeader) ?? "");
    const found = this.#stream.findCluster(name);
    if (!found) {
      this.#stream.reply({ status: this.#stream.forward.clusterNotFoundStatus, body: "", details: "cluster_not_found", flag: "NC" });
      return;
    }
    this.#cluster = found.cluster;
    this.#counters = found.counters;
    this.#readLimits();
    this.#readRetries();
    this.#rewriteRequest();
    this.#prepareLoadBalancing();
    if (requestEnded) this.#endRequest();
    this.#send();
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.#isOver) return;
    if (this.#retriesLeft > 0 && !this.#hasAnswer) this.#keep(buffer, start, end);
    if (endStream) this.#endRequest();
    const upstream = this.#attempt?.stream;
    // Between two attempts the body is kept, and nothing more is read.
    if (upstream && !upstream.writeData(buffer, start, end, endStream)) this.#stream.pauseRequest();
  }

  onTrailers(trailers: HeaderList): void {
    if (this.#isOver) return;
    this.#requestTrailers = trailers;
    this.#endRequest();
    this.#attempt?.stream?.writeTrailers(trailers);
  }

  /** The client takes more of the answer. */
  onDownstreamDrain(): void {
    this.#attempt?.stream?.resumeReading();
  }

  /** The request is over, here or at the client: what is still under way is given up. */
  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timeout?.stop();
    this.#stopPerTry();
    this.#backoff?.cancel();
    this.#releaseRetry();
    const attempt = this.#attempt;
    this.#attempt = undefined;
    this.#kept = undefined;
    if (attempt && !attempt.isEnded) attempt.stream?.reset("cancel");
    else if (attempt && !this.#requestEnded && !this.#isTunnel) attempt.stream?.reset("cancel"); // The server answered early: nobody wants the rest.
  }

  /** The answer that the client got, the server's or ours in its place. */
  countAnswer(status: number): void {
    this.#counters?.answered(status);
  }

  // Before the first attempt.

  #readLimits(): void {
    const { forward, head, hasOrders } = this.#stream;
    this.#timeoutMs = forward.timeoutMs;
    this.#perTryMs = forward.retry?.perTryTimeoutMs ?? 0;
    if (hasOrders) {
      this.#timeoutMs = takeNumber(head.headers, "x-envoy-upstream-rq-timeout-ms") ?? this.#timeoutMs;
      this.#perTryMs = takeNumber(head.headers, "x-envoy-upstream-rq-per-try-timeout-ms") ?? this.#perTryMs;
    }
    if (this.#timeoutMs !== 0 && this.#perTryMs >= this.#timeoutMs) this.#perTryMs = 0;
    this.#tellTimeout(0);
    const limitMs = this.#cluster?.maxStreamDurationMs ?? 0;
    if (limitMs > 0 && (this.#timeoutMs === 0 || limitMs < this.#timeoutMs)) this.#timeoutMs = limitMs;
  }

  /** What an attempt may take: its own time, or what is left of the whole. */
  #tellTimeout(elapsedMs: number): void {
    const { head, suppressesEnvoyHeaders } = this.#stream;
    if (suppressesEnvoyHeaders) return;
    const leftMs = this.#timeoutMs > 0 ? Math.max(1, this.#timeoutMs - elapsedMs) : 0;
    const expectedMs = this.#perTryMs > 0 && (leftMs === 0 || this.#perTryMs < leftMs) ? this.#perTryMs : leftMs;
    if (expectedMs > 0) head.headers.set("x-envoy-expected-rq-timeout-ms", String(Math.floor(expectedMs)));
  }

  #readRetries(): void {
    const { forward, head, hasOrders } = this.#stream;
    const ask = hasOrders ? readRetryAsk(head.headers) : undefined;
    const rules = forward.retry ?? (ask ? NO_RULES : undefined);
    if (hasOrders) for (const name of RETRY_HEADERS) head.headers.remove(name);
    if (!rules) return;
    const on = rules.on | (ask?.on ?? 0);
    if (on === 0) return;
    if (rules.requestHeaders.length > 0 && !rules.requestHeaders.some((test) => test(head))) return;
    this.#rules = rules;
    this.#ask = ask;
    this.#retryOn = on;
    this.#retriesLeft = ask?.retriesMax ?? rules.retriesMax;
    if (rules.avoidsTriedHosts) this.#triedHosts = new Set();
  }

  #rewriteRequest(): void {
    const { head, forward, target, suppressesEnvoyHeaders } = this.#stream;
    this.#stream.applyRequestOps(head.headers);
    const hostRewrite = target.hostRewrite ?? forward.hostRewrite;
    if (typeof hostRewrite === "function") this.#rewriteHost(hostRewrite(head));
    if (forward.pathRewrite && head.path !== "") {
      if (!suppressesEnvoyHeaders) head.headers.set("x-envoy-original-path", head.path);
      this.#stream.record.originalPath = head.path;
      head.path = forward.pathRewrite(head.path);
    }
  }

  #rewriteHost(host: string | undefined): void {
    const { head, forward, suppressesEnvoyHeaders } = this.#stream;
    if (host === undefined || host === head.authority) return;
    if (forward.appendForwardedHost && head.headers.getAll("x-forwarded-host").at(-1) !== head.authority)
      head.headers.add("x-forwarded-host", head.authority);
    if (!suppressesEnvoyHeaders && !head.headers.has("x-envoy-original-host")) head.headers.set("x-envoy-original-host", head.authority);
    head.authority = host;
  }

  #prepareLoadBalancing(): void {
    const { forward, target, plainLoadBalancing } = this.#stream;
    if (!forward.hashPolicy && !target.metadataMatch && !this.#triedHosts) return;
    const hashed = forward.hashPolicy?.(this.#stream.hashInput);
    this.#setCookie = hashed?.setCookie;
    this.#loadBalancing = {
      originalDestination: plainLoadBalancing.originalDestination,
      triedHosts: this.#triedHosts,
      hash: hashed?.hash,
      metadataMatch: target.metadataMatch,
    };
  }

  #endRequest(): void {
    this.#requestEnded = true;
    this.#requestEndMs = this.#stream.clock.monotonicMs();
    if (this.#timeoutMs > 0 && !this.#isTunnel) {
      this.#timeout = new Timeout(() => this.#onTimeout());
      this.#stream.timeouts.start(this.#timeout, this.#timeoutMs, this.#requestEndMs);
    }
    // An attempt that began before the request's end counts from here.
    if (this.#attempt && !this.#hasAnswer) this.#startPerTry();
  }

  #keep(buffer: Buffer, start: number, end: number): void {
    this.#keptBytes += end - start;
    if (this.#keptBytes > (this.#stream.route.bufferBytesMax ?? RETRY_BUFFER_BYTES_MAX)) {
      this.#kept = undefined;
      this.#retriesLeft = 0;
      return;
    }
    if (end === start) return;
    const copy = Buffer.from(buffer.subarray(start, end));
    if (this.#kept) this.#kept.push(copy);
    else this.#kept = [copy];
  }

  // Attempts.

  #send(): void {
    const stream = this.#stream;
    const { record, head } = stream;
    const cluster = this.#cluster as UpstreamCluster;
    record.attempts += 1;
    const host = cluster.chooseHost(this.#loadBalancing);
    if (!host) {
      stream.reply(REPLIES.noHealthyUpstream);
      return;
    }
    this.#triedHosts?.add(host);
    if (stream.route.virtualHost.attemptCountInRequest) head.headers.set("x-envoy-attempt-count", String(record.attempts));
    if ((stream.target.hostRewrite ?? stream.forward.hostRewrite) === "auto") this.#rewriteHost(host.hostname || undefined);
    if (stream.peerHeaders) this.#introduce(host);
    recordUpstream(record, cluster, host);
    const attempt = new Attempt(this);
    this.#attempt = attempt;
    const kept = this.#kept;
    const headIsAll = this.#requestEnded && kept === undefined && this.#requestTrailers === undefined;
    attempt.stream = cluster.openStream(host, { head, endStream: headIsAll, downstreamIsHttp2: stream.isDownstreamHttp2 }, attempt);
    if (this.#requestEnded) this.#startPerTry();
    if (!headIsAll && kept) this.#sendKept(attempt.stream, kept);
    if (this.#requestTrailers) attempt.stream.writeTrailers(this.#requestTrailers);
  }

  #sendKept(upstream: UpstreamStream, kept: readonly Buffer[]): void {
    const ends = this.#requestEnded && this.#requestTrailers === undefined;
    kept.forEach((chunk, i) => {
      if (!upstream.writeData(chunk, 0, chunk.length, ends && i === kept.length - 1)) this.#stream.pauseRequest();
    });
  }

  /** Only servers of the mesh that prove who they are hear who asks. */
  #introduce(host: UpstreamHost): void {
    const { head, peerHeaders } = this.#stream;
    if (!peerHeaders) return;
    if (host.usesMutualTls) {
      head.headers.set("x-envoy-peer-metadata-id", peerHeaders.id);
      head.headers.set("x-envoy-peer-metadata", peerHeaders.metadata);
    } else {
      head.headers.remove("x-envoy-peer-metadata-id");
      head.headers.remove("x-envoy-peer-metadata");
    }
  }

  #startPerTry(): void {
    const { timeouts, clock } = this.#stream;
    if (this.#perTryMs > 0) {
      this.#perTry ??= new Timeout(() => this.#onPerTryTimeout(REPLIES.perTryTimeout));
      timeouts.start(this.#perTry, this.#perTryMs, clock.monotonicMs());
    }
    this.#startPerTryIdle();
  }

  #startPerTryIdle(): void {
    const idleMs = this.#rules?.perTryIdleTimeoutMs ?? 0;
    if (idleMs <= 0) return;
    this.#perTryIdle ??= new Timeout(() => this.#onPerTryTimeout(REPLIES.perTryIdleTimeout));
    this.#stream.timeouts.start(this.#perTryIdle, idleMs, this.#stream.clock.monotonicMs());
  }

  #stopPerTry(): void {
    this.#perTry?.stop();
    this.#perTryIdle?.stop();
  }

  /** True when another attempt will be made. `waitMs` undefined: the usual backoff. */
  #tryAgain(waitMs: number | undefined): boolean {
    const { record, clock, random } = this.#stream;
    this.#releaseRetry();
    if (this.#retriesLeft <= 0) {
      record.flags.add("URX");
      this.#counters?.retryLimitExceeded.add();
      return false;
    }
    if (!this.#cluster?.tryStartRetry()) {
      record.flags.add("UO");
      return false;
    }
    this.#holdsRetry = true;
    this.#retriesLeft -= 1;
    this.#retries += 1;
    this.#counters?.retry.add();
    this.#stopPerTry();
    this.#attempt = undefined;
    if (!this.#requestEnded) this.#stream.pauseRequest();
    const rules = this.#rules ?? NO_RULES;
    this.#backoff = clock.after(waitMs ?? backoffMs(rules, this.#retries, random.next()), () => {
      this.#backoff = undefined;
      if (this.#isOver) return;
      if (this.#requestEnded) this.#tellTimeout(clock.monotonicMs() - this.#requestEndMs);
      else this.#stream.resumeRequest();
      this.#send();
    });
    return true;
  }

  #releaseRetry(): void {
    if (!this.#holdsRetry) return;
    this.#holdsRetry = false;
    this.#cluster?.endRetry();
  }

  // What the upstream says; of an attempt that was given up nothing is heard.

  onConnected(attempt: Attempt, channel: Channel): void {
    if (this.#attempt !== attempt) return;
    attempt.isSent = true;
    this.#stream.record.upstreamLocal = channel.local;
    this.#stream.record.upstreamTls = channel.tls;
  }

  onInformational(attempt: Attempt, head: ResponseHead): void {
    if (this.#attempt === attempt && !this.#hasAnswer) this.#stream.sendInformational(head);
  }

  onResponse(attempt: Attempt, head: ResponseHead, endStream: boolean): void {
    if (this.#attempt !== attempt || this.#hasAnswer) return;
    const { record, clock, route } = this.#stream;
    attempt.isEnded = endStream;
    if (this.#rules && isRetriableResponse(this.#retryOn, this.#rules, this.#ask?.statusCodes ?? NO_CODES, head.status, head.headers)) {
      if (this.#tryAgain(askedWaitMs(this.#rules, head.headers, clock.nowMs()))) {
        if (!endStream || !this.#requestEnded) attempt.stream?.reset("cancel");
        return;
      }
    }
    const nowMs = clock.monotonicMs();
    this.#hasAnswer = true;
    this.#perTry?.stop();
    this.#kept = undefined;
    if (this.#retries > 0 && head.status < 500) this.#counters?.retrySuccess.add();
    this.#releaseRetry();
    record.firstUpstreamByteMs = nowMs;
    record.details = "via_upstream";
    if (this.#requestEnded) {
      const serviceMs = Math.floor(nowMs - this.#requestEndMs);
      record.upstreamServiceTimeMs = serviceMs;
      this.#counters?.timeMs.record(serviceMs);
      if (!this.#stream.suppressesEnvoyHeaders) head.headers.set("x-envoy-upstream-service-time", String(serviceMs));
    }
    if (route.virtualHost.attemptCountInResponse) head.headers.set("x-envoy-attempt-count", String(record.attempts));
    if (this.#setCookie !== undefined) head.headers.add("set-cookie", this.#setCookie);
    if (this.#stream.isGrpc) readGrpcStatus(record, head.headers);
    this.#stream.applyResponseOps(head.headers);
    if (head.status === 101) {
      this.#isTunnel = true;
      this.#timeout?.stop();
      this.#stream.becomeTunnel();
    }
    this.#stream.sendHead(head, endStream);
  }

  onUpstreamData(attempt: Attempt, buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (this.#attempt !== attempt) return;
    attempt.isEnded = endStream;
    if (this.#perTryIdle?.isRunning) this.#startPerTryIdle();
    if (!this.#stream.sendData(buffer, start, end, endStream) && !endStream) attempt.stream?.pauseReading();
  }

  onUpstreamTrailers(attempt: Attempt, trailers: HeaderList): void {
    if (this.#attempt !== attempt) return;
    attempt.isEnded = true;
    readGrpcStatus(this.#stream.record, trailers);
    this.#stream.sendTrailers(trailers);
  }

  onUpstreamDrain(attempt: Attempt): void {
    if (this.#attempt === attempt) this.#stream.resumeRequest();
  }

  onFailure(attempt: Attempt, failure: UpstreamFailure): void {
    if (this.#attempt !== attempt) return;
    attempt.isEnded = true;
    const { record } = this.#stream;
    const isConnect = failure.kind === "connect-failure" || failure.kind === "connect-timeout" || failure.kind === "tls-failure";
    if (isConnect) record.upstreamFailure = failure.detail;
    const end: UpstreamEnd = { reason: reasonOf(failure), flag: failure.flag };
    if (this.#hasAnswer) {
      this.#fail(end.flag, `upstream_reset_after_response_started{${end.reason.replaceAll(" ", "_")}}`);
      return;
    }
    const reset = {
      kind: resetKindOf(failure),
      requestSent: attempt.isSent,
      isStale: failure.isStaleConnection && !failure.detail.includes("ECONNRESET"),
    };
    if (this.#rules && isRetriableReset(this.#retryOn, reset, this.#stream.head.method) && this.#tryAgain(undefined)) return;
    this.#stream.reply(
      upstreamFailureReply(end, {
        wasRetried: this.#retries > 0,
        transportFailure: isConnect && failure.kind !== "connect-timeout" ? failure.detail : undefined,
      }),
    );
  }

  #onPerTryTimeout(reply: LocalReply): void {
    const attempt = this.#attempt;
    if (!attempt || this.#isOver) return;
    this.#counters?.perTryTimeout.add();
    attempt.isEnded = true;
    attempt.stream?.reset("cancel");
    if (this.#hasAnswer) {
      this.#fail("UT", reply.details);
      return;
    }
    if (
      this.#rules &&
      isRetriableReset(this.#retryOn, { kind: "timeout", requestSent: true, isStale: false }, this.#stream.head.method) &&
      this.#tryAgain(undefined)
    )
      return;
    this.#stream.reply(reply);
  }

  #onTimeout(): void {
    if (this.#isOver) return;
    this.#counters?.timeout.add();
    if (this.#hasAnswer) this.#fail("UT", REPLIES.responseTimeout.details);
    else this.#stream.reply(REPLIES.responseTimeout);
  }

  /** The answer has begun: all that is left is to cut it off, so that nobody takes it for whole. */
  #fail(flag: ResponseFlag, details: string): void {
    const { record } = this.#stream;
    record.flags.add(flag);
    record.details = details;
    this.#stream.abort();
  }
}

/** One attempt at one host. */
class Attempt implements UpstreamStreamHandler {
  readonly #router: Router;
  stream: UpstreamStream | undefined;
  /** It has a connection: bytes of the request may have reached the host. */
  isSent = false;
  /** Its answer is complete, or it broke. */
  isEnded = false;

  constructor(router: Router) {
    this.#router = router;
  }

  onConnected(channel: Channel): void {
    this.#router.onConnected(this, channel);
  }

  onInformational(head: ResponseHead): void {
    this.#router.onInformational(this, head);
  }

  onResponse(head: ResponseHead, endStream: boolean): void {
    this.#router.onResponse(this, head, endStream);
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    this.#router.onUpstreamData(this, buffer, start, end, endStream);
  }

  onTrailers(trailers: HeaderList): void {
    this.#router.onUpstreamTrailers(this, trailers);
  }

  onDrain(): void {
    this.#router.onUpstreamDrain(this);
  }

  onFailure(failure: UpstreamFailure): void {
    this.#router.onFailure(this, failure);
  }

  /** Clusters tell failures by onFailure; a codec's reset that comes through all the same is one. */
  onReset(reset: StreamReset): void {
    this.#router.onFailure(this, {
      kind: reset.kind === "refused" ? "refused" : "reset",
      flag: reset.kind === "connection-closed" ? "UC" : "UR",
      detail: reset.detail,
      isStaleConnection: false,
    });
  }
}

const NO_CODES: readonly number[] = [];

const RETRY_HEADERS = [
  "x-envoy-retry-on",
  "x-envoy-retry-grpc-on",
  "x-envoy-max-retries",
  "x-envoy-retriable-status-codes",
  "x-envoy-retriable-header-names",
  "x-envoy-hedge-on-per-try-timeout",
] as const;

/** For requests whose headers alone ask for retries. */
const NO_RULES: RetryRules = {
  on: 0,
  retriesMax: 1,
  perTryTimeoutMs: 0,
  perTryIdleTimeoutMs: 0,
  statusCodes: new Set(),
  responseHeaders: [],
  requestHeaders: [],
  avoidsTriedHosts: false,
  backoffBaseMs: 25,
  backoffMaxMs: 250,
  resetHeaders: [],
  resetMaxMs: 0,
};

function takeNumber(headers: HeaderList, name: string): number | undefined {
  const value = headers.get(name);
  if (value === undefined) return undefined;
  headers.remove(name);
  return /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}

function readGrpcStatus(record: StreamRecord, headers: HeaderList): void {
  const status = headers.get("grpc-status");
  if (status !== undefined && /^\d{1,2}$/.test(status)) record.grpcStatus = Number(status);
}

/** Source: Envoy, Http::Utility::resetReasonToString. */
function reasonOf(failure: UpstreamFailure): string {
  switch (failure.kind) {
    case "connect-failure":
    case "tls-failure":
      return "remote connection failure";
    case "connect-timeout":
      return "connection timeout";
    case "overflow":
      return "overflow";
    case "refused":
      return "remote refused stream reset";
    case "protocol-error":
      return "protocol error";
    case "reset":
      return failure.flag === "UC" ? "connection termination" : failure.flag === "LR" ? "local reset" : "remote reset";
  }
}

function resetKindOf(failure: UpstreamFailure): ResetKind {
  switch (failure.kind) {
    case "connect-failure":
    case "connect-timeout":
    case "tls-failure":
      return "connect-failure";
    case "overflow":
    case "refused":
      return failure.kind;
    case "reset":
    case "protocol-error":
      return "reset";
  }
}
