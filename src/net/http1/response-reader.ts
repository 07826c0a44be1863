/** Reads a response's head out of text. Source: RFC 9112 sections 4 and 6.3. */
import { HeaderList } from "../http/headers.ts";
import type { HttpLimits, ResponseHead } from "../http/stream.ts";
import { endOfValue } from "./characters.ts";
import { FieldReader, INCOMPLETE, REFUSED } from "./fields.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";

const CR = 13;
const LF = 10;
const SPACE = 32;
/** "HTTP/1.1 200" */
const STATUS_LENGTH = 12;

/** Reads one head at a time; the results stand until the next `read`. */
export class ResponseReader {
  head: ResponseHead | undefined;
  /** -1 when not told. */
  contentLength = -1;
  isChunked = false;
  isKeptAlive = true;
  /** The protocol of a 101, in lower case. */
  upgrade = "";
  flaw: Http1Flaw | undefined;
  readonly #fields = new FieldReader();

  /** Reads from `start`; returns the index behind the head, INCOMPLETE or REFUSED. */
  read(text: string, start: number, limits: HttpLimits): number {
    this.flaw = undefined;
    this.head = undefined;
    const { length } = text;
    const isHttp11 = text.startsWith("HTTP/1.1 ", start);
    if (!isHttp11 && !text.startsWith("HTTP/1.0 ", start)) {
      const begun = text.slice(start, start + 9);
      return "HTTP/1.1 ".startsWith(begun) || "HTTP/1.0 ".startsWith(begun) ? INCOMPLETE : this.#refuse(Flaws.statusLine);
    }
    if (start + STATUS_LENGTH >= length) return INCOMPLETE;
    const digits = text.slice(start + 9, start + STATUS_LENGTH);
    const status = /^[1-9]\d\d$/.test(digits) ? Number(digits) : 0;
    const afterStatus = text.charCodeAt(start + STATUS_LENGTH);
    if (status === 0 || (afterStatus !== SPACE && afterStatus !== CR)) return this.#refuse(Flaws.statusLine);
    const lineEnd = endOfValue(text, start + STATUS_LENGTH);
    if (lineEnd + 1 >= length) return INCOMPLETE;
    if (text.charCodeAt(lineEnd) !== CR || text.charCodeAt(lineEnd + 1) !== LF) return this.#refuse(Flaws.statusLine);
    const fields = this.#fields;
    const end = fields.read(text, lineEnd + 2, limits);
    if (end === REFUSED) return this.#refuse(fields.flaw ?? Flaws.statusLine);
    if (end === INCOMPLETE) return INCOMPLETE;
    if (end - start > limits.headerBytesMax) return this.#refuse(Flaws.tooLarge);
    const flaw = this.#frame(!isHttp11);
    if (flaw !== undefined) return this.#refuse(flaw);
    this.isKeptAlive = fields.isKeptAlive(!isHttp11);
    this.upgrade = status === 101 ? (fields.upgradeProtocol() ?? "") : "";
    fields.dropNamedByConnection();
    this.head = { status, headers: new HeaderList(fields.flat), version: isHttp11 ? "HTTP/1.1" : "HTTP/1.0" };
    return end;
  }

  #frame(isHttp10: boolean): Http1Flaw | undefined {
    const { transferEncoding, contentLength } = this.#fields;
    this.isChunked = false;
    this.contentLength = contentLength;
    if (transferEncoding === undefined) return undefined;
    if (isHttp10) return Flaws.chunkedInHttp10;
    if (contentLength >= 0) return Flaws.lengthAndChunked;
    if (transferEncoding !== "chunked") return Flaws.transferEncoding;
    this.isChunked = true;
    return undefined;
  }

  #refuse(flaw: Http1Flaw): number {
    this.flaw = flaw;
    return REFUSED;
  }
}
