/**
 * What happens to a request's head before anything decides about it: refusals of malformed ones, the one canonical path, and which headers
 * of the client are believed. Source: Envoy, HTTP header manipulation and sanitizing.
 */
import type { Random } from "../../base/random.ts";
import type { Address, TlsInfo } from "../../model/connection.ts";
import type { RequestHead } from "../../net/http/stream.ts";
import { parseIp } from "../../policy/cidr.ts";
import { normalisePath } from "../../policy/path-normalise.ts";
import type { StreamRecord } from "../../telemetry/record.ts";
import { type LocalReply, REPLIES } from "./local-reply.ts";
import type { ManagerConfig } from "./manager-config.ts";
import { forwardXfcc, XFCC } from "./xfcc.ts";

/** What admission knows of the connection. */
export interface AdmissionContext {
  readonly config: ManagerConfig;
  readonly random: Random;
  readonly tls: TlsInfo | undefined;
  readonly remoteAddress: Address;
  readonly localAddress: Address;
  /** Our own element of x-forwarded-client-cert. */
  readonly xfcc: string | undefined;
  /** Headers that only internal requests may carry, of the route table. */
  readonly internalOnlyHeaders: readonly string[];
}

/** What admission found. */
export interface AdmissionOutcome {
  /** The request may give orders to the proxy (x-envoy-retry-on ...), and does. */
  hasOrders: boolean;
  hasExpect: boolean;
  /** It says who sends it: x-envoy-peer-metadata. */
  hasPeerWords: boolean;
}

/** Judges the head and makes it canonical; undefined lets it pass. Changes head, record and outcome. */
export function admitRequest(
  head: RequestHead,
  record: StreamRecord,
  context: AdmissionContext,
  outcome: AdmissionOutcome,
): LocalReply | undefined {
  const { config } = context;
  if (head.version === "HTTP/1.0") {
    if (!config.acceptHttp10) return REPLIES.lowVersion;
    if (head.authority === "") head.authority = config.defaultHostForHttp10;
  }
  if (head.authority === "") return REPLIES.missingHost;
  const refused = head.method === "CONNECT" && head.path === "" ? undefined : admitPath(head, config);
  if (refused) return refused;
  record.path = head.path;
  admitAuthority(head, context);
  const isUnderscored = config.underscores === "allow" ? undefined : admitUnderscores(head, config.underscores);
  if (isUnderscored) return isUnderscored;
  admitTrust(head, record, context, outcome);
  return undefined;
}

const BEYOND_ASCII = /[^\x00-\x7f]/;

function admitPath(head: RequestHead, { paths }: ManagerConfig): LocalReply | undefined {
  const { path } = head;
  if (path === "") return REPLIES.missingPath;
  if (path.charCodeAt(0) !== 47) return path === "*" && head.method === "OPTIONS" ? undefined : REPLIES.absolutePath;
  // Bytes beyond ASCII must come escaped: servers behind disagree on what they mean. Source: RFC 3986 section 2.
  if (BEYOND_ASCII.test(path)) return REPLIES.badPath;
  const verdict = normalisePath(path, paths);
  switch (verdict.kind) {
    case "ok":
      head.path = verdict.path;
      return undefined;
    case "redirect":
      return { status: 307, body: "", details: REPLIES.pathNormalization.details, headers: [["location", verdict.path]] };
    case "reject":
      return REPLIES.pathNormalization;
  }
}

function admitAuthority(head: RequestHead, { config, localAddress }: AdmissionContext): void {
  if (config.stripsHostDot) head.authority = head.authority.replace(/\.(:\d+)?$/, "$1");
  if (config.stripPort === "no" || head.method === "CONNECT") return;
  const match = /:(\d+)$/.exec(head.authority);
  if (match && (config.stripPort === "any" || match[1] === String(localAddress.port)))
    head.authority = head.authority.slice(0, match.index);
}

function admitUnderscores(head: RequestHead, action: "reject" | "drop"): LocalReply | undefined {
  const { flat } = head.headers;
  let found = false;
  for (let i = 0; i < flat.length; i += 2) found ||= (flat[i] as string).includes("_");
  if (!found) return undefined;
  if (action === "reject") return REPLIES.unexpectedUnderscore;
  head.headers.removeIf((name) => name.includes("_"));
  return undefined;
}

/** Headers by what is done with them. */
const Known = {
  FORWARDED_FOR: 1,
  FORWARDED_PROTO: 2,
  REQUEST_ID: 3,
  USER_AGENT: 4,
  CONTENT_TYPE: 5,
  XFCC: 6,
  INTERNAL: 7,
  EDGE: 8,
  ENVOY_INTERNAL: 9,
  EXPECT: 10,
  PEER: 11,
} as const;

const HEADERS: ReadonlyMap<string, number> = new Map<string, number>([
  ["x-forwarded-for", Known.FORWARDED_FOR],
  ["x-forwarded-proto", Known.FORWARDED_PROTO],
  ["x-request-id", Known.REQUEST_ID],
  ["user-agent", Known.USER_AGENT],
  ["content-type", Known.CONTENT_TYPE],
  [XFCC, Known.XFCC],
  ["x-envoy-internal", Known.ENVOY_INTERNAL],
  ["expect", Known.EXPECT],
  ["x-envoy-peer-metadata", Known.PEER],
  ["x-envoy-peer-metadata-id", Known.PEER],
  // Orders to the proxy: believed from internal requests alone.
  ...[
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
  ].map((name): [string, number] => [name, Known.INTERNAL]),
  // Words between proxies: an edge believes none of them.
  ...[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-envoy-external-address",
    "x-envoy-attempt-count",
    "x-envoy-is-timeout-retry",
  ].map((name): [string, number] => [name, Known.EDGE]),
]);

/** One pass over the fields, then only what the pass found. */
function admitTrust(head: RequestHead, record: StreamRecord, context: AdmissionContext, outcome: AdmissionOutcome): void {
  const { config } = context;
  const { headers } = head;
  const { flat } = headers;
  let bytes = head.method.length + head.path.length + head.authority.length;
  let hasOrders = false;
  let hasEdge = false;
  let hasXfcc = false;
  let hasInternal = false;
  let forwardedProto: string | undefined;
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i] as string;
    const value = flat[i + 1] as string;
    bytes += name.length + value.length;
    switch (HEADERS.get(name)) {
      case Known.FORWARDED_FOR:
        record.forwardedFor = record.forwardedFor === undefined ? value : `${record.forwardedFor},${value}`;
        break;
      case Known.FORWARDED_PROTO:
        forwardedProto ??= value;
        break;
      case Known.REQUEST_ID:
        record.requestId ??= value;
        break;
      case Known.USER_AGENT:
        record.userAgent ??= value;
        break;
      case Known.CONTENT_TYPE:
        record.contentType ??= value;
        break;
      case Known.XFCC:
        hasXfcc = true;
        break;
      case Known.INTERNAL:
        hasOrders = true;
        break;
      case Known.EDGE:
        hasEdge = true;
        break;
      case Known.ENVOY_INTERNAL:
        hasInternal = true;
        break;
      case Known.EXPECT:
        outcome.hasExpect = true;
        break;
      case Known.PEER:
        outcome.hasPeerWords = true;
        break;
    }
  }
  record.requestHeaderBytes = bytes;
  const isSecure = context.tls !== undefined;
  const remote = config.useRemoteAddress ? admitAtEdge(head, record, context) : believedAddress(record.forwardedFor, config.trustedHops);
  if (config.useRemoteAddress && (config.trustedHops === 0 || forwardedProto === undefined)) {
    forwardedProto = isSecure ? "https" : "http";
    headers.set("x-forwarded-proto", forwardedProto);
  } else if (forwardedProto === undefined) {
    forwardedProto = isSecure ? "https" : "http";
    headers.add("x-forwarded-proto", forwardedProto);
  }
  if (config.schemeToOverwrite !== undefined) head.scheme = config.schemeToOverwrite;
  else if (forwardedProto === "http" || forwardedProto === "https") head.scheme = forwardedProto;
  if (remote !== undefined && remote !== context.remoteAddress.host) record.downstreamRemote = { host: remote, port: 0 };

  // Internal: one proxy at most is between, and its client's address is ours. Source: Envoy, x-envoy-internal.
  const isInternal =
    config.isInternalAddress !== undefined &&
    remote !== undefined &&
    !(record.forwardedFor ?? "").includes(",") &&
    config.isInternalAddress(remote);
  const isEdge = config.useRemoteAddress && !isInternal;
  if (config.via !== "") headers.add("via", config.via);
  outcome.hasOrders = hasOrders && isInternal;
  if (isInternal) headers.set("x-envoy-internal", "true");
  else if (hasInternal) headers.remove("x-envoy-internal");
  if ((hasOrders && !isInternal) || (hasEdge && isEdge)) {
    headers.removeIf((name) => {
      const kind = HEADERS.get(name);
      return (kind === Known.INTERNAL && !isInternal) || (kind === Known.EDGE && isEdge);
    });
  }
  if (!isInternal) for (const name of context.internalOnlyHeaders) headers.remove(name);
  if (isEdge && remote !== undefined) headers.set("x-envoy-external-address", remote);
  if (config.generatesRequestId && (record.requestId === undefined || (isEdge && !config.preservesRequestId))) {
    record.requestId = context.random.uuid();
    headers.set("x-request-id", record.requestId);
  }
  if (hasXfcc || context.xfcc !== undefined) forwardXfcc(headers, config.forwardClientCert, context.xfcc);
}

/** The edge knows who connected: it says so in x-forwarded-for. Gives the address that is believed. */
function admitAtEdge(head: RequestHead, record: StreamRecord, context: AdmissionContext): string {
  const { config, remoteAddress, localAddress } = context;
  const believed =
    config.trustedHops > 0 ? (addressFromEnd(record.forwardedFor, config.trustedHops - 1) ?? remoteAddress.host) : remoteAddress.host;
  if (config.appendsXff) {
    record.forwardedFor = record.forwardedFor === undefined ? remoteAddress.host : `${record.forwardedFor},${remoteAddress.host}`;
    head.headers.set("x-forwarded-for", record.forwardedFor);
  }
  if (config.appendsForwardedPort && !(config.trustedHops > 0 && head.headers.has("x-forwarded-port")))
    head.headers.set("x-forwarded-port", String(localAddress.port));
  return believed;
}

/** Inside the mesh x-forwarded-for is believed: its last address, or one further left for each trusted hop. */
function believedAddress(forwardedFor: string | undefined, trustedHops: number): string | undefined {
  return addressFromEnd(forwardedFor, trustedHops);
}

function addressFromEnd(forwardedFor: string | undefined, skip: number): string | undefined {
  if (forwardedFor === undefined) return undefined;
  const addresses = forwardedFor.split(",");
  const text = addresses[addresses.length - 1 - skip]?.trim();
  return text !== undefined && parseIp(text) !== undefined ? text : undefined;
}
