/** Faults that config injects, compiled. Whether one happens is drawn by the filter. Source: envoy.extensions.filters.http.fault.v3.HTTPFault. */
import type { HTTPFault } from "../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { ratioOf } from "./fraction.ts";
import { compileHeaderMatch, type HeadTest, type MatchedHead } from "./header-match.ts";
import { PolicyRefusal } from "./refusal.ts";
import { durationMs } from "./retry.ts";

/** Faults at once where config names no limit: 2^32-1 in Envoy, that is, none. */
const ACTIVE_MAX = 0xffffffff;

/** What may be done to a request that `applies`. */
export interface FaultRules {
  readonly delay: { readonly ratio: number; readonly fixedMs: number | undefined } | undefined;
  readonly abort: { readonly ratio: number; readonly kind: "http" | "grpc" | "header"; readonly code: number } | undefined;
  readonly applies: (head: MatchedHead) => boolean;
  /** Only requests of these x-envoy-downstream-service-node values; empty: all. */
  readonly downstreamNodes: ReadonlySet<string>;
  /** Only for this cluster; "" is any. */
  readonly upstreamCluster: string;
  readonly activeMax: number;
}

/** Compiles a fault; undefined for one that does nothing. Throws PolicyRefusal. */
export function compileFault(config: HTTPFault): FaultRules | undefined {
  if (config.responseRateLimit) throw new PolicyRefusal("response_rate_limit is not supported");
  const { delay, abort } = config;
  if (!delay && !abort) return undefined;
  const tests: HeadTest[] = config.headers.map((matcher) => compileHeaderMatch(matcher));
  return {
    delay: delay && {
      ratio: ratioOf(delay.percentage, 0),
      fixedMs: delay.faultDelaySecifier.case === "fixedDelay" ? durationMs(delay.faultDelaySecifier.value) : undefined,
    },
    abort: abort && compileAbort(abort),
    applies: tests.length === 0 ? () => true : (head) => tests.every((test) => test(head)),
    downstreamNodes: new Set(config.downstreamNodes),
    upstreamCluster: config.upstreamCluster,
    activeMax: config.maxActiveFaults ?? ACTIVE_MAX,
  };
}

function compileAbort(abort: NonNullable<HTTPFault["abort"]>): NonNullable<FaultRules["abort"]> {
  const ratio = ratioOf(abort.percentage, 0);
  switch (abort.errorType.case) {
    case "httpStatus":
      if (abort.errorType.value < 200 || abort.errorType.value > 599)
        throw new PolicyRefusal(`abort: http_status ${abort.errorType.value} is not between 200 and 599`);
      return { ratio, kind: "http", code: abort.errorType.value };
    case "grpcStatus":
      return { ratio, kind: "grpc", code: abort.errorType.value };
    case "headerAbort":
      return { ratio, kind: "header", code: 0 };
    default:
      throw new PolicyRefusal("abort has no error type");
  }
}
