/**
 * What a listener must know of a ClientHello before it chooses a filter chain. Source: RFC 8446 section 4.1.2, RFC 6066
 * section 3 (server_name), RFC 7301 (ALPN). Every read is checked against its vector's end: the bytes are a stranger's.
 */
import type { Clock } from "../../base/clock.ts";
import type { Incoming } from "../dial.ts";

/** Longest ClientHello that is waited for. Source: Envoy tls_inspector max_client_hello_size. */
export const CLIENT_HELLO_BYTES_MAX = 16 * 1024;

/** Records that one ClientHello may be cut over. More is no client but somebody who wants work done. */
const RECORDS_MAX = 64;

/** Bytes of a record's header: with as many it is known whether this is TLS. */
export const RECORD_HEADER_BYTES = 5;

/** A verdict over the first bytes of a connection. */
export type ClientHello =
  /** Whole. `serverName` is lower-case, undefined when none was sent. */
  | { readonly kind: "hello"; readonly serverName: string | undefined; readonly alpn: readonly string[] }
  /** TLS so far; ask again with at least `bytesMin` bytes. */
  | { readonly kind: "more"; readonly bytesMin: number }
  /** Not TLS, or TLS that nobody should answer. */
  | { readonly kind: "not-tls"; readonly reason: string };

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const ALPN = 16;

/** Says what the first bytes of a connection are. Never throws. */
export function parseClientHello(bytes: Buffer): ClientHello {
  // The first three bytes decide, and each as soon as it is there: a plaintext client may send no more than one.
  if (bytes.length > 0 && bytes[0] !== HANDSHAKE) return { kind: "not-tls", reason: "the first byte is no TLS handshake" };
  if (bytes.length > 1 && bytes[1] !== 3) return { kind: "not-tls", reason: "the version is none of TLS" };
  const joined = joinRecords(bytes);
  if (joined.kind !== "joined") return joined;
  const { message, bytesMin } = joined;
  if (message.length < 4) return { kind: "more", bytesMin };
  if (message[0] !== CLIENT_HELLO) return { kind: "not-tls", reason: "the first handshake message is no ClientHello" };
  const length = message.readUIntBE(1, 3);
  if (length > CLIENT_HELLO_BYTES_MAX) return { kind: "not-tls", reason: "the ClientHello is too long" };
  if (message.length < 4 + length) return { kind: "more", bytesMin };
  try {
    return parseBody(new Reader(message.subarray(4, 4 + length)));
  } catch (error) {
    if (error instanceof MalformedHello) return { kind: "not-tls", reason: error.message };
    throw error;
  }
}

/**
 * Peeks until it is known what a connection begins with, however the bytes dribble in. A client that ends or falls silent before
 * its ClientHello is whole gets "not-tls" ("more" is never given). `timeoutMs` is for all of it.
 */
export function peekClientHello(
  incoming: Pick<Incoming, "peek">,
  options: { readonly timeoutMs: number; readonly clock: Clock },
  done: (hello: Exclude<ClientHello, { kind: "more" }>) => void,
): void {
  const deadlineMs = options.clock.monotonicMs() + options.timeoutMs;
  const peek = (bytesMin: number): void => {
    const timeoutMs = Math.max(0, deadlineMs - options.clock.monotonicMs());
    incoming.peek({ bytesMin, timeoutMs }, (bytes, ended) => {
      const hello = parseClientHello(bytes);
      if (hello.kind !== "more") return done(hello);
      if (!ended && bytes.length >= bytesMin) return peek(hello.bytesMin);
      return done({ kind: "not-tls", reason: "the connection ended or fell silent before its ClientHello was whole" });
    });
  };
  peek(1);
}

/** The handshake bytes of the records so far; a message may be cut over several records. */
function joinRecords(bytes: Buffer): Exclude<ClientHello, { kind: "hello" }> | { kind: "joined"; message: Buffer; bytesMin: number } {
  const parts: Buffer[] = [];
  let at = 0;
  let bytesMin = RECORD_HEADER_BYTES;
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    if (bytes[at] !== HANDSHAKE || bytes[at + 1] !== 3)
      return { kind: "not-tls", reason: "a record among the ClientHello's is no handshake" };
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > 16384) return { kind: "not-tls", reason: "the record's length is wrong" };
    const end = at + RECORD_HEADER_BYTES + length;
    if (parts.length === RECORDS_MAX) return { kind: "not-tls", reason: "the ClientHello is cut over too many records" };
    parts.push(bytes.subarray(at + RECORD_HEADER_BYTES, Math.min(end, bytes.length)));
    bytesMin = end;
    at = end;
  }
  if (parts.length === 0) return { kind: "more", bytesMin };
  // A whole last record with an unfinished message: at least one more record's header is needed.
  if (bytesMin <= bytes.length) bytesMin = Math.max(bytesMin + RECORD_HEADER_BYTES, bytes.length + 1);
  return { kind: "joined", message: parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts), bytesMin };
}

function parseBody(hello: Reader): ClientHello {
  hello.take(2 + 32); // legacy_version, random
  hello.vector(1); // legacy_session_id
  hello.vector(2); // cipher_suites
  hello.vector(1); // legacy_compression_methods
  let serverName: string | undefined;
  const alpn: string[] = [];
  if (hello.isDone) return { kind: "hello", serverName, alpn };
  const extensions = hello.vector(2);
  if (!hello.isDone) throw new MalformedHello("bytes follow the extensions");
  const seen = new Set<number>();
  while (!extensions.isDone) {
    const type = extensions.number(2);
    const body = extensions.vector(2);
    if (seen.has(type)) throw new MalformedHello(`extension ${type} comes twice`);
    seen.add(type);
    if (type === SERVER_NAME) serverName = readServerName(body);
    else if (type === ALPN) {
      const protocols = body.vector(2);
      while (!protocols.isDone) {
        const protocol = protocols.vector(1).rest();
        if (protocol.length === 0) throw new MalformedHello("an ALPN protocol is empty");
        alpn.push(protocol.toString("latin1"));
      }
    }
  }
  return { kind: "hello", serverName, alpn };
}

function readServerName(body: Reader): string | undefined {
  const names = body.vector(2);
  let found: string | undefined;
  while (!names.isDone) {
    const kind = names.number(1);
    const name = names.vector(2).rest().toString("latin1");
    if (kind !== 0) continue;
    if (found !== undefined) throw new MalformedHello("the client asks for two server names");
    if (name.length === 0 || name.length > 255 || !/^[\x21-\x7e]+$/.test(name)) throw new MalformedHello("the server name is malformed");
    found = name.toLowerCase();
  }
  return found;
}

class MalformedHello extends Error {}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isDone(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(count: number): Buffer {
    if (this.#at + count > this.#bytes.length) throw new MalformedHello("a vector of the ClientHello ends too early");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  number(bytes: number): number {
    return this.take(bytes).readUIntBE(0, bytes);
  }

  /** A vector whose length stands in its first bytes. */
  vector(lengthBytes: number): Reader {
    return new Reader(this.take(this.number(lengthBytes)));
  }

  rest(): Buffer {
    return this.take(this.#bytes.length - this.#at);
  }
}
