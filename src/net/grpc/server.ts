/** Serves gRPC methods over HTTP/2 connections. Source: gRPC over HTTP/2, PROTOCOL-HTTP2. */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Channel } from "../channel.ts";
import { HeaderList } from "../http/headers.ts";
import {
  type HttpLimits,
  MESH_HTTP_LIMITS,
  type RequestHead,
  type ServerConnection,
  type ServerHandler,
  type ServerStream,
  type StreamHandler,
  type StreamReset,
} from "../http/stream.ts";
import type { Http2Keepalive } from "../http2/keepalive.ts";
import { createHttp2ServerConnection } from "../http2/server-connection.ts";
import { MESSAGE_BYTES_MAX, MessageReader, writeMessage } from "./framing.ts";
import { encodeMessage, isGrpcContentType, parseTimeoutMs, readMetadata } from "./metadata.ts";
import {
  type GrpcBidiMethod,
  type GrpcCallContext,
  GrpcError,
  type GrpcService,
  GrpcStatus,
  type GrpcStream,
  type GrpcStreamHandler,
  type GrpcUnaryMethod,
} from "./types.ts";

/** What a server is made of. */
export interface GrpcServerOptions {
  readonly log: Log;
  readonly clock: Clock;
  /** Default 16 MiB; a larger message ends its call with RESOURCE_EXHAUSTED. */
  readonly messageBytesMax?: number | undefined;
  /** Calls under way on all connections; more end with RESOURCE_EXHAUSTED. Default 10000. */
  readonly callsMax?: number | undefined;
  /** Of each connection. Default MESH_HTTP_LIMITS. */
  readonly limits?: HttpLimits | undefined;
  /** PINGs to find silent clients. Default after 30 s, for 10 s; false for none. */
  readonly keepalive?: Http2Keepalive | false | undefined;
}

/** A server. It is a ServerHandler too, for connections that something else has put HTTP/2 on. */
export interface GrpcServer extends ServerHandler {
  readonly activeCalls: number;
  /** Serves a connection, on which HTTP/2 must be agreed on or known. */
  serve(channel: Channel): ServerConnection;
  /** Lets the clients of all connections given to `serve` go: calls under way go on. */
  drain(): void;
  /** Closes them at once. */
  close(): void;
}

/** gRPC's usual PINGs. Source: Istio's keepalive defaults. */
export const DEFAULT_KEEPALIVE: Http2Keepalive = { intervalMs: 30_000, timeoutMs: 10_000 };

type Method = { readonly kind: "bidi"; readonly serve: GrpcBidiMethod } | { readonly kind: "unary"; readonly serve: GrpcUnaryMethod };

/** A server of these services. */
export function createGrpcServer(options: GrpcServerOptions, services: readonly GrpcService[]): GrpcServer {
  const methods = new Map<string, Method>();
  for (const { bidi, unary } of services) {
    for (const [path, serve] of Object.entries(bidi ?? {})) methods.set(path, { kind: "bidi", serve });
    for (const [path, serve] of Object.entries(unary ?? {})) methods.set(path, { kind: "unary", serve });
  }
  const { log, clock, callsMax = 10_000, messageBytesMax = MESSAGE_BYTES_MAX, limits = MESH_HTTP_LIMITS } = options;
  const keepalive = options.keepalive === false ? undefined : (options.keepalive ?? DEFAULT_KEEPALIVE);
  const connections = new Set<ServerConnection>();
  const calls: CallCounter = { active: 0 };

  const onRequest = (stream: ServerStream, head: RequestHead, endStream: boolean): void => {
    const refusal = findHttpRefusal(head);
    if (refusal) {
      stream.writeHead({ status: refusal, headers: new HeaderList(), version: "HTTP/2" }, true);
      if (!endStream) stream.reset();
      return;
    }
    const method = methods.get(head.path);
    const error =
      findRefusal(head, method) ?? (calls.active >= callsMax ? new GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, "too many calls") : undefined);
    if (error || !method) {
      writeEnd(stream, false, error ?? new GrpcError(GrpcStatus.UNIMPLEMENTED, `no method ${head.path}`));
      if (!endStream) stream.reset();
      return;
    }
    const timeout = head.headers.get("grpc-timeout");
    const call = new ServerCall(stream, head, {
      log,
      clock,
      calls,
      messageBytesMax,
      timeoutMs: timeout === undefined ? undefined : parseTimeoutMs(timeout),
    });
    stream.handler = call;
    call.start(method);
    if (endStream) call.onRequestEnd();
  };
  const onCodecError: ServerHandler["onCodecError"] = (error) => log.debug("a gRPC client broke HTTP/2", { ...error });

  return {
    get activeCalls() {
      return calls.active;
    },
    onRequest,
    onCodecError,
    onClose() {},
    serve(channel) {
      const connection = createHttp2ServerConnection(
        channel,
        { limits, clock, keepalive },
        { onRequest, onCodecError, onClose: () => connections.delete(connection) },
      );
      connections.add(connection);
      return connection;
    },
    drain() {
      for (const connection of [...connections]) connection.drain();
    },
    close() {
      for (const connection of [...connections]) connection.destroy();
    },
  };
}

/** The HTTP status for what is no gRPC at all. */
function findHttpRefusal(head: RequestHead): 405 | 415 | undefined {
  if (head.method !== "POST") return 405;
  return isGrpcContentType(head.headers.get("content-type")) ? undefined : 415;
}

function findRefusal(head: RequestHead, method: Method | undefined): GrpcError | undefined {
  if (!method) return new GrpcError(GrpcStatus.UNIMPLEMENTED, `no method ${head.path}`);
  const encoding = head.headers.get("grpc-encoding");
  if (encoding !== undefined && encoding !== "identity") {
    return new GrpcError(GrpcStatus.UNIMPLEMENTED, `grpc-encoding ${encoding} is not taken, only identity`);
  }
  const timeout = head.headers.get("grpc-timeout");
  if (timeout !== undefined && parseTimeoutMs(timeout) === undefined) return new GrpcError(GrpcStatus.INTERNAL, "a bad grpc-timeout");
  return undefined;
}

/** Ends an answer: with trailers, or with a head alone when none was sent. */
function writeEnd(stream: ServerStream, isHeadSent: boolean, error: GrpcError | undefined): void {
  const status = ["grpc-status", String(error?.code ?? GrpcStatus.OK)];
  if (error?.message) status.push("grpc-message", encodeMessage(error.message));
  if (error?.code === GrpcStatus.UNIMPLEMENTED) status.push("grpc-accept-encoding", "identity");
  if (isHeadSent) stream.writeTrailers(new HeaderList(status));
  else stream.writeHead({ status: 200, headers: new HeaderList(["content-type", "application/grpc", ...status]), version: "HTTP/2" }, true);
}

interface CallCounter {
  active: number;
}

interface CallOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly calls: CallCounter;
  readonly messageBytesMax: number;
  readonly timeoutMs: number | undefined;
}

/** One call under way. */
class ServerCall implements StreamHandler, GrpcStream {
  readonly #stream: ServerStream;
  readonly #context: GrpcCallContext;
  readonly #log: Log;
  readonly #calls: CallCounter;
  readonly #reader: MessageReader;
  #deadline: Timer | undefined;
  #handler: GrpcStreamHandler | undefined;
  #isHeadSent = false;
  /** The answer has ended, or nobody waits for it. */
  #isDone = false;
  #isRequestEnded = false;
  /** A unary method works on it: it counts until that is over, even when nobody waits any more. */
  #isServing = false;

  constructor(stream: ServerStream, head: RequestHead, options: CallOptions) {
    const { channel } = stream.connection;
    const { host, port } = channel.remote;
    this.#stream = stream;
    this.#log = options.log;
    this.#calls = options.calls;
    this.#context = {
      method: head.path,
      metadata: readMetadata(head.headers),
      tls: channel.tls,
      peer: host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`,
    };
    this.#reader = new MessageReader(options.messageBytesMax, (message) => this.#onMessage(message));
    if (options.timeoutMs !== undefined) {
      this.#deadline = options.clock.after(options.timeoutMs, () => {
        this.#fail(new GrpcError(GrpcStatus.DEADLINE_EXCEEDED, "the deadline has passed"));
      });
    }
  }

  /** Begins to serve. */
  start(method: Method): void {
    this.#calls.active += 1;
    if (method.kind === "unary") {
      this.#handler = new UnaryServing(this, (request) => void this.#serveUnary(method.serve, request));
      return;
    }
    try {
      this.#handler = method.serve(this.#context, this);
    } catch (error) {
      this.end(this.#toError(error));
    }
  }

  send(message: Uint8Array): boolean {
    if (this.#isDone) return true;
    if (!this.#isHeadSent) {
      this.#isHeadSent = true;
      this.#stream.writeHead({ status: 200, headers: new HeaderList(["content-type", "application/grpc"]), version: "HTTP/2" }, false);
    }
    return writeMessage(this.#stream, message);
  }

  end(error?: GrpcError): void {
    if (!this.#finish()) return;
    writeEnd(this.#stream, this.#isHeadSent, error);
    if (!this.#isRequestEnded) this.#stream.reset();
  }

  cancel(): void {
    if (this.#finish()) this.#stream.reset("cancel");
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean) {
    if (this.#isDone) return;
    const error = this.#reader.push(buffer, start, end);
    if (error) return this.#fail(error);
    if (endStream) this.onRequestEnd();
  }

  onTrailers(): void {
    this.onRequestEnd();
  }

  /** The client half-closed. */
  onRequestEnd() {
    if (this.#isDone) return;
    this.#isRequestEnded = true;
    if (!this.#reader.isBetweenMessages) return this.#fail(new GrpcError(GrpcStatus.INTERNAL, "the request ends within a message"));
    this.#tell((handler) => handler.onEnd(undefined));
  }

  onReset(reset: StreamReset): void {
    if (this.#finish()) this.#tellGone(new GrpcError(GrpcStatus.CANCELLED, reset.detail));
  }

  onDrain(): void {
    if (!this.#isDone) this.#tell((handler) => handler.onDrain?.());
  }

  #onMessage(message: Uint8Array): void {
    if (!this.#isDone) this.#tell((handler) => handler.onMessage(message));
  }

  /** Ends the call for a fault that its handler must hear of. */
  #fail(error: GrpcError): void {
    if (this.#isDone) return;
    this.end(error);
    this.#tellGone(error);
  }

  #tellGone(error: GrpcError): void {
    if (this.#isRequestEnded) this.#tell((handler) => handler.onCancel?.());
    else this.#tell((handler) => handler.onEnd(error));
  }

  #tell(call: (handler: GrpcStreamHandler) => void): void {
    if (!this.#handler) return;
    try {
      call(this.#handler);
    } catch (error) {
      this.end(this.#toError(error));
    }
  }

  async #serveUnary(serve: GrpcUnaryMethod, request: Uint8Array): Promise<void> {
    this.#isServing = true;
    try {
      this.send(await serve(this.#context, request));
      this.end();
    } catch (error) {
      this.end(this.#toError(error));
    } finally {
      this.#calls.active -= 1;
      this.#isServing = false;
    }
  }

  #toError(error: unknown): GrpcError {
    if (error instanceof GrpcError) return error;
    this.#log.error("a gRPC method failed", { method: this.#context.method, error: messageOf(error) });
    return new GrpcError(GrpcStatus.INTERNAL, "internal error");
  }

  /** False when it was done before. */
  #finish(): boolean {
    if (this.#isDone) return false;
    this.#isDone = true;
    if (!this.#isServing) this.#calls.active -= 1;
    this.#deadline?.cancel();
    return true;
  }
}

/** A unary method as a stream's handler: one message, then the end. */
class UnaryServing implements GrpcStreamHandler {
  readonly #stream: GrpcStream;
  readonly #serve: (request: Uint8Array) => void;
  #request: Uint8Array | undefined;

  constructor(stream: GrpcStream, serve: (request: Uint8Array) => void) {
    this.#stream = stream;
    this.#serve = serve;
  }

  onMessage(message: Uint8Array): void {
    if (this.#request) this.#stream.end(new GrpcError(GrpcStatus.UNIMPLEMENTED, "a second message in a unary call"));
    this.#request = message;
  }

  onEnd(error: GrpcError | undefined): void {
    if (error) return;
    if (this.#request) this.#serve(this.#request);
    else this.#stream.end(new GrpcError(GrpcStatus.UNIMPLEMENTED, "a unary call without a message"));
  }
}
