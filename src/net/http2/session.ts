/** What both ends of an HTTP/2 connection have: its streams, what their owners ask for, and how all of it ends. Source: RFC 9113. */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Channel, ChannelHandler, CloseReason } from "../channel.ts";
import type { HeaderList } from "../http/headers.ts";
import type { HttpLimits, StreamReset } from "../http/stream.ts";
import { GlitchBucket } from "./flood.ts";
import { enterFrames, FrameOutput, leaveFrames } from "./frame-output.ts";
import { ErrorCode, FrameType, type Http2ErrorCode, INITIAL_WINDOW_BYTES } from "./frames.ts";
import type { Http2Stream, Http2StreamOptions, StreamHost } from "./http2-stream.ts";
import { type Http2Keepalive, KeepaliveWatch } from "./keepalive.ts";
import { ReceiveWindows } from "./receive-windows.ts";
import { Sender } from "./sender.ts";

/** Arguments of a connection. */
export interface Http2Options {
  readonly limits: HttpLimits;
  readonly clock: Clock;
  /** Undefined: no PINGs. */
  readonly keepalive?: Http2Keepalive | undefined;
}

/** How long a peer may take to close after our GOAWAY and FIN. */
const CLOSE_WAIT_MS = 1000;
/** How many ids of streams that we reset are remembered: their late frames are no fault of the peer. */
const RESET_IDS_MAX = 512;
/** What may wait for a peer that does not read. Source: Envoy max_outbound_control_frames. */
const BLOCKED_CONTROL_FRAMES_MAX = 1000;
const BLOCKED_BYTES_MAX = 4 * 1024 * 1024;

/** One end of a connection. */
export abstract class Session implements ChannelHandler, StreamHost {
  readonly channel: Channel;
  readonly version = "HTTP/2";
  protected readonly limits: HttpLimits;
  protected readonly clock: Clock;
  protected readonly out: FrameOutput;
  protected readonly sender: Sender;
  protected readonly windows: ReceiveWindows;
  protected readonly streams = new Map<number, Http2Stream>();
  /** When the bytes arrived that are being read. */
  protected turnMs: number;
  /** Largest id of a stream that the peer opened: a server's clients do, a client's servers never. */
  protected peerStreamId = 0;
  protected peerInitialWindowBytes = INITIAL_WINDOW_BYTES;
  /** Nothing is read or opened any more: the connection failed, or only waits to be closed. */
  protected isOver = false;

  readonly #glitches = new GlitchBucket();
  readonly #resetIds = new Set<number>();
  #keepalive: KeepaliveWatch | undefined;
  #closeTimer: Timer | undefined;
  #isEndedByUs = false;
  #endDetail = "";

  constructor(channel: Channel, options: Http2Options) {
    const { limits, clock, keepalive } = options;
    this.channel = channel;
    this.limits = limits;
    this.clock = clock;
    this.turnMs = clock.monotonicMs();
    this.out = new FrameOutput(channel);
    this.sender = new Sender(this.out, this.#glitches, (stream) => this.#onLocalSent(stream));
    this.windows = new ReceiveWindows(this.out, limits);
    if (keepalive) this.#keepalive = new KeepaliveWatch(keepalive, clock, (stage) => this.#onSilence(stage));
    channel.handler = this;
  }

  get activeStreams(): number {
    return this.streams.size;
  }

  // What server and client do in their own way.

  protected abstract readonly isServer: boolean;
  /** Reads frames. */
  protected abstract readBytes(buffer: Buffer, start: number, end: number): void;
  protected abstract stopReading(): void;
  /** A stream is gone from `streams`. */
  protected abstract onStreamClosed(stream: Http2Stream): void;
  /** A stream was reset by the peer, or by us for the peer's fault (`isProvoked`); before its owner hears of it. */
  protected abstract onStreamFault(stream: Http2Stream, isProvoked: boolean): void;
  /** An error of the peer ends the connection. */
  protected abstract onFatal(code: Http2ErrorCode, message: string): void;
  /** `isOver` has become true while the channel still stands. */
  protected abstract onOver(): void;
  protected abstract onGone(detail: string): void;

  // The channel's events.

  onData(buffer: Buffer, start: number, end: number): void {
    if (this.isOver) return;
    this.turnMs = this.clock.monotonicMs();
    this.#keepalive?.heard();
    enterFrames();
    try {
      this.readBytes(buffer, start, end);
    } finally {
      leaveFrames();
    }
    const { out } = this;
    if (out.isBlocked && (out.controlFramesBlocked > BLOCKED_CONTROL_FRAMES_MAX || this.channel.bufferedBytes > BLOCKED_BYTES_MAX)) {
      this.fail(ErrorCode.enhanceYourCalm, "answers are not read");
    }
  }

  onEnd(): void {
    if (this.isOver) {
      // What is still being written gets its time.
      if (this.channel.bufferedBytes === 0) this.channel.destroy();
      return;
    }
    this.#endDetail = "the peer closed the connection";
    this.shutDown();
    this.#resetAll({ kind: "connection-closed", detail: this.#endDetail });
  }

  onDrain(): void {
    this.out.unblock();
    this.sender.pumpAll();
  }

  onClose(reason: CloseReason): void {
    this.isOver = true;
    this.#stop();
    this.#closeTimer?.cancel();
    const detail = this.#endDetail || (reason.code ?? reason.message);
    this.#resetAll({ kind: this.#isEndedByUs ? "local-reset" : "connection-closed", detail });
    this.onGone(detail);
  }

  // What the owner asks of the connection.

  destroy(): void {
    if (!this.channel.isOpen) return;
    if (this.#endDetail === "") {
      this.#isEndedByUs = true;
      this.#endDetail = "closed by us";
    }
    this.isOver = true;
    this.#stop();
    this.channel.destroy();
  }

  // What streams ask (StreamHost).

  sendData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean, isKept: boolean): boolean {
    return this.sender.data(stream, buffer, start, end, endStream, isKept);
  }

  sendTrailers(stream: Http2Stream, trailers: HeaderList): void {
    this.sender.trailers(stream, trailers);
  }

  returnWindow(stream: Http2Stream, bytes: number): void {
    this.windows.credit(stream, bytes);
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

  // For server and client.

  /** Our first frames. */
  protected greet(settings: readonly (readonly [number, number])[]): void {
    this.out.settings(settings);
    this.windows.open();
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

  protected newStreamOptions(id: number): Http2StreamOptions {
    return {
      id,
      bornMs: this.turnMs,
      sendWindowBytes: this.peerInitialWindowBytes,
      receiveWindowBytes: this.limits.streamWindowBytes,
    };
  }

  /** Counts frames that carry nothing. */
  protected countGlitch(count: number): void {
    if (this.#glitches.add(this.turnMs, count)) this.fail(ErrorCode.enhanceYourCalm, "too many frames that carry nothing");
  }

  /** A connection error: GOAWAY, FIN, and nothing more is read. */
  protected fail(code: Http2ErrorCode, message: string): void {
    if (this.isOver) return;
    this.#endDetail = message;
    this.sendGoaway(this.peerStreamId, code);
    this.shutDown();
    this.onFatal(code, message);
    this.#resetAll({ kind: "protocol-error", detail: message });
  }

  /** A stream error: RST_STREAM, and the owner hears of it. */
  protected failStream(stream: Http2Stream, code: Http2ErrorCode, message: string): void {
    if (stream.isClosed) return;
    this.sendReset(stream.id, code);
    this.onStreamFault(stream, true);
    this.endStream(stream, { kind: "protocol-error", detail: message });
  }

  /** Closes a stream whose owner must hear why. */
  protected endStream(stream: Http2Stream, reset: StreamReset): void {
    if (stream.isClosed) return;
    const tells = stream.isUnfinished;
    this.closeStream(stream);
    if (tells) stream.listener.onReset(reset);
  }

  /** The peer's side of a stream ended, and its owner was told. */
  protected remoteDone(stream: Http2Stream): void {
    if (stream.isLocalSent) this.closeStream(stream);
  }

  protected closeStream(stream: Http2Stream): void {
    if (stream.isClosed) return;
    stream.isClosed = true;
    this.streams.delete(stream.id);
    this.sender.forget(stream);
    // The connection's window must not suffer for what the owner never took.
    const withheld = stream.withheldBytes;
    stream.withheldBytes = 0;
    this.windows.credit(undefined, withheld);
    this.onStreamClosed(stream);
  }

  /** Writes what there is, sends FIN and waits a moment for the peer to close. */
  protected shutDown(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#stop();
    this.out.flush();
    this.onOver();
    if (!this.channel.isOpen) return;
    this.channel.end();
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

  #onLocalSent(stream: Http2Stream): void {
    if (stream.isRemoteEnded) {
      this.closeStream(stream);
    } else if (stream.isResetAfterSend) {
      this.sendReset(stream.id, ErrorCode.noError);
      this.closeStream(stream);
    }
  }

  #onSilence(stage: "ask" | "lost"): void {
    if (this.isOver) return;
    if (stage === "ask") {
      this.out.control(FrameType.ping, 0, 0, 0, 0);
      return;
    }
    this.#endDetail = "no answer to PING";
    this.isOver = true;
    this.#stop();
    this.channel.destroy();
  }

  #stop(): void {
    this.stopReading();
    this.windows.isOff = true;
    this.#keepalive?.stop();
  }

  #resetAll(reset: StreamReset): void {
    for (const stream of [...this.streams.values()]) this.endStream(stream, reset);
  }
}
