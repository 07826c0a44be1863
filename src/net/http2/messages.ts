/** Turns decoded fields into heads and trailers, and says what is malformed. Source: RFC 9113, sections 8.2, 8.3 and 8.5; RFC 8441 for :protocol. */
import { HeaderList } from "../http/headers.ts";
import type { RequestHead, ResponseHead } from "../http/stream.ts";
import { FieldKind, type HeaderField } from "./field.ts";

/** A message that is refused. `status` is what a server may say to it; 0: nothing, the stream is reset. */
export interface MessageFlaw {
  readonly status: 0 | 400;
  readonly flaw: string;
}

/** A request's head as read, with what the codec itself must know. */
export interface ReadRequest {
  readonly flaw: undefined;
  readonly head: RequestHead;
  /** -1 when not told. */
  readonly contentLength: number;
}

/** A response's head as read. */
export interface ReadResponse {
  readonly flaw: undefined;
  readonly head: ResponseHead;
  readonly contentLength: number;
}

/** Reads a request's head from the first `count` of `fields`. `scheme` is what the connection is. */
export function readRequest(fields: readonly HeaderField[], count: number, scheme: string): ReadRequest | MessageFlaw {
  let method: string | undefined;
  let path: string | undefined;
  let askedScheme: string | undefined;
  let authority: string | undefined;
  let protocol: string | undefined;
  let host: string | undefined;
  let contentLength = -1;
  let cookieAt = -1;
  let isRegular = false;
  const flat: string[] = [];
  for (let i = 0; i < count; i++) {
    const field = fields[i] as HeaderField;
    if (field.flaw !== undefined) return reset(field.flaw);
    const { kind } = field;
    if (kind === FieldKind.ordinary) {
      isRegular = true;
      flat.push(field.name, field.value);
      continue;
    }
    if (kind <= FieldKind.status && isRegular) return reset("a pseudo-header field after a regular one");
    switch (kind) {
      case FieldKind.method:
        if (method !== undefined) return reset("two :method");
        method = field.value;
        continue;
      case FieldKind.path:
        if (path !== undefined) return reset("two :path");
        path = field.value;
        continue;
      case FieldKind.scheme:
        if (askedScheme !== undefined) return reset("two :scheme");
        askedScheme = field.value;
        continue;
      case FieldKind.authority:
        if (authority !== undefined) return reset("two :authority");
        authority = field.value;
        continue;
      case FieldKind.protocol:
        if (protocol !== undefined) return reset("two :protocol");
        protocol = field.value;
        continue;
      case FieldKind.status:
        return reset("a :status in a request");
      default:
        break;
    }
    isRegular = true;
    switch (kind) {
      case FieldKind.host:
        if (host !== undefined) return { status: 400, flaw: "two host fields" };
        host = field.value;
        continue;
      case FieldKind.cookie:
        // Crumbs make compression better; behind us they are one field. Source: RFC 9113, section 8.2.3.
        if (cookieAt < 0) cookieAt = flat.push(field.name, field.value) - 1;
        else flat[cookieAt] += `; ${field.value}`;
        continue;
      case FieldKind.contentLength: {
        const length = Number(field.value);
        if (contentLength >= 0) {
          if (contentLength !== length) return reset("two content-length that differ");
          continue;
        }
        contentLength = length;
        break;
      }
      default:
        break;
    }
    flat.push(field.name, field.value);
  }
  if (method === undefined) return reset("no :method");
  const isConnect = method === "CONNECT";
  if (isConnect && protocol === undefined) {
    if (path !== undefined || askedScheme !== undefined) return reset("a CONNECT with :path or :scheme");
    if (!authority) return reset("a CONNECT without :authority");
  } else {
    if (!isConnect && protocol !== undefined) return reset(":protocol without CONNECT");
    if (path === undefined) return reset("no :path");
    if (askedScheme === undefined) return reset("no :scheme");
    if (path === "*" && method !== "OPTIONS") return reset("a :path of * without OPTIONS");
  }
  if (host !== undefined && authority !== undefined && host !== authority && host.toLowerCase() !== authority.toLowerCase()) {
    return { status: 400, flaw: ":authority and host differ" };
  }
  const head: RequestHead = {
    method: protocol === undefined ? method : "GET",
    path: path ?? "",
    authority: authority ?? host ?? "",
    scheme,
    headers: new HeaderList(flat),
    version: "HTTP/2",
    upgrade: protocol === undefined ? undefined : protocol.toLowerCase(),
  };
  return { flaw: undefined, head, contentLength };
}

/** Reads a response's head. */
export function readResponse(fields: readonly HeaderField[], count: number): ReadResponse | MessageFlaw {
  let status = 0;
  let contentLength = -1;
  const flat: string[] = [];
  for (let i = 0; i < count; i++) {
    const field = fields[i] as HeaderField;
    if (field.flaw !== undefined) return reset(field.flaw);
    if (field.kind === FieldKind.status) {
      if (status !== 0) return reset("two :status");
      if (flat.length > 0) return reset("a pseudo-header field after a regular one");
      status = Number(field.value);
      continue;
    }
    if (isPseudo(field)) return reset(`${field.name} in a response`);
    if (field.kind === FieldKind.contentLength) {
      const length = Number(field.value);
      if (contentLength >= 0 && contentLength !== length) return reset("two content-length that differ");
      if (contentLength >= 0) continue;
      contentLength = length;
    }
    flat.push(field.name, field.value);
  }
  if (status === 0) return reset("no :status");
  return { flaw: undefined, head: { status, headers: new HeaderList(flat), version: "HTTP/2" }, contentLength };
}

/** Reads trailers, of a request or a response. */
export function readTrailers(fields: readonly HeaderField[], count: number): HeaderList | MessageFlaw {
  const flat: string[] = [];
  for (let i = 0; i < count; i++) {
    const field = fields[i] as HeaderField;
    if (field.flaw !== undefined) return reset(field.flaw);
    if (isPseudo(field)) return reset("a pseudo-header field in trailers");
    flat.push(field.name, field.value);
  }
  return new HeaderList(flat);
}

function isPseudo(field: HeaderField): boolean {
  return field.kind !== FieldKind.ordinary && field.kind <= FieldKind.unknownPseudo;
}

function reset(flaw: string): MessageFlaw {
  return { status: 0, flaw };
}
