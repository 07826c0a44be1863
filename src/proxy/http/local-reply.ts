/**
 * Answers that the proxy makes itself: the only place where a failure becomes bytes. gRPC clients get status 200 and their status in
 * trailers-only form. Source: Envoy, local replies; gRPC over HTTP/2, HTTP status to gRPC status.
 */
import { HeaderList } from "../../net/http/headers.ts";
import type { HttpVersion, ResponseHead } from "../../net/http/stream.ts";
import { grpcStatusOf } from "../../telemetry/grpc-status.ts";
import type { ResponseFlag } from "../../telemetry/record.ts";

/** What happened, in the words of access logs, and what the client hears. */
export interface LocalReply {
  readonly status: number;
  /** Text for people; gRPC clients get it as grpc-message. */
  readonly body: string;
  /** Envoy's response code details. */
  readonly details: string;
  readonly flag?: ResponseFlag | undefined;
  /** Where it differs from what the HTTP status means. */
  readonly grpcStatus?: number | undefined;
  /** The route's changes of response headers are left out: the answer is not the route's. */
  readonly isBare?: boolean | undefined;
  readonly headers?: readonly (readonly [string, string])[] | undefined;
}

/** A reply's head and the bytes of its body (none: the head ends the message). */
export interface EncodedReply {
  readonly head: ResponseHead;
  readonly body: Buffer | undefined;
  readonly grpcStatus: number | undefined;
}

/** Makes the message. */
export function encodeLocalReply(
  reply: LocalReply,
  request: { readonly method: string; readonly isGrpc: boolean; readonly version: HttpVersion },
): EncodedReply {
  const headers = new HeaderList();
  const more = reply.headers ?? [];
  if (request.isGrpc) {
    const grpcStatus = reply.grpcStatus ?? grpcStatusOf(reply.status);
    headers.add("content-type", "application/grpc");
    headers.add("grpc-status", String(grpcStatus));
    if (reply.body !== "") headers.add("grpc-message", encodeGrpcMessage(reply.body));
    for (const [name, value] of more) headers.set(name, value);
    return { head: { status: 200, headers, version: request.version }, body: undefined, grpcStatus };
  }
  const body = reply.body === "" ? undefined : Buffer.from(reply.body, "latin1");
  const hasLength = reply.status >= 200 && reply.status !== 204 && reply.status !== 304;
  if (hasLength) headers.add("content-length", String(body?.length ?? 0));
  if (body) headers.add("content-type", "text/plain");
  for (const [name, value] of more) headers.set(name, value);
  return {
    head: { status: reply.status, headers, version: request.version },
    body: hasLength && request.method !== "HEAD" ? body : undefined,
    grpcStatus: undefined,
  };
}

/** Percent-encodes what is not printable ASCII. Source: gRPC over HTTP/2, Status-Message. */
function encodeGrpcMessage(message: string): string {
  return message.replace(/[^\x20-\x24\x26-\x7e]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`);
}

/** How a stream to a server ended before its answer did, in Envoy's words. */
export interface UpstreamEnd {
  readonly reason: string;
  readonly flag: ResponseFlag;
}

/**
 * 503 for a stream that broke before an answer. `wasRetried`: it was not the first attempt. What TLS objected to is for logs, not for
 * clients. Source: Envoy, envoy.reloadable_features.hide_transport_failure_reason_in_response_body.
 */
export function upstreamFailureReply(
  end: UpstreamEnd,
  options: { readonly wasRetried: boolean; readonly transportFailure: string | undefined },
): LocalReply {
  return {
    status: 503,
    body: `upstream connect error or disconnect/reset before headers. ${options.wasRetried ? "retried and the latest reset reason: " : "reset reason: "}${end.reason}`,
    details: `upstream_reset_before_response_started{${end.reason.replaceAll(" ", "_")}${options.transportFailure === undefined ? "" : `|${options.transportFailure.replaceAll(" ", "_")}`}}`,
    flag: end.flag,
    headers: end.flag === "UO" ? [["x-envoy-overloaded", "true"]] : undefined,
  };
}

/** Answers that are always the same. */
export const REPLIES = {
  routeNotFound: { status: 404, body: "", details: "route_not_found", flag: "NR" },
  noHealthyUpstream: { status: 503, body: "no healthy upstream", details: "no_healthy_upstream", flag: "UH" },
  responseTimeout: { status: 504, body: "upstream request timeout", details: "response_timeout", flag: "UT" },
  perTryTimeout: { status: 504, body: "upstream request timeout", details: "upstream_per_try_timeout", flag: "UT" },
  perTryIdleTimeout: { status: 504, body: "upstream request timeout", details: "upstream_per_try_idle_timeout", flag: "SI" },
  requestTimeout: { status: 408, body: "request timeout", details: "request_overall_timeout" },
  lowVersion: { status: 426, body: "Upgrade Required", details: "low_version", flag: "DPE" },
  missingHost: { status: 400, body: "", details: "missing_host_header" },
  missingPath: { status: 404, body: "", details: "missing_path_rejected" },
  absolutePath: { status: 404, body: "", details: "absolute_path_rejected" },
  badPath: { status: 400, body: "Bad Request", details: "http1.codec_error", flag: "DPE" },
  pathNormalization: { status: 400, body: "", details: "path_normalization_failed" },
  unexpectedUnderscore: { status: 400, body: "", details: "http1.unexpected_underscore" },
  upgradeFailed: { status: 403, body: "", details: "upgrade_failed" },
  payloadTooLarge: { status: 413, body: "Payload Too Large", details: "request_payload_too_large" },
  rbacDenied: { status: 403, body: "RBAC: access denied", details: "rbac_access_denied" },
} as const satisfies Readonly<Record<string, LocalReply>>;
