/** Options of the router, as its filter's config gives them. Source: envoy.extensions.filters.http.router.v3.Router. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { RouterSchema } from "../../../gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import { PolicyRefusal } from "../../../policy/refusal.ts";
import { unsupportedFields } from "../../config/fields.ts";

/** The type of its config. */
export const ROUTER_TYPE: string = RouterSchema.typeName;

/** See the file's head. */
export interface RouterOptions {
  /** Leaves x-envoy-* out of requests and answers. */
  readonly suppressesEnvoyHeaders: boolean;
  readonly respectsExpectedTimeout: boolean;
  readonly countsClusters: boolean;
}

const FIELDS: ReadonlySet<string> = new Set([
  "dynamicStats",
  "startChildSpan",
  "suppressEnvoyHeaders",
  "respectExpectedRqTimeout",
  "suppressGrpcRequestFailureCodeStats",
]);

/** Reads them; absent config is Envoy's default. Throws PolicyRefusal. */
export function readRouterOptions(config: Any | undefined): RouterOptions {
  if (!config) return { suppressesEnvoyHeaders: false, respectsExpectedTimeout: false, countsClusters: true };
  const router = fromBinary(RouterSchema, config.value);
  const unknown = unsupportedFields(RouterSchema, router, FIELDS);
  if (unknown.length > 0) throw new PolicyRefusal(`${unknown.join(", ")} not supported`);
  return {
    suppressesEnvoyHeaders: router.suppressEnvoyHeaders,
    respectsExpectedTimeout: router.respectExpectedRqTimeout,
    countsClusters: router.dynamicStats ?? true,
  };
}
