/**
 * Reads of an X.509 certificate, strictly from its DER, what decides about a peer: names, subject, validity. Text forms are
 * not used: "URI:a, URI:b" may be two names or one. Source: RFC 5280 sections 4.1 and 4.2.1.6, ITU-T X.690 (DER).
 */
import { createHash } from "node:crypto";
import type { PeerCertificate } from "../channel.ts";

/** What a certificate says, with the start of its validity. */
export interface ParsedCertificate extends PeerCertificate {
  readonly notBeforeMs: number;
}

const TAG = { boolean: 0x01, octetString: 0x04, oid: 0x06, sequence: 0x30, set: 0x31, utcTime: 0x17, generalizedTime: 0x18 } as const;
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
const SAN_DNS = 0x82;
const SAN_URI = 0x86;
const SAN_IP = 0x87;
const OID_SUBJECT_ALT_NAME = "551d11";
/** More names than this in one certificate are refused. */
const NAMES_MAX = 1000;

/** Short names of subject attributes, by the hex of their OID. Source: OpenSSL objects; RFC 4519. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  "550403": "CN",
  "550404": "SN",
  "550405": "serialNumber",
  "550406": "C",
  "550407": "L",
  "550408": "ST",
  "550409": "street",
  "55040a": "O",
  "55040b": "OU",
  "55040c": "title",
  "55042a": "GN",
  "550411": "postalCode",
  "2a864886f70d010901": "emailAddress",
  "0992268993f22c640119": "DC",
  "0992268993f22c640101": "UID",
};

/** The parts of a DER certificate. Throws on anything that is not exactly a certificate with clean names. */
export function parseCertificate(der: Uint8Array): ParsedCertificate {
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
  const tbs = new DerReader(bytes).only(TAG.sequence).enter(TAG.sequence);
  if (tbs.peekTag() === VERSION) tbs.next();
  tbs.next(); // serialNumber
  tbs.next(); // signature
  tbs.next(); // issuer
  const validity = tbs.enter(TAG.sequence);
  const notBeforeMs = readTime(validity);
  const notAfterMs = readTime(validity);
  validity.finish();
  const subject = formatSubject(tbs.enter(TAG.sequence));
  tbs.next(); // subjectPublicKeyInfo
  const names: Names = { uri: [], dns: [], ip: [] };
  let seen = false;
  while (!tbs.isDone) {
    if (tbs.peekTag() !== EXTENSIONS) {
      tbs.next(); // issuerUniqueID, subjectUniqueID
      continue;
    }
    const extensions = tbs.enter(EXTENSIONS).only(TAG.sequence);
    while (!extensions.isDone) {
      const extension = extensions.enter(TAG.sequence);
      const oid = extension.take(TAG.oid).toString("hex");
      if (extension.peekTag() === TAG.boolean) extension.next();
      const value = extension.take(TAG.octetString);
      extension.finish();
      if (oid !== OID_SUBJECT_ALT_NAME) continue;
      if (seen) throw new Error("the certificate has two subjectAltName extensions");
      seen = true;
      readNames(new DerReader(value).only(TAG.sequence), names);
    }
  }
  return {
    uriSans: names.uri,
    dnsSans: names.dns,
    ...(names.ip.length > 0 ? { ipSans: names.ip } : {}),
    subject,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    notBeforeMs,
    notAfterMs,
  };
}

interface Names {
  readonly uri: string[];
  readonly dns: string[];
  readonly ip: string[];
}

function readNames(list: DerReader, into: Names): void {
  for (let count = 0; !list.isDone; count++) {
    if (count === NAMES_MAX) throw new Error(`the certificate has more than ${NAMES_MAX} names`);
    const { tag, body } = list.next();
    if (tag === SAN_IP) into.ip.push(addressOf(body));
    if (tag !== SAN_URI && tag !== SAN_DNS) continue;
    // IA5String without controls and blanks: a NUL has cut names short elsewhere.
    for (const byte of body) if (byte <= 0x20 || byte >= 0x7f) throw new Error("a name in the certificate holds bytes that no name has");
    if (body.length === 0) throw new Error("a name in the certificate is empty");
    (tag === SAN_URI ? into.uri : into.dns).push(body.toString("latin1"));
  }
}

function addressOf(body: Buffer): string {
  if (body.length === 4) return body.join(".");
  if (body.length !== 16) throw new Error("an address in the certificate has neither 4 nor 16 bytes");
  const groups = Array.from({ length: 8 }, (_, i) => body.readUInt16BE(i * 2).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

/** Envoy's form: RFC 2253, last part first, as OpenSSL prints it with XN_FLAG_RFC2253. */
function formatSubject(name: DerReader): string {
  const parts: string[] = [];
  while (!name.isDone) {
    const set = name.enter(TAG.set);
    const attributes: string[] = [];
    while (!set.isDone) {
      const attribute = set.enter(TAG.sequence);
      const oid = attribute.take(TAG.oid);
      const value = attribute.next();
      attribute.finish();
      const short = ATTRIBUTES[oid.toString("hex")];
      attributes.push(
        short ? `${short}=${escapeValue(readText(value))}` : `${formatOid(oid)}=#${value.whole.toString("hex").toUpperCase()}`,
      );
    }
    parts.unshift(attributes.join("+"));
  }
  return parts.join(",");
}

/** The text of a string type as UTF-8 bytes in latin1, which is how non-ASCII is escaped. */
function readText({ tag, body }: DerValue): string {
  if (tag === 0x1e) return Buffer.from(Buffer.from(body).swap16().toString("utf16le"), "utf8").toString("latin1"); // BMPString
  if (tag === 0x14) return Buffer.from(body.toString("latin1"), "utf8").toString("latin1"); // T61String, taken as latin1
  return body.toString("latin1");
}

function escapeValue(text: string): string {
  let out = "";
  for (let i = 0; i < text.length; i++) {
    const char = text.charAt(i);
    const code = text.charCodeAt(i);
    if (code < 0x20 || code >= 0x7f) out += `\\${code.toString(16).toUpperCase().padStart(2, "0")}`;
    else if (',+"\\<>;'.includes(char) || (char === "#" && i === 0) || (char === " " && (i === 0 || i === text.length - 1)))
      out += `\\${char}`;
    else out += char;
  }
  return out;
}

function formatOid(bytes: Buffer): string {
  const arcs: number[] = [];
  let value = 0;
  for (const byte of bytes) {
    value = value * 128 + (byte & 0x7f);
    if (byte & 0x80) continue;
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(value / 40));
      arcs.push(first, value - first * 40);
    } else arcs.push(value);
    value = 0;
  }
  return arcs.join(".");
}

/** UTCTime is of 1950 to 2049; both end in Z and have seconds in a certificate. */
function readTime(reader: DerReader): number {
  const { tag, body } = reader.next();
  const text = body.toString("latin1");
  const match =
    tag === TAG.utcTime
      ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
      : tag === TAG.generalizedTime
        ? /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
        : undefined;
  if (!match) throw new Error("the certificate's validity is no time");
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1).map(Number);
  return Date.UTC(tag === TAG.utcTime ? (year < 50 ? 2000 + year : 1900 + year) : year, month - 1, day, hour, minute, second);
}

interface DerValue {
  readonly tag: number;
  readonly body: Buffer;
  /** With tag and length. */
  readonly whole: Buffer;
}

/** Values one after another. Every read is checked against the end: the bytes are a stranger's. */
class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length;
  }

  peekTag(): number | undefined {
    return this.#bytes[this.#at];
  }

  next(): DerValue {
    const start = this.#at;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw new Error("the certificate is no DER: a long tag");
    let length = this.#byte();
    if (length >= 0x80) {
      const count = length & 0x7f;
      if (count === 0 || count > 3) throw new Error("the certificate is no DER: its length is indefinite or too long");
      length = 0;
      for (let i = 0; i < count; i++) length = length * 256 + this.#byte();
      if (length < 0x80 || length < 256 ** (count - 1)) throw new Error("the certificate is no DER: a length is not the shortest");
    }
    const from = this.#at;
    if (from + length > this.#bytes.length) throw new Error("the certificate ends too early");
    this.#at = from + length;
    return { tag, body: this.#bytes.subarray(from, this.#at), whole: this.#bytes.subarray(start, this.#at) };
  }

  take(tag: number): Buffer {
    const value = this.next();
    if (value.tag !== tag) throw new Error(`the certificate is malformed: tag ${value.tag} where ${tag} was to be`);
    return value.body;
  }

  enter(tag: number): DerReader {
    return new DerReader(this.take(tag));
  }

  /** The one value that is all there is. */
  only(tag: number): DerReader {
    const inner = this.enter(tag);
    this.finish();
    return inner;
  }

  finish(): void {
    if (!this.isDone) throw new Error("the certificate has bytes after its end");
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new Error("the certificate ends too early");
    this.#at += 1;
    return byte;
  }
}
