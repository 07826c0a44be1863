/** The command operators of format strings, each as a function of the stream. Source: Envoy, Access logging, command operators. */
import type { Address, TlsInfo } from "../model/connection.ts";
import { flagsText } from "./flags.ts";
import type { FieldReader, FormatSource } from "./format-source.ts";
import { compileTime, isoTime } from "./format-time.ts";
import { grpcStatusOf } from "./grpc-status.ts";
import type { StreamRecord } from "./record.ts";

/** Reads one value; undefined when it is absent. */
export interface Operator {
  read(source: FormatSource): string | number | undefined;
}

type Read = Operator["read"];

/** The operator `name` with its argument in parentheses; a text says what is wrong. */
export function findOperator(name: string, argument: string | undefined): Operator | string {
  const withArgument = WITH_ARGUMENT.get(name);
  if (withArgument) {
    if (argument === undefined && !OPTIONAL_ARGUMENT.has(name)) return "needs an argument in parentheses";
    const read = withArgument(argument ?? "");
    return typeof read === "string" ? read : { read };
  }
  const read = PLAIN.get(name);
  if (!read) return "is not known here";
  if (argument !== undefined && argument !== "") return "takes no argument";
  return { read };
}

/** "1.2.3.4:80", "[::1]:80", or a path. */
export function addressText(address: Address): string {
  if (address.port === 0 && address.host.startsWith("/")) return address.host;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

function endpoint(pick: (source: FormatSource) => Address | undefined): Read {
  return (source) => {
    const address = pick(source);
    return address === undefined ? undefined : addressText(address);
  };
}

function hostOf(pick: (source: FormatSource) => Address | undefined): Read {
  return (source) => pick(source)?.host;
}

function portOf(pick: (source: FormatSource) => Address | undefined): Read {
  return (source) => pick(source)?.port;
}

function since(pick: (source: FormatSource) => number | undefined): Read {
  return (source) => {
    const at = pick(source);
    return at === undefined ? undefined : Math.floor(at - source.record.startMs);
  };
}

function downstreamTls(pick: (tls: TlsInfo) => string | undefined): Read {
  return (source) => (source.record.downstreamTls ? pick(source.record.downstreamTls) : undefined);
}

function upstreamTls(pick: (tls: TlsInfo) => string | undefined): Read {
  return (source) => (source.record.upstreamTls ? pick(source.record.upstreamTls) : undefined);
}

const joined = (texts: readonly string[] | undefined): string | undefined => (texts && texts.length > 0 ? texts.join(",") : undefined);

const downstreamRemote = (source: FormatSource): Address | undefined => source.record.downstreamRemote;
const downstreamDirect = (source: FormatSource): Address | undefined => source.directRemote ?? source.record.downstreamRemote;
const downstreamLocal = (source: FormatSource): Address | undefined => source.record.downstreamLocal;
const upstreamHost = (source: FormatSource): Address | undefined => source.record.upstreamHost;
const upstreamLocal = (source: FormatSource): Address | undefined => source.record.upstreamLocal;

const GRPC_NAMES = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
] as const;

const PLAIN: ReadonlyMap<string, Read> = new Map<string, Read>([
  ["PROTOCOL", ({ record }) => (record.protocol === "-" ? undefined : record.protocol)],
  ["RESPONSE_CODE", ({ record }) => record.status],
  ["RESPONSE_CODE_DETAILS", ({ record }) => record.details?.replaceAll(" ", "_")],
  ["CONNECTION_TERMINATION_DETAILS", ({ record }) => record.terminationDetails?.replaceAll(" ", "_")],
  ["RESPONSE_FLAGS", ({ record }) => (record.hasFlags && flagsText(record.flags)) || "-"],
  ["BYTES_RECEIVED", ({ record }) => record.bytesReceived],
  ["BYTES_SENT", ({ record }) => record.bytesSent],
  ["DURATION", since(({ record }) => record.endMs)],
  ["RESPONSE_DURATION", since(({ record }) => record.firstUpstreamByteMs)],
  [
    "RESPONSE_TX_DURATION",
    ({ record }) =>
      record.lastDownstreamByteMs === undefined || record.firstUpstreamByteMs === undefined
        ? undefined
        : Math.floor(record.lastDownstreamByteMs - record.firstUpstreamByteMs),
  ],
  ["DOWNSTREAM_REMOTE_ADDRESS", endpoint(downstreamRemote)],
  ["DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", hostOf(downstreamRemote)],
  ["DOWNSTREAM_REMOTE_PORT", portOf(downstreamRemote)],
  ["DOWNSTREAM_DIRECT_REMOTE_ADDRESS", endpoint(downstreamDirect)],
  ["DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", hostOf(downstreamDirect)],
  ["DOWNSTREAM_DIRECT_REMOTE_PORT", portOf(downstreamDirect)],
  ["DOWNSTREAM_LOCAL_ADDRESS", endpoint(downstreamLocal)],
  ["DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", hostOf(downstreamLocal)],
  ["DOWNSTREAM_LOCAL_PORT", portOf(downstreamLocal)],
  ["UPSTREAM_HOST", endpoint(upstreamHost)],
  ["UPSTREAM_REMOTE_ADDRESS", endpoint(upstreamHost)],
  ["UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", hostOf(upstreamHost)],
  ["UPSTREAM_REMOTE_PORT", portOf(upstreamHost)],
  ["UPSTREAM_LOCAL_ADDRESS", endpoint(upstreamLocal)],
  ["UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", hostOf(upstreamLocal)],
  ["UPSTREAM_LOCAL_PORT", portOf(upstreamLocal)],
  ["UPSTREAM_CLUSTER", ({ record }) => record.upstreamCluster],
  ["UPSTREAM_CLUSTER_RAW", ({ record }) => record.upstreamCluster],
  ["UPSTREAM_TRANSPORT_FAILURE_REASON", ({ record }) => record.upstreamFailure?.replaceAll(" ", "_")],
  ["UPSTREAM_REQUEST_ATTEMPT_COUNT", ({ record }) => record.attempts],
  ["UPSTREAM_TLS_VERSION", upstreamTls(({ protocol }) => protocol)],
  ["UPSTREAM_PEER_URI_SAN", upstreamTls(({ peer }) => joined(peer?.uriSans))],
  ["UPSTREAM_PEER_DNS_SAN", upstreamTls(({ peer }) => joined(peer?.dnsSans))],
  ["UPSTREAM_PEER_SUBJECT", upstreamTls(({ peer }) => peer?.subject)],
  ["UPSTREAM_LOCAL_URI_SAN", upstreamTls(({ localUriSans }) => joined(localUriSans))],
  ["REQUESTED_SERVER_NAME", ({ record }) => record.requestedServerName ?? record.downstreamTls?.serverName],
  ["DOWNSTREAM_TLS_VERSION", downstreamTls(({ protocol }) => protocol)],
  ["DOWNSTREAM_PEER_URI_SAN", downstreamTls(({ peer }) => joined(peer?.uriSans))],
  ["DOWNSTREAM_PEER_DNS_SAN", downstreamTls(({ peer }) => joined(peer?.dnsSans))],
  ["DOWNSTREAM_PEER_SUBJECT", downstreamTls(({ peer }) => peer?.subject)],
  ["DOWNSTREAM_PEER_FINGERPRINT_256", downstreamTls(({ peer }) => peer?.sha256)],
  ["DOWNSTREAM_LOCAL_URI_SAN", downstreamTls(({ localUriSans }) => joined(localUriSans))],
  ["ROUTE_NAME", ({ record }) => record.routeName],
  ["LISTENER_NAME", ({ record }) => record.listenerName],
  ["GRPC_STATUS_NUMBER", ({ record }) => grpcStatusIn(record)],
  ["REQUEST_HEADERS_BYTES", ({ record }) => record.requestHeaderBytes],
]);

const WITH_ARGUMENT: ReadonlyMap<string, (argument: string) => Read | string> = new Map<string, (argument: string) => Read | string>([
  ["START_TIME", (argument) => (argument === "" ? ({ record }) => isoTime(record.startWallMs) : compileStartTime(argument))],
  ["REQ", compileRequestField],
  [
    "RESP",
    (argument) =>
      compileField(
        argument,
        ({ responseHeaders }) => responseHeaders,
        (name) => (name === ":status" ? ({ record }) => record.status || undefined : undefined),
      ),
  ],
  [
    "TRAILER",
    (argument) =>
      compileField(
        argument,
        ({ responseTrailers }) => responseTrailers,
        () => undefined,
      ),
  ],
  ["GRPC_STATUS", compileGrpcStatus],
  ["FILTER_STATE", (argument) => compileFilterState(argument)],
]);

/** What the answer said, or what its HTTP status means to a gRPC client. */
function grpcStatusIn(record: StreamRecord): number | undefined {
  if (record.grpcStatus !== undefined) return record.grpcStatus;
  return record.status !== 0 && record.contentType?.startsWith("application/grpc") ? grpcStatusOf(record.status) : undefined;
}

/** Both may stand without parentheses. */
const OPTIONAL_ARGUMENT: ReadonlySet<string> = new Set(["START_TIME", "GRPC_STATUS"]);

function compileGrpcStatus(argument: string): Read | string {
  switch (argument.toUpperCase()) {
    case "":
    case "CAMEL_STRING":
      return ({ record }) => {
        const status = grpcStatusIn(record);
        return status === undefined ? undefined : (GRPC_NAMES[status] ?? String(status));
      };
    case "NUMBER":
      return ({ record }) => grpcStatusIn(record);
    default:
      return `"${argument}" is not known: CAMEL_STRING or NUMBER`;
  }
}

function compileStartTime(pattern: string): Read {
  const format = compileTime(pattern);
  return ({ record }) => format(record.startWallMs);
}

function compileFilterState(argument: string): Read | string {
  const [key, kind] = argument.split(":");
  if (!key) return "needs a key";
  if (kind !== undefined && kind !== "PLAIN") return `"${kind}" is not known: only PLAIN`;
  return ({ filterState }) => filterState?.get(key);
}

/** "X?Y": X, or Y where X is absent. */
function compileField(
  argument: string,
  pick: (source: FormatSource) => FieldReader | undefined,
  pseudo: (name: string) => Read | undefined,
): Read | string {
  const [first, second, ...more] = argument.toLowerCase().split("?");
  if (!first || second === "" || more.length > 0) return "needs one name, or two with ? between them";
  const readerOf = (name: string): Read => pseudo(name) ?? ((source) => pick(source)?.get(name));
  const main = readerOf(first);
  if (second === undefined) return main;
  const other = readerOf(second);
  return (source) => main(source) ?? other(source);
}

function compileRequestField(argument: string): Read | string {
  return compileField(
    argument,
    ({ request }) => request?.headers,
    (name) => {
      switch (name) {
        case ":method":
          return ({ request, record }) => request?.method ?? (record.method || undefined);
        case ":path":
          return ({ request, record }) => request?.path ?? (record.path || undefined);
        case ":authority":
        case "host":
          return ({ request, record }) => request?.authority ?? (record.authority || undefined);
        case ":scheme":
          return ({ request }) => request?.scheme;
        default:
          return undefined;
      }
    },
  );
}
