/** Writes heads as text. What could be taken for the end of a line or of a field is never written. Source: RFC 9112. */
import type { HeaderList } from "../http/headers.ts";
import type { RequestHead, ResponseHead } from "../http/stream.ts";
import { FieldKind, fieldNameOf, isAuthority, isFieldValue, isLines, isTarget, isToken } from "./characters.ts";

/** How a body is announced. */
export type BodyFraming = "none" | "length" | "chunked" | "close";

const REASONS: ReadonlyMap<number, string> = new Map(
  `100 Continue|101 Switching Protocols|102 Processing|103 Early Hints|200 OK|201 Created|202 Accepted|203 Non-Authoritative Information
|204 No Content|205 Reset Content|206 Partial Content|207 Multi-Status|208 Already Reported|226 IM Used|300 Multiple Choices
|301 Moved Permanently|302 Found|303 See Other|304 Not Modified|305 Use Proxy|307 Temporary Redirect|308 Permanent Redirect
|400 Bad Request|401 Unauthorized|402 Payment Required|403 Forbidden|404 Not Found|405 Method Not Allowed|406 Not Acceptable
|407 Proxy Authentication Required|408 Request Timeout|409 Conflict|410 Gone|411 Length Required|412 Precondition Failed
|413 Payload Too Large|414 URI Too Long|415 Unsupported Media Type|416 Range Not Satisfiable|417 Expectation Failed
|421 Misdirected Request|422 Unprocessable Entity|423 Locked|424 Failed Dependency|426 Upgrade Required|428 Precondition Required
|429 Too Many Requests|431 Request Header Fields Too Large|500 Internal Server Error|501 Not Implemented|502 Bad Gateway
|503 Service Unavailable|504 Gateway Timeout|505 HTTP Version Not Supported|506 Variant Also Negotiates|507 Insufficient Storage
|508 Loop Detected|510 Not Extended|511 Network Authentication Required`
    .split("|")
    .map((entry) => [Number(entry.slice(0, 3)), entry.slice(4).trim()]),
);

/** The status line with its CRLF. */
export function statusLine(status: number, isHttp10 = false): string {
  const code = Number.isInteger(status) && status >= 100 && status <= 999 ? status : 500;
  return `HTTP/1.${isHttp10 ? 0 : 1} ${code} ${REASONS.get(code) ?? "Unknown"}\r\n`;
}

/** Field lines of what an owner set. Fields of the connection and of framing are left out: the codec writes its own. */
export function fieldLines(flat: readonly string[]): string {
  let lines = "";
  let count = 0;
  for (let i = 0; i < flat.length; i += 2) {
    const name = fieldNameOf(flat[i] as string);
    if (name === undefined) continue;
    const value = flat[i + 1] as string;
    if (name.kind === FieldKind.ordinary || name.kind === FieldKind.expect) lines += `${name.text}: ${value}\r\n`;
    else if (name.kind === FieldKind.te && value === "trailers") lines += "te: trailers\r\n";
    else continue;
    count += 1;
  }
  // All at once: looking at each value costs more. Whoever set one that is more than a value loses it.
  return isLines(lines, count) ? lines : fieldLines(withoutBadValues(flat));
}

function withoutBadValues(flat: readonly string[]): string[] {
  return flat.filter((_, i) => isFieldValue(flat[i | 1] as string));
}

/** The content-length that an owner set, if it can be believed; -1 otherwise. */
export function contentLengthOf(headers: HeaderList): number {
  const { flat } = headers;
  let length = -1;
  for (let i = 0; i < flat.length; i += 2) {
    if (flat[i] !== "content-length") continue;
    const value = flat[i + 1] as string;
    if (length >= 0 || !/^\d{1,15}$/.test(value)) return -1;
    length = Number(value);
  }
  return length;
}

/** Whether an owner asks for the connection to close after this answer. */
export function asksToClose(headers: HeaderList): boolean {
  return headers.get("connection")?.toLowerCase().includes("close") ?? false;
}

/** A response's head. `contentLength` is written for "length", and for "none" as information where it is not negative. */
export function responseHeadText(
  head: ResponseHead,
  options: {
    readonly framing: BodyFraming;
    readonly contentLength: number;
    readonly connection: "close" | "keep-alive" | undefined;
    /** The protocol of a 101. */
    readonly upgrade: string | undefined;
    readonly isHttp10: boolean;
  },
): string {
  const { framing, contentLength, connection, upgrade } = options;
  let text = statusLine(head.status, options.isHttp10) + fieldLines(head.headers.flat);
  if (contentLength >= 0 && framing !== "close" && framing !== "chunked") text += `content-length: ${contentLength}\r\n`;
  if (upgrade !== undefined) text += `connection: Upgrade\r\nupgrade: ${upgrade}\r\n`;
  else if (connection !== undefined) text += `connection: ${connection}\r\n`;
  if (framing === "chunked") text += "transfer-encoding: chunked\r\n";
  return `${text}\r\n`;
}

/** A request's head; undefined when it cannot be written without being taken for something else. */
export function requestHeadText(
  head: RequestHead,
  options: { readonly framing: BodyFraming; readonly contentLength: number },
): string | undefined {
  const { method, authority, upgrade } = head;
  const target = method === "CONNECT" ? authority : head.path;
  if (!isToken(method) || !isTarget(target) || !isAuthority(authority)) return undefined;
  if (upgrade !== undefined && !/^[!#$%&'*+\-.^_`|~0-9A-Za-z/]+$/.test(upgrade)) return undefined;
  let text = `${method} ${target} HTTP/1.1\r\nhost: ${authority}\r\n${fieldLines(head.headers.flat)}`;
  if (options.framing === "chunked") text += "transfer-encoding: chunked\r\n";
  else if (options.contentLength >= 0) text += `content-length: ${options.contentLength}\r\n`;
  if (upgrade !== undefined) text += `connection: Upgrade\r\nupgrade: ${upgrade}\r\n`;
  return `${text}\r\n`;
}
