/** What the admin shows and what it may do: given by whoever runs the proxy. */
import type { Clock } from "../../base/clock.ts";
import type { Bootstrap } from "../../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import type { Node } from "../../gen/envoy/config/core/v3/base_pb.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import type { Flags } from "../bootstrap/flags.ts";
import type { LeveledLog } from "../bootstrap/log.ts";
import type { Clusters } from "../cluster/manager.ts";
import type { RouteConfigs } from "../config/route-configs.ts";
import type { SecretStore } from "../config/secret-store.ts";
import type { XdsConfig } from "../config/xds-config.ts";
import type { Listeners } from "../listener/manager.ts";

/** States of a proxy. Source: envoy.admin.v3.ServerInfo.State. */
export type ServerState = "PRE_INITIALIZING" | "INITIALIZING" | "LIVE" | "DRAINING";

/** See the file's head. */
export interface AdminSource {
  readonly version: string;
  readonly startedAtMs: number;
  readonly clock: Clock;
  readonly flags: Flags;
  readonly node: Node;
  readonly bootstrap: Bootstrap;
  readonly log: LeveledLog;
  readonly metrics: MetricsRegistry;
  readonly clusters: Clusters;
  readonly listeners: Listeners;
  readonly secrets: SecretStore;
  readonly routes: RouteConfigs;
  readonly xds: XdsConfig;
  readonly heapDump: boolean;
  readonly state: ServerState;
  /** Fails (or not) what asks for the proxy's health. */
  setHealthFailed(isFailed: boolean): void;
  /** Stops taking connections: at once, or when clients had the drain time to go. */
  drainListeners(options: { readonly inboundOnly: boolean; readonly graceful: boolean }): void;
  reopenLogs(): void;
  /** Ends the process without waiting. */
  quit(): void;
}
