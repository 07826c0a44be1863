/** Faults that a route injects. Source: Istio HTTPFaultInjection, envoy.extensions.filters.http.fault.v3.HTTPFault. */
import type { Any } from "@bufbuild/protobuf/wkt";
import { HTTPFaultSchema } from "../../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { FractionalPercent_DenominatorType } from "../../../gen/envoy/type/v3/percent_pb.ts";
import type { HttpFault } from "../../config/types.ts";
import { HttpFilterName } from "../filter/http-filters.ts";
import { durationFromMs, pack } from "../pack.ts";

/** The route's own config of the fault filter; empty where it injects none. */
export function buildFault(fault: HttpFault | undefined): { [filter: string]: Any } {
  if (!fault?.delay && !fault?.abort) return {};
  const { delay, abort } = fault;
  const errorType =
    abort?.grpcStatus !== undefined
      ? { case: "grpcStatus" as const, value: abort.grpcStatus }
      : { case: "httpStatus" as const, value: abort?.httpStatus ?? 503 };
  return {
    [HttpFilterName.fault]: pack(HTTPFaultSchema, {
      delay: delay && {
        faultDelaySecifier: { case: "fixedDelay", value: durationFromMs(delay.fixedDelayMs) },
        percentage: fraction(delay.percentage),
      },
      abort: abort && { errorType, percentage: fraction(abort.percentage) },
    }),
  };
}

function fraction(percentage: number) {
  return { numerator: Math.trunc(percentage * 10_000), denominator: FractionalPercent_DenominatorType.MILLION };
}
