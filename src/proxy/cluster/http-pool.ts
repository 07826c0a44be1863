/**
 * Connections to one host in one protocol, and the requests on them. HTTP/1.1: the connection used last is used next, one request
 * each; HTTP/2: as many streams as the peer takes. A request that finds no connection waits in line while one is made.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Channel, CloseReason } from "../../net/channel.ts";
import type { Dialer, DialOptions } from "../../net/dial.ts";
import type { HeaderList } from "../../net/http/headers.ts";
import type {
  ClientConnection,
  ClientConnectionHandler,
  ClientStream,
  ClientStreamHandler,
  HttpLimits,
  ResponseHead,
  StreamReset,
} from "../../net/http/stream.ts";
import type { UpstreamFailure, UpstreamRequest, UpstreamStream, UpstreamStreamHandler } from "../types.ts";
import type { CircuitBreaker } from "./breaker.ts";
import type { ClusterStats } from "./cluster-stats.ts";
import { connectFailure, OVERFLOW, streamFailure } from "./failure.ts";

/** Puts a codec on a connection. */
export type CreateClientConnection = (channel: Channel, handler: ClientConnectionHandler, limits: HttpLimits) => ClientConnection;

/** The client's codecs. */
export interface ClientCodecs {
  readonly http1: CreateClientConnection;
  readonly http2: CreateClientConnection;
}

/** What of a host a pool counts. */
export interface HostLoad {
  activeRequests: number;
  activeConnections: number;
  connectionsTotal: number;
  connectFailures: number;
  requestsTotal: number;
  /** Answered with a status below 500. */
  requestSuccesses: number;
  /** Answered with another status, or reset. */
  requestErrors: number;
}

/** A pool's surroundings. */
export interface PoolOptions {
  readonly clock: Clock;
  readonly dialer: Dialer;
  /** How to connect now; a text says why that cannot be done (a certificate is missing). */
  readonly dialOptions: () => DialOptions | string;
  readonly protocol: "http1" | "http2" | "alpn";
  readonly codecs: ClientCodecs;
  readonly limits: HttpLimits;
  /** Bytes a request may send before its connection stands. */
  readonly bufferBytesMax: number;
  readonly idleTimeoutMs: number | undefined;
  readonly connectionDurationMaxMs: number | undefined;
  readonly requestsPerConnectionMax: number | undefined;
  readonly host: HostLoad;
  readonly breaker: CircuitBreaker;
  readonly stats: ClusterStats;
}

/** See the file's head. */
export class HttpPool {
  readonly #options: PoolOptions;
  /** Connections that take streams, the one used last on top. Entries that no longer do are dropped when they come to the top. */
  readonly #ready: PooledConnection[] = [];
  readonly #connections = new Set<PooledConnection>();
  readonly #pending: PooledStream[] = [];
  #connecting = 0;
  #isDraining = false;
  #isHttp2: boolean;
  #sweep: Timer | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#isHttp2 = options.protocol === "http2";
  }

  /** Connections that stand. */
  get connections(): number {
    return this.#connections.size;
  }

  get isEmpty(): boolean {
    return this.#connections.size === 0 && this.#connecting === 0;
  }

  /** Sends a request on a connection that is free, else queues it. */
  openStream(request: UpstreamRequest, handler: UpstreamStreamHandler): UpstreamStream {
    const stream = new PooledStream(this, request, handler, this.#options.bufferBytesMax);
    const connection = this.#takeReady();
    if (connection) this.#attach(connection, stream);
    else this.#queue(stream);
    return stream;
  }

  /** No idle connection is kept and none is used twice; what runs goes on. */
  drain(): void {
    this.#isDraining = true;
    for (const connection of [...this.#connections]) connection.connection.drain();
  }

  /** Closes at once. */
  destroy(): void {
    this.#isDraining = true;
    for (const connection of [...this.#connections]) connection.connection.destroy();
  }

  #takeReady(): PooledConnection | undefined {
    for (let top = this.#ready.at(-1); top; top = this.#ready.at(-1)) {
      if (top.isOpen && top.connection.availableStreams > 0) return top;
      this.#ready.pop();
      top.isReady = false;
    }
    return undefined;
  }

  #attach(pooled: PooledConnection, stream: PooledStream): void {
    const { breaker, stats, host, requestsPerConnectionMax } = this.#options;
    if (!breaker.mayRequest) {
      stats.rqPendingOverflow.add();
      stream.fail(OVERFLOW);
      return;
    }
    breaker.requests += 1;
    host.activeRequests += 1;
    host.requestsTotal += 1;
    stats.rqTotal.add();
    stats.rqActive.add(1);
    pooled.requests += 1;
    stream.open(pooled);
    if (requestsPerConnectionMax !== undefined && requestsPerConnectionMax > 0 && pooled.requests >= requestsPerConnectionMax) {
      stats.cxMaxRequests.add();
      pooled.connection.drain();
    } else if (this.#isDraining) {
      pooled.connection.drain();
    }
  }

  #queue(stream: PooledStream): void {
    const { breaker, stats } = this.#options;
    if (!breaker.mayQueue) {
      stats.rqPendingOverflow.add();
      stream.fail(OVERFLOW);
      return;
    }
    breaker.pending += 1;
    stats.rqPendingTotal.add();
    stats.rqPendingActive.add(1);
    this.#pending.push(stream);
    this.#connectAsNeeded();
  }

  #connectAsNeeded(): void {
    const { breaker, stats } = this.#options;
    const streamsEach = this.#isHttp2 ? this.#options.limits.concurrentStreamsMax : 1;
    while (this.#pending.length > this.#connecting * streamsEach) {
      // A host is always worth one connection, whatever others of its cluster hold.
      if (!breaker.mayConnect && !this.isEmpty) {
        stats.cxOverflow.add();
        return;
      }
      this.#connect();
    }
  }

  #connect(): void {
    const { breaker, stats, host, dialer } = this.#options;
    this.#connecting += 1;
    breaker.connections += 1;
    host.activeConnections += 1;
    host.connectionsTotal += 1;
    stats.cxTotal.add();
    stats.cxActive.add(1);
    const options = this.#options.dialOptions();
    if (typeof options === "string") {
      queueMicrotask(() => this.#onConnectFail({ code: undefined, message: options, phase: "tls" }));
      return;
    }
    dialer.dial(options, { onConnect: (channel) => this.#onConnect(channel), onFail: (reason) => this.#onConnectFail(reason) });
  }

  #onConnect(channel: Channel): void {
    const { protocol, codecs, limits, stats, clock, connectionDurationMaxMs } = this.#options;
    this.#connecting -= 1;
    this.#isHttp2 = protocol === "http2" || (protocol === "alpn" && channel.tls?.alpn === "h2");
    const createConnection = this.#isHttp2 ? codecs.http2 : codecs.http1;
    const pooled = new PooledConnection(this, (handler) => createConnection(channel, handler, limits));
    (this.#isHttp2 ? stats.cxHttp2Total : stats.cxHttp1Total).add();
    this.#connections.add(pooled);
    if (connectionDurationMaxMs !== undefined) pooled.endOfLife = clock.after(connectionDurationMaxMs, () => pooled.connection.drain());
    this.serve(pooled);
  }

  #onConnectFail(reason: CloseReason & { readonly phase: "connect" | "tls" | "timeout" }): void {
    const { stats, host } = this.#options;
    this.#connecting -= 1;
    host.connectFailures += 1;
    this.#forgetConnection();
    (reason.phase === "timeout" ? stats.cxConnectTimeout : stats.cxConnectFail).add();
    const failure = connectFailure(reason);
    // Nobody waits for a host that may be gone: all in line are told, and a router may try elsewhere.
    for (const stream of this.#pending.splice(0)) {
      this.#leaveQueue();
      stats.rqPendingFailureEject.add();
      stream.fail(failure);
    }
  }

  #forgetConnection(): void {
    const { breaker, stats, host } = this.#options;
    breaker.connections -= 1;
    host.activeConnections -= 1;
    stats.cxActive.add(-1);
  }

  #leaveQueue(): void {
    this.#options.breaker.pending -= 1;
    this.#options.stats.rqPendingActive.add(-1);
  }

  /** Gives what a connection has free to those in line; the rest waits on it. For PooledConnection. */
  serve(pooled: PooledConnection): void {
    if (!pooled.isOpen) return;
    while (this.#pending.length > 0 && pooled.isOpen && pooled.connection.availableStreams > 0) {
      const stream = this.#pending.shift();
      if (!stream) break;
      this.#leaveQueue();
      this.#attach(pooled, stream);
    }
    if (!pooled.isOpen || pooled.connection.availableStreams === 0) return;
    if (pooled.connection.activeStreams === 0) {
      if (this.#isDraining) {
        pooled.connection.drain();
        return;
      }
      pooled.idleSinceMs = this.#options.clock.monotonicMs();
      this.#armSweep();
    }
    if (pooled.isReady) return;
    pooled.isReady = true;
    this.#ready.push(pooled);
  }

  /** A connection is gone. For PooledConnection. */
  closed(pooled: PooledConnection): void {
    if (!this.#connections.delete(pooled)) return;
    pooled.endOfLife?.cancel();
    const at = pooled.isReady ? this.#ready.indexOf(pooled) : -1;
    if (at >= 0) this.#ready.splice(at, 1);
    pooled.isReady = false;
    this.#options.stats.cxDestroy.add();
    this.#forgetConnection();
    this.#connectAsNeeded();
  }

  /** A connection takes no more streams. For PooledConnection. */
  draining(): void {
    this.#connectAsNeeded();
  }

  /** A request that waits is no longer wanted. For PooledStream. */
  cancelPending(stream: PooledStream): void {
    const at = this.#pending.indexOf(stream);
    if (at < 0) return;
    this.#pending.splice(at, 1);
    this.#leaveQueue();
  }

  /** An answer's head came. For PooledStream. */
  answered(status: number): void {
    const { host } = this.#options;
    if (status < 500) host.requestSuccesses += 1;
    else host.requestErrors += 1;
  }

  /** A request that was attached is over. For PooledStream. */
  finished(reset: "received" | "sent" | undefined, isAnswered: boolean): void {
    const { breaker, host, stats } = this.#options;
    breaker.requests -= 1;
    host.activeRequests -= 1;
    stats.rqActive.add(-1);
    if (reset === "received") {
      stats.rqRxReset.add();
      if (!isAnswered) host.requestErrors += 1;
    } else if (reset === "sent") stats.rqTxReset.add();
  }

  /** One timer a pool: idle connections are looked through when the oldest may be due. */
  #armSweep(): void {
    const { clock, idleTimeoutMs } = this.#options;
    if (this.#sweep || idleTimeoutMs === undefined) return;
    this.#sweep = clock.after(idleTimeoutMs, () => {
      this.#sweep = undefined;
      const due = clock.monotonicMs() - idleTimeoutMs;
      let isAnyLeft = false;
      for (const pooled of [...this.#connections]) {
        if (pooled.connection.activeStreams > 0) continue;
        if (pooled.idleSinceMs <= due) pooled.connection.drain();
        else isAnyLeft = true;
      }
      if (isAnyLeft) this.#armSweep();
    });
  }
}

/** A connection in its pool. */
class PooledConnection implements ClientConnectionHandler {
  readonly #pool: HttpPool;
  readonly connection: ClientConnection;
  isOpen = true;
  isReady = false;
  requests = 0;
  idleSinceMs = 0;
  endOfLife: Timer | undefined;

  constructor(pool: HttpPool, createConnection: (handler: ClientConnectionHandler) => ClientConnection) {
    this.#pool = pool;
    this.connection = createConnection(this);
  }

  onAvailable(): void {
    this.#pool.serve(this);
  }

  onDraining(): void {
    this.#pool.draining();
  }

  onClose(): void {
    this.isOpen = false;
    this.#pool.closed(this);
  }
}

let announced: PooledStream[] = [];

/** Streams that went onto a connection tell it after the call that opened them; one microtask serves all of a turn. */
function announceLater(stream: PooledStream): void {
  if (announced.push(stream) === 1) queueMicrotask(announce);
}

function announce(): void {
  const streams = announced;
  announced = [];
  for (const stream of streams) stream.announce();
}

/** A request between its router and its connection. */
class PooledStream implements ClientStreamHandler, ClientStream {
  readonly #pool: HttpPool;
  readonly #request: UpstreamRequest;
  readonly #handler: UpstreamStreamHandler;
  readonly #bufferBytesMax: number;
  #stream: ClientStream | undefined;
  #connection: PooledConnection | undefined;
  #state: "waiting" | "open" | "done" = "waiting";
  #isAnnounced = false;
  #isReused = false;
  #sawResponse = false;
  #responseDone = false;
  #requestDone: boolean;
  #isPaused = false;
  // Of a request whose connection does not stand yet.
  #buffered: Buffer[] | undefined;
  #bufferedBytes = 0;
  #bufferedEnd = false;
  #bufferedTrailers: HeaderList | undefined;
  #wantsDrain = false;

  constructor(pool: HttpPool, request: UpstreamRequest, handler: UpstreamStreamHandler, bufferBytesMax: number) {
    this.#pool = pool;
    this.#request = request;
    this.#handler = handler;
    this.#bufferBytesMax = bufferBytesMax;
    this.#requestDone = request.endStream;
  }

  /** Onto a connection. For the pool. */
  open(pooled: PooledConnection): void {
    const { head, endStream } = this.#request;
    this.#state = "open";
    this.#connection = pooled;
    this.#isReused = pooled.connection.isReused;
    const stream = pooled.connection.openStream(head, endStream, this);
    this.#stream = stream;
    announceLater(this);
    if (this.#isPaused) stream.pauseReading();
    if (this.#buffered) this.#flush(stream, this.#buffered);
    else if (this.#bufferedTrailers) stream.writeTrailers(this.#bufferedTrailers);
  }

  /** Never got a connection. For the pool. Told later, never from inside openStream. */
  fail(failure: UpstreamFailure): void {
    if (this.#state === "done") return;
    this.#state = "done";
    queueMicrotask(() => {
      if (!this.#isAnnounced) this.#handler.onFailure(failure);
    });
  }

  announce(): void {
    if (this.#isAnnounced || this.#state === "done" || !this.#connection) return;
    this.#isAnnounced = true;
    this.#handler.onConnected(this.#connection.connection.channel);
    if (this.#wantsDrain && this.#stream) {
      this.#wantsDrain = false;
      this.#handler.onDrain();
    }
  }

  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    if (this.#state === "done") return true;
    if (this.#stream) {
      const isRoom = this.#stream.writeData(buffer, start, end, endStream);
      if (endStream) this.#endRequest();
      return isRoom;
    }
    if (end > start) {
      this.#buffered ??= [];
      this.#buffered.push(Buffer.from(buffer.subarray(start, end)));
      this.#bufferedBytes += end - start;
    } else if (endStream) this.#buffered ??= [];
    if (endStream) {
      this.#bufferedEnd = true;
      this.#requestDone = true;
    }
    if (this.#bufferedBytes < this.#bufferBytesMax) return true;
    this.#wantsDrain = true;
    return false;
  }

  writeTrailers(trailers: HeaderList): void {
    if (this.#state === "done") return;
    if (this.#stream) this.#stream.writeTrailers(trailers);
    else this.#bufferedTrailers = trailers;
    this.#endRequest();
  }

  pauseReading(): void {
    this.#isPaused = true;
    this.#stream?.pauseReading();
  }

  resumeReading(): void {
    this.#isPaused = false;
    this.#stream?.resumeReading();
  }

  reset(code?: "cancel" | "internal-error" | "refused" | "protocol-error"): void {
    if (this.#state === "done") {
      this.#isAnnounced = true; // Nothing is told to one who has left.
      return;
    }
    if (this.#state === "waiting") {
      this.#state = "done";
      this.#isAnnounced = true;
      this.#pool.cancelPending(this);
      return;
    }
    this.#stream?.reset(code);
    this.#finish("sent");
  }

  onInformational(head: ResponseHead): void {
    this.announce();
    if (this.#state !== "done") this.#handler.onInformational(head);
  }

  onResponse(head: ResponseHead, endStream: boolean): void {
    this.announce();
    if (this.#state === "done") return;
    this.#sawResponse = true;
    this.#pool.answered(head.status);
    if (endStream) this.#endResponse();
    this.#handler.onResponse(head, endStream);
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void {
    if (endStream) this.#endResponse();
    this.#handler.onData(buffer, start, end, endStream);
  }

  onTrailers(trailers: HeaderList): void {
    this.#endResponse();
    this.#handler.onTrailers(trailers);
  }

  onReset(reset: StreamReset): void {
    if (this.#state === "done") return;
    this.announce();
    if (this.#state !== "open") return;
    this.#finish("received");
    this.#handler.onFailure(streamFailure(reset, this.#isReused && !this.#sawResponse));
  }

  onDrain(): void {
    if (this.#state === "open") this.#handler.onDrain();
  }

  #flush(stream: ClientStream, buffers: readonly Buffer[]): void {
    const last = buffers.length - 1;
    const endsHere = this.#bufferedEnd && !this.#bufferedTrailers;
    if (last < 0 && endsHere) stream.writeData(EMPTY, 0, 0, true);
    buffers.forEach((part, i) => void stream.writeData(part, 0, part.length, endsHere && i === last));
    if (this.#bufferedTrailers) stream.writeTrailers(this.#bufferedTrailers);
    this.#buffered = undefined;
  }

  #endRequest(): void {
    this.#requestDone = true;
    if (this.#responseDone && this.#state === "open") this.#finish(undefined);
  }

  #endResponse(): void {
    this.#responseDone = true;
    if (this.#requestDone && this.#state === "open") this.#finish(undefined);
  }

  #finish(reset: "received" | "sent" | undefined): void {
    this.#state = "done";
    this.#pool.finished(reset, this.#sawResponse);
  }
}

const EMPTY = Buffer.alloc(0);
