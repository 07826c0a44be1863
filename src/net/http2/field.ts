/** One decoded header field, with what HTTP/2 thinks of it: judged once when it enters the table, not at each use. Source: RFC 9113, section 8. */

/** What a field's name means to the codec. */
export const FieldKind = {
  ordinary: 0,
  method: 1,
  path: 2,
  scheme: 3,
  authority: 4,
  protocol: 5,
  status: 6,
  /** Named ":..." and none of the above. */
  unknownPseudo: 7,
  host: 8,
  cookie: 9,
  contentLength: 10,
  te: 11,
  /** Means something for one connection of HTTP/1 only: a message that holds it is malformed. */
  connection: 12,
} as const;

/** A number of FieldKind. */
export type FieldKindCode = (typeof FieldKind)[keyof typeof FieldKind];

const KINDS: ReadonlyMap<string, FieldKindCode> = new Map<string, FieldKindCode>([
  [":method", FieldKind.method],
  [":path", FieldKind.path],
  [":scheme", FieldKind.scheme],
  [":authority", FieldKind.authority],
  [":protocol", FieldKind.protocol],
  [":status", FieldKind.status],
  ["host", FieldKind.host],
  ["cookie", FieldKind.cookie],
  ["content-length", FieldKind.contentLength],
  ["te", FieldKind.te],
  ["connection", FieldKind.connection],
  ["keep-alive", FieldKind.connection],
  ["proxy-connection", FieldKind.connection],
  ["transfer-encoding", FieldKind.connection],
  ["upgrade", FieldKind.connection],
  ["http2-settings", FieldKind.connection],
]);

/** The kind of a name in lower case. */
export function kindOf(name: string): FieldKindCode {
  const kind = KINDS.get(name);
  if (kind !== undefined) return kind;
  return name.charCodeAt(0) === 0x3a ? FieldKind.unknownPseudo : FieldKind.ordinary;
}

/** What HPACK counts for a field beside its text. Source: RFC 7541, section 4.1. */
export const FIELD_OVERHEAD_BYTES = 32;

/** A header field. `flaw` says what is wrong with it, for the log; a message with such a field is malformed. */
export class HeaderField {
  readonly name: string;
  readonly value: string;
  readonly kind: FieldKindCode;
  readonly size: number;
  /** The part of the flaw that another field of the same name has too. */
  readonly nameFlaw: string | undefined;
  readonly flaw: string | undefined;

  constructor(name: string, value: string, kind: FieldKindCode, nameFlaw: string | undefined) {
    this.name = name;
    this.value = value;
    this.kind = kind;
    this.size = name.length + value.length + FIELD_OVERHEAD_BYTES;
    this.nameFlaw = nameFlaw;
    this.flaw = nameFlaw ?? findValueFlaw(value, kind);
  }
}

const NAME = 1;
const VALUE = 2;
const AUTHORITY = 4;
const PATH = 8;
const TOKEN = 16;

/** For each character: in which texts it may stand. */
const ALLOWED = buildAllowed();

function buildAllowed(): Uint8Array {
  const allowed = new Uint8Array(256);
  for (let code = 0; code < 256; code++) {
    const char = String.fromCharCode(code);
    const isToken = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/.test(char);
    const isVisible = code > 0x20 && code !== 0x7f;
    let where = 0;
    if (isToken) where |= TOKEN;
    if (isToken && !/[A-Z]/.test(char)) where |= NAME;
    if (isVisible || code === 0x20 || code === 0x09) where |= VALUE;
    if (/^[-A-Za-z0-9._~%!$&'()*+;=:[\]]$/.test(char)) where |= AUTHORITY;
    if (isVisible) where |= PATH;
    allowed[code] = where;
  }
  return allowed;
}

function holds(text: string, where: number): boolean {
  for (let i = 0; i < text.length; i++) if (((ALLOWED[text.charCodeAt(i)] as number) & where) === 0) return false;
  return true;
}

/** What is wrong with a name; undefined when nothing is. Pseudo-header fields are known by their kind. */
export function findNameFlaw(name: string, kind: FieldKindCode): string | undefined {
  switch (kind) {
    case FieldKind.unknownPseudo:
      return "an unknown pseudo-header field";
    case FieldKind.connection:
      return `the connection-specific field ${name}`;
    case FieldKind.ordinary:
      if (name === "") return "a field without a name";
      return holds(name, NAME) ? undefined : "a field name with characters that are not allowed";
    default:
      return undefined;
  }
}

/** What is wrong with a value of a field of this kind; undefined when nothing is. */
function findValueFlaw(value: string, kind: FieldKindCode): string | undefined {
  const { length } = value;
  switch (kind) {
    case FieldKind.method:
      return length > 0 && holds(value, TOKEN) ? undefined : "a bad :method";
    case FieldKind.path:
      if (length === 0) return "an empty :path";
      if (value.charCodeAt(0) !== 0x2f && value !== "*") return "a :path that does not begin with a slash";
      return holds(value, PATH) ? undefined : "a :path with characters that are not allowed";
    case FieldKind.scheme:
      return /^[A-Za-z][-A-Za-z0-9+.]*$/.test(value) ? undefined : "a bad :scheme";
    case FieldKind.authority:
      return holds(value, AUTHORITY) ? undefined : "an :authority with characters that are not allowed";
    case FieldKind.host:
      return holds(value, AUTHORITY) ? undefined : "a host with characters that are not allowed";
    case FieldKind.protocol:
      return length > 0 && holds(value, TOKEN) ? undefined : "a bad :protocol";
    case FieldKind.status:
      return /^[1-9][0-9][0-9]$/.test(value) ? undefined : "a bad :status";
    case FieldKind.contentLength:
      return /^[0-9]{1,15}$/.test(value) ? undefined : "a bad content-length";
    case FieldKind.te:
      return value === "trailers" ? undefined : "a te other than trailers";
    default:
      break;
  }
  if (length === 0) return undefined;
  if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(length - 1))) return "a field value with white space around it";
  return holds(value, VALUE) ? undefined : "a field value with characters that are not allowed";
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
