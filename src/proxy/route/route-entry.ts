/** A route as the proxy carries it out: compiled when config arrives, immutable, shared by all requests that match it. */
import type { CorsRules } from "../../policy/cors.ts";
import type { FaultRules } from "../../policy/fault.ts";
import type { MatchedHead } from "../../policy/header-match.ts";
import type { HeaderOps } from "../../policy/header-ops.ts";
import type { RetryRules } from "../../policy/retry.ts";
import type { RbacRules } from "../http/filters/rbac-rules.ts";
import type { HashPolicy } from "./hash-policy.ts";
import type { HostRewrite, PathRewrite } from "./rewrite.ts";

/** What a route, virtual host or cluster weight says about HTTP filters. Undefined: nothing, so the next wider level counts. */
export type FilterOverride =
  | { readonly kind: "disabled" }
  | { readonly kind: "enabled" }
  | { readonly kind: "fault"; readonly rules: FaultRules | undefined }
  | { readonly kind: "rbac"; readonly rules: RbacRules | undefined }
  | { readonly kind: "cors"; readonly rules: CorsRules | undefined };

/** Overrides by the filter's name. */
export type FilterOverrides = ReadonlyMap<string, FilterOverride>;

/** Where a request is sent. */
export interface ClusterTarget {
  readonly cluster: string;
  /** Name of the request header that names the cluster; "" where `cluster` does. */
  readonly clusterHeader: string;
  readonly metadataMatch: Readonly<Record<string, string>> | undefined;
  readonly requestOps: HeaderOps | undefined;
  readonly responseOps: HeaderOps | undefined;
  readonly hostRewrite: HostRewrite | undefined;
  readonly filters: FilterOverrides | undefined;
}

/** How requests of a route are sent on. */
export interface ForwardAction {
  readonly kind: "forward";
  readonly targets: readonly ClusterTarget[];
  /** Running sums of the targets' weights; the last is the total. */
  readonly weightSums: readonly number[];
  /** 503, 404 or 500. */
  readonly clusterNotFoundStatus: number;
  /** 0: none. */
  readonly timeoutMs: number;
  /** Undefined: the connection manager's stream idle timeout; 0: none. */
  readonly idleTimeoutMs: number | undefined;
  readonly maxStreamDuration:
    | { readonly durationMs: number | undefined; readonly grpcMaxMs: number | undefined; readonly grpcOffsetMs: number }
    | undefined;
  readonly retry: RetryRules | undefined;
  readonly pathRewrite: PathRewrite | undefined;
  readonly hostRewrite: HostRewrite | undefined;
  readonly appendForwardedHost: boolean;
  readonly hashPolicy: HashPolicy | undefined;
  /** Upgrade types that this route allows or refuses, in lower case, against the connection manager's. */
  readonly upgrades: ReadonlyMap<string, boolean> | undefined;
}

/** Answers with a redirect. */
export interface RedirectRoute {
  readonly kind: "redirect";
  readonly status: number;
  readonly location: (head: MatchedHead) => string;
}

/** Answers by itself. */
export interface DirectResponse {
  readonly kind: "direct";
  readonly status: number;
  readonly body: string;
}

/** One compiled route. */
export interface RouteEntry {
  readonly name: string;
  readonly virtualHost: VirtualHostEntry;
  readonly matches: (head: MatchedHead, path: string) => boolean;
  /** Share of the matching requests that take this route; 1 is all. */
  readonly ratio: number;
  readonly action: ForwardAction | RedirectRoute | DirectResponse;
  readonly requestOps: HeaderOps | undefined;
  readonly responseOps: HeaderOps | undefined;
  readonly filters: FilterOverrides | undefined;
  readonly bufferBytesMax: number | undefined;
}

/** One compiled virtual host. */
export interface VirtualHostEntry {
  readonly name: string;
  readonly domains: readonly string[];
  readonly routes: readonly RouteEntry[];
  readonly requireTls: "none" | "external" | "all";
  readonly requestOps: HeaderOps | undefined;
  readonly responseOps: HeaderOps | undefined;
  readonly filters: FilterOverrides | undefined;
  readonly attemptCountInRequest: boolean;
  readonly attemptCountInResponse: boolean;
}
