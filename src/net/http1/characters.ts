/** Which characters may stand where in a head, and the names of fields with what they mean to the codec. Source: RFC 9110 section 5, RFC 9112. */

/** What a field means to the codec itself; fields of all kinds but `ordinary` and `contentLength` are taken out of what owners see. */
export const FieldKind = {
  ordinary: 0,
  host: 1,
  contentLength: 2,
  transferEncoding: 3,
  connection: 4,
  upgrade: 5,
  te: 6,
  /** For one connection only: keep-alive, proxy-connection, http2-settings. */
  hop: 7,
  expect: 8,
} as const;

/** A number of FieldKind. */
export type FieldKindCode = (typeof FieldKind)[keyof typeof FieldKind];

/** A field's name in lower case. */
export interface FieldName {
  readonly text: string;
  readonly kind: FieldKindCode;
}

const KINDS: ReadonlyMap<string, FieldKindCode> = new Map<string, FieldKindCode>([
  ["host", FieldKind.host],
  ["content-length", FieldKind.contentLength],
  ["transfer-encoding", FieldKind.transferEncoding],
  ["connection", FieldKind.connection],
  ["upgrade", FieldKind.upgrade],
  ["te", FieldKind.te],
  ["keep-alive", FieldKind.hop],
  ["proxy-connection", FieldKind.hop],
  ["http2-settings", FieldKind.hop],
  ["expect", FieldKind.expect],
]);

/**
 * Sticky and greedy: they match at `lastIndex` always, and leave it behind the last character that fits. A compiled expression
 * looks at a character in a fifth of the time that charCodeAt takes.
 */
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]*/y;
const VALUE = /[\t\x20-\x7e\x80-\xff]*/y;
const LINES = /[\t\r\n\x20-\x7e\x80-\xff]*/y;
const TARGET = /[\x21-\x7e\x80-\xff]*/y;
const AUTHORITY = /[-A-Za-z0-9._~%!$&'()*+;=:[\]]*/y;

function endOf(text: string, start: number, allowed: RegExp): number {
  allowed.lastIndex = start;
  allowed.test(text);
  return allowed.lastIndex;
}

/** The index behind the characters of a token that begin at `start`. */
export function endOfToken(text: string, start: number): number {
  return endOf(text, start, TOKEN);
}

/** The index behind the characters of a field's value (with white space around it). */
export function endOfValue(text: string, start: number): number {
  return endOf(text, start, VALUE);
}

/** The index behind the characters of a request target. */
export function endOfTarget(text: string, start: number): number {
  return endOf(text, start, TARGET);
}

/** Whether the text is a token: a method, a field's name. */
export function isToken(text: string): boolean {
  return text !== "" && endOf(text, 0, TOKEN) === text.length;
}

/** Whether the text may stand as a field's value: neither control characters nor any beyond latin1. */
export function isFieldValue(text: string): boolean {
  return endOf(text, 0, VALUE) === text.length;
}

/** Whether the text may stand as a request target. */
export function isTarget(text: string): boolean {
  return text !== "" && endOf(text, 0, TARGET) === text.length;
}

/** Whether the text is made of what host and port are made of. Empty is allowed. */
export function isAuthority(text: string): boolean {
  return endOf(text, 0, AUTHORITY) === text.length;
}

/** Whether a text is `count` lines, each ended by CRLF, of characters that values may have. */
export function isLines(text: string, count: number): boolean {
  return endOf(text, 0, LINES) === text.length && countOf(text, "\n") === count && countOf(text, "\r") === count;
}

function countOf(text: string, char: string): number {
  let count = 0;
  for (let at = text.indexOf(char); at >= 0; at = text.indexOf(char, at + 1)) count += 1;
  return count;
}

/** Names that are remembered in the spelling in which they came. Names beyond are looked at each time. */
const NAMES_MAX = 2048;
/** Longer names are not remembered. */
const NAME_LENGTH_MAX = 64;

const names = new Map<string, FieldName>();
for (const name of `accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials
  access-control-allow-headers access-control-allow-methods access-control-allow-origin access-control-expose-headers access-control-max-age
  access-control-request-headers access-control-request-method age allow authorization baggage cache-control connection content-disposition
  content-encoding content-language content-length content-range content-type cookie date etag expect expires forwarded from grpc-message
  grpc-status host if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive last-modified link location origin pragma
  proxy-authorization proxy-connection range referer retry-after sec-websocket-accept sec-websocket-extensions sec-websocket-key
  sec-websocket-protocol sec-websocket-version server set-cookie strict-transport-security te traceparent tracestate trailer
  transfer-encoding upgrade user-agent vary via www-authenticate x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid
  x-envoy-attempt-count x-envoy-decorator-operation x-envoy-expected-rq-timeout-ms x-envoy-peer-metadata x-envoy-peer-metadata-id
  x-envoy-upstream-service-time x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-port x-forwarded-proto x-request-id`.split(
  /\s+/,
)) {
  const field = { text: name, kind: KINDS.get(name) ?? FieldKind.ordinary };
  names.set(name, field);
  names.set(
    name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase()),
    field,
  );
}

/** The field's name for a text in any case; undefined when it is no token. */
export function fieldNameOf(raw: string): FieldName | undefined {
  const known = names.get(raw);
  if (known !== undefined) return known;
  if (!isToken(raw)) return undefined;
  const text = raw.toLowerCase();
  const name = names.get(text) ?? { text: copyOf(text), kind: KINDS.get(text) ?? FieldKind.ordinary };
  if (raw.length <= NAME_LENGTH_MAX && names.size < NAMES_MAX) names.set(copyOf(raw), name);
  return name;
}

/** A text of its own: a part of a string keeps the whole of it in memory. */
function copyOf(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

/** Names that "connection" may not take out of a message: who is asking, for what, and what proxies said of it. */
const PROTECTED = new Set(
  `accept authorization baggage cache-control content-encoding content-length content-range content-type cookie forwarded from host
  origin proxy-authorization range set-cookie traceparent tracestate via www-authenticate grpc-status grpc-message location`.split(/\s+/),
);
const PROTECTED_PREFIXES = [
  "x-forwarded-",
  "x-envoy-",
  "x-lateen-",
  "x-b3-",
  "x-request-id",
  "x-real-ip",
  "sec-",
  "grpc-",
  "access-control-",
];

/** Whether a field stays though "connection" names it. */
export function isProtectedName(name: string): boolean {
  return PROTECTED.has(name) || PROTECTED_PREFIXES.some((prefix) => name.startsWith(prefix));
}
