/** Counts gRPC messages both ways, for Istio's message metrics. Source: envoy.extensions.filters.http.grpc_stats.v3.FilterConfig. */
import { fromBinary } from "@bufbuild/protobuf";
import { FilterConfigSchema } from "../../../gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { PolicyRefusal } from "../../../policy/refusal.ts";
import { unsupportedFields } from "../../config/fields.ts";
import { type HttpFilterType, isActive } from "../filter.ts";
import { GrpcMessageCounter } from "./grpc-message-counter.ts";

/** The filter's type. */
export const grpcStatsFilter: HttpFilterType = {
  typeName: FilterConfigSchema.typeName,
  validate(any) {
    const config = fromBinary(FilterConfigSchema, any.value);
    const unknown = unsupportedFields(FilterConfigSchema, config, new Set(["emitFilterState", "statsForAllMethods"]));
    if (unknown.length > 0) throw new PolicyRefusal(`${unknown.join(", ")} not supported`);
    if (config.perMethodStatSpecifier.case === "statsForAllMethods" && config.perMethodStatSpecifier.value.value)
      throw new PolicyRefusal("stats_for_all_methods is not supported: a client could make statistics without end");
  },
  create(_config, context) {
    return {
      onRequest(stream) {
        if (stream.isGrpc && isActive(stream.overrideOf(context.name), context)) {
          stream.requestMessages = new GrpcMessageCounter();
          stream.responseMessages = new GrpcMessageCounter();
        }
        return "continue";
      },
    };
  },
};
