/** Changes to headers, on a route or on one of its destinations. Source: Istio Headers, envoy HeaderValueOption. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { HeaderValueOption_HeaderAppendAction as Action, type HeaderValueOptionSchema } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import type { HeaderOperation, HeaderOperations } from "../../config/types.ts";

type HeaderInit = MessageInitShape<typeof HeaderValueOptionSchema>;

/** Members of a route, and the authority that an operation on "host" or ":authority" sets. */
export interface BuiltHeaders {
  readonly fields: {
    readonly requestHeadersToAdd: HeaderInit[];
    readonly requestHeadersToRemove: string[];
    readonly responseHeadersToAdd: HeaderInit[];
    readonly responseHeadersToRemove: string[];
  };
  readonly authority: string | undefined;
}

/** The operations of each list in turn: those that come later see what the earlier ones did. */
export function buildHeaders(...operations: readonly HeaderOperations[]): BuiltHeaders {
  return {
    fields: {
      requestHeadersToAdd: operations.flatMap(({ request }) => additions(request)),
      requestHeadersToRemove: operations.flatMap(({ request }) => request.remove.filter(isOrdinary)),
      responseHeadersToAdd: operations.flatMap(({ response }) => additions(response)),
      responseHeadersToRemove: operations.flatMap(({ response }) => response.remove.filter(isOrdinary)),
    },
    authority: operations
      .map(({ request }) => authorityOf(request.set) ?? authorityOf(request.add))
      .find((authority) => authority !== undefined),
  };
}

function additions({ set, add }: HeaderOperation): HeaderInit[] {
  const of = (headers: Readonly<Record<string, string>>, appendAction: Action): HeaderInit[] =>
    Object.entries(headers)
      .filter(([key]) => isOrdinary(key))
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
      .map(([key, value]) => ({ header: { key, value }, appendAction }));
  return [...of(set, Action.OVERWRITE_IF_EXISTS_OR_ADD), ...of(add, Action.APPEND_IF_EXISTS_OR_ADD)];
}

/** Envoy refuses changes of pseudo-headers and of Host: the authority goes another way. */
function isOrdinary(key: string): boolean {
  return !key.startsWith(":") && key.toLowerCase() !== "host";
}

function authorityOf(headers: Readonly<Record<string, string>>): string | undefined {
  return Object.entries(headers).find(([key]) => [":authority", "host"].includes(key.toLowerCase()))?.[1];
}
