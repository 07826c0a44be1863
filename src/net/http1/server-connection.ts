/** The server's side of HTTP/1.1 on a channel: one request at a time, answered in order. Source: RFC 9112. */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Channel, ChannelHandler, CloseReason } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import type { HttpLimits, ResponseHead, ServerConnection, ServerHandler, StreamReset } from "../http/stream.ts";
import { BodyDecoder, type BodySink, NO_BYTES } from "./body-decoder.ts";
import { BodyEncoder } from "./body-encoder.ts";
import { INCOMPLETE, REFUSED } from "./fields.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";
import { HeadBuffer, type HeadReader } from "./head-buffer.ts";
import { asksToClose, type BodyFraming, contentLengthOf, fieldLines, responseHeadText, statusLine } from "./head-writer.ts";
import { RequestReader, type RequestReading } from "./request-reader.ts";
import { Http1ServerStream } from "./server-stream.ts";

/** What a server connection is told at its making. */
export interface Http1ServerOptions {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  /** From a head's first byte to its last. Default 15 s. */
  readonly headerTimeoutMs?: number | undefined;
  /** Default false: HTTP/1.0 is answered 426. Source: Envoy Http1ProtocolOptions.accept_http_10. */
  readonly acceptHttp10?: boolean | undefined;
  /** The `server` of answers to what is no request; default: they name none. */
  readonly serverName?: string | undefined;
}

const HEADER_TIMEOUT_MS = 15_000;
/** How long the client may take to notice that we have closed: a close with bytes unread would take the answer from it. */
const LINGER_MS = 1000;
/** How long a closing connection may take no byte of what is still to be written. */
const STALL_MS = 15_000;
/** How long a draining connection waits for a last request, which may be on its way, to answer it with "connection: close". */
const DRAIN_IDLE_MS = 1000;
/** Body bytes of an answered request that are read and dropped so that the connection may go on. */
const DISCARD_BYTES_MAX = 64 * 1024;

const CR = 13;
const LF = 10;

/** One reader does for all connections of a thread: a head is read within one call. */
const requestReader = new RequestReader();

type State =
  /** Waits for a head. */
  | "head"
  /** A request is being read or answered, or both. */
  | "request"
  /** An upgrade was asked for and is not answered: bytes are held. */
  | "upgrading"
  | "tunnel"
  /** All was said; what still comes is dropped. */
  | "closing"
  | "closed";

/** Makes the server's side. Takes the channel over, in the turn in which the channel was given. */
export function createHttp1ServerConnection(channel: Channel, options: Http1ServerOptions, handler: ServerHandler): ServerConnection {
  return new Http1ServerConnection(channel, options, handler);
}

/** The connection. Its internals are open to its streams alone. */
export class Http1ServerConnection implements ServerConnection, ChannelHandler, BodySink, HeadReader {
  readonly channel: Channel;
  readonly version = "HTTP/1.1";
  readonly #options: Http1ServerOptions;
  readonly #reading: RequestReading;
  readonly #handler: ServerHandler;
  readonly #heads: HeadBuffer;
  readonly #decoder: BodyDecoder;
  readonly #encoder: BodyEncoder;
  #state: State = "head";
  #stream: Http1ServerStream | undefined;
  /** Whether a leading empty line was (half) seen. Source: RFC 9112 section 2.2. */
  #emptyLineBytes = 0;
  #held: Buffer | undefined;
  #isReading = false;
  #isChoked = false;
  #isPausedByStream = false;
  #isPausedByUs = false;
  #isPaused = false;
  #isDraining = false;
  #isClosing = false;
  #discardedBytes = 0;
  #headTimer: Timer | undefined;
  /** Of draining and closing. */
  #timer: Timer | undefined;

  constructor(channel: Channel, options: Http1ServerOptions, handler: ServerHandler) {
    this.channel = channel;
    this.#options = options;
    this.#reading = {
      limits: options.limits,
      scheme: channel.tls === undefined ? "http" : "https",
      acceptHttp10: options.acceptHttp10 ?? false,
    };
    this.#handler = handler;
    this.#heads = new HeadBuffer(options.limits.headerBytesMax);
    this.#decoder = new BodyDecoder(this, options.limits);
    this.#encoder = new BodyEncoder(channel);
    channel.handler = this;
  }

  get activeStreams(): number {
    return this.#stream === undefined ? 0 : 1;
  }

  drain(): void {
    if (this.#isDraining || this.#state === "closing" || this.#state === "closed") return;
    this.#isDraining = true;
    if (this.#stream !== undefined || !this.#heads.isEmpty) return;
    this.#setTimer(DRAIN_IDLE_MS, () => this.#closeGently());
  }

  destroy(): void {
    this.channel.destroy();
  }

  // What the channel tells.

  onData(buffer: Buffer, start: number, end: number): void {
    if (this.#held !== undefined) {
      this.#hold(buffer, start, end);
      return;
    }
    this.#isReading = true;
    let at = start;
    while (at < end) {
      const next = this.#read(buffer, at, end);
      if (next < 0) break;
      at = next;
    }
    this.#isReading = false;
  }

  onEnd(): void {
    switch (this.#state) {
      case "tunnel":
        this.#decoder.stop();
        this.#endRequest(NO_BYTES, 0, 0);
        break;
      case "closing":
        break; // The channel closes once our own end is out.
      case "head":
        this.#closeGently();
        break;
      default:
        // A client that ends its side while it is owed an answer has gone, as far as one can tell. Envoy sees it so too.
        this.#resetStream({ kind: "connection-closed", detail: "the client closed the connection" });
        this.channel.destroy();
    }
  }

  onDrain(): void {
    this.#isChoked = false;
    this.#stream?.drained();
    this.#goOn();
  }

  onClose(reason: CloseReason): void {
    this.#clearTimer();
    this.#headTimer?.cancel();
    this.#held = undefined;
    this.#decoder.stop();
    this.#resetStream({ kind: "connection-closed", detail: reason.code ?? reason.message });
    this.#state = "closed";
    this.#handler.onClose();
  }

  // Reading.

  /** Takes some of the bytes; returns the index of the next, or -1 when the rest was taken care of. */
  #read(buffer: Buffer, start: number, end: number): number {
    switch (this.#state) {
      case "head":
        if (this.#isChoked) return this.#hold(buffer, start, end);
        return this.#readHead(buffer, start, end);
      case "request":
        if (this.#decoder.isDone) return this.#hold(buffer, start, end);
        return this.#decoder.read(buffer, start, end);
      case "upgrading":
        return this.#hold(buffer, start, end);
      case "tunnel":
        this.#stream?.handler.onData(buffer, start, end, false);
        return end;
      default:
        return -1;
    }
  }

  #readHead(buffer: Buffer, start: number, end: number): number {
    if (this.#heads.isEmpty) {
      const byte = buffer[start];
      if (this.#emptyLineBytes === 1) {
        if (byte !== LF) return this.#refuse(Flaws.requestLine);
        this.#emptyLineBytes = 2;
        return start + 1;
      }
      if (byte === CR && this.#emptyLineBytes === 0) {
        this.#emptyLineBytes = 1;
        return start + 1;
      }
    }
    const next = this.#heads.read(buffer, start, end, this);
    if (next === REFUSED) return this.#refuse(this.#heads.flaw ?? Flaws.requestLine);
    if (next === INCOMPLETE) {
      this.#clearTimer(); // Draining: this is the last request.
      this.#headTimer ??= this.#options.clock.after(this.#options.headerTimeoutMs ?? HEADER_TIMEOUT_MS, () => {
        if (this.#state === "head") this.#refuse(Flaws.headerTimeout);
      });
      return -1;
    }
    if (this.#headTimer !== undefined) this.#clearHeadTimer();
    if (this.#timer !== undefined) this.#clearTimer();
    this.#begin();
    return next;
  }

  get flaw(): Http1Flaw | undefined {
    return requestReader.flaw;
  }

  readText(text: string): number {
    return requestReader.read(text, 0, this.#reading);
  }

  #begin(): void {
    const { head, contentLength, isChunked, isKeptAlive, expectsContinue } = requestReader;
    if (head === undefined) return;
    this.#emptyLineBytes = 0;
    const isTunnel = head.upgrade !== undefined || head.method === "CONNECT";
    const stream = new Http1ServerStream(this, {
      isHead: head.method === "HEAD",
      isHttp10: head.version === "HTTP/1.0",
      isConnect: head.method === "CONNECT",
      upgrade: head.upgrade,
      isKeptAlive,
      expectsContinue,
    });
    this.#stream = stream;
    if (isChunked) this.#decoder.startChunked();
    else this.#decoder.startLength(Math.max(0, contentLength));
    this.#state = isTunnel ? "upgrading" : "request";
    this.#handler.onRequest(stream, head, !isTunnel && this.#decoder.isDone);
  }

  onBody(buffer: Buffer, start: number, end: number, isLast: boolean): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isAnswered) {
      this.#discard(end - start, isLast);
      return;
    }
    if (isLast) this.#endRequest(buffer, start, end);
    else stream.handler.onData(buffer, start, end, false);
  }

  onBodyTrailers(trailers: HeaderList): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isAnswered) {
      this.#discard(0, true);
      return;
    }
    stream.isRequestOver = true;
    stream.handler.onTrailers(trailers);
    this.#finishIfOver(stream);
  }

  onBodyFlaw(flaw: Http1Flaw): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    const isUnanswered = !stream.isHeadWritten;
    this.#resetStream({ kind: "protocol-error", detail: flaw.message });
    if (isUnanswered) this.#answer(flaw);
    else this.channel.destroy();
  }

  #endRequest(buffer: Buffer, start: number, end: number): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isRequestOver) return;
    stream.isRequestOver = true;
    stream.handler.onData(buffer, start, end, true);
    this.#finishIfOver(stream);
  }

  /** The answer is out, the request's body not yet in: its rest is dropped, within bounds. */
  #discard(bytes: number, isLast: boolean): void {
    this.#discardedBytes += bytes;
    const stream = this.#stream;
    if (stream === undefined) return;
    if (isLast) {
      stream.isRequestOver = true;
      this.#finishIfOver(stream);
    } else if (this.#discardedBytes > DISCARD_BYTES_MAX) {
      this.#stream = undefined;
      this.#closeGently();
    }
  }

  /** Keeps what belongs to a later request, and reads no more of it. */
  #hold(buffer: Buffer, start: number, end: number): number {
    const bytes = buffer.subarray(start, end);
    this.#held = this.#held === undefined ? Buffer.from(bytes) : Buffer.concat([this.#held, bytes]);
    this.#isPausedByUs = true;
    this.#applyPause();
    return -1;
  }

  /** Goes on with what was held, in a turn of its own. */
  #goOn(): void {
    if (this.#held === undefined || this.#isReading) return;
    queueMicrotask(() => {
      const held = this.#held;
      if (held === undefined || this.#isReading || !this.#canGoOn()) return;
      this.#held = undefined;
      this.onData(held, 0, held.length);
      if (this.#held === undefined) this.#resumeOurs();
    });
  }

  #canGoOn(): boolean {
    if (this.#state === "head") return !this.#isChoked;
    return this.#state === "tunnel" || this.#state === "closing";
  }

  // Answering; called by the stream.

  writeInformational(stream: Http1ServerStream, head: ResponseHead): void {
    if (this.#stream !== stream || stream.isHeadWritten || stream.isHttp10) return;
    if (head.status < 100 || head.status > 199 || head.status === 101) return;
    if (head.status === 100) stream.hasContinued = true;
    this.#write(`${statusLine(head.status)}${fieldLines(head.headers.flat)}\r\n`);
  }

  writeHead(stream: Http1ServerStream, head: ResponseHead, endStream: boolean): void {
    if (this.#stream !== stream || stream.isHeadWritten) return;
    stream.isHeadWritten = true;
    const { status } = head;
    const isTunnel = stream.isConnect ? status >= 200 && status < 300 : status === 101 && stream.upgrade !== undefined;
    if (status < 200 && !isTunnel) {
      // A programmer's error: an informational answer cannot be the last.
      this.#write(responseHeadText({ ...head, status: 500 }, ERROR_HEAD));
      this.#isClosing = true;
      this.#encoder.startNone();
      this.#endAnswer(stream);
      return;
    }
    let contentLength = contentLengthOf(head.headers);
    let framing: BodyFraming;
    if (isTunnel || stream.isHead || status === 204 || status === 304) {
      framing = "none";
      if (isTunnel || status === 204) contentLength = -1;
    } else if (endStream) {
      framing = "length";
      contentLength = 0;
    } else if (contentLength >= 0) framing = "length";
    else framing = stream.isHttp10 ? "close" : "chunked";

    const cannotGoOn = !this.#decoder.isDone && stream.expectsContinue && !stream.hasContinued;
    if (!stream.isKeptAlive || this.#isDraining || framing === "close" || cannotGoOn || asksToClose(head.headers)) this.#isClosing = true;
    const connection = this.#isClosing ? "close" : stream.isHttp10 ? "keep-alive" : undefined;
    const upgrade = isTunnel ? stream.upgrade : undefined;
    // An answer to HEAD says how a body would have come. Source: Envoy, StreamEncoderImpl::encodeHeadersBase.
    const wouldChunk = stream.isHead && !isTunnel && contentLength < 0 && status !== 204 && !stream.isHttp10;
    const text = responseHeadText(head, {
      framing: wouldChunk ? "chunked" : framing,
      contentLength,
      connection: isTunnel ? undefined : connection,
      upgrade,
      isHttp10: stream.isHttp10,
    });
    if (isTunnel || framing === "close") this.#encoder.startRaw();
    else if (framing === "length") this.#encoder.startLength(contentLength);
    else if (framing === "chunked") this.#encoder.startChunked();
    else this.#encoder.startNone();
    this.#write(text);

    if (isTunnel) this.#openTunnel();
    else if (this.#state === "upgrading") this.#refuseTunnel(stream);
    if (endStream) this.#endAnswer(stream);
  }

  writeData(stream: Http1ServerStream, buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    if (this.#stream !== stream || !stream.isHeadWritten || stream.isAnswered) return true;
    const isBelow = this.#encoder.write(buffer, start, end, endStream);
    if (!isBelow) this.#isChoked = true;
    if (endStream) this.#endAnswer(stream);
    return isBelow;
  }

  writeTrailers(stream: Http1ServerStream, trailers: HeaderList): void {
    if (this.#stream !== stream || !stream.isHeadWritten || stream.isAnswered) return;
    this.#encoder.writeTrailers(trailers);
    this.#endAnswer(stream);
  }

  pauseReading(stream: Http1ServerStream, isPaused: boolean): void {
    if (this.#stream !== stream) return;
    this.#isPausedByStream = isPaused;
    this.#applyPause();
  }

  reset(stream: Http1ServerStream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#decoder.stop();
    // Where the end of the connection is the end of the body, only a reset says that the body is not whole.
    this.channel.destroy({ reset: stream.isHeadWritten && this.#encoder.isRaw });
    this.#state = "closing";
  }

  #openTunnel(): void {
    this.#state = "tunnel";
    this.#isClosing = true;
    this.#resumeOursAfterHeld();
  }

  /** The upgrade was not taken: the request is over, and what came behind it is another request. */
  #refuseTunnel(stream: Http1ServerStream): void {
    this.#state = "request";
    stream.isRequestOver = true;
    this.#resumeOursAfterHeld();
  }

  #resumeOursAfterHeld(): void {
    if (this.#held === undefined) this.#resumeOurs();
    else this.#goOn();
  }

  #endAnswer(stream: Http1ServerStream): void {
    stream.isAnswered = true;
    if (this.#encoder.isBroken) {
      this.#stream = undefined;
      this.channel.destroy();
      return;
    }
    if (this.#state === "tunnel") {
      this.channel.end();
      this.#finishIfOver(stream);
      return;
    }
    this.#discardedBytes = 0;
    if (this.#decoder.isDone) stream.isRequestOver = true;
    if (!stream.isRequestOver) {
      if (this.#isClosing) {
        this.#stream = undefined;
        this.#closeGently();
        return;
      }
      // A paused body would never come to its end.
      this.#isPausedByStream = false;
      this.#applyPause();
      return;
    }
    this.#finishIfOver(stream);
  }

  #finishIfOver(stream: Http1ServerStream): void {
    if (this.#stream !== stream || !stream.isRequestOver || !stream.isAnswered) return;
    this.#stream = undefined;
    this.#isPausedByStream = false;
    if (this.#state === "tunnel") {
      this.#state = "closing"; // Both ends are over, so the channel closes by itself.
      this.#linger(this.channel.bufferedBytes);
      return;
    }
    if (this.#isClosing || this.#isDraining) {
      this.#closeGently();
      return;
    }
    this.#state = "head";
    if (this.#held === undefined) this.#resumeOurs();
    else this.#goOn();
  }

  #write(text: string): void {
    if (!this.channel.writeLatin1(text)) this.#isChoked = true;
  }

  // Ending.

  #refuse(flaw: Http1Flaw): number {
    this.#answer(flaw);
    this.#handler.onCodecError(flaw);
    return -1;
  }

  #answer({ status }: Http1Flaw): void {
    const line = statusLine(status);
    const reason = line.slice(line.indexOf(" ", "HTTP/1.1 ".length) + 1, -2);
    const server = this.#options.serverName === undefined ? "" : `server: ${this.#options.serverName}\r\n`;
    const fields = `content-length: ${reason.length}\r\ncontent-type: text/plain\r\n${server}connection: close\r\n`;
    this.channel.writeLatin1(`${line}${fields}\r\n${reason}`);
    this.#closeGently();
  }

  /** Sends what is left to send and FIN, then waits a little for the client to close. */
  #closeGently(): void {
    if (this.#state === "closing" || this.#state === "closed") return;
    this.#state = "closing";
    this.#held = undefined;
    this.#heads.clear();
    this.#decoder.stop();
    this.channel.end();
    this.#isPausedByStream = false;
    this.#resumeOurs();
    if (this.#headTimer !== undefined) this.#clearHeadTimer();
    this.#linger(this.channel.bufferedBytes);
  }

  /** Waits for the client to close; as long as it takes what is still to be written, but not for one that takes nothing. */
  #linger(beforeBytes: number): void {
    this.#setTimer(beforeBytes > 0 ? STALL_MS : LINGER_MS, () => {
      const { bufferedBytes } = this.channel;
      if (beforeBytes > 0 && bufferedBytes < beforeBytes) this.#linger(bufferedBytes);
      else this.channel.destroy();
    });
  }

  #clearHeadTimer(): void {
    this.#headTimer?.cancel();
    this.#headTimer = undefined;
  }

  #resetStream(reset: StreamReset): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#stream = undefined;
    if (stream.isAnswered && stream.isRequestOver) return;
    if (stream.isAnswered && this.#state !== "tunnel") return; // Its owner is done with it.
    stream.handler.onReset(reset);
  }

  #resumeOurs(): void {
    this.#isPausedByUs = false;
    this.#applyPause();
  }

  #applyPause(): void {
    const isPaused = this.#isPausedByUs || this.#isPausedByStream;
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    if (isPaused) this.channel.pause();
    else this.channel.resume();
  }

  #setTimer(delayMs: number, wake: () => void): void {
    this.#clearTimer();
    this.#timer = this.#options.clock.after(delayMs, () => {
      this.#timer = undefined;
      wake();
    });
  }

  #clearTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}

const ERROR_HEAD = { framing: "length", contentLength: 0, connection: "close", upgrade: undefined, isHttp10: false } as const;
