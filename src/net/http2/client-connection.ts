/** The client's end of an HTTP/2 connection. Source: RFC 9113; RFC 8441 for WebSocket. */
import type { Channel } from "../channel.ts";
import type {
  ClientConnection,
  ClientConnectionHandler,
  ClientStream,
  ClientStreamHandler,
  RequestHead,
  StreamReset,
} from "../http/stream.ts";
import { ErrorCode, errorName, PREFACE, Setting, STREAM_ID_MAX } from "./frames.ts";
import { Http2Stream, type Http2StreamOptions, type StreamHost } from "./http2-stream.ts";
import { readResponse, readTrailers } from "./messages.ts";
import { ReceivingSession } from "./receiving-session.ts";
import type { Http2Options } from "./session.ts";

/** Informational answers a stream may have: more are a flood. */
const INFORMATIONALS_MAX = 16;

/** Puts an HTTP/2 client on a connection; streams may be opened at once. */
export function createHttp2ClientConnection(channel: Channel, options: Http2Options, handler: ClientConnectionHandler): ClientConnection {
  return new Http2ClientConnection(channel, options, handler);
}

class Http2ClientStream extends Http2Stream {
  readonly handler: ClientStreamHandler;
  readonly isHead: boolean;
  /** Extended CONNECT; `isConnect`: the plain one. */
  readonly isUpgrade: boolean;
  readonly isConnect: boolean;
  hasResponse = false;
  informationals = 0;

  constructor(host: StreamHost, options: Http2StreamOptions, head: RequestHead, handler: ClientStreamHandler) {
    super(host, options);
    this.handler = handler;
    this.isHead = head.method === "HEAD";
    this.isUpgrade = head.upgrade !== undefined;
    this.isConnect = !this.isUpgrade && head.method === "CONNECT";
  }

  get listener(): ClientStreamHandler {
    return this.handler;
  }

  get isUnfinished(): boolean {
    return !this.isRemoteEnded;
  }
}

interface HeldStream {
  readonly stream: Http2ClientStream;
  readonly head: RequestHead;
  readonly endStream: boolean;
}

class Http2ClientConnection extends ReceivingSession implements ClientConnection {
  isReused = false;
  protected readonly isServer = false;
  readonly #handler: ClientConnectionHandler;
  #nextStreamId = 1;
  #isDraining = false;
  #willTellAvailable = false;
  /** Upgrades that wait to hear whether the server takes extended CONNECT. */
  #held: HeldStream[] = [];

  constructor(channel: Channel, options: Http2Options, handler: ClientConnectionHandler) {
    super(channel, options);
    this.#handler = handler;
    const { limits } = options;
    this.out.text(PREFACE);
    this.greet([
      [Setting.enablePush, 0],
      [Setting.initialWindowSize, limits.streamWindowBytes],
      [Setting.maxHeaderListSize, limits.headerBytesMax],
    ]);
  }

  override get activeStreams(): number {
    return this.streams.size + this.#held.length;
  }

  get availableStreams(): number {
    if (this.#isDraining || this.isOver) return 0;
    return Math.max(0, Math.min(this.peerStreamsMax, this.limits.concurrentStreamsMax) - this.activeStreams);
  }

  openStream(head: RequestHead, endStream: boolean, handler: ClientStreamHandler): ClientStream {
    const stream = new Http2ClientStream(this, this.newStreamOptions(0), head, handler);
    if (this.#isDraining || this.isOver) {
      this.#refuseLater(stream, { kind: "refused", detail: "the connection takes no more streams" });
    } else if (head.upgrade === undefined || this.peerTakesConnectProtocol) {
      this.#open(stream, head, endStream);
    } else if (this.hasSettings) {
      this.#refuseLater(stream, NO_EXTENDED_CONNECT);
    } else {
      this.#held.push({ stream, head, endStream });
    }
    return stream;
  }

  drain(): void {
    if (this.#isDraining || this.isOver) return;
    this.#startDraining();
    this.#closeIfDone();
  }

  #startDraining(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    queueMicrotask(() => this.#handler.onDraining());
  }

  #open(stream: Http2ClientStream, head: RequestHead, endStream: boolean): void {
    stream.id = this.#nextStreamId;
    this.#nextStreamId += 2;
    stream.sendWindowBytes = this.peerInitialWindowBytes;
    this.streams.set(stream.id, stream);
    this.sender.head(stream, pseudoOf(head), head.headers, endStream);
    if (this.#nextStreamId > STREAM_ID_MAX) this.drain();
  }

  #refuseLater(stream: Http2ClientStream, reset: StreamReset): void {
    queueMicrotask(() => this.endStream(stream, reset));
  }

  protected override onHeaders(streamId: number, endStream: boolean) {
    const stream = this.streams.get(streamId);
    if (!(stream instanceof Http2ClientStream)) {
      if (this.isIdle(streamId)) this.fail(ErrorCode.protocolError, "HEADERS for a stream that is not open");
      else if (!this.wasReset(streamId)) this.countGlitch(1);
      return;
    }
    if (stream.isRemoteEnded) return this.failStream(stream, ErrorCode.streamClosed, "HEADERS after END_STREAM");
    if (this.decoder.isTooLarge) return this.failStream(stream, ErrorCode.enhanceYourCalm, "a head beyond the limits");
    if (stream.hasResponse) this.#onTrailers(stream, endStream);
    else this.#onResponse(stream, endStream);
  }

  #onResponse(stream: Http2ClientStream, endStream: boolean) {
    const { decoder } = this;
    const response = readResponse(decoder.fields, decoder.count);
    if (response.flaw !== undefined) return this.failStream(stream, ErrorCode.protocolError, response.flaw);
    const { head } = response;
    if (head.status < 200) {
      stream.informationals += 1;
      if (endStream || head.status === 101 || stream.informationals > INFORMATIONALS_MAX) {
        return this.failStream(stream, ErrorCode.protocolError, "an informational answer that is not allowed");
      }
      return stream.handler.onInformational(head);
    }
    stream.hasResponse = true;
    this.isReused = true;
    const isTunnel = (stream.isUpgrade || stream.isConnect) && head.status < 300;
    if (isTunnel) {
      if (stream.isUpgrade) head.status = 101;
    } else {
      const hasNoBody = stream.isHead || head.status === 204 || head.status === 304;
      stream.bodyLeftBytes = hasNoBody ? 0 : response.contentLength;
      if (endStream && stream.bodyLeftBytes > 0) {
        return this.failStream(stream, ErrorCode.protocolError, "a content-length without a body");
      }
    }
    stream.isRemoteEnded = endStream;
    stream.handler.onResponse(head, endStream);
    if (endStream && !stream.isClosed) this.remoteDone(stream);
  }

  #onTrailers(stream: Http2ClientStream, endStream: boolean): void {
    const { decoder } = this;
    const trailers = readTrailers(decoder.fields, decoder.count);
    if (!this.acceptsTrailers(stream, endStream, trailers)) return;
    stream.isRemoteEnded = true;
    stream.handler.onTrailers(trailers);
    if (!stream.isClosed) this.remoteDone(stream);
  }

  protected override onStreamClosed(stream: Http2Stream): void {
    if (stream.id === 0) this.#held = this.#held.filter((held) => held.stream !== stream);
    if (this.isOver) return;
    if (this.#isDraining) this.#closeIfDone();
    else this.#tellAvailable();
  }

  /** Once a turn, and never from inside a call of a stream's owner. */
  #tellAvailable(): void {
    if (this.#willTellAvailable) return;
    this.#willTellAvailable = true;
    queueMicrotask(() => {
      this.#willTellAvailable = false;
      if (this.availableStreams > 0) this.#handler.onAvailable();
    });
  }

  #closeIfDone(): void {
    if (this.activeStreams > 0 || this.isOver) return;
    this.sendGoaway(0, ErrorCode.noError);
    this.shutDown();
  }

  protected override onSettings(): void {
    const held = this.#held;
    this.#held = [];
    for (const { stream, head, endStream } of held) {
      if (!this.peerTakesConnectProtocol) this.endStream(stream, NO_EXTENDED_CONNECT);
      else {
        this.#open(stream, head, endStream);
        this.sender.pump(stream);
      }
    }
    this.#tellAvailable();
  }

  protected override onGoaway(lastStreamId: number, code: number): void {
    this.#startDraining();
    const reset: StreamReset = { kind: "refused", detail: `GOAWAY ${errorName(code)}` };
    for (const stream of [...this.streams.values()]) if (stream.id > lastStreamId) this.endStream(stream, reset);
    for (const { stream } of this.#held) this.endStream(stream, reset);
    this.#closeIfDone();
  }

  protected override onOver(): void {
    this.#startDraining();
  }

  protected override onGone(detail: string): void {
    for (const { stream } of this.#held) this.endStream(stream, { kind: "connection-closed", detail });
    this.#handler.onClose({ detail });
  }

  protected override onPingAck(): void {}

  protected override onFatal(): void {}

  protected override onStreamFault(): void {}

  protected override allowsPushSetting(value: number): boolean {
    return value === 0;
  }

  protected override isIdle(streamId: number): boolean {
    return streamId >= this.#nextStreamId || (streamId & 1) === 0;
  }
}

const NO_EXTENDED_CONNECT: StreamReset = { kind: "local-reset", detail: "the server does not take extended CONNECT" };

function pseudoOf(head: RequestHead): readonly string[] {
  const { authority } = head;
  if (head.upgrade !== undefined) {
    const pseudo = [":method", "CONNECT", ":protocol", head.upgrade, ":scheme", head.scheme, ":path", head.path];
    if (authority !== "") pseudo.push(":authority", authority);
    return pseudo;
  }
  if (head.method === "CONNECT") return [":method", "CONNECT", ":authority", authority];
  if (authority === "") return [":method", head.method, ":scheme", head.scheme, ":path", head.path];
  return [":method", head.method, ":scheme", head.scheme, ":authority", authority, ":path", head.path];
}
