/**
 * Looks at the first bytes of a connection to tell TLS and HTTP apart from the rest, and leaves them to be read again.
 * Source: Envoy's listener filters tls_inspector and http_inspector.
 */
import type { Clock } from "../../base/clock.ts";
import type { Incoming } from "../../net/dial.ts";
import { parseClientHello } from "../../net/tls/client-hello.ts";

/** Bytes of a request line that are waited for. */
const REQUEST_LINE_BYTES_MAX = 64 * 1024;
/** No timeout was asked for: long enough to be none. */
const NEVER_MS = 0x7fffffff;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** What was seen. */
export interface Inspection {
  readonly transportProtocol: "raw_buffer" | "tls";
  /** Lower case; "" when none was asked for. */
  readonly serverName: string;
  readonly applicationProtocols: readonly string[];
}

/** Nobody looked. */
export const NOT_INSPECTED: Inspection = { transportProtocol: "raw_buffer", serverName: "", applicationProtocols: [] };

/** How the looking ended. timeout: the client sent too little in time. */
export type InspectResult = { readonly kind: "done" | "timeout"; readonly inspection: Inspection } | { readonly kind: "gone" };

/** Who looks, and for how long; `timeoutMs` 0 is for ever. */
export interface InspectOptions {
  readonly tls: boolean;
  readonly http: boolean;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** Looks. `done` is called once, maybe from inside. */
export function inspect(incoming: Incoming, options: InspectOptions, done: (result: InspectResult) => void): void {
  if (!options.tls && !options.http) {
    done({ kind: "done", inspection: NOT_INSPECTED });
    return;
  }
  const dueMs = options.timeoutMs > 0 ? options.clock.monotonicMs() + options.timeoutMs : undefined;
  const look = (bytesMin: number): void => {
    const timeoutMs = dueMs === undefined ? NEVER_MS : Math.max(1, dueMs - options.clock.monotonicMs());
    incoming.peek({ bytesMin, timeoutMs }, (bytes, ended) => {
      if (bytes.length === 0 && ended) {
        done({ kind: "gone" });
        return;
      }
      if (bytes.length < bytesMin) {
        done(ended ? { kind: "done", inspection: NOT_INSPECTED } : { kind: "timeout", inspection: NOT_INSPECTED });
        return;
      }
      const verdict = judge(bytes, options);
      if (typeof verdict === "number") look(verdict);
      else done({ kind: "done", inspection: verdict });
    });
  };
  look(1);
}

/** What the bytes are, or how many are needed to say. */
function judge(bytes: Buffer, { tls, http }: InspectOptions): Inspection | number {
  if (tls) {
    const hello = parseClientHello(bytes);
    if (hello.kind === "more") return hello.bytesMin;
    if (hello.kind === "hello") return { transportProtocol: "tls", serverName: hello.serverName ?? "", applicationProtocols: hello.alpn };
  }
  if (!http) return NOT_INSPECTED;
  const protocol = sniffHttp(bytes);
  if (protocol === "more") return bytes.length + 1;
  return protocol === undefined ? NOT_INSPECTED : { ...NOT_INSPECTED, applicationProtocols: [protocol] };
}

/** The version of HTTP that begins with these bytes; undefined for none. Source: RFC 9112 section 3, RFC 9113 section 3.4. */
export function sniffHttp(bytes: Buffer): "http/1.0" | "http/1.1" | "h2c" | "more" | undefined {
  const start = bytes.toString("latin1", 0, PREFACE.length);
  if (PREFACE.startsWith(start)) return start.length === PREFACE.length ? "h2c" : "more";
  // Empty lines before a request line are allowed.
  let from = 0;
  while (bytes[from] === 13 || bytes[from] === 10) from += 1;
  if (from === bytes.length) return bytes.length < 16 ? "more" : undefined;
  const end = bytes.indexOf(10, from);
  if (end < 0) {
    if (bytes.length >= REQUEST_LINE_BYTES_MAX) return undefined;
    return isMethodSoFar(bytes, from) ? "more" : undefined;
  }
  const line = bytes.toString("latin1", from, bytes[end - 1] === 13 ? end - 1 : end);
  const match = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+ [^ ]+ HTTP\/1\.([01])$/.exec(line);
  return match ? (match[1] === "0" ? "http/1.0" : "http/1.1") : undefined;
}

const METHOD_BYTES_MAX = 32;

/** Whether an unfinished line may still become a request line: a token of letters, then a blank, then no control. */
function isMethodSoFar(bytes: Buffer, from: number): boolean {
  for (let i = from; i < bytes.length && i - from <= METHOD_BYTES_MAX; i++) {
    const byte = bytes[i] as number;
    if (byte === 32) return i > from;
    const isLetter = (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122) || byte === 45;
    if (!isLetter) return false;
  }
  return bytes.length - from <= METHOD_BYTES_MAX;
}
