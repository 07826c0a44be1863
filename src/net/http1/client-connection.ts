/** The client's side of HTTP/1.1 on a channel: one request at a time, reused only where both messages ended cleanly. Source: RFC 9112. */
import type { Channel, ChannelHandler, CloseReason } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import type {
  ClientConnection,
  ClientConnectionHandler,
  ClientStream,
  ClientStreamHandler,
  HttpLimits,
  RequestHead,
  StreamReset,
} from "../http/stream.ts";
import { BodyDecoder, type BodySink, NO_BYTES } from "./body-decoder.ts";
import { BodyEncoder } from "./body-encoder.ts";
import { INCOMPLETE, REFUSED } from "./fields.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";
import { HeadBuffer, type HeadReader } from "./head-buffer.ts";
import { type BodyFraming, contentLengthOf, requestHeadText } from "./head-writer.ts";
import { ResponseReader } from "./response-reader.ts";

/** What a client connection is told at its making. */
export interface Http1ClientOptions {
  readonly limits: HttpLimits;
}

/** Informational answers to one request; a server that sends more is broken or hostile. */
const INFORMATIONAL_MAX = 16;
/** Requests that are expected to have no body: their emptiness needs no word. Source: Envoy, HeaderUtility::requestShouldHaveNoBody. */
const BODILESS_METHODS: ReadonlySet<string> = new Set(["CONNECT", "DELETE", "GET", "HEAD", "TRACE"]);

/** One reader does for all connections of a thread: a head is read within one call. */
const responseReader = new ResponseReader();

/** Makes the client's side. Takes the channel over, in the turn in which the channel was given. */
export function createHttp1ClientConnection(
  channel: Channel,
  options: Http1ClientOptions,
  handler: ClientConnectionHandler,
): ClientConnection {
  return new Http1ClientConnection(channel, options, handler);
}

type State = "idle" | "head" | "body" | "tunnel" | "closed";

class Http1ClientConnection implements ClientConnection, ChannelHandler, BodySink, HeadReader {
  readonly channel: Channel;
  readonly version = "HTTP/1.1";
  isReused = false;
  readonly #limits: HttpLimits;
  readonly #handler: ClientConnectionHandler;
  readonly #heads: HeadBuffer;
  readonly #decoder: BodyDecoder;
  readonly #encoder: BodyEncoder;
  #state: State = "idle";
  #stream: Http1ClientStream | undefined;
  #isPaused = false;
  #isDraining = false;
  #isDrainTold = false;
  #isCloseTold = false;
  #detail: string | undefined;

  constructor(channel: Channel, { limits }: Http1ClientOptions, handler: ClientConnectionHandler) {
    this.channel = channel;
    this.#limits = limits;
    this.#handler = handler;
    this.#heads = new HeadBuffer(limits.headerBytesMax);
    this.#decoder = new BodyDecoder(this, limits);
    this.#encoder = new BodyEncoder(channel);
    channel.handler = this;
  }

  get activeStreams(): number {
    return this.#stream === undefined ? 0 : 1;
  }

  get availableStreams(): number {
    return this.#state === "idle" && !this.#isDraining && this.channel.isOpen ? 1 : 0;
  }

  openStream(head: RequestHead, endStream: boolean, handler: ClientStreamHandler): ClientStream {
    if (this.availableStreams === 0) throw new Error("openStream on a connection that has no stream available");
    const { method } = head;
    const isTunnel = head.upgrade !== undefined || method === "CONNECT";
    const stream = new Http1ClientStream(this, handler, { method, upgrade: head.upgrade, isTunnel });
    this.#stream = stream;
    this.#state = "head";
    let contentLength = isTunnel ? -1 : contentLengthOf(head.headers);
    let framing: BodyFraming = "none";
    if (endStream) {
      // Servers want a length where a body may be expected; a stray one elsewhere would announce bytes that never come.
      contentLength = contentLength >= 0 || !BODILESS_METHODS.has(method) ? 0 : -1;
      if (!isTunnel) stream.isRequestOver = true;
    } else if (!isTunnel) framing = contentLength >= 0 ? "length" : "chunked";
    const text = requestHeadText(head, { framing, contentLength });
    if (text === undefined) {
      // Fail closed: never a line that could be read as another request.
      queueMicrotask(() => this.#abandon({ kind: "local-reset", detail: "the request cannot be written as HTTP/1.1" }));
      return stream;
    }
    if (framing === "length") this.#encoder.startLength(contentLength);
    else if (framing === "chunked") this.#encoder.startChunked();
    else this.#encoder.startNone();
    this.channel.writeLatin1(text);
    return stream;
  }

  drain(): void {
    this.#isDraining = true;
    this.#tellDraining();
    if (this.#stream === undefined) this.channel.destroy();
  }

  destroy(): void {
    this.channel.destroy();
  }

  // What the channel tells.

  onData(buffer: Buffer, start: number, end: number): void {
    let at = start;
    while (at < end) {
      switch (this.#state) {
        case "head":
          at = this.#readHead(buffer, at, end);
          break;
        case "body":
          at = this.#decoder.read(buffer, at, end);
          if (this.#state === "body" && this.#decoder.isDone) at = this.#endResponse(at < end);
          break;
        case "tunnel":
          this.#stream?.handler.onData(buffer, at, end, false);
          return;
        case "idle":
          // Bytes that answer no request: what comes could be taken for the answer to the next.
          this.#fail("bytes without a request");
          return;
        default:
          return;
      }
      if (at < 0) return;
    }
  }

  onEnd(): void {
    if (this.#state === "tunnel") {
      const stream = this.#stream;
      if (stream === undefined) return;
      stream.isResponseOver = true;
      stream.handler.onData(NO_BYTES, 0, 0, true);
      this.#finishTunnel(stream);
      return;
    }
    if (this.#state === "body" && this.#decoder.isUntilClose) {
      this.#decoder.stop();
      this.#isDraining = true;
      this.onBody(NO_BYTES, 0, 0, true);
      this.#endResponse(false);
      return;
    }
    this.#detail ??= "the server closed the connection";
    this.#abandon({ kind: "connection-closed", detail: this.#detail });
  }

  onDrain(): void {
    const stream = this.#stream;
    if (stream !== undefined && !stream.isRequestOver) stream.handler.onDrain();
  }

  onClose(reason: CloseReason): void {
    const detail = this.#detail ?? reason.code ?? reason.message;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#decoder.stop();
    this.#state = "closed";
    this.#isDraining = true;
    this.#isCloseTold = true;
    stream?.handler.onReset({ kind: "connection-closed", detail });
    this.#handler.onClose({ detail });
  }

  // Reading.

  #readHead(buffer: Buffer, start: number, end: number): number {
    const next = this.#heads.read(buffer, start, end, this);
    if (next === INCOMPLETE) return -1;
    const stream = this.#stream;
    const { head } = responseReader;
    if (next === REFUSED || head === undefined || stream === undefined) return this.#refuse(this.#heads.flaw ?? Flaws.statusLine);
    const { status } = head;
    if (status < 200 && status !== 101) {
      stream.informational += 1;
      if (stream.informational > INFORMATIONAL_MAX) return this.#refuse(Flaws.tooManyInformational);
      if (responseReader.isChunked || responseReader.contentLength > 0) return this.#refuse(Flaws.contentLength);
      stream.handler.onInformational(head);
      return this.#stream === stream ? next : -1;
    }
    if (status === 101 && stream.upgrade === undefined) return this.#refuse(Flaws.unaskedUpgrade);
    if (status === 101 && responseReader.upgrade !== stream.upgrade) return this.#refuse(Flaws.upgrade);
    this.isReused = true;
    if (status === 101 || (stream.isTunnel && stream.upgrade === undefined && status < 300)) {
      this.#state = "tunnel";
      this.#isDraining = true;
      this.#encoder.startRaw();
      stream.isTunnelOpen = true;
      stream.handler.onResponse(head, false);
      return next;
    }
    if (stream.isTunnel) stream.isRequestOver = true; // Not taken up: what its owner still writes is no request.
    if (!responseReader.isKeptAlive) this.#isDraining = true;
    const { isChunked, contentLength } = responseReader;
    const hasNoBody = stream.method === "HEAD" || status === 204 || status === 304;
    if (hasNoBody) this.#decoder.stop();
    else if (isChunked) this.#decoder.startChunked();
    else if (contentLength >= 0) this.#decoder.startLength(contentLength);
    else {
      this.#decoder.startUntilClose();
      this.#isDraining = true;
    }
    this.#state = "body";
    const isOver = this.#decoder.isDone;
    if (isOver) stream.isResponseOver = true;
    stream.handler.onResponse(head, isOver);
    if (!isOver) return this.#stream === stream ? next : -1;
    return this.#endResponse(next < end);
  }

  get flaw(): Http1Flaw | undefined {
    return responseReader.flaw;
  }

  readText(text: string): number {
    return responseReader.read(text, 0, this.#limits);
  }

  onBody(buffer: Buffer, start: number, end: number, isLast: boolean): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    if (isLast) stream.isResponseOver = true;
    stream.handler.onData(buffer, start, end, isLast);
  }

  onBodyTrailers(trailers: HeaderList): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    stream.isResponseOver = true;
    stream.handler.onTrailers(trailers);
  }

  onBodyFlaw(flaw: Http1Flaw): void {
    this.#refuse(flaw);
  }

  /** The response is whole: the connection may go on if the request is too, and if nothing came behind. Always -1: no more is read. */
  #endResponse(hasMore: boolean): number {
    const stream = this.#stream;
    if (stream === undefined) return -1;
    this.#stream = undefined;
    if (this.#isPaused) this.#setPaused(false);
    if (hasMore || this.#isDraining || !stream.isRequestOver || this.#encoder.isBroken) {
      this.#detail ??= hasMore ? "bytes without a request" : "closed after the response";
      this.#close();
      return -1;
    }
    this.#state = "idle";
    this.#handler.onAvailable();
    return -1;
  }

  #refuse(flaw: Http1Flaw): number {
    this.#detail = flaw.message;
    this.#abandon({ kind: "protocol-error", detail: flaw.message });
    return -1;
  }

  #fail(detail: string): void {
    this.#detail = detail;
    this.#close();
  }

  #abandon(reset: StreamReset): void {
    const stream = this.#stream;
    this.#stream = undefined;
    this.#close();
    stream?.handler.onReset(reset);
  }

  #close(): void {
    this.#state = "closed";
    this.#isDraining = true;
    this.#decoder.stop();
    this.#tellDraining();
    this.channel.destroy();
  }

  #tellDraining(): void {
    if (this.#isDrainTold) return;
    this.#isDrainTold = true;
    queueMicrotask(() => {
      if (!this.#isCloseTold) this.#handler.onDraining();
    });
  }

  // Called by the stream.

  writeData(stream: Http1ClientStream, buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    if (this.#stream !== stream || stream.isRequestOver || (stream.isTunnel && !stream.isTunnelOpen)) return true;
    const isBelow = this.#encoder.write(buffer, start, end, endStream);
    if (endStream) this.#endRequest(stream);
    return isBelow;
  }

  writeTrailers(stream: Http1ClientStream, trailers: HeaderList): void {
    if (this.#stream !== stream || stream.isRequestOver || stream.isTunnel) return;
    this.#encoder.writeTrailers(trailers);
    this.#endRequest(stream);
  }

  pauseReading(stream: Http1ClientStream, isPaused: boolean): void {
    if (this.#stream === stream && this.#isPaused !== isPaused) this.#setPaused(isPaused);
  }

  reset(stream: Http1ClientStream): void {
    if (this.#stream !== stream) return;
    this.#stream = undefined;
    this.#detail ??= "reset by its owner";
    this.#close();
  }

  #endRequest(stream: Http1ClientStream): void {
    stream.isRequestOver = true;
    if (this.#encoder.isBroken) {
      // The server waits for bytes that never come, or would take what is too much for another request.
      queueMicrotask(() => {
        if (this.#stream === stream) this.#abandon({ kind: "local-reset", detail: "the body is not as long as its content-length" });
      });
      return;
    }
    if (!stream.isTunnelOpen) return;
    this.channel.end();
    this.#finishTunnel(stream);
  }

  #finishTunnel(stream: Http1ClientStream): void {
    if (this.#stream !== stream || !stream.isRequestOver || !stream.isResponseOver) return;
    this.#stream = undefined; // Both ends are over, so the channel closes by itself.
    this.#state = "closed";
    this.#tellDraining();
  }

  #setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused;
    if (isPaused) this.channel.pause();
    else this.channel.resume();
  }
}

/** One request of the connection: a thin handle that goes dead with its request. */
class Http1ClientStream implements ClientStream {
  readonly #connection: Http1ClientConnection;
  readonly handler: ClientStreamHandler;
  readonly method: string;
  readonly upgrade: string | undefined;
  readonly isTunnel: boolean;
  isTunnelOpen = false;
  isRequestOver = false;
  isResponseOver = false;
  informational = 0;

  constructor(
    connection: Http1ClientConnection,
    handler: ClientStreamHandler,
    facts: { readonly method: string; readonly upgrade: string | undefined; readonly isTunnel: boolean },
  ) {
    this.#connection = connection;
    this.handler = handler;
    this.method = facts.method;
    this.upgrade = facts.upgrade;
    this.isTunnel = facts.isTunnel;
  }

  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    return this.#connection.writeData(this, buffer, start, end, endStream);
  }

  writeTrailers(trailers: HeaderList): void {
    this.#connection.writeTrailers(this, trailers);
  }

  pauseReading(): void {
    this.#connection.pauseReading(this, true);
  }

  resumeReading(): void {
    this.#connection.pauseReading(this, false);
  }

  reset(): void {
    this.#connection.reset(this);
  }
}
