/** Header fields that gRPC gives a meaning: metadata, status, timeouts. Source: gRPC over HTTP/2, PROTOCOL-HTTP2; HTTP to gRPC Status Code Mapping. */
import type { HeaderList } from "../http/headers.ts";
import type { StreamReset } from "../http/stream.ts";
import { GrpcError, type GrpcMetadata, GrpcStatus } from "./types.ts";

/** Content types of gRPC: with any message format, though ours are bytes anyway. */
export function isGrpcContentType(value: string | undefined): boolean {
  return value !== undefined && /^application\/grpc(?:$|[+;])/i.test(value);
}

const RESERVED: ReadonlySet<string> = new Set(["content-type", "content-length", "te", "accept-encoding"]);

/** A call's metadata out of its headers; fields that occur twice are joined by a comma. */
export function readMetadata(headers: HeaderList): GrpcMetadata {
  const metadata: Record<string, string> = Object.create(null);
  for (const [name, value] of headers) {
    if (RESERVED.has(name) || name.startsWith("grpc-")) continue;
    const before = metadata[name];
    metadata[name] = before === undefined ? value : `${before},${value}`;
  }
  return metadata;
}

/** What keeps metadata from being sent; undefined when it may. */
export function findMetadataFlaw(metadata: GrpcMetadata): string | undefined {
  for (const [name, value] of Object.entries(metadata)) {
    if (!/^[0-9a-z_.-]+$/.test(name) || name.startsWith("grpc-") || RESERVED.has(name)) return `metadata must not have the name ${name}`;
    if (!/^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/.test(value)) return `the metadata ${name} has characters that are not allowed`;
  }
  return undefined;
}

const TIMEOUT_UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["H", 3_600_000],
  ["M", 60_000],
  ["S", 1000],
  ["m", 1],
  ["u", 1e-3],
  ["n", 1e-6],
]);

/** The value of grpc-timeout in ms; undefined when it is none. */
export function parseTimeoutMs(value: string): number | undefined {
  const match = /^([0-9]{1,8})([HMSmun])$/.exec(value);
  const unitMs = TIMEOUT_UNITS_MS.get(match?.[2] ?? "");
  return match && unitMs !== undefined ? Number(match[1]) * unitMs : undefined;
}

/** A value for grpc-timeout: at most eight digits. */
export function formatTimeout(timeoutMs: number): string {
  const ms = Math.max(1, Math.ceil(timeoutMs));
  return ms < 1e8 ? `${ms}m` : `${Math.min(99_999_999, Math.ceil(ms / 1000))}S`;
}

/** Text as grpc-message carries it. */
export function encodeMessage(text: string): string {
  let out = "";
  for (const byte of Buffer.from(text, "utf8")) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    out += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  // White space at the ends would not survive as a header.
  return out.replace(/^ +| +$/g, (blanks) => "%20".repeat(blanks.length));
}

/** Text out of grpc-message; what is no percent-encoding stays as it is. */
export function decodeMessage(value: string): string {
  const bytes: number[] = [];
  for (let i = 0; i < value.length; i++) {
    const hex = value[i] === "%" ? value.slice(i + 1, i + 3) : "";
    if (/^[0-9A-Fa-f]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    } else {
      bytes.push(value.charCodeAt(i));
    }
  }
  return Buffer.from(bytes).toString("utf8");
}

/** How a call ended, out of trailers (or of a head that is both): undefined is OK. `httpStatus` speaks where gRPC does not. */
export function readStatus(headers: HeaderList, httpStatus: number): GrpcError | undefined {
  const status = headers.get("grpc-status");
  if (status === undefined) return errorOfHttpStatus(httpStatus, "the answer has no grpc-status");
  const message = decodeMessage(headers.get("grpc-message") ?? "");
  if (!/^[0-9]{1,3}$/.test(status)) return new GrpcError(GrpcStatus.UNKNOWN, `an answer with the grpc-status ${status}`);
  return Number(status) === GrpcStatus.OK ? undefined : new GrpcError(Number(status), message);
}

const CODES_OF_HTTP: ReadonlyMap<number, number> = new Map<number, number>([
  [400, GrpcStatus.INTERNAL],
  [401, GrpcStatus.UNAUTHENTICATED],
  [403, GrpcStatus.PERMISSION_DENIED],
  [404, GrpcStatus.UNIMPLEMENTED],
  [429, GrpcStatus.UNAVAILABLE],
  [502, GrpcStatus.UNAVAILABLE],
  [503, GrpcStatus.UNAVAILABLE],
  [504, GrpcStatus.UNAVAILABLE],
]);

/** The error that an answer without grpc-status means. */
export function errorOfHttpStatus(httpStatus: number, detail: string): GrpcError {
  return new GrpcError(CODES_OF_HTTP.get(httpStatus) ?? GrpcStatus.UNKNOWN, `${detail} (HTTP status ${httpStatus})`);
}

const CODES_OF_RESET: ReadonlyMap<string, number> = new Map<string, number>([
  ["CANCEL", GrpcStatus.CANCELLED],
  ["REFUSED_STREAM", GrpcStatus.UNAVAILABLE],
  ["ENHANCE_YOUR_CALM", GrpcStatus.RESOURCE_EXHAUSTED],
  ["INADEQUATE_SECURITY", GrpcStatus.PERMISSION_DENIED],
]);

/** The error that the end of a stream means to a client. */
export function errorOfReset(reset: StreamReset): GrpcError {
  switch (reset.kind) {
    case "refused":
    case "connection-closed":
    case "local-reset":
      return new GrpcError(GrpcStatus.UNAVAILABLE, reset.detail);
    default:
      return new GrpcError(CODES_OF_RESET.get(reset.detail) ?? GrpcStatus.INTERNAL, `stream reset: ${reset.detail}`);
  }
}
