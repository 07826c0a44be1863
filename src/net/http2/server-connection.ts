/** The server's end of an HTTP/2 connection. Source: RFC 9113; RFC 8441 for WebSocket. */
import type { Timer } from "../../base/clock.ts";
import type { Channel } from "../channel.ts";
import { HeaderList } from "../http/headers.ts";
import type { ResponseHead, ServerConnection, ServerHandler, ServerStream, StreamHandler } from "../http/stream.ts";
import { ResetWatch } from "./flood.ts";
import { ErrorCode, errorName, FrameType, type Http2ErrorCode, PREFACE, Setting, STREAM_ID_MAX } from "./frames.ts";
import { DEAF_HANDLER, Http2Stream, type Http2StreamOptions, type StreamHost } from "./http2-stream.ts";
import { type MessageFlaw, readRequest, readTrailers } from "./messages.ts";
import { ReceivingSession } from "./receiving-session.ts";
import type { Http2Options } from "./session.ts";

/** After GOAWAY, how long requests that were under way may still arrive when the client does not answer our PING. */
const DRAIN_WAIT_MS = 1000;

/** Puts an HTTP/2 server on a connection that has none yet; the client's preface is the first that is read. */
export function createHttp2ServerConnection(channel: Channel, options: Http2Options, handler: ServerHandler): ServerConnection {
  return new Http2ServerConnection(channel, options, handler);
}

interface ServerStreamHost extends StreamHost, ServerConnection {
  sendInformational(stream: Http2ServerStream, head: ResponseHead): void;
  sendResponse(stream: Http2ServerStream, head: ResponseHead, endStream: boolean): void;
}

class Http2ServerStream extends Http2Stream implements ServerStream {
  handler: StreamHandler = DEAF_HANDLER;
  isHeadSent = false;
  isUpgrade = false;
  readonly connection: ServerStreamHost;

  constructor(connection: ServerStreamHost, options: Http2StreamOptions) {
    super(connection, options);
    this.connection = connection;
  }

  get listener(): StreamHandler {
    return this.handler;
  }

  get isUnfinished(): boolean {
    return !(this.isRemoteEnded && this.isLocalEnded);
  }

  writeInformational(head: ResponseHead): void {
    this.connection.sendInformational(this, head);
  }

  writeHead(head: ResponseHead, endStream: boolean): void {
    this.connection.sendResponse(this, head, endStream);
  }
}

/** ":status" with its value, made once a code. */
const STATUS_FIELDS: (readonly string[] | undefined)[] = [];

function statusField(status: number): readonly string[] {
  const made = STATUS_FIELDS[status];
  if (made !== undefined) return made;
  const field = [":status", String(status)];
  if (status >= 100 && status <= 999) STATUS_FIELDS[status] = field;
  return field;
}

class Http2ServerConnection extends ReceivingSession implements ServerStreamHost {
  protected readonly isServer = true;
  readonly #handler: ServerHandler;
  readonly #scheme: string;
  readonly #resets = new ResetWatch();
  #prefaceBytes = 0;
  #draining: "no" | "asked" | "final" = "no";
  #drainTimer: Timer | undefined;

  constructor(channel: Channel, options: Http2Options, handler: ServerHandler) {
    super(channel, options);
    this.#handler = handler;
    this.#scheme = channel.tls === undefined ? "http" : "https";
    const { limits } = options;
    this.greet([
      [Setting.maxConcurrentStreams, limits.concurrentStreamsMax],
      [Setting.initialWindowSize, limits.streamWindowBytes],
      [Setting.maxHeaderListSize, limits.headerBytesMax],
      [Setting.enableConnectProtocol, 1],
    ]);
  }

  /**
   * GOAWAY that names no stream first: requests which the client has already sent are still served. When it has answered a PING, and so
   * knows, the one that names the last stream follows.
   */
  drain(): void {
    if (this.#draining !== "no" || this.isOver) return;
    this.#draining = "asked";
    this.sendGoaway(STREAM_ID_MAX, ErrorCode.noError);
    this.out.control(FrameType.ping, 0, 0, 0, 0);
    this.#drainTimer = this.clock.after(DRAIN_WAIT_MS, () => this.#drainFinally());
  }

  sendInformational(stream: Http2ServerStream, head: ResponseHead): void {
    if (stream.isClosed || stream.isHeadSent || head.status === 101) return;
    this.sender.head(stream, statusField(head.status), head.headers, false);
  }

  sendResponse(stream: Http2ServerStream, head: ResponseHead, endStream: boolean): void {
    if (stream.isClosed || stream.isHeadSent) return;
    stream.isHeadSent = true;
    this.sender.head(stream, statusField(stream.isUpgrade ? upgradeStatus(head.status) : head.status), head.headers, endStream);
  }

  protected override readBytes(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (this.#prefaceBytes < PREFACE.length && at < end) {
      if (buffer[at++] !== PREFACE.charCodeAt(this.#prefaceBytes++)) {
        this.fail(ErrorCode.protocolError, "not the preface of HTTP/2");
        return;
      }
    }
    super.readBytes(buffer, at, end);
  }

  protected override onHeaders(streamId: number, endStream: boolean) {
    const open = this.streams.get(streamId);
    if (open !== undefined) return this.#onTrailers(open, endStream);
    if ((streamId & 1) === 0) return this.fail(ErrorCode.protocolError, "a stream with an even number");
    if (streamId <= this.peerStreamId) {
      if (!this.wasReset(streamId)) this.fail(ErrorCode.streamClosed, "HEADERS on a stream that is closed");
      return;
    }
    this.peerStreamId = streamId;
    if (this.#draining === "final" || this.streams.size >= this.limits.concurrentStreamsMax) {
      this.sendReset(streamId, ErrorCode.refusedStream);
      return this.countGlitch(1);
    }
    const { decoder } = this;
    if (decoder.isTooLarge) {
      this.countGlitch(10);
      return this.#answerByCodec(streamId, endStream, 431, "http2.too_many_headers", "a head beyond the limits");
    }
    const request = readRequest(decoder.fields, decoder.count, this.#scheme);
    if (request.flaw !== undefined) return this.#refuseRequest(streamId, endStream, request);
    if (endStream && request.contentLength > 0) {
      return this.#refuseRequest(streamId, endStream, { status: 0, flaw: "a content-length without a body" });
    }
    const stream = new Http2ServerStream(this, this.newStreamOptions(streamId));
    stream.isRemoteEnded = endStream;
    stream.isUpgrade = request.head.upgrade !== undefined;
    if (request.head.method !== "CONNECT" && !stream.isUpgrade) stream.bodyLeftBytes = request.contentLength;
    this.streams.set(streamId, stream);
    this.#handler.onRequest(stream, request.head, endStream);
  }

  #onTrailers(stream: Http2Stream, endStream: boolean) {
    const { decoder } = this;
    if (stream.isRemoteEnded) return this.failStream(stream, ErrorCode.streamClosed, "HEADERS after END_STREAM");
    if (decoder.isTooLarge) return this.failStream(stream, ErrorCode.enhanceYourCalm, "trailers beyond the limits");
    const trailers = readTrailers(decoder.fields, decoder.count);
    if (!this.acceptsTrailers(stream, endStream, trailers)) return;
    stream.isRemoteEnded = true;
    if (!stream.isResetAfterSend) stream.listener.onTrailers(trailers);
    if (!stream.isClosed) this.remoteDone(stream);
  }

  #refuseRequest(streamId: number, endStream: boolean, flaw: MessageFlaw) {
    this.#resets.countEnd();
    if (this.#resets.countReset(this.turnMs, 0)) return this.fail(ErrorCode.enhanceYourCalm, "too many malformed requests");
    const details = "http2.violation.of.messaging.rule";
    if (flaw.status !== 0) return this.#answerByCodec(streamId, endStream, flaw.status, details, flaw.flaw);
    this.sendReset(streamId, ErrorCode.protocolError);
    this.#handler.onCodecError({ status: 400, details, message: flaw.flaw });
  }

  #answerByCodec(streamId: number, endStream: boolean, status: number, details: string, message: string): void {
    if (this.isOver) return;
    this.out.headers(streamId, statusField(status), new HeaderList(), true);
    if (!endStream) this.sendReset(streamId, ErrorCode.noError);
    this.#handler.onCodecError({ status, details, message });
  }

  protected override onStreamFault(stream: Http2Stream, isProvoked: boolean): void {
    if (this.#resets.countReset(this.turnMs, isProvoked ? 0 : this.turnMs - stream.bornMs)) {
      this.fail(ErrorCode.enhanceYourCalm, "too many streams that end at once");
    }
  }

  protected override onStreamClosed(): void {
    this.#resets.countEnd();
    if (this.#draining === "final" && this.streams.size === 0) this.shutDown();
  }

  protected override onPingAck(): void {
    if (this.#draining === "asked") this.#drainFinally();
  }

  #drainFinally(): void {
    if (this.#draining !== "asked" || this.isOver) return;
    this.#draining = "final";
    this.#drainTimer?.cancel();
    this.sendGoaway(this.peerStreamId, ErrorCode.noError);
    if (this.streams.size === 0) this.shutDown();
  }

  protected override onGoaway(): void {
    // The client opens no more streams; it closes when it has its answers.
  }

  protected override onSettings(): void {}

  protected override allowsPushSetting(): boolean {
    return true;
  }

  protected override isIdle(streamId: number): boolean {
    return streamId > this.peerStreamId || (streamId & 1) === 0;
  }

  protected override onFatal(code: Http2ErrorCode, message: string): void {
    this.#handler.onCodecError({ status: 400, details: `http2.${errorName(code).toLowerCase()}`, message });
  }

  protected override onOver(): void {}

  protected override onGone(): void {
    this.#drainTimer?.cancel();
    this.#handler.onClose();
  }
}

/** The answer to extended CONNECT: 200 opens the tunnel, so an answer that merely went well must not say it. */
function upgradeStatus(status: number): number {
  if (status === 101) return 200;
  return status >= 200 && status < 300 ? 502 : status;
}
