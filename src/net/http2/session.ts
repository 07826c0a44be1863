/** What both ends of an HTTP/2 connection do: frames, settings, windows, floods, the end. Source: RFC 9113. */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Channel, ChannelHandler, CloseReason } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import type { HttpLimits, StreamReset } from "../http/stream.ts";
import { GlitchBucket } from "./flood.ts";
import { FrameInput } from "./frame-input.ts";
import { FrameOutput } from "./frame-output.ts";
import {
  ErrorCode,
  errorName,
  Flag,
  FRAME_BYTES_MAX,
  FrameType,
  type Http2ErrorCode,
  INITIAL_WINDOW_BYTES,
  Setting,
  WINDOW_BYTES_MAX,
} from "./frames.ts";
import { HpackDecoder, HpackError } from "./hpack-decoder.ts";
import { type Http2Stream, STREAM_QUEUE, type StreamHost } from "./http2-stream.ts";
import type { MessageFlaw } from "./messages.ts";
import { SendQueue } from "./send-queue.ts";

/** PINGs that find out whether a silent peer is still there. */
export interface Http2Keepalive {
  /** After this long without a byte from the peer one PING is sent. */
  readonly intervalMs: number;
  /** The connection is closed when then nothing comes for this long. */
  readonly timeoutMs: number;
}

/** Arguments of a connection. */
export interface Http2Options {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  /** Undefined: no PINGs. */
  readonly keepalive?: Http2Keepalive | undefined;
}

const CONTINUATIONS_MAX = 8;
/** How long a peer may take to close after our GOAWAY and FIN. */
const CLOSE_WAIT_MS = 1000;
/** How many ids of streams that we reset are remembered: their late frames are no fault of the peer. */
const RESET_IDS_MAX = 512;
/** What may wait for a peer that does not read. Source: Envoy max_outbound_control_frames, max_outbound_frames. */
const BLOCKED_CONTROL_FRAMES_MAX = 1000;
const BLOCKED_BYTES_MAX = 4 * 1024 * 1024;

/** One end of a connection. */
export abstract class Session implements ChannelHandler, StreamHost {
  readonly channel: Channel;
  readonly version = "HTTP/2";
  protected readonly limits: HttpLimits;
  protected readonly clock: Clock;
  protected readonly out: FrameOutput;
  protected readonly decoder: HpackDecoder;
  protected readonly streams = new Map<number, Http2Stream>();
  /** The time of the turn, as of its first use. */
  protected turnMs: number;
  /** Largest id of a stream that the peer opened: a server's clients do, a client's servers never. */
  protected peerStreamId = 0;
  protected peerInitialWindowBytes = INITIAL_WINDOW_BYTES;
  protected peerStreamsMax = 100;
  protected peerTakesConnectProtocol = false;
  protected hasSettings = false;
  /** GOAWAY after an error was sent, or the channel is gone: nothing is read or opened any more. */
  protected isOver = false;

  readonly #input: FrameInput;
  readonly #glitches = new GlitchBucket();
  readonly #resetIds = new Set<number>();
  readonly #queued = new Set<Http2Stream>();
  readonly #waiting = new Set<Http2Stream>();
  readonly #keepalive: Http2Keepalive | undefined;
  #sendWindowBytes = INITIAL_WINDOW_BYTES;
  #receiveWindowBytes: number;
  #uncreditedBytes = 0;
  #closeTimer: Timer | undefined;
  #keepaliveTimer: Timer | undefined;
  #heardSincePing = true;
  #endedBy: "local" | "peer" | undefined;
  #endDetail = "";

  // The frame under way.
  #type = 0;
  #flags = 0;
  #streamId = 0;
  #dataStream: Http2Stream | undefined;
  #padBytes = -1;
  #dataLeft = 0;

  // The header block under way; -1 when none is.
  #blockStreamId = -1;
  #blockEndStream = false;
  #block: Buffer[] = [];
  #blockBytes = 0;

  constructor(channel: Channel, options: Http2Options) {
    this.channel = channel;
    this.limits = options.limits;
    this.clock = options.clock;
    this.turnMs = options.clock.monotonicMs();
    this.out = new FrameOutput(channel);
    this.decoder = new HpackDecoder({ bytesMax: options.limits.headerBytesMax, fieldsMax: options.limits.headerFieldsMax });
    this.#input = new FrameInput({
      onFrameHeader: (length, type, flags, streamId) => this.#onFrameHeader(length, type, flags, streamId),
      onDataPart: (buffer, start, end) => this.#onDataPart(buffer, start, end),
      onPayload: (buffer, start, end) => this.#onPayload(buffer, start, end),
    });
    this.#receiveWindowBytes = Math.max(INITIAL_WINDOW_BYTES, options.limits.connectionWindowBytes);
    this.#keepalive = options.keepalive;
    channel.handler = this;
  }

  get activeStreams(): number {
    return this.streams.size;
  }

  // ---- What server and client do in their own way.

  protected abstract readonly isServer: boolean;
  /** A whole header block was decoded. */
  protected abstract onHeaders(streamId: number, endStream: boolean): void;
  /** A stream is gone from `streams`. */
  protected abstract onStreamClosed(stream: Http2Stream): void;
  /** A stream was reset by the peer, or by us for the peer's fault; before its handler hears of it. */
  protected abstract onStreamFault(stream: Http2Stream, provoked: boolean): void;
  protected abstract onSettings(): void;
  protected abstract onGoaway(lastStreamId: number, code: number): void;
  protected abstract onPingAck(): void;
  /** An error that ends the connection, for logs. */
  protected abstract onFatal(code: Http2ErrorCode, message: string): void;
  protected abstract onGone(detail: string): void;
  /** Whether no frame of this stream was ever sent by either side. */
  protected abstract isIdle(streamId: number): boolean;

  // ---- The channel's events.

  onData(buffer: Buffer, start: number, end: number): void {
    if (this.isOver) return;
    this.turnMs = this.clock.monotonicMs();
    this.#heardSincePing = true;
    this.readBytes(buffer, start, end);
    const { out } = this;
    if (out.isBlocked && (out.controlFramesBlocked > BLOCKED_CONTROL_FRAMES_MAX || this.channel.bufferedBytes > BLOCKED_BYTES_MAX)) {
      this.fail(ErrorCode.enhanceYourCalm, "answers are not read");
    }
  }

  onEnd(): void {
    if (this.isOver) {
      this.channel.destroy();
      return;
    }
    this.isOver = true;
    this.#endedBy = "peer";
    this.#endDetail = "the peer closed the connection";
    this.#resetAll({ kind: "connection-closed", detail: this.#endDetail });
    this.shutDown();
  }

  onDrain(): void {
    this.turnMs = this.clock.monotonicMs();
    this.out.isBlocked = false;
    this.out.controlFramesBlocked = 0;
    this.#pumpAll();
    this.#wakeWaiting();
  }

  onClose(reason: CloseReason): void {
    this.isOver = true;
    this.#input.stop();
    this.#closeTimer?.cancel();
    this.#keepaliveTimer?.cancel();
    const detail = this.#endDetail || (reason.code ?? reason.message);
    this.#resetAll({ kind: this.#endedBy === "local" ? "local-reset" : "connection-closed", detail });
    this.onGone(detail);
  }

  // ---- What the owner may ask of the connection.

  destroy(): void {
    if (this.isOver && !this.channel.isOpen) return;
    this.isOver = true;
    if (this.#endedBy === undefined) {
      this.#endedBy = "local";
      this.#endDetail = "closed by us";
    }
    this.#input.stop();
    this.channel.destroy();
  }

  // ---- For server and client.

  protected readBytes(buffer: Buffer, start: number, end: number): void {
    this.#input.read(buffer, start, end);
  }

  /** Our first frames. */
  protected greet(settings: readonly (readonly [number, number])[]): void {
    this.out.settings(settings);
    const more = this.#receiveWindowBytes - INITIAL_WINDOW_BYTES;
    if (more > 0) this.out.control(FrameType.windowUpdate, 0, 0, more);
    if (this.#keepalive) this.#watch(this.#keepalive);
  }

  protected sendGoaway(lastStreamId: number, code: Http2ErrorCode): void {
    this.out.control(FrameType.goaway, 0, 0, lastStreamId, code);
  }

  protected sendReset(streamId: number, code: Http2ErrorCode): void {
    if (this.#resetIds.size >= RESET_IDS_MAX) {
      const oldest = this.#resetIds.values().next();
      if (!oldest.done) this.#resetIds.delete(oldest.value);
    }
    this.#resetIds.add(streamId);
    this.out.control(FrameType.rstStream, 0, streamId, code);
  }

  protected wasReset(streamId: number): boolean {
    return this.#resetIds.has(streamId);
  }

  /** Sends a head; `endStream` ends our side. */
  protected sendHead(stream: Http2Stream, pseudo: readonly string[], headers: HeaderList, endStream: boolean): void {
    if (endStream) stream.isLocalEnded = true;
    this.out.headers(stream.id, pseudo, headers, endStream);
    this.#glitches.excuse();
    if (endStream) this.#localSent(stream);
  }

  /** A connection error: GOAWAY, FIN, and nothing more is read. */
  protected fail(code: Http2ErrorCode, message: string): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#endedBy = "peer";
    this.#endDetail = message;
    this.#input.stop();
    this.sendGoaway(this.peerStreamId, code);
    this.onFatal(code, message);
    this.#resetAll({ kind: "protocol-error", detail: message });
    this.shutDown();
  }

  /** A stream error: RST_STREAM, and the owner hears of it. */
  protected failStream(stream: Http2Stream, code: Http2ErrorCode, message: string): void {
    if (stream.isClosed) return;
    this.sendReset(stream.id, code);
    this.onStreamFault(stream, true);
    this.#endStream(stream, { kind: "protocol-error", detail: message });
  }

  /** Counts frames that carry nothing. */
  protected countGlitch(count: number): void {
    if (this.#glitches.add(this.turnMs, count)) this.fail(ErrorCode.enhanceYourCalm, "too many frames that carry nothing");
  }

  /** Writes what there is, sends FIN and waits a moment for the peer to close. */
  protected shutDown(): void {
    this.isOver = true;
    this.#input.stop();
    this.out.flush();
    if (!this.channel.isOpen) return;
    this.channel.end();
    this.#closeTimer?.cancel();
    this.#awaitClose(this.channel.bufferedBytes);
  }

  /** Closes when the peer does not; a peer that is still reading what we sent last gets the time for it. */
  #awaitClose(bufferedBytes: number): void {
    this.#closeTimer = this.clock.after(CLOSE_WAIT_MS, () => {
      const left = this.channel.bufferedBytes;
      if (left > 0 && left < bufferedBytes) this.#awaitClose(left);
      else this.channel.destroy();
    });
  }

  /** Ends a stream whose owner must hear why. */
  protected endStreamWith(stream: Http2Stream, reset: StreamReset): void {
    this.#endStream(stream, reset);
  }

  protected newStreamOptions(id: number): { id: number; bornMs: number; sendWindowBytes: number; receiveWindowBytes: number } {
    return {
      id,
      bornMs: this.turnMs,
      sendWindowBytes: this.peerInitialWindowBytes,
      receiveWindowBytes: this.limits.streamWindowBytes,
    };
  }

  /** The peer's side of the stream ended, after its owner was told. */
  protected remoteDone(stream: Http2Stream): void {
    if (stream.isLocalSent) this.closeStream(stream);
  }

  protected closeStream(stream: Http2Stream): void {
    if (stream.isClosed) return;
    stream.isClosed = true;
    this.streams.delete(stream.id);
    if (stream.queue !== undefined || stream.queuedTrailers !== undefined) this.#queued.delete(stream);
    if (stream.isWaiting) this.#waiting.delete(stream);
    if (this.#dataStream === stream) this.#dataStream = undefined;
    // The connection's window must not suffer for what the owner never took.
    if (stream.withheldBytes > 0) {
      const bytes = stream.withheldBytes;
      stream.withheldBytes = 0;
      this.#credit(undefined, bytes);
    }
    this.onStreamClosed(stream);
  }

  // ---- What streams ask (StreamHost).

  sendData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean, isKept: boolean): boolean {
    if (stream.isClosed || stream.isLocalEnded) return true;
    if (endStream) stream.isLocalEnded = true;
    let at = start;
    if (!stream.hasQueue) {
      at = this.#transmit(stream, buffer, start, end, endStream);
      if (at === end && (!endStream || stream.isLocalSent)) return this.#mayGoOn(stream);
    }
    stream.queue ??= new SendQueue();
    if (at < end) {
      if (isKept) stream.queue.pushKept(buffer, at, end);
      else stream.queue.push(buffer, at, end);
    }
    this.#queued.add(stream);
    return this.#mayGoOn(stream);
  }

  sendTrailers(stream: Http2Stream, trailers: HeaderList): void {
    if (stream.isClosed || stream.isLocalEnded) return;
    stream.isLocalEnded = true;
    if (stream.hasQueue) {
      stream.queuedTrailers = trailers;
      this.#queued.add(stream);
      return;
    }
    this.#transmitTrailers(stream, trailers);
  }

  returnWindow(stream: Http2Stream, bytes: number): void {
    if (!this.isOver) this.#credit(stream, bytes);
  }

  resetByOwner(stream: Http2Stream, code: Http2ErrorCode): void {
    if (stream.isClosed) return;
    const isAnswered = this.isServer && stream.isLocalEnded;
    if (isAnswered && !stream.isLocalSent && !this.isOver) {
      // The answer is complete but not all sent: the peer must get it, and need not send more.
      stream.isResetAfterSend = true;
      stream.resumeReading();
      return;
    }
    if (stream.id !== 0 && !this.isOver) this.sendReset(stream.id, isAnswered ? ErrorCode.noError : code);
    this.closeStream(stream);
  }

  // ---- Sending.

  /** Sends as much as windows allow and gives the place after it. */
  #transmit(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean): number {
    const { out } = this;
    let at = start;
    if (at === end) {
      if (!endStream || out.isBlocked) return at;
      out.data(stream.id, buffer, at, at, true);
      this.#localSent(stream);
      return at;
    }
    while (at < end && !out.isBlocked) {
      const length = Math.min(end - at, stream.sendWindowBytes, this.#sendWindowBytes, FRAME_BYTES_MAX);
      if (length <= 0) break;
      const isLast = endStream && at + length === end;
      out.data(stream.id, buffer, at, at + length, isLast);
      this.#glitches.excuse();
      stream.sendWindowBytes -= length;
      this.#sendWindowBytes -= length;
      at += length;
      if (isLast) this.#localSent(stream);
    }
    return at;
  }

  #transmitTrailers(stream: Http2Stream, trailers: HeaderList): void {
    this.out.headers(stream.id, NO_PSEUDO, trailers, true);
    this.#glitches.excuse();
    this.#localSent(stream);
  }

  #localSent(stream: Http2Stream): void {
    stream.isLocalSent = true;
    if (stream.isRemoteEnded) {
      this.closeStream(stream);
    } else if (stream.isResetAfterSend) {
      this.sendReset(stream.id, ErrorCode.noError);
      this.closeStream(stream);
    }
  }

  #mayGoOn(stream: Http2Stream): boolean {
    if (!this.out.isBlocked && (stream.queue === undefined || stream.queue.bytes < STREAM_QUEUE.highBytes)) return true;
    if (!stream.isClosed) {
      stream.isWaiting = true;
      this.#waiting.add(stream);
    }
    return false;
  }

  /** Sends one frame of what a stream has queued; true when there may be more to send. */
  #pumpOnce(stream: Http2Stream): boolean {
    const { queue } = stream;
    if (stream.isClosed || this.out.isBlocked || stream.id === 0) return false;
    if (queue !== undefined && queue.bytes > 0) {
      const length = Math.min(stream.sendWindowBytes, this.#sendWindowBytes, FRAME_BYTES_MAX);
      if (length <= 0) return false;
      const before = queue.bytes;
      queue.shift(length, (buffer, start, end) => {
        const isLast = end - start === before && stream.isLocalEnded && stream.queuedTrailers === undefined;
        this.#transmit(stream, buffer, start, end, isLast);
      });
      if (queue.bytes > 0) return true;
    }
    this.#queued.delete(stream);
    if (stream.isLocalSent) return false;
    if (stream.queuedTrailers !== undefined) {
      const trailers = stream.queuedTrailers;
      stream.queuedTrailers = undefined;
      this.#transmitTrailers(stream, trailers);
    } else if (stream.isLocalEnded && !stream.isLocalSent) {
      this.#transmit(stream, NO_BYTES, 0, 0, true);
    }
    return false;
  }

  /** One frame of each stream in turn, until windows are used up. */
  #pumpAll(): void {
    for (const stream of this.#queued) {
      if (this.out.isBlocked) return;
      if (!this.#pumpOnce(stream)) continue;
      // To the end of the line.
      this.#queued.delete(stream);
      this.#queued.add(stream);
    }
  }

  protected pumpStream(stream: Http2Stream): void {
    if (this.#queued.has(stream)) while (this.#pumpOnce(stream));
    if (stream.isWaiting) this.#wake(stream);
  }

  #wakeWaiting(): void {
    for (const stream of [...this.#waiting]) this.#wake(stream);
  }

  #wake(stream: Http2Stream): void {
    if (stream.isClosed || !stream.isWaiting || this.out.isBlocked) return;
    if (stream.queue !== undefined && stream.queue.bytes > STREAM_QUEUE.lowBytes) return;
    stream.isWaiting = false;
    this.#waiting.delete(stream);
    stream.listener.onDrain();
  }

  // ---- Receiving.

  #onFrameHeader(length: number, type: number, flags: number, streamId: number): boolean {
    this.#type = type;
    this.#flags = flags;
    this.#streamId = streamId;
    if (length > FRAME_BYTES_MAX) return this.#refuse(ErrorCode.frameSizeError, "a frame above the size allowed");
    if (this.#blockStreamId >= 0 && (type !== FrameType.continuation || streamId !== this.#blockStreamId)) {
      return this.#refuse(ErrorCode.protocolError, "a frame inside a header block");
    }
    if (!this.hasSettings && type !== FrameType.settings) return this.#refuse(ErrorCode.protocolError, "no SETTINGS at first");
    if (type === FrameType.data) this.#beginData(length);
    return !this.isOver;
  }

  #refuse(code: Http2ErrorCode, message: string): false {
    this.fail(code, message);
    return false;
  }

  #beginData(length: number) {
    const streamId = this.#streamId;
    this.#padBytes = this.#flags & Flag.padded ? -1 : 0;
    this.#dataLeft = length;
    this.#dataStream = undefined;
    const stream = this.streams.get(streamId);
    if (stream === undefined && this.isIdle(streamId)) return this.fail(ErrorCode.protocolError, "DATA for a stream that is not open");
    if (this.#padBytes < 0 && length === 0) return this.fail(ErrorCode.frameSizeError, "padding without its length");
    this.#receiveWindowBytes -= length;
    if (this.#receiveWindowBytes < 0) return this.fail(ErrorCode.flowControlError, "more DATA than the connection's window");
    if (length === 0 && (this.#flags & Flag.endStream) === 0) this.countGlitch(1);
    if (stream === undefined) {
      if (this.#resetIds.has(streamId)) return;
      this.out.control(FrameType.rstStream, 0, streamId, ErrorCode.streamClosed);
      return this.countGlitch(10);
    }
    if (stream.isRemoteEnded) return this.failStream(stream, ErrorCode.streamClosed, "DATA after END_STREAM");
    stream.receiveWindowBytes -= length;
    if (stream.receiveWindowBytes < 0) return this.failStream(stream, ErrorCode.flowControlError, "more DATA than the stream's window");
    this.#dataStream = stream;
  }

  #onDataPart(buffer: Buffer, start: number, end: number) {
    const endStream = (this.#flags & Flag.endStream) !== 0;
    let from = start;
    if (this.#padBytes < 0) {
      if (from === end) return;
      this.#padBytes = buffer[from++] as number;
      this.#dataLeft -= 1 + this.#padBytes;
      if (this.#dataLeft < 0) return this.fail(ErrorCode.protocolError, "more padding than payload");
      this.#credit(this.#dataStream, 1 + this.#padBytes);
      if (this.#dataLeft === 0 && !endStream) this.countGlitch(1);
    }
    // What lies behind the data is padding.
    const length = Math.min(end - from, this.#dataLeft);
    this.#dataLeft -= length;
    const stream = this.#dataStream;
    if (stream === undefined) return this.#credit(undefined, length);
    const isEnd = endStream && this.#dataLeft === 0 && !stream.isRemoteEnded;
    if (length === 0 && !isEnd) return;
    if (!this.#countBody(stream, length, isEnd)) return this.#credit(undefined, length);
    if (isEnd) stream.isRemoteEnded = true;
    this.#deliver(stream, buffer, from, from + length, isEnd);
  }

  #deliver(stream: Http2Stream, buffer: Buffer, start: number, end: number, isEnd: boolean): void {
    const length = end - start;
    if (stream.isResetAfterSend) {
      this.#credit(stream, length);
    } else {
      stream.listener.onData(buffer, start, end, isEnd);
      if (stream.isClosed) this.#credit(undefined, length);
      else if (stream.isPaused) stream.withheldBytes += length;
      else if (length > 0) this.#credit(stream, length);
    }
    if (isEnd && !stream.isClosed) this.remoteDone(stream);
  }

  /** Keeps the promise of content-length; false when the stream was reset for it. */
  #countBody(stream: Http2Stream, length: number, isEnd: boolean): boolean {
    if (stream.bodyLeftBytes < 0) return true;
    stream.bodyLeftBytes -= length;
    if (stream.bodyLeftBytes >= 0 && !(isEnd && stream.bodyLeftBytes > 0)) return true;
    stream.bodyLeftBytes = -1;
    this.failStream(stream, ErrorCode.protocolError, "a body whose length is not its content-length");
    return false;
  }

  /** Gives window back: to the connection, and to the stream if it is still being read. */
  #credit(stream: Http2Stream | undefined, bytes: number): void {
    if (bytes === 0 || this.isOver) return;
    this.#uncreditedBytes += bytes;
    if (this.#uncreditedBytes * 4 >= this.limits.connectionWindowBytes) {
      this.#receiveWindowBytes += this.#uncreditedBytes;
      this.out.control(FrameType.windowUpdate, 0, 0, this.#uncreditedBytes);
      this.#uncreditedBytes = 0;
    }
    if (stream === undefined || stream.isRemoteEnded || stream.isClosed) return;
    stream.uncreditedBytes += bytes;
    if (stream.uncreditedBytes * 2 < this.limits.streamWindowBytes) return;
    stream.receiveWindowBytes += stream.uncreditedBytes;
    this.out.control(FrameType.windowUpdate, 0, stream.id, stream.uncreditedBytes);
    stream.uncreditedBytes = 0;
  }

  #onPayload(buffer: Buffer, start: number, end: number) {
    switch (this.#type) {
      case FrameType.headers:
        return this.#onHeadersFrame(buffer, start, end);
      case FrameType.continuation:
        return this.#onContinuation(buffer, start, end);
      case FrameType.windowUpdate:
        return this.#onWindowUpdate(buffer, start, end);
      case FrameType.rstStream:
        return this.#onRstStream(buffer, start, end);
      case FrameType.settings:
        return this.#onSettingsFrame(buffer, start, end);
      case FrameType.ping:
        return this.#onPing(buffer, start, end);
      case FrameType.priority:
        return this.#onPriority(buffer, start, end);
      case FrameType.goaway:
        if (end - start < 8) return this.fail(ErrorCode.frameSizeError, "a GOAWAY of a wrong size");
        if (this.#streamId !== 0) return this.fail(ErrorCode.protocolError, "GOAWAY on a stream");
        this.countGlitch(1);
        if (this.isOver) return;
        return this.onGoaway(buffer.readUInt32BE(start) & 0x7fff_ffff, buffer.readUInt32BE(start + 4));
      case FrameType.pushPromise:
        return this.fail(ErrorCode.protocolError, "PUSH_PROMISE");
      default:
        return this.countGlitch(1);
    }
  }

  #onHeadersFrame(buffer: Buffer, start: number, end: number) {
    const flags = this.#flags;
    const streamId = this.#streamId;
    let from = start;
    let to = end;
    if (streamId === 0) return this.fail(ErrorCode.protocolError, "HEADERS without a stream");
    if (flags & Flag.padded) {
      if (from === to) return this.fail(ErrorCode.frameSizeError, "padding without its length");
      to -= buffer[from++] as number;
    }
    if (flags & Flag.priority) {
      if (to - from < 5) return this.fail(to < from ? ErrorCode.protocolError : ErrorCode.frameSizeError, "a HEADERS of a wrong size");
      if ((buffer.readUInt32BE(from) & 0x7fff_ffff) === streamId) {
        return this.fail(ErrorCode.protocolError, "a stream that depends on itself");
      }
      from += 5;
    }
    if (to < from) return this.fail(ErrorCode.protocolError, "more padding than payload");
    const endStream = (flags & Flag.endStream) !== 0;
    if (flags & Flag.endHeaders) return this.#onBlock(streamId, endStream, buffer, from, to);
    this.#blockStreamId = streamId;
    this.#blockEndStream = endStream;
    this.#block = [Buffer.from(buffer.subarray(from, to))];
    this.#blockBytes = to - from;
  }

  #onContinuation(buffer: Buffer, start: number, end: number) {
    if (this.#blockStreamId < 0) return this.fail(ErrorCode.protocolError, "CONTINUATION without HEADERS");
    if (this.#block.length > CONTINUATIONS_MAX) return this.fail(ErrorCode.enhanceYourCalm, "too many CONTINUATION");
    this.#block.push(Buffer.from(buffer.subarray(start, end)));
    this.#blockBytes += end - start;
    // No code makes a string longer than 30 bits a character, so a block like this breaks the limit for certain.
    if (this.#blockBytes > this.limits.headerBytesMax * 4) return this.fail(ErrorCode.enhanceYourCalm, "a header block that is too large");
    if ((this.#flags & Flag.endHeaders) === 0) return;
    const block = Buffer.concat(this.#block, this.#blockBytes);
    const streamId = this.#blockStreamId;
    this.#block = [];
    this.#blockBytes = 0;
    this.#blockStreamId = -1;
    this.#onBlock(streamId, this.#blockEndStream, block, 0, block.length);
  }

  #onBlock(streamId: number, endStream: boolean, buffer: Buffer, start: number, end: number) {
    try {
      this.decoder.decode(buffer, start, end);
    } catch (error) {
      if (!(error instanceof HpackError)) throw error;
      return this.fail(ErrorCode.compressionError, error.message);
    }
    this.onHeaders(streamId, endStream);
  }

  #onPriority(buffer: Buffer, start: number, end: number) {
    if (this.#streamId === 0) return this.fail(ErrorCode.protocolError, "PRIORITY without a stream");
    this.countGlitch(1);
    if (end - start !== 5) return this.#streamFault(ErrorCode.frameSizeError, "a PRIORITY of a wrong size");
    if ((buffer.readUInt32BE(start) & 0x7fff_ffff) === this.#streamId) {
      this.#streamFault(ErrorCode.protocolError, "a stream that depends on itself");
    }
  }

  /** A fault of a frame whose stream may or may not be open. */
  #streamFault(code: Http2ErrorCode, message: string) {
    if (this.isOver) return;
    const stream = this.streams.get(this.#streamId);
    if (stream !== undefined) return this.failStream(stream, code, message);
    if (this.isIdle(this.#streamId)) return this.fail(code, message);
    this.sendReset(this.#streamId, code);
    this.countGlitch(10);
  }

  #onRstStream(buffer: Buffer, start: number, end: number) {
    const streamId = this.#streamId;
    if (end - start !== 4) return this.fail(ErrorCode.frameSizeError, "a RST_STREAM of a wrong size");
    if (this.isIdle(streamId)) return this.fail(ErrorCode.protocolError, "RST_STREAM for a stream that is not open");
    const stream = this.streams.get(streamId);
    if (stream === undefined) return this.countGlitch(1);
    const code = buffer.readUInt32BE(start);
    this.onStreamFault(stream, false);
    if (this.isOver) return;
    this.#endStream(stream, { kind: code === ErrorCode.refusedStream ? "refused" : "remote-reset", detail: errorName(code) });
  }

  #onSettingsFrame(buffer: Buffer, start: number, end: number) {
    const length = end - start;
    if (this.#streamId !== 0) return this.fail(ErrorCode.protocolError, "SETTINGS on a stream");
    if (this.#flags & Flag.ack) {
      if (length !== 0) return this.fail(ErrorCode.frameSizeError, "a SETTINGS ACK with a payload");
      if (!this.hasSettings) return this.fail(ErrorCode.protocolError, "no SETTINGS at first");
      return this.countGlitch(1);
    }
    if (length % 6 !== 0) return this.fail(ErrorCode.frameSizeError, "a SETTINGS of a wrong size");
    this.countGlitch(1 + (length >> 6));
    for (let at = start; at < end && !this.isOver; at += 6) this.#setting(buffer.readUInt16BE(at), buffer.readUInt32BE(at + 2));
    if (this.isOver) return;
    this.hasSettings = true;
    this.out.control(FrameType.settings, Flag.ack, 0);
    this.#pumpAll();
    this.#wakeWaiting();
    this.onSettings();
  }

  #setting(setting: number, value: number) {
    switch (setting) {
      case Setting.headerTableSize:
        this.out.setTableBytesMax(value);
        return;
      case Setting.enablePush:
        if (value > 1 || !this.allowsPushSetting(value)) this.fail(ErrorCode.protocolError, "a bad ENABLE_PUSH");
        return;
      case Setting.maxConcurrentStreams:
        this.peerStreamsMax = value;
        return;
      case Setting.initialWindowSize: {
        if (value > WINDOW_BYTES_MAX) return this.fail(ErrorCode.flowControlError, "an INITIAL_WINDOW_SIZE that is too large");
        const change = value - this.peerInitialWindowBytes;
        this.peerInitialWindowBytes = value;
        for (const stream of this.streams.values()) {
          stream.sendWindowBytes += change;
          if (stream.sendWindowBytes > WINDOW_BYTES_MAX) return this.fail(ErrorCode.flowControlError, "a window that is too large");
        }
        return;
      }
      case Setting.maxFrameSize:
        if (value < FRAME_BYTES_MAX || value > 0xff_ffff) return this.fail(ErrorCode.protocolError, "a bad MAX_FRAME_SIZE");
        // Not made use of: larger frames would make other streams wait.
        return;
      case Setting.enableConnectProtocol:
        if (value > 1) this.fail(ErrorCode.protocolError, "a bad ENABLE_CONNECT_PROTOCOL");
        else if (value === 1) this.peerTakesConnectProtocol = true;
        return;
      default:
        return;
    }
  }

  protected abstract allowsPushSetting(value: number): boolean;

  #onPing(buffer: Buffer, start: number, end: number) {
    if (end - start !== 8) return this.fail(ErrorCode.frameSizeError, "a PING of a wrong size");
    if (this.#streamId !== 0) return this.fail(ErrorCode.protocolError, "PING on a stream");
    this.countGlitch(1);
    if (this.isOver) return;
    if (this.#flags & Flag.ack) this.onPingAck();
    else this.out.payload(FrameType.ping, Flag.ack, 0, buffer, start, end);
  }

  #onWindowUpdate(buffer: Buffer, start: number, end: number) {
    const streamId = this.#streamId;
    if (end - start !== 4) return this.fail(ErrorCode.frameSizeError, "a WINDOW_UPDATE of a wrong size");
    const bytes = buffer.readUInt32BE(start) & 0x7fff_ffff;
    this.countGlitch(1);
    if (this.isOver) return;
    if (streamId === 0) {
      if (bytes === 0) return this.fail(ErrorCode.protocolError, "a WINDOW_UPDATE of nothing");
      this.#sendWindowBytes += bytes;
      if (this.#sendWindowBytes > WINDOW_BYTES_MAX) return this.fail(ErrorCode.flowControlError, "a window that is too large");
      this.#pumpAll();
      this.#wakeWaiting();
      return;
    }
    if (this.isIdle(streamId)) return this.fail(ErrorCode.protocolError, "WINDOW_UPDATE for a stream that is not open");
    if (bytes === 0) return this.#streamFault(ErrorCode.protocolError, "a WINDOW_UPDATE of nothing");
    const stream = this.streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindowBytes += bytes;
    if (stream.sendWindowBytes > WINDOW_BYTES_MAX) {
      return this.failStream(stream, ErrorCode.flowControlError, "a window that is too large");
    }
    this.pumpStream(stream);
  }

  // ---- Ends.

  /** A trailers block that may be refused: false when the stream was reset for it. */
  protected acceptsTrailers(stream: Http2Stream, endStream: boolean, trailers: HeaderList | MessageFlaw): trailers is HeaderList {
    if (!endStream) {
      this.failStream(stream, ErrorCode.protocolError, "trailers without END_STREAM");
    } else if ("flaw" in trailers) {
      this.failStream(stream, ErrorCode.protocolError, trailers.flaw);
    } else if (stream.bodyLeftBytes > 0) {
      this.failStream(stream, ErrorCode.protocolError, "a body whose length is not its content-length");
    }
    return !stream.isClosed;
  }

  #endStream(stream: Http2Stream, reset: StreamReset): void {
    if (stream.isClosed) return;
    const tells = stream.isUnfinished;
    this.closeStream(stream);
    if (tells) stream.listener.onReset(reset);
  }

  #resetAll(reset: StreamReset): void {
    for (const stream of [...this.streams.values()]) this.#endStream(stream, reset);
  }

  #watch(keepalive: Http2Keepalive): void {
    this.#heardSincePing = false;
    this.#keepaliveTimer = this.clock.after(keepalive.intervalMs, () => {
      if (this.isOver) return;
      if (this.#heardSincePing) return this.#watch(keepalive);
      this.out.control(FrameType.ping, 0, 0, 0, 0);
      this.#keepaliveTimer = this.clock.after(keepalive.timeoutMs, () => {
        if (this.isOver) return;
        if (this.#heardSincePing) return this.#watch(keepalive);
        this.#endedBy = "peer";
        this.#endDetail = "no answer to PING";
        this.isOver = true;
        this.#input.stop();
        this.channel.destroy();
      });
    });
  }
}

const NO_PSEUDO: readonly string[] = [];
const NO_BYTES = Buffer.alloc(0);
