/**
 * HTTP as the proxy sees it, the same over HTTP/1.1 and HTTP/2: a request is a stream of head, body and trailers each way.
 * Codecs turn bytes into these calls and back; they know nothing of routes. Source: RFC 9110 (semantics), 9112, 9113.
 */
import type { Channel } from "../channel.ts";
import type { HeaderList } from "./headers.ts";

/** Which wire format a message came by. Text as access logs print it. */
export type HttpVersion = "HTTP/1.0" | "HTTP/1.1" | "HTTP/2";

/**
 * A request's head. Host is in `authority` alone, never in `headers`. Framing fields (content-length aside, which stays as
 * information), connection, keep-alive, te (but "trailers"), upgrade, proxy-connection and http2-settings are not in `headers`:
 * the codec that writes makes its own.
 */
export interface RequestHead {
  method: string;
  /** Path and query as sent; for CONNECT without a path "". */
  path: string;
  /** Host header or :authority, as sent; "" when absent (HTTP/1.0). */
  authority: string;
  /** "http" or "https"; what the connection is (a server codec sets it from channel.tls). */
  scheme: string;
  headers: HeaderList;
  version: HttpVersion;
  /**
   * Upgrade asked for, in lower case ("websocket"): HTTP/1.1 Upgrade, or RFC 8441 extended CONNECT (then `method` is GET and the
   * codec answers 200 for 101). After 101 the stream is a tunnel of bytes both ways. Undefined otherwise.
   */
  upgrade: string | undefined;
}

/** A response's head. Framing as for requests. */
export interface ResponseHead {
  status: number;
  headers: HeaderList;
  version: HttpVersion;
}

/** Why a stream ended before its messages did. */
export interface StreamReset {
  readonly kind: /** The peer reset this stream (RST_STREAM). */
    | "remote-reset"
    /** Refused before any processing (REFUSED_STREAM, or GOAWAY below this stream): safe to send again. */
    | "refused"
    /** The connection went while the stream was open. */
    | "connection-closed"
    /** The peer broke the protocol; the connection is closed too. */
    | "protocol-error"
    /** We reset it ourselves: reported for no stream that its owner reset, only for others of its connection. */
    | "local-reset";
  /** For logs: "ECONNRESET", "CANCEL", "bad chunk size" ... */
  readonly detail: string;
}

/** What a codec tells the owner of a stream. No call follows onReset, nor the call that carried `endStream`. */
export interface StreamHandler {
  /** Body bytes; valid during the call only, as ChannelHandler.onData. */
  onData(buffer: Buffer, start: number, end: number, endStream: boolean): void;
  /** Trailers, always the last call. */
  onTrailers(trailers: HeaderList): void;
  onReset(reset: StreamReset): void;
  /** What was buffered for this stream (or, in HTTP/1.1, its connection) fell below the low watermark. */
  onDrain(): void;
}

/** What both ends of a stream can do: write the body, stop reading it, and give up. */
export interface HttpStream {
  /** Body bytes that were just received (as Channel.forward) or that nobody else will touch. False: stop until onDrain. */
  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean;
  /** Trailers; ends the message. HTTP/1.1 sends them after a chunked body. */
  writeTrailers(trailers: HeaderList): void;
  /** Stops reading the peer's body: HTTP/2 withholds window, HTTP/1.1 pauses the connection. Calls nest not. */
  pauseReading(): void;
  resumeReading(): void;
  /** Gives up both directions. HTTP/2: RST_STREAM with the code (CANCEL by default); HTTP/1.1: the connection closes. */
  reset(code?: "cancel" | "internal-error" | "refused" | "protocol-error"): void;
}

/** The server's end of a stream. */
export interface ServerStream extends HttpStream {
  /** Set by the owner in onRequest. */
  handler: StreamHandler;
  readonly connection: ServerConnection;
  /** An informational answer (100, 103). Not 101. */
  writeInformational(head: ResponseHead): void;
  /** The answer's head, once. 101 accepts an upgrade. */
  writeHead(head: ResponseHead, endStream: boolean): void;
}

/** A downstream connection with a codec on it. */
export interface ServerConnection {
  readonly channel: Channel;
  readonly version: "HTTP/1.1" | "HTTP/2";
  readonly activeStreams: number;
  /** Tells the client to go: GOAWAY, or "connection: close" on the next answer. Closes when no stream is left. */
  drain(): void;
  /** Closes at once. */
  destroy(): void;
}

/** Who serves a connection. */
export interface ServerHandler {
  /** A request's head arrived. The owner sets `stream.handler` before it returns. */
  onRequest(stream: ServerStream, head: RequestHead, endStream: boolean): void;
  /**
   * A request that the codec refused by itself (400, 431, 501 ...), already answered and its connection closing: for logs and
   * counters. `details` is Envoy's: "http1.codec_error", "http2.too_many_headers" ...
   */
  onCodecError(error: { readonly status: number; readonly details: string; readonly message: string }): void;
  /** The connection is gone; every open stream has had its onReset before. */
  onClose(): void;
}

/** The handler of a client's stream: what StreamHandler has, and the answer's head. */
export interface ClientStreamHandler extends StreamHandler {
  onInformational(head: ResponseHead): void;
  /** Status 101 turns the stream into a tunnel. */
  onResponse(head: ResponseHead, endStream: boolean): void;
}

/** The client's end of a stream. */
export type ClientStream = HttpStream;

/** An upstream connection with a codec on it. */
export interface ClientConnection {
  readonly channel: Channel;
  readonly version: "HTTP/1.1" | "HTTP/2";
  readonly activeStreams: number;
  /** How many streams may still be opened now: 0 or 1 for HTTP/1.1; HTTP/2: the peer's SETTINGS and our own limit. 0 once draining. */
  readonly availableStreams: number;
  /** Whether a stream was ever answered on this connection: a failure before may be a stale connection. */
  readonly isReused: boolean;
  /** Sends a request's head. Only while availableStreams > 0. Calls to `handler` never come before this returns. */
  openStream(head: RequestHead, endStream: boolean, handler: ClientStreamHandler): ClientStream;
  /** Takes no more streams and closes when none is left. */
  drain(): void;
  destroy(): void;
}

/** Who owns an upstream connection (a pool). */
export interface ClientConnectionHandler {
  /** availableStreams may have grown: a stream ended, or SETTINGS allow more. */
  onAvailable(): void;
  /** No more streams may be opened (GOAWAY, "connection: close", our drain); open ones go on. */
  onDraining(): void;
  onClose(reason: { readonly detail: string }): void;
}

/** Limits and manners of a codec. Times are the owner's matter, but for HTTP/1.1's header timeout, which the codec sees. */
export interface HttpLimits {
  /** All names and values of a head and its trailers. Default 60 KiB; more is 431. */
  readonly headerBytesMax: number;
  /** Default 100; more is 431. */
  readonly headerFieldsMax: number;
  /** HTTP/2: streams open at once. 100 at an edge, 1024 in the mesh. */
  readonly concurrentStreamsMax: number;
  /** HTTP/2: bytes of a stream's and of a connection's receive window. */
  readonly streamWindowBytes: number;
  readonly connectionWindowBytes: number;
}

/** The mesh's defaults. Source: docs, Limits and defaults. */
export const MESH_HTTP_LIMITS: HttpLimits = {
  headerBytesMax: 60 * 1024,
  headerFieldsMax: 100,
  concurrentStreamsMax: 1024,
  streamWindowBytes: 256 * 1024,
  connectionWindowBytes: 1024 * 1024,
};
