/** The state of one HTTP/2 stream, and what its owner may do with it. Source: RFC 9113, section 5. */
import type { HeaderList } from "../http/headers.ts";
import type { HttpStream, StreamHandler } from "../http/stream.ts";
import { ErrorCode, type Http2ErrorCode } from "./frames.ts";
import type { SendQueue } from "./send-queue.ts";

/** Bytes that may wait for window before the owner is told to stop, and below which it may go on. */
export const STREAM_QUEUE = { highBytes: 64 * 1024, lowBytes: 16 * 1024 } as const;

/** What a stream asks of its connection. */
export interface StreamHost {
  /** `isKept`: nobody will touch the bytes again, so what waits need not be copied. */
  sendData(stream: Http2Stream, buffer: Buffer, start: number, end: number, endStream: boolean, isKept: boolean): boolean;
  sendTrailers(stream: Http2Stream, trailers: HeaderList): void;
  /** The owner took `bytes` that had been withheld from the peer's window. */
  returnWindow(stream: Http2Stream, bytes: number): void;
  resetByOwner(stream: Http2Stream, code: Http2ErrorCode): void;
}

/** What a stream begins with. */
export interface Http2StreamOptions {
  readonly id: number;
  readonly bornMs: number;
  readonly sendWindowBytes: number;
  readonly receiveWindowBytes: number;
}

const RESET_CODES = {
  cancel: ErrorCode.cancel,
  "internal-error": ErrorCode.internalError,
  refused: ErrorCode.refusedStream,
  "protocol-error": ErrorCode.protocolError,
} as const;

/** What the two ends' streams have in common. Its connection changes the fields; the owner sees HttpStream alone. */
export abstract class Http2Stream implements HttpStream {
  /** 0: a client's stream that has not been sent yet. */
  id: number;
  readonly bornMs: number;
  /** Bytes that we may send, and that the peer may. */
  sendWindowBytes: number;
  receiveWindowBytes: number;
  /** Bytes that the owner took and the peer was not told of. */
  uncreditedBytes = 0;
  /** Bytes that came while the owner had paused. */
  withheldBytes = 0;
  isPaused = false;
  /** The peer's END_STREAM was seen. */
  isRemoteEnded = false;
  /** The owner ended; `isLocalSent`: END_STREAM went out too. */
  isLocalEnded = false;
  isLocalSent = false;
  isClosed = false;
  /** The owner gave up reading after it had ended: RST_STREAM follows what is queued. */
  isResetAfterSend = false;
  /** Body bytes that content-length still promises; -1 when it promises nothing. */
  bodyLeftBytes = -1;
  queue: SendQueue | undefined;
  queuedTrailers: HeaderList | undefined;
  /** The owner was told to stop writing. */
  isWaiting = false;
  protected readonly host: StreamHost;

  constructor(host: StreamHost, options: Http2StreamOptions) {
    this.host = host;
    this.id = options.id;
    this.bornMs = options.bornMs;
    this.sendWindowBytes = options.sendWindowBytes;
    this.receiveWindowBytes = options.receiveWindowBytes;
  }

  /** Who hears of body, trailers and end. */
  abstract readonly listener: StreamHandler;
  /** Whether the owner still wants to hear how the stream ends. */
  abstract readonly isUnfinished: boolean;

  get hasQueue(): boolean {
    return (this.queue !== undefined && this.queue.bytes > 0) || this.queuedTrailers !== undefined || this.id === 0;
  }

  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    return this.host.sendData(this, buffer, start, end, endStream, false);
  }

  /** As writeData, for bytes that nobody will ever touch again: a message that many streams send is in memory once. */
  writeKept(buffer: Buffer): boolean {
    return this.host.sendData(this, buffer, 0, buffer.length, false, true);
  }

  writeTrailers(trailers: HeaderList): void {
    this.host.sendTrailers(this, trailers);
  }

  pauseReading(): void {
    this.isPaused = true;
  }

  resumeReading(): void {
    this.isPaused = false;
    const bytes = this.withheldBytes;
    if (bytes === 0) return;
    this.withheldBytes = 0;
    this.host.returnWindow(this, bytes);
  }

  reset(code: keyof typeof RESET_CODES = "cancel"): void {
    this.host.resetByOwner(this, RESET_CODES[code]);
  }
}

/** Stands in until an owner has set its handler, and after the stream is closed. */
export const DEAF_HANDLER: StreamHandler = { onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };

/** Writes bytes that nobody will ever touch again, without a copy where the stream can. False: stop until onDrain. */
export function writeKept(stream: HttpStream, buffer: Buffer): boolean {
  return stream instanceof Http2Stream ? stream.writeKept(buffer) : stream.writeData(buffer, 0, buffer.length, false);
}
