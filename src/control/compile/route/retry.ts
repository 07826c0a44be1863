/** How often and when a request is tried again. Source: Istio HTTPRetry, envoy.config.route.v3.RetryPolicy. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RetryPolicySchema } from "../../../gen/envoy/config/route/v3/route_components_pb.ts";
import { PreviousHostsPredicateSchema } from "../../../gen/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.ts";
import type { HttpRetry } from "../../config/types.ts";
import { durationFromMs, typedConfig } from "../pack.ts";

type RetryInit = MessageInitShape<typeof RetryPolicySchema>;

/** Failures after which the request cannot have had an effect. A 503 of the application is none of them. */
const DEFAULT_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
const DEFAULT_ATTEMPTS = 2;
/** How often another endpoint is looked for before a known bad one is taken. */
const HOST_SELECTION_ATTEMPTS = 5;

/** Of a client's route. `retries` undefined gives the default policy; attempts 0 gives none. */
export function buildRetryPolicy(retries: HttpRetry | undefined): RetryInit | undefined {
  if (retries && retries.attempts <= 0) return undefined;
  return {
    ...conditions(retries?.retryOn ?? "", DEFAULT_RETRY_ON),
    numRetries: retries?.attempts ?? DEFAULT_ATTEMPTS,
    perTryTimeout: retries?.perTryTimeoutMs === undefined ? undefined : durationFromMs(retries.perTryTimeoutMs),
    retryBackOff: retries?.backoffMs === undefined ? undefined : { baseInterval: durationFromMs(retries.backoffMs) },
    retryHostPredicate:
      (retries?.retryIgnorePreviousHosts ?? true)
        ? [{ name: "envoy.retry_host_predicates.previous_hosts", configType: typedConfig(PreviousHostsPredicateSchema) }]
        : [],
    hostSelectionRetryMaxAttempts: BigInt(HOST_SELECTION_ATTEMPTS),
  };
}

/** Of the route to a workload's own application: only what was reset before it was sent, as when an idle connection closes just then. */
export function buildInboundRetryPolicy(): RetryInit {
  return { retryOn: "reset-before-request", numRetries: DEFAULT_ATTEMPTS };
}

/** Numbers among the conditions are status codes. */
function conditions(text: string, otherwise: string): { readonly retryOn: string; readonly retriableStatusCodes: number[] } {
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  if (parts.length === 0) return { retryOn: otherwise, retriableStatusCodes: [] };
  const retriableStatusCodes = parts.filter(isStatusCode).map(Number);
  const named = parts.filter((part) => !isStatusCode(part));
  if (retriableStatusCodes.length > 0 && !named.includes("retriable-status-codes")) named.push("retriable-status-codes");
  return { retryOn: named.join(","), retriableStatusCodes };
}

function isStatusCode(part: string): boolean {
  return /^[1-5]\d\d$/.test(part);
}
