/** Reads the field lines of a head or of trailers, and what they say of the message's framing. Source: RFC 9112 sections 5, 6 and 9. */
import type { HttpLimits } from "../http/stream.ts";
import { endOfToken, endOfValue, FieldKind, type FieldKindCode, fieldNameOf, isProtectedName } from "./characters.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";

/** What `FieldReader.read` returns for a text that does not hold the empty line yet. */
export const INCOMPLETE = -1;
/** What it returns for one that is refused. */
export const REFUSED = -2;

const CR = 13;
const LF = 10;
const SPACE = 32;
const TAB = 9;

/** Reads one block of fields at a time; the results stand until the next `read`. */
export class FieldReader {
  /** Names and values of the fields that owners see; a new array for each block. */
  flat: string[] = [];
  /** -1 when not told. */
  contentLength = -1;
  transferEncoding: string | undefined;
  connection: string | undefined;
  upgrade: string | undefined;
  host: string | undefined;
  expectsContinue = false;
  flaw: Http1Flaw | undefined;
  #te: string | undefined;

  /** Reads from `start` to the empty line; returns the index behind it, INCOMPLETE or REFUSED. */
  read(text: string, start: number, limits: HttpLimits): number {
    this.flat = [];
    this.contentLength = -1;
    this.transferEncoding = undefined;
    this.connection = undefined;
    this.upgrade = undefined;
    this.host = undefined;
    this.expectsContinue = false;
    this.#te = undefined;
    this.flaw = undefined;
    const { flat } = this;
    const { length } = text;
    let at = start;
    let count = 0;
    for (;;) {
      if (at >= length) return INCOMPLETE;
      const first = text.charCodeAt(at);
      if (first === CR) {
        if (at + 1 >= length) return INCOMPLETE;
        if (text.charCodeAt(at + 1) !== LF) return this.#refuse(Flaws.fieldName);
        if (this.#te !== undefined && hasToken(this.#te, "trailers")) flat.push("te", "trailers");
        return at + 2;
      }
      const colon = text.indexOf(":", at);
      if (colon < 0) return endOfToken(text, at) === length ? INCOMPLETE : this.#refuse(badNameFlaw(text, at));
      const name = fieldNameOf(text.slice(at, colon));
      if (name === undefined) return this.#refuse(badNameFlaw(text, at));
      let from = colon + 1;
      while (isBlank(text, from)) from += 1;
      let to = endOfValue(text, from);
      if (to >= length) return INCOMPLETE;
      const ending = text.charCodeAt(to);
      if (ending !== CR) return this.#refuse(ending === LF ? Flaws.bareLf : Flaws.fieldValue);
      if (to + 1 >= length) return INCOMPLETE;
      if (text.charCodeAt(to + 1) !== LF) return this.#refuse(Flaws.fieldValue);
      at = to + 2;
      while (to > from && isBlank(text, to - 1)) to -= 1;
      count += 1;
      if (count > limits.headerFieldsMax) return this.#refuse(Flaws.tooMany);
      const value = text.slice(from, to);
      if (name.kind === FieldKind.ordinary) {
        flat.push(name.text, value);
      } else {
        const flaw = this.#take(name.text, name.kind, value);
        if (flaw !== undefined) return this.#refuse(flaw);
      }
    }
  }

  #take(name: string, kind: FieldKindCode, value: string): Http1Flaw | undefined {
    switch (kind) {
      case FieldKind.host:
        if (this.host !== undefined) return Flaws.twoHosts;
        this.host = value;
        return undefined;
      case FieldKind.contentLength:
        if (this.contentLength >= 0 || !/^\d{1,15}$/.test(value)) return Flaws.contentLength;
        this.contentLength = Number(value);
        this.flat.push(name, value);
        return undefined;
      case FieldKind.transferEncoding:
        if (this.transferEncoding !== undefined) return Flaws.twoTransferEncodings;
        this.transferEncoding = value.toLowerCase();
        return undefined;
      case FieldKind.connection:
        this.connection = joined(this.connection, value);
        return undefined;
      case FieldKind.upgrade:
        this.upgrade = joined(this.upgrade, value);
        return undefined;
      case FieldKind.te:
        this.#te = joined(this.#te, value);
        return undefined;
      case FieldKind.expect:
        if (value.toLowerCase() === "100-continue") this.expectsContinue = true;
        this.flat.push(name, value);
        return undefined;
      default:
        return undefined; // Of this connection only: dropped.
    }
  }

  #refuse(flaw: Http1Flaw): number {
    this.flaw = flaw;
    return REFUSED;
  }

  /** Takes the fields out that "connection" names, but for those that it may not touch. */
  dropNamedByConnection(): void {
    if (this.connection === undefined) return;
    const named = tokensOf(this.connection).filter(
      (token) => token !== "close" && token !== "keep-alive" && token !== "upgrade" && !isProtectedName(token),
    );
    if (named.length === 0) return;
    const { flat } = this;
    let to = 0;
    for (let i = 0; i < flat.length; i += 2) {
      const name = flat[i] as string;
      if (named.includes(name) && name !== "te") continue;
      flat[to] = name;
      flat[to + 1] = flat[i + 1] as string;
      to += 2;
    }
    flat.length = to;
  }

  /** Whether the connection may serve another message after this one. */
  isKeptAlive(isHttp10: boolean): boolean {
    if (this.connection === undefined) return !isHttp10;
    if (hasToken(this.connection, "close")) return false;
    return !isHttp10 || hasToken(this.connection, "keep-alive");
  }

  /** The protocol that an upgrade asks for: "" for none, undefined where the field is malformed. "h2c" is never taken up. */
  upgradeProtocol(): string | undefined {
    if (this.upgrade === undefined || this.connection === undefined || !hasToken(this.connection, "upgrade")) return "";
    const protocols = tokensOf(this.upgrade);
    if (!protocols.every((protocol) => /^[!#$%&'*+\-.^_`|~0-9a-z]+(\/[!#$%&'*+\-.^_`|~0-9a-z]+)?$/.test(protocol))) return undefined;
    return protocols.find((protocol) => protocol !== "h2c" && !protocol.startsWith("h2c/")) ?? "";
  }
}

function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === SPACE || code === TAB;
}

function badNameFlaw(text: string, at: number): Http1Flaw {
  if (isBlank(text, at)) return Flaws.folded;
  const end = endOfToken(text, at);
  return text.charCodeAt(end) === LF ? Flaws.bareLf : Flaws.fieldName;
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before},${value}`;
}

function tokensOf(list: string): string[] {
  return list
    .toLowerCase()
    .split(",")
    .map((token) => token.trim())
    .filter((token) => token !== "");
}

function hasToken(list: string, token: string): boolean {
  return list === token || tokensOf(list).includes(token);
}
