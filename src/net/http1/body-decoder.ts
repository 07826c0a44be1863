/** Takes a message's body out of the bytes of a connection. Source: RFC 9112 sections 6.3 and 7.1. */
import { HeaderList } from "../http/headers.ts";
import type { HttpLimits } from "../http/stream.ts";
import { FieldReader, INCOMPLETE, REFUSED } from "./fields.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";
import { HeadBuffer, type HeadReader } from "./head-buffer.ts";

/** Who gets the body. Any call may end the connection: the decoder then was told `stop`. */
export interface BodySink {
  /** `isLast` ends the body, also with no bytes. */
  onBody(buffer: Buffer, start: number, end: number, isLast: boolean): void;
  onBodyTrailers(trailers: HeaderList): void;
  onBodyFlaw(flaw: Http1Flaw): void;
}

/** For an end without bytes. */
export const NO_BYTES: Buffer = Buffer.alloc(0);

/** Digits of a chunk's size: 2^52 bytes. */
const SIZE_DIGITS_MAX = 13;
/** Chunk extensions of a whole message; they are dropped. */
const EXTENSION_BYTES_MAX = 4096;

const CR = 13;
const LF = 10;
const SEMICOLON = 59;

type State = "done" | "length" | "until-close" | "size" | "extension" | "size-lf" | "chunk" | "chunk-cr" | "chunk-lf" | "trailers";

/** Decodes one body after another. */
export class BodyDecoder implements HeadReader {
  readonly #sink: BodySink;
  readonly #limits: HttpLimits;
  readonly #trailers: HeadBuffer;
  readonly #fields = new FieldReader();
  #state: State = "done";
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;

  constructor(sink: BodySink, limits: HttpLimits) {
    this.#sink = sink;
    this.#limits = limits;
    this.#trailers = new HeadBuffer(limits.headerBytesMax);
  }

  /** Whether the body is over. */
  get isDone(): boolean {
    return this.#state === "done";
  }

  /** Whether only the end of the connection ends the body. */
  get isUntilClose(): boolean {
    return this.#state === "until-close";
  }

  get flaw(): Http1Flaw | undefined {
    return this.#fields.flaw;
  }

  startLength(bytes: number): void {
    this.#left = bytes;
    this.#state = bytes > 0 ? "length" : "done";
  }

  startChunked(): void {
    this.#state = "size";
    this.#left = 0;
    this.#digits = 0;
    this.#extensionBytes = 0;
  }

  startUntilClose(): void {
    this.#state = "until-close";
  }

  /** Forgets the rest. */
  stop(): void {
    this.#state = "done";
    this.#trailers.clear();
  }

  /** Takes bytes; returns the index of the first that is not of this body. */
  read(buffer: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && this.#state !== "done") {
      switch (this.#state) {
        case "length":
        case "chunk":
          at = this.#readCounted(buffer, at, end);
          break;
        case "until-close":
          this.#sink.onBody(buffer, at, end, false);
          return end;
        case "trailers":
          at = this.#readTrailers(buffer, at, end);
          break;
        default:
          at = this.#readFraming(buffer[at] as number, at);
          break;
      }
    }
    return at;
  }

  #readCounted(buffer: Buffer, start: number, end: number): number {
    const to = Math.min(end, start + this.#left);
    this.#left -= to - start;
    const isLength = this.#state === "length";
    if (this.#left === 0) this.#state = isLength ? "done" : "chunk-cr";
    this.#sink.onBody(buffer, start, to, isLength && this.#left === 0);
    return to;
  }

  /** One byte of what stands around chunks. */
  #readFraming(byte: number, at: number): number {
    switch (this.#state) {
      case "size": {
        const digit = hexOf(byte);
        if (digit >= 0) {
          this.#digits += 1;
          if (this.#digits > SIZE_DIGITS_MAX) return this.#fail(Flaws.chunkSize, at);
          this.#left = this.#left * 16 + digit;
          break;
        }
        if (this.#digits === 0) return this.#fail(Flaws.chunkSize, at);
        if (byte === CR) this.#state = "size-lf";
        else if (byte === SEMICOLON) this.#state = "extension";
        else return this.#fail(Flaws.chunkSize, at);
        break;
      }
      case "extension":
        this.#extensionBytes += 1;
        if (byte === CR) this.#state = "size-lf";
        else if (this.#extensionBytes > EXTENSION_BYTES_MAX || (byte < 0x20 && byte !== 9) || byte === 0x7f) {
          return this.#fail(Flaws.chunkExtension, at);
        }
        break;
      case "size-lf":
        if (byte !== LF) return this.#fail(Flaws.chunkSize, at);
        this.#digits = 0;
        this.#state = this.#left > 0 ? "chunk" : "trailers";
        break;
      case "chunk-cr":
        if (byte !== CR) return this.#fail(Flaws.chunkEnd, at);
        this.#state = "chunk-lf";
        break;
      default:
        if (byte !== LF) return this.#fail(Flaws.chunkEnd, at);
        this.#state = "size";
        break;
    }
    return at + 1;
  }

  #readTrailers(buffer: Buffer, start: number, end: number): number {
    const next = this.#trailers.read(buffer, start, end, this);
    if (next === INCOMPLETE) return end;
    if (next === REFUSED) {
      const flaw = this.#trailers.flaw ?? Flaws.fieldName;
      return this.#fail(flaw === Flaws.tooLarge ? Flaws.trailersTooLarge : flaw, start);
    }
    this.#state = "done";
    const trailers = new HeaderList(this.#fields.flat);
    // Nothing that frames or routes comes after the fact. Source: RFC 9110 section 6.5.1.
    trailers.removeIf((name) => isForbiddenInTrailers(name));
    if (trailers.size > 0) this.#sink.onBodyTrailers(trailers);
    else this.#sink.onBody(NO_BYTES, 0, 0, true);
    return next;
  }

  readText(text: string): number {
    return this.#fields.read(text, 0, this.#limits);
  }

  #fail(flaw: Http1Flaw, at: number): number {
    this.#state = "done";
    this.#sink.onBodyFlaw(flaw);
    return at;
  }
}

function isForbiddenInTrailers(name: string): boolean {
  return name === "content-length" || name === "expect" || name === "te" || name === "authorization" || name === "content-encoding";
}

function hexOf(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const letter = byte | 0x20;
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
