/** The order of HTTP filters, and why each stands where it stands. */
import { create } from "@bufbuild/protobuf";
import { CorsSchema } from "../../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { HTTPFaultSchema } from "../../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { FilterConfigSchema as GrpcStatsSchema } from "../../../gen/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { RouterSchema } from "../../../gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import {
  type HttpFilter,
  HttpFilterSchema,
} from "../../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { typedConfig } from "../pack.ts";

/** Envoy's names; per-route config refers to them. */
export const HttpFilterName = {
  grpcStats: "envoy.filters.http.grpc_stats",
  fault: "envoy.filters.http.fault",
  cors: "envoy.filters.http.cors",
  router: "envoy.filters.http.router",
} as const;

/** The chain of every HTTP connection manager. */
export function buildHttpFilters(): HttpFilter[] {
  return [
    // Sees messages of gRPC streams before anything answers in their place, so that metrics count what clients sent.
    create(HttpFilterSchema, {
      name: HttpFilterName.grpcStats,
      configType: typedConfig(GrpcStatsSchema, {
        emitFilterState: true,
        perMethodStatSpecifier: { case: "statsForAllMethods", value: { value: false } },
      }),
    }),
    // Before all that costs something upstream: an injected failure must look like the upstream's, and a route switches it on.
    create(HttpFilterSchema, { name: HttpFilterName.fault, configType: typedConfig(HTTPFaultSchema) }),
    // Answers preflights, which carry no credentials and must not reach the application; a route switches it on.
    create(HttpFilterSchema, { name: HttpFilterName.cors, configType: typedConfig(CorsSchema) }),
    // Ends the chain: nothing behind it is ever called.
    create(HttpFilterSchema, { name: HttpFilterName.router, configType: typedConfig(RouterSchema) }),
  ];
}
