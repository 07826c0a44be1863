/** gRPC's own framing over an HTTP/2 stream, with bytes for messages. Source: gRPC over HTTP/2, PROTOCOL-HTTP2. */
import type { TlsInfo } from "../channel.ts";

/** Codes that Lateen uses. Source: gRPC status codes. */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
} as const;

/** A number of GrpcStatus. */
export type GrpcStatusCode = (typeof GrpcStatus)[keyof typeof GrpcStatus];

/** A call that ended badly. */
export class GrpcError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = "GrpcError";
    this.code = code;
  }
}

/** Request metadata: lower-case names. Binary (-bin) values stay in base64. */
export type GrpcMetadata = Readonly<Record<string, string>>;

/** Who hears a bidirectional stream. */
export interface GrpcStreamHandler {
  /** One whole message, copied out of the wire: keep it as you like. */
  onMessage(message: Uint8Array): void;
  /** The peer half-closed (server side), or the call ended with OK or an error (client side). Last call. */
  onEnd(error: GrpcError | undefined): void;
  /** Messages may be sent again after `send` had returned false. */
  onDrain?(): void;
  /**
   * Server side, after onEnd(undefined) and before the method has ended the stream: the client gave up, its deadline passed or its
   * connection went. Nothing that is sent arrives any more.
   */
  onCancel?(): void;
}

/** One end of a bidirectional stream. */
export interface GrpcStream {
  /** False when buffers are full: stop until onDrain. */
  send(message: Uint8Array): boolean;
  /** Client: half-closes. Server: ends with OK, or with the given error. */
  end(error?: GrpcError): void;
  /** Gives up at once (RST_STREAM CANCEL). No handler call follows. */
  cancel(): void;
}

/** What a server knows of a call. */
export interface GrpcCallContext {
  readonly method: string;
  readonly metadata: GrpcMetadata;
  readonly tls: TlsInfo | undefined;
  /** "ip:port" of the caller. */
  readonly peer: string;
}

/** Serves one bidirectional (or server-streaming) method. Throwing a GrpcError ends the call with it. */
export type GrpcBidiMethod = (call: GrpcCallContext, stream: GrpcStream) => GrpcStreamHandler;

/** Serves one unary method. Rejecting with a GrpcError ends the call with it; anything else becomes INTERNAL and is logged. */
export type GrpcUnaryMethod = (call: GrpcCallContext, request: Uint8Array) => Promise<Uint8Array>;

/** Methods by path ("/package.Service/Method"). */
export interface GrpcService {
  readonly bidi?: Readonly<Record<string, GrpcBidiMethod>>;
  readonly unary?: Readonly<Record<string, GrpcUnaryMethod>>;
}

/** A client's side: connects when first used, again after it was lost (the caller does the waiting). */
export interface GrpcChannel {
  /** Opens a stream; the handler's onEnd tells when it cannot be opened (UNAVAILABLE). */
  openStream(method: string, metadata: GrpcMetadata, handler: GrpcStreamHandler): GrpcStream;
  unary(
    method: string,
    request: Uint8Array,
    options: { readonly metadata?: GrpcMetadata; readonly timeoutMs: number },
  ): Promise<Uint8Array>;
  close(): void;
}
