/** What an HTTP filter is, and what it may do with a request. */
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Clock } from "../../base/clock.ts";
import type { Random } from "../../base/random.ts";
import type { RequestHead, ResponseHead } from "../../net/http/stream.ts";
import type { RbacInput } from "../../policy/rbac.ts";
import type { FormatSource } from "../../telemetry/format-source.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import type { FilterOverride } from "../route/route-entry.ts";
import type { GrpcMessageCounter } from "./filters/grpc-message-counter.ts";
import type { LocalReply } from "./local-reply.ts";

/**
 * What a filter decides: the request goes on; it waits until the filter calls `stream.resume()`; or the filter has answered it
 * (`stream.reply`, whose value this is).
 */
export type FilterVerdict = "continue" | "pause" | "replied";

/** A request as filters see it. */
export interface FilterStream extends FormatSource, RbacInput {
  readonly head: RequestHead;
  /** The cluster that the route chose; undefined where the route answers by itself. */
  readonly clusterName: string | undefined;
  /** What the route says about the filter of that name: the narrowest level counts. */
  overrideOf(filterName: string): FilterOverride | undefined;
  /** Answers the request. */
  reply(reply: LocalReply): "replied";
  /** Ends a pause. Nothing happens when the request is gone. */
  resume(): void;
  /** Calls back later, or at once when the request ends before (`isGone` then). One wait at a time. */
  wait(delayMs: number, done: () => void): void;
  /** Stores a value that logs, header formats and policies can read. */
  setFilterState(key: string, value: string): void;
  /** Set by the filter that counts messages. */
  requestMessages: GrpcMessageCounter | undefined;
  responseMessages: GrpcMessageCounter | undefined;
  /** What the CORS filter found out of the request, for the answer. */
  corsOrigin: string | undefined;
  readonly isGrpc: boolean;
  /** The request ended while the filter waited. */
  readonly isGone: boolean;
}

/** One filter of a listener. */
export interface HttpFilter {
  onRequest(stream: FilterStream): FilterVerdict;
  onResponse?(stream: FilterStream, head: ResponseHead): void;
}

/** What filters take from outside. */
export interface FilterDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: MetricsRegistry;
  readonly statPrefix: string;
}

/** What a filter is made with. `isDisabled`: it does nothing but where a route enables it. */
export interface FilterContext extends FilterDeps {
  readonly name: string;
  readonly isDisabled: boolean;
}

/** Makes filters of one type of config. */
export interface HttpFilterType {
  readonly typeName: string;
  /** Throws PolicyRefusal for what is not carried out. */
  validate(config: Any): void;
  create(config: Any, context: FilterContext): HttpFilter;
}

/** Whether the filter works for this request: its override says so, or it is on by default. */
export function isActive(override: FilterOverride | undefined, context: { readonly isDisabled: boolean }): boolean {
  if (override === undefined) return !context.isDisabled;
  return override.kind !== "disabled";
}
