/** Reads a request's head out of text. Source: RFC 9112 section 3. */
import { HeaderList } from "../http/headers.ts";
import type { HttpLimits, RequestHead } from "../http/stream.ts";
import { endOfTarget, endOfToken, isAuthority } from "./characters.ts";
import { FieldReader, INCOMPLETE, REFUSED } from "./fields.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";

const SPACE = 32;
const SLASH = 47;
const METHOD_LENGTH_MAX = 64;
/** "HTTP/1.1\r\n" */
const VERSION_LENGTH = 10;

/** What a connection's requests are read with. */
export interface RequestReading {
  readonly limits: HttpLimits;
  /** What the connection is. */
  readonly scheme: string;
  readonly acceptHttp10: boolean;
}

/** Reads one head at a time; the results stand until the next `read`. */
export class RequestReader {
  head: RequestHead | undefined;
  /** -1 when not told. */
  contentLength = -1;
  isChunked = false;
  isKeptAlive = true;
  expectsContinue = false;
  flaw: Http1Flaw | undefined;
  readonly #fields = new FieldReader();

  /** Reads from `start`; returns the index behind the head, INCOMPLETE or REFUSED. */
  read(text: string, start: number, options: RequestReading): number {
    this.flaw = undefined;
    this.head = undefined;
    const { length } = text;
    const methodEnd = text.startsWith("GET ", start) ? start + 3 : endOfToken(text, start);
    if (methodEnd - start > METHOD_LENGTH_MAX) return this.#refuse(Flaws.method);
    if (methodEnd === length) return INCOMPLETE;
    if (methodEnd === start || text.charCodeAt(methodEnd) !== SPACE) return this.#refuse(Flaws.method);
    const method = text.slice(start, methodEnd);
    const targetEnd = endOfTarget(text, methodEnd + 1);
    if (targetEnd === length) return INCOMPLETE;
    if (targetEnd === methodEnd + 1 || text.charCodeAt(targetEnd) !== SPACE) return this.#refuse(Flaws.requestLine);
    const versionStart = targetEnd + 1;
    let isHttp10 = false;
    if (!text.startsWith("HTTP/1.1\r\n", versionStart)) {
      const version = text.slice(versionStart, versionStart + VERSION_LENGTH);
      if ("HTTP/1.1\r\n".startsWith(version) || (version !== "HTTP/1.0\r\n" && "HTTP/1.0\r\n".startsWith(version))) return INCOMPLETE;
      if (version !== "HTTP/1.0\r\n") return this.#refuse(Flaws.version);
      isHttp10 = true;
    }
    const fields = this.#fields;
    const end = fields.read(text, versionStart + VERSION_LENGTH, options.limits);
    if (end === REFUSED) return this.#refuse(fields.flaw ?? Flaws.requestLine);
    if (end === INCOMPLETE) return INCOMPLETE;
    if (end - start > options.limits.headerBytesMax) return this.#refuse(Flaws.tooLarge);
    if (isHttp10 && !options.acceptHttp10) return this.#refuse(Flaws.lowVersion);
    const flaw = this.#frame(isHttp10) ?? this.#build(method, text.slice(methodEnd + 1, targetEnd), isHttp10, options.scheme);
    return flaw === undefined ? end : this.#refuse(flaw);
  }

  #frame(isHttp10: boolean): Http1Flaw | undefined {
    const { transferEncoding, contentLength, host } = this.#fields;
    this.isChunked = false;
    this.contentLength = contentLength;
    if (transferEncoding !== undefined) {
      if (isHttp10) return Flaws.chunkedInHttp10;
      if (contentLength >= 0) return Flaws.lengthAndChunked;
      if (transferEncoding !== "chunked") return Flaws.transferEncoding;
      this.isChunked = true;
    }
    if (host === undefined) return isHttp10 ? undefined : Flaws.noHost;
    return isAuthority(host) ? undefined : Flaws.host;
  }

  #build(method: string, target: string, isHttp10: boolean, scheme: string): Http1Flaw | undefined {
    const fields = this.#fields;
    this.isKeptAlive = fields.isKeptAlive(isHttp10);
    this.expectsContinue = fields.expectsContinue;
    fields.dropNamedByConnection();
    let path = target;
    let authority = fields.host ?? "";
    if (method === "CONNECT") {
      if (target === "" || !isAuthority(target) || !target.includes(":")) return Flaws.target;
      if (this.isChunked || this.contentLength > 0) return Flaws.connectBody;
      path = "";
      authority = target;
    } else if (target.charCodeAt(0) !== SLASH) {
      if (target === "*") {
        if (method !== "OPTIONS") return Flaws.target;
      } else {
        const absolute = /^https?:\/\/([^/?#]+)([^#]*)$/i.exec(target);
        if (!absolute) return Flaws.target;
        const [, absoluteAuthority = "", rest = ""] = absolute;
        if (!isAuthority(absoluteAuthority)) return Flaws.target;
        authority = absoluteAuthority;
        path = rest === "" ? (method === "OPTIONS" ? "*" : "/") : rest.startsWith("?") ? `/${rest}` : rest;
      }
    }
    let upgrade: string | undefined;
    if (fields.upgrade !== undefined && !isHttp10) {
      const protocol = fields.upgradeProtocol();
      if (protocol === undefined) return Flaws.upgrade;
      // With a body it would be unclear where the tunnel begins: taken as a plain request.
      if (protocol !== "" && !this.isChunked && this.contentLength <= 0 && method !== "CONNECT") upgrade = protocol;
    }
    this.head = {
      method,
      path,
      authority,
      scheme,
      headers: new HeaderList(fields.flat),
      version: isHttp10 ? "HTTP/1.0" : "HTTP/1.1",
      upgrade,
    };
    return undefined;
  }

  #refuse(flaw: Http1Flaw): number {
    this.flaw = flaw;
    return REFUSED;
  }
}
