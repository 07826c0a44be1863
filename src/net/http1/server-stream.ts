/** One request of an HTTP/1.1 connection, as its owner holds it: a thin handle that goes dead with its request. */
import type { HeaderList } from "../http/headers.ts";
import type { ResponseHead, ServerConnection, ServerStream, StreamHandler } from "../http/stream.ts";

/** What a stream calls of its connection. */
export interface ServerStreamOwner extends ServerConnection {
  writeInformational(stream: Http1ServerStream, head: ResponseHead): void;
  writeHead(stream: Http1ServerStream, head: ResponseHead, endStream: boolean): void;
  writeData(stream: Http1ServerStream, buffer: Buffer, start: number, end: number, endStream: boolean): boolean;
  writeTrailers(stream: Http1ServerStream, trailers: HeaderList): void;
  pauseReading(stream: Http1ServerStream, isPaused: boolean): void;
  reset(stream: Http1ServerStream): void;
}

/** What of its request a stream must know. */
export interface ServerStreamFacts {
  readonly isHead: boolean;
  readonly isHttp10: boolean;
  readonly isConnect: boolean;
  readonly upgrade: string | undefined;
  readonly isKeptAlive: boolean;
  readonly expectsContinue: boolean;
}

/** The stream. Where the request stands is kept here by its connection. */
export class Http1ServerStream implements ServerStream {
  handler: StreamHandler = UNHEARD;
  readonly connection: ServerStreamOwner;
  readonly isHead: boolean;
  readonly isHttp10: boolean;
  readonly isConnect: boolean;
  readonly upgrade: string | undefined;
  readonly isKeptAlive: boolean;
  readonly expectsContinue: boolean;
  hasContinued = false;
  isHeadWritten = false;
  isAnswered = false;
  isRequestOver = false;

  constructor(connection: ServerStreamOwner, facts: ServerStreamFacts) {
    this.connection = connection;
    this.isHead = facts.isHead;
    this.isHttp10 = facts.isHttp10;
    this.isConnect = facts.isConnect;
    this.upgrade = facts.upgrade;
    this.isKeptAlive = facts.isKeptAlive;
    this.expectsContinue = facts.expectsContinue;
  }

  writeInformational(head: ResponseHead): void {
    this.connection.writeInformational(this, head);
  }

  writeHead(head: ResponseHead, endStream: boolean): void {
    this.connection.writeHead(this, head, endStream);
  }

  writeData(buffer: Buffer, start: number, end: number, endStream: boolean): boolean {
    return this.connection.writeData(this, buffer, start, end, endStream);
  }

  writeTrailers(trailers: HeaderList): void {
    this.connection.writeTrailers(this, trailers);
  }

  pauseReading(): void {
    this.connection.pauseReading(this, true);
  }

  resumeReading(): void {
    this.connection.pauseReading(this, false);
  }

  reset(): void {
    this.connection.reset(this);
  }

  /** The connection's output fell below the low watermark. */
  drained(): void {
    if (!this.isAnswered) this.handler.onDrain();
  }
}

/** Until the owner sets its own. A request without a body may be answered without one. */
const UNHEARD: StreamHandler = { onData() {}, onTrailers() {}, onReset() {}, onDrain() {} };
