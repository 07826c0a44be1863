/** What both ends of an HTTP/2 connection do with the frames that arrive. Source: RFC 9113, sections 4 to 6. */
import type { Channel } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import { FrameInput } from "./frame-input.ts";
import { ErrorCode, errorName, Flag, FRAME_BYTES_MAX, FrameType, type Http2ErrorCode, Setting, WINDOW_BYTES_MAX } from "./frames.ts";
import { HeaderBlock } from "./header-block.ts";
import { HpackDecoder, HpackError } from "./hpack-decoder.ts";
import type { Http2Stream } from "./http2-stream.ts";
import type { MessageFlaw } from "./messages.ts";
import { type Http2Options, Session } from "./session.ts";

/** What a frame for a stream that is closed, or an error that makes us close one, counts among frames that carry nothing. */
const FAULT_GLITCHES = 10;

/** One end of a connection, with ears. */
export abstract class ReceivingSession extends Session {
  protected readonly decoder: HpackDecoder;
  protected peerStreamsMax = 100;
  protected peerTakesConnectProtocol = false;
  protected hasSettings = false;
  readonly #input: FrameInput;
  #block: HeaderBlock | undefined;

  // The frame under way.
  #type = 0;
  #flags = 0;
  #streamId = 0;
  #dataStream: Http2Stream | undefined;
  /** -1: the length of the padding has not come yet. */
  #padBytes = 0;
  #dataLeft = 0;

  constructor(channel: Channel, options: Http2Options) {
    super(channel, options);
    const { headerBytesMax, headerFieldsMax } = options.limits;
    this.decoder = new HpackDecoder({ bytesMax: headerBytesMax, fieldsMax: headerFieldsMax });
    this.#input = new FrameInput({
      onFrameHeader: (length, type, flags, streamId) => this.#onFrameHeader(length, type, flags, streamId),
      onDataPart: (buffer, start, end) => this.#onDataPart(buffer, start, end),
      onPayload: (buffer, start, end) => this.#onPayload(buffer, start, end),
    });
  }

  /** A whole header block was decoded. */
  protected abstract onHeaders(streamId: number, endStream: boolean): void;
  protected abstract onSettings(): void;
  protected abstract onGoaway(lastStreamId: number, code: number): void;
  protected abstract onPingAck(): void;
  /** Whether no frame of this stream was ever sent by either side. True for 0. */
  protected abstract isIdle(streamId: number): boolean;
  protected abstract allowsPushSetting(value: number): boolean;

  protected readBytes(buffer: Buffer, start: number, end: number): void {
    this.#input.read(buffer, start, end);
  }

  protected stopReading(): void {
    this.#input.stop();
    this.#block = undefined;
  }

  /** Whether trailers are in order; where not, the stream was reset. */
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

  #onFrameHeader(length: number, type: number, flags: number, streamId: number): boolean {
    this.#type = type;
    this.#flags = flags;
    this.#streamId = streamId;
    if (length > FRAME_BYTES_MAX) {
      this.fail(ErrorCode.frameSizeError, "a frame above the size allowed");
    } else if (this.#block !== undefined && (type !== FrameType.continuation || streamId !== this.#block.streamId)) {
      this.fail(ErrorCode.protocolError, "a frame inside a header block");
    } else if (!this.hasSettings && (type !== FrameType.settings || (flags & Flag.ack) !== 0)) {
      this.fail(ErrorCode.protocolError, "no SETTINGS at first");
    } else if (type === FrameType.data) {
      this.#beginData(length);
    }
    return !this.isOver;
  }

  #beginData(length: number) {
    const streamId = this.#streamId;
    const stream = this.streams.get(streamId);
    this.#padBytes = this.#flags & Flag.padded ? -1 : 0;
    this.#dataLeft = length;
    this.#dataStream = undefined;
    if (stream === undefined && this.isIdle(streamId)) return this.fail(ErrorCode.protocolError, "DATA for a stream that is not open");
    if (this.#padBytes < 0 && length === 0) return this.fail(ErrorCode.frameSizeError, "padding without its length");
    if (!this.windows.takeConnection(length)) return this.fail(ErrorCode.flowControlError, "more DATA than the connection's window");
    if (length === 0 && (this.#flags & Flag.endStream) === 0) this.countGlitch(1);
    if (stream === undefined) {
      if (this.wasReset(streamId)) return;
      this.out.control(FrameType.rstStream, 0, streamId, ErrorCode.streamClosed);
      return this.countGlitch(FAULT_GLITCHES);
    }
    if (stream.isRemoteEnded) return this.failStream(stream, ErrorCode.streamClosed, "DATA after END_STREAM");
    stream.receiveWindowBytes -= length;
    if (stream.receiveWindowBytes < 0) return this.failStream(stream, ErrorCode.flowControlError, "more DATA than the stream's window");
    this.#dataStream = stream;
  }

  #onDataPart(buffer: Buffer, start: number, end: number) {
    const { windows } = this;
    const endStream = (this.#flags & Flag.endStream) !== 0;
    // Closed while this frame was under way: the rest only returns to the connection's window.
    const stream = this.#dataStream?.isClosed ? undefined : this.#dataStream;
    let from = start;
    if (this.#padBytes < 0) {
      if (from === end) return;
      this.#padBytes = buffer[from++] as number;
      this.#dataLeft -= 1 + this.#padBytes;
      if (this.#dataLeft < 0) return this.fail(ErrorCode.protocolError, "more padding than payload");
      windows.credit(stream, 1 + this.#padBytes);
      if (this.#dataLeft === 0 && !endStream) this.countGlitch(1);
    }
    // What lies behind the data is padding.
    const length = Math.min(end - from, this.#dataLeft);
    this.#dataLeft -= length;
    if (stream === undefined) return windows.credit(undefined, length);
    const isEnd = endStream && this.#dataLeft === 0 && !stream.isRemoteEnded;
    if (length === 0 && !isEnd) return;
    if (!this.#countBody(stream, length, isEnd)) return windows.credit(undefined, length);
    if (isEnd) stream.isRemoteEnded = true;
    this.#deliver(stream, buffer, from, from + length, isEnd);
  }

  #deliver(stream: Http2Stream, buffer: Buffer, start: number, end: number, isEnd: boolean): void {
    const length = end - start;
    if (!stream.isResetAfterSend) stream.listener.onData(buffer, start, end, isEnd);
    if (stream.isPaused && !stream.isClosed) stream.withheldBytes += length;
    else this.windows.credit(stream, length);
    if (isEnd && !stream.isClosed) this.remoteDone(stream);
  }

  /** Keeps the promise of content-length; false when the stream was reset for it. */
  #countBody(stream: Http2Stream, length: number, isEnd: boolean): boolean {
    if (stream.bodyLeftBytes < 0) return true;
    stream.bodyLeftBytes -= length;
    if (stream.bodyLeftBytes >= 0 && !(isEnd && stream.bodyLeftBytes > 0)) return true;
    this.failStream(stream, ErrorCode.protocolError, "a body whose length is not its content-length");
    return false;
  }

  #onPayload(buffer: Buffer, start: number, end: number): void {
    switch (this.#type) {
      case FrameType.headers:
        this.#onHeadersFrame(buffer, start, end);
        break;
      case FrameType.continuation:
        this.#onContinuation(buffer, start, end);
        break;
      case FrameType.windowUpdate:
        this.#onWindowUpdate(buffer, start, end);
        break;
      case FrameType.rstStream:
        this.#onRstStream(buffer, start, end);
        break;
      case FrameType.settings:
        this.#onSettingsFrame(buffer, start, end);
        break;
      case FrameType.ping:
        this.#onPing(buffer, start, end);
        break;
      case FrameType.priority:
        this.#onPriority(buffer, start, end);
        break;
      case FrameType.goaway:
        this.#onGoawayFrame(buffer, start, end);
        break;
      case FrameType.pushPromise:
        this.fail(ErrorCode.protocolError, "PUSH_PROMISE");
        break;
      default:
        this.countGlitch(1);
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
    if (to < from) return this.fail(ErrorCode.protocolError, "more padding than payload");
    if (flags & Flag.priority) {
      if (to - from < 5) return this.fail(ErrorCode.frameSizeError, "a HEADERS of a wrong size");
      const dependency = buffer.readUInt32BE(from) & 0x7fff_ffff;
      if (dependency === streamId) return this.fail(ErrorCode.protocolError, "a stream that depends on itself");
      from += 5;
    }
    const endStream = (flags & Flag.endStream) !== 0;
    if (flags & Flag.endHeaders) return this.#onBlock(streamId, endStream, buffer, from, to);
    // No code makes a string longer than 30 bits a character, so a block beyond this breaks the limit for certain.
    this.#block = new HeaderBlock(streamId, endStream, this.limits.headerBytesMax * 4);
    if (!this.#block.push(buffer, from, to)) this.fail(ErrorCode.enhanceYourCalm, "a header block that is too large");
  }

  #onContinuation(buffer: Buffer, start: number, end: number) {
    const block = this.#block;
    if (block === undefined) return this.fail(ErrorCode.protocolError, "CONTINUATION without HEADERS");
    if (!block.push(buffer, start, end)) return this.fail(ErrorCode.enhanceYourCalm, "a header block that is too large");
    if ((this.#flags & Flag.endHeaders) === 0) return;
    this.#block = undefined;
    const whole = block.join();
    this.#onBlock(block.streamId, block.endStream, whole, 0, whole.length);
  }

  #onBlock(streamId: number, endStream: boolean, buffer: Buffer, start: number, end: number): void {
    try {
      this.decoder.decode(buffer, start, end);
    } catch (error) {
      if (!(error instanceof HpackError)) throw error;
      this.fail(ErrorCode.compressionError, error.message);
      return;
    }
    this.onHeaders(streamId, endStream);
  }

  #onPriority(buffer: Buffer, start: number, end: number) {
    if (this.#streamId === 0) return this.fail(ErrorCode.protocolError, "PRIORITY without a stream");
    this.countGlitch(1);
    if (end - start !== 5) return this.#streamFault(ErrorCode.frameSizeError, "a PRIORITY of a wrong size");
    const dependency = buffer.readUInt32BE(start) & 0x7fff_ffff;
    if (dependency === this.#streamId) this.#streamFault(ErrorCode.protocolError, "a stream that depends on itself");
  }

  /** A fault of a frame whose stream may or may not be open. */
  #streamFault(code: Http2ErrorCode, message: string) {
    if (this.isOver) return;
    const stream = this.streams.get(this.#streamId);
    if (stream !== undefined) return this.failStream(stream, code, message);
    if (this.isIdle(this.#streamId)) return this.fail(code, message);
    this.out.control(FrameType.rstStream, 0, this.#streamId, code);
    this.countGlitch(FAULT_GLITCHES);
  }

  #onRstStream(buffer: Buffer, start: number, end: number) {
    const streamId = this.#streamId;
    if (end - start !== 4) return this.fail(ErrorCode.frameSizeError, "a RST_STREAM of a wrong size");
    if (this.isIdle(streamId)) return this.fail(ErrorCode.protocolError, "RST_STREAM for a stream that is not open");
    const stream = this.streams.get(streamId);
    if (stream === undefined) return this.countGlitch(1);
    const code = buffer.readUInt32BE(start);
    this.onStreamFault(stream, false);
    this.endStream(stream, { kind: code === ErrorCode.refusedStream ? "refused" : "remote-reset", detail: errorName(code) });
  }

  #onSettingsFrame(buffer: Buffer, start: number, end: number) {
    const length = end - start;
    if (this.#streamId !== 0) return this.fail(ErrorCode.protocolError, "SETTINGS on a stream");
    if (this.#flags & Flag.ack) {
      if (length !== 0) return this.fail(ErrorCode.frameSizeError, "a SETTINGS ACK with a payload");
      return this.countGlitch(1);
    }
    if (length % 6 !== 0) return this.fail(ErrorCode.frameSizeError, "a SETTINGS of a wrong size");
    this.countGlitch(1 + (length >> 6));
    for (let at = start; at < end && !this.isOver; at += 6) this.#setting(buffer.readUInt16BE(at), buffer.readUInt32BE(at + 2));
    if (this.isOver) return;
    this.hasSettings = true;
    this.out.control(FrameType.settings, Flag.ack, 0);
    this.sender.pumpAll();
    this.onSettings();
  }

  #setting(setting: number, value: number) {
    switch (setting) {
      case Setting.headerTableSize:
        return this.out.setTableBytesMax(value);
      case Setting.enablePush:
        if (value > 1 || !this.allowsPushSetting(value)) this.fail(ErrorCode.protocolError, "a bad ENABLE_PUSH");
        return;
      case Setting.maxConcurrentStreams:
        this.peerStreamsMax = value;
        return;
      case Setting.initialWindowSize:
        return this.#changeWindows(value);
      case Setting.maxFrameSize:
        // Larger frames than the least are not made use of: they would make other streams wait.
        if (value < FRAME_BYTES_MAX || value > 0xff_ffff) this.fail(ErrorCode.protocolError, "a bad MAX_FRAME_SIZE");
        return;
      case Setting.enableConnectProtocol:
        if (value > 1) this.fail(ErrorCode.protocolError, "a bad ENABLE_CONNECT_PROTOCOL");
        else if (value === 1) this.peerTakesConnectProtocol = true;
        return;
      default:
        return;
    }
  }

  #changeWindows(bytes: number) {
    if (bytes > WINDOW_BYTES_MAX) return this.fail(ErrorCode.flowControlError, "an INITIAL_WINDOW_SIZE that is too large");
    const change = bytes - this.peerInitialWindowBytes;
    this.peerInitialWindowBytes = bytes;
    for (const stream of this.streams.values()) {
      stream.sendWindowBytes += change;
      if (stream.sendWindowBytes > WINDOW_BYTES_MAX) return this.fail(ErrorCode.flowControlError, "a window that is too large");
    }
  }

  #onPing(buffer: Buffer, start: number, end: number) {
    if (end - start !== 8) return this.fail(ErrorCode.frameSizeError, "a PING of a wrong size");
    if (this.#streamId !== 0) return this.fail(ErrorCode.protocolError, "PING on a stream");
    this.countGlitch(1);
    if (this.isOver) return;
    if (this.#flags & Flag.ack) this.onPingAck();
    else this.out.payload(FrameType.ping, Flag.ack, 0, buffer, start, end);
  }

  #onGoawayFrame(buffer: Buffer, start: number, end: number) {
    if (end - start < 8) return this.fail(ErrorCode.frameSizeError, "a GOAWAY of a wrong size");
    if (this.#streamId !== 0) return this.fail(ErrorCode.protocolError, "GOAWAY on a stream");
    this.countGlitch(1);
    if (!this.isOver) this.onGoaway(buffer.readUInt32BE(start) & 0x7fff_ffff, buffer.readUInt32BE(start + 4));
  }

  #onWindowUpdate(buffer: Buffer, start: number, end: number) {
    const streamId = this.#streamId;
    if (end - start !== 4) return this.fail(ErrorCode.frameSizeError, "a WINDOW_UPDATE of a wrong size");
    const bytes = buffer.readUInt32BE(start) & 0x7fff_ffff;
    this.countGlitch(1);
    if (this.isOver) return;
    if (streamId === 0) {
      if (bytes === 0) return this.fail(ErrorCode.protocolError, "a WINDOW_UPDATE of nothing");
      this.sender.windowBytes += bytes;
      if (this.sender.windowBytes > WINDOW_BYTES_MAX) return this.fail(ErrorCode.flowControlError, "a window that is too large");
      return this.sender.pumpAll();
    }
    if (this.isIdle(streamId)) return this.fail(ErrorCode.protocolError, "WINDOW_UPDATE for a stream that is not open");
    if (bytes === 0) return this.#streamFault(ErrorCode.protocolError, "a WINDOW_UPDATE of nothing");
    const stream = this.streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindowBytes += bytes;
    if (stream.sendWindowBytes > WINDOW_BYTES_MAX) this.failStream(stream, ErrorCode.flowControlError, "a window that is too large");
    else this.sender.pump(stream);
  }
}
