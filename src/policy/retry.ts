/**
 * Whether a failed attempt is made again. The conditions are a set of bits, made when config arrives; headers of the client may add to
 * them where they were let through. Source: Envoy, Router filter, x-envoy-retry-on and x-envoy-retry-grpc-on.
 */
import type { RetryPolicy } from "../gen/envoy/config/route/v3/route_components_pb.ts";
import type { FieldSource } from "./fields.ts";
import { compileHeaderMatch, type HeadTest, type MatchedHead } from "./header-match.ts";
import { PolicyRefusal } from "./refusal.ts";

/** Conditions as bits. */
export const RetryOn = {
  SERVER_ERROR: 1,
  GATEWAY_ERROR: 2,
  RESET: 4,
  CONNECT_FAILURE: 8,
  RATE_LIMITED: 16,
  RETRIABLE_4XX: 32,
  REFUSED_STREAM: 64,
  RETRIABLE_STATUS_CODES: 128,
  RETRIABLE_HEADERS: 256,
  RESET_BEFORE_REQUEST: 512,
  GRPC_CANCELLED: 1024,
  GRPC_DEADLINE_EXCEEDED: 2048,
  GRPC_INTERNAL: 4096,
  GRPC_RESOURCE_EXHAUSTED: 8192,
  GRPC_UNAVAILABLE: 16384,
} as const;

const NAMES: ReadonlyMap<string, number> = new Map([
  ["5xx", RetryOn.SERVER_ERROR],
  ["gateway-error", RetryOn.GATEWAY_ERROR],
  ["reset", RetryOn.RESET],
  ["reset-before-request", RetryOn.RESET_BEFORE_REQUEST],
  ["connect-failure", RetryOn.CONNECT_FAILURE],
  ["envoy-ratelimited", RetryOn.RATE_LIMITED],
  ["retriable-4xx", RetryOn.RETRIABLE_4XX],
  ["refused-stream", RetryOn.REFUSED_STREAM],
  ["retriable-status-codes", RetryOn.RETRIABLE_STATUS_CODES],
  ["retriable-headers", RetryOn.RETRIABLE_HEADERS],
  ["cancelled", RetryOn.GRPC_CANCELLED],
  ["deadline-exceeded", RetryOn.GRPC_DEADLINE_EXCEEDED],
  ["internal", RetryOn.GRPC_INTERNAL],
  ["resource-exhausted", RetryOn.GRPC_RESOURCE_EXHAUSTED],
  ["unavailable", RetryOn.GRPC_UNAVAILABLE],
  ["http3-post-connect-failure", 0],
]);

/** A compiled policy. */
export interface RetryRules {
  readonly on: number;
  /** Attempts beyond the first. */
  readonly retriesMax: number;
  readonly perTryTimeoutMs: number;
  readonly perTryIdleTimeoutMs: number;
  readonly statusCodes: ReadonlySet<number>;
  readonly responseHeaders: readonly HeadTest[];
  /** The request must match one of these, where there are any. */
  readonly requestHeaders: readonly HeadTest[];
  readonly avoidsTriedHosts: boolean;
  readonly backoffBaseMs: number;
  readonly backoffMaxMs: number;
  /** Waits that an overloaded server asks for. */
  readonly resetHeaders: readonly { readonly name: string; readonly isTimestamp: boolean }[];
  readonly resetMaxMs: number;
}

/** Base of the wait before the first retry. Source: Envoy upstream.base_retry_backoff_ms. */
export const BACKOFF_BASE_MS = 25;

const RATE_LIMIT_WAIT_MAX_MS = 300_000;

/** Reads a list of conditions; `unknown` hears of what is none. */
export function parseRetryOn(text: string, unknown?: (name: string) => void): number {
  let bits = 0;
  for (const piece of text.split(",")) {
    const name = piece.trim();
    if (name === "") continue;
    const bit = NAMES.get(name);
    if (bit === undefined) unknown?.(name);
    else bits |= bit;
  }
  return bits;
}

/** Status codes of a list like Istio's "503,retriable-status-codes" are Envoy's retriable_status_codes; a bare number in retry_on is refused. */
export function compileRetryPolicy(policy: RetryPolicy | undefined): RetryRules | undefined {
  if (!policy) return undefined;
  const unknown: string[] = [];
  const on = parseRetryOn(policy.retryOn, (name) => unknown.push(name));
  if (unknown.length > 0) throw new PolicyRefusal(`retry_on: ${unknown.join(", ")} not known`);
  if (policy.retryPriority) throw new PolicyRefusal(`retry_priority "${policy.retryPriority.name}" is not supported`);
  if (policy.retryOptionsPredicates.length > 0) throw new PolicyRefusal("retry_options_predicates are not supported");
  let avoidsTriedHosts = false;
  for (const predicate of policy.retryHostPredicate) {
    if (!isPreviousHosts(predicate)) throw new PolicyRefusal(`retry_host_predicate "${predicate.name}" is not supported`);
    avoidsTriedHosts = true;
  }
  const baseMs = Math.max(1, policy.retryBackOff?.baseInterval ? durationMs(policy.retryBackOff.baseInterval) : BACKOFF_BASE_MS);
  return {
    on,
    retriesMax: policy.numRetries ?? 1,
    perTryTimeoutMs: policy.perTryTimeout ? durationMs(policy.perTryTimeout) : 0,
    perTryIdleTimeoutMs: policy.perTryIdleTimeout ? durationMs(policy.perTryIdleTimeout) : 0,
    statusCodes: new Set(policy.retriableStatusCodes),
    responseHeaders: policy.retriableHeaders.map((one) => compileHeaderMatch(one)),
    requestHeaders: policy.retriableRequestHeaders.map((one) => compileHeaderMatch(one)),
    avoidsTriedHosts,
    backoffBaseMs: baseMs,
    backoffMaxMs: policy.retryBackOff?.maxInterval ? Math.max(baseMs, durationMs(policy.retryBackOff.maxInterval)) : baseMs * 10,
    resetHeaders: (policy.rateLimitedRetryBackOff?.resetHeaders ?? []).map(({ name, format }) => ({
      name: name.toLowerCase(),
      isTimestamp: format === 1,
    })),
    resetMaxMs: policy.rateLimitedRetryBackOff?.maxInterval
      ? durationMs(policy.rateLimitedRetryBackOff.maxInterval)
      : RATE_LIMIT_WAIT_MAX_MS,
  };
}

/** Milliseconds of a protobuf duration, with fractions. */
export function durationMs(duration: { readonly seconds: bigint; readonly nanos: number }): number {
  return Number(duration.seconds) * 1000 + duration.nanos / 1_000_000;
}

function isPreviousHosts(predicate: RetryPolicy["retryHostPredicate"][number]): boolean {
  const any = predicate.configType.case === "typedConfig" ? predicate.configType.value : undefined;
  if (!any) return predicate.name === "envoy.retry_host_predicates.previous_hosts";
  return any.typeUrl.endsWith("/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate");
}

/** What one request asks beyond its route, from headers that were let through. */
export interface RetryAsk {
  readonly on: number;
  readonly retriesMax: number | undefined;
  readonly statusCodes: readonly number[];
}

/** Reads x-envoy-retry-on and its sisters; undefined when the request has none. Unknown conditions of a client do nothing. */
export function readRetryAsk(headers: FieldSource): RetryAsk | undefined {
  const on = headers.get("x-envoy-retry-on");
  const grpcOn = headers.get("x-envoy-retry-grpc-on");
  const max = headers.get("x-envoy-max-retries");
  const codes = headers.get("x-envoy-retriable-status-codes");
  if (on === undefined && grpcOn === undefined && max === undefined && codes === undefined) return undefined;
  return {
    on: parseRetryOn(on ?? "") | parseRetryOn(grpcOn ?? ""),
    retriesMax: max !== undefined && /^\d{1,4}$/.test(max) ? Number(max) : undefined,
    statusCodes: (codes ?? "")
      .split(",")
      .filter((code) => /^\s*\d{3}\s*$/.test(code))
      .map(Number),
  };
}

/** Why a stream failed before its answer, as retries see it. */
export type ResetKind = "connect-failure" | "overflow" | "refused" | "reset" | "timeout";

/** Whether an attempt that broke before an answer is made again. `requestSent`: bytes of it may have reached a server. */
export function isRetriableReset(
  on: number,
  reset: { readonly kind: ResetKind; readonly requestSent: boolean; readonly isStale: boolean },
  method: string,
): boolean {
  if (reset.kind === "overflow") return false;
  // A reset becomes a 503, so it counts as one.
  if ((on & (RetryOn.RESET | RetryOn.SERVER_ERROR | RetryOn.GATEWAY_ERROR)) !== 0) return true;
  if (reset.kind === "refused" && (on & RetryOn.REFUSED_STREAM) !== 0) return true;
  if (reset.kind === "connect-failure" && (on & (RetryOn.CONNECT_FAILURE | RetryOn.RESET_BEFORE_REQUEST)) !== 0) return true;
  if (!reset.requestSent && (on & RetryOn.RESET_BEFORE_REQUEST) !== 0) return true;
  // The server had closed an idle connection when the request was written. It cannot have acted on it, but nobody proves that: safe methods only.
  return reset.isStale && isSafeMethod(method) && (on & (RetryOn.CONNECT_FAILURE | RetryOn.RESET_BEFORE_REQUEST)) !== 0;
}

/** Source: RFC 9110 section 9.2.1. */
export function isSafeMethod(method: string): boolean {
  return method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE";
}

const NO_HEAD = { method: "", path: "", authority: "", scheme: "" };

/** Whether an answer's head asks for another attempt. */
export function isRetriableResponse(
  on: number,
  rules: Pick<RetryRules, "statusCodes" | "responseHeaders">,
  asked: readonly number[],
  status: number,
  headers: FieldSource,
): boolean {
  // An answer of a rate limiter is retried only where that is asked for by name.
  if ((on & RetryOn.RATE_LIMITED) === 0) {
    if (headers.has("x-envoy-ratelimited")) return false;
  } else if (headers.has("x-envoy-ratelimited")) return true;
  if ((on & RetryOn.SERVER_ERROR) !== 0 && status >= 500 && status <= 599) return true;
  if ((on & RetryOn.GATEWAY_ERROR) !== 0 && status >= 502 && status <= 504) return true;
  if ((on & RetryOn.RETRIABLE_4XX) !== 0 && status === 409) return true;
  if ((on & RetryOn.RETRIABLE_STATUS_CODES) !== 0 && (rules.statusCodes.has(status) || asked.includes(status))) return true;
  if ((on & RetryOn.RETRIABLE_HEADERS) !== 0) {
    const head: MatchedHead = { ...NO_HEAD, headers };
    if (rules.responseHeaders.some((test) => test(head))) return true;
  }
  return (on & GRPC_BITS) !== 0 && isRetriableGrpc(on, headers.get("grpc-status"));
}

const GRPC_BITS =
  RetryOn.GRPC_CANCELLED |
  RetryOn.GRPC_DEADLINE_EXCEEDED |
  RetryOn.GRPC_INTERNAL |
  RetryOn.GRPC_RESOURCE_EXHAUSTED |
  RetryOn.GRPC_UNAVAILABLE;

function isRetriableGrpc(on: number, status: string | undefined): boolean {
  switch (status) {
    case "1":
      return (on & RetryOn.GRPC_CANCELLED) !== 0;
    case "4":
      return (on & RetryOn.GRPC_DEADLINE_EXCEEDED) !== 0;
    case "8":
      return (on & RetryOn.GRPC_RESOURCE_EXHAUSTED) !== 0;
    case "13":
      return (on & RetryOn.GRPC_INTERNAL) !== 0;
    case "14":
      return (on & RetryOn.GRPC_UNAVAILABLE) !== 0;
    default:
      return false;
  }
}

/** The wait before retry number `attempt` (1 is the first): full jitter, for a `draw` uniform in [0, 1). */
export function backoffMs(rules: Pick<RetryRules, "backoffBaseMs" | "backoffMaxMs">, attempt: number, draw: number): number {
  return Math.floor(draw * Math.min(rules.backoffMaxMs, rules.backoffBaseMs * 2 ** Math.min(attempt - 1, 30)));
}

/** The wait that an answer asks for; undefined when it asks for none within the limit. */
export function askedWaitMs(
  rules: Pick<RetryRules, "resetHeaders" | "resetMaxMs">,
  headers: FieldSource,
  nowWallMs: number,
): number | undefined {
  for (const { name, isTimestamp } of rules.resetHeaders) {
    const value = headers.get(name);
    if (value === undefined || !/^\d{1,12}$/.test(value)) continue;
    const waitMs = isTimestamp ? Number(value) * 1000 - nowWallMs : Number(value) * 1000;
    if (waitMs >= 0 && waitMs <= rules.resetMaxMs) return waitMs;
  }
  return undefined;
}
