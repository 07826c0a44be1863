/**
 * The published state of the mesh: changes of config gather until it is quiet and become the next snapshot as one; changes of endpoints
 * alone do not wait for them.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { AnyConfig, MeshConfig } from "../config/types.ts";
import { diffSnapshots } from "../snapshot/diff.ts";
import { buildSnapshot, type World } from "../snapshot/snapshot.ts";
import type { SnapshotDiff } from "../snapshot/types.ts";

/** When gathered changes are published. */
export interface DebounceOptions {
  /** So long without a further change. Source: Istio PILOT_DEBOUNCE_AFTER. */
  readonly quietMs: number;
  /** But never later than this after the first one. Source: Istio PILOT_DEBOUNCE_MAX. */
  readonly longestMs: number;
  /** Endpoints: so long for those that change together to come together. */
  readonly endpointsMs: number;
}

/** Istio's times. */
export const DEFAULT_DEBOUNCE: DebounceOptions = { quietMs: 100, longestMs: 10_000, endpointsMs: 10 };

/** One published state. */
export interface Publication {
  readonly world: World;
  readonly diff: SnapshotDiff;
  /** "2026-11-21T13:00:00Z/17": what proxies are sent as the version of the state. */
  readonly label: string;
  /** When the first of its changes came. On the monotonic clock. */
  readonly changedAtMs: number;
  /** How many changes it holds. */
  readonly changes: number;
}

/** What endpoints are made of: a change of these may be one of endpoints alone. */
const ENDPOINT_KINDS: ReadonlySet<string> = new Set(["WorkloadEntry", "ServiceEntry"]);

/** Gathers changes and publishes. */
export class MeshState {
  readonly #mesh: MeshConfig;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #debounce: DebounceOptions;
  readonly #publish: (publication: Publication) => void;
  /** The newest config, published or not. */
  #objects: readonly AnyConfig[];
  #current: World;
  #label: string;
  #firstChangeMs: number | undefined;
  #lastChangeMs = 0;
  #changes = 0;
  #timer: Timer | undefined;
  #endpointsTimer: Timer | undefined;
  #endpointsChangeMs = 0;
  #endpointChanges = 0;

  /** Begins with `objects` as the first published state; `publish` is told of later ones. */
  constructor(options: {
    readonly objects: readonly AnyConfig[];
    readonly mesh: MeshConfig;
    readonly clock: Clock;
    readonly log: Log;
    readonly debounce?: DebounceOptions;
    readonly publish: (publication: Publication) => void;
  }) {
    this.#mesh = options.mesh;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#debounce = options.debounce ?? DEFAULT_DEBOUNCE;
    this.#publish = options.publish;
    this.#objects = options.objects;
    this.#current = buildSnapshot(undefined, { objects: options.objects, mesh: options.mesh });
    this.#label = this.#labelOf(this.#current);
  }

  get world(): World {
    return this.#current;
  }

  get label(): string {
    return this.#label;
  }

  /** Takes the newest config, of which `changed` ("kind/namespace/name") differ from before. */
  change(objects: readonly AnyConfig[], changed: readonly string[]): void {
    this.#objects = objects;
    const nowMs = this.#clock.monotonicMs();
    if (changed.every((key) => ENDPOINT_KINDS.has(key.slice(0, key.indexOf("/"))))) {
      this.#endpointChanges += 1;
      if (this.#endpointsTimer) return;
      this.#endpointsChangeMs = nowMs;
      this.#endpointsTimer = this.#clock.after(this.#debounce.endpointsMs, () => this.#publishEndpoints());
      return;
    }
    this.#gather(nowMs, 1);
  }

  close(): void {
    this.#timer?.cancel();
    this.#endpointsTimer?.cancel();
  }

  #gather(changedAtMs: number, changes: number): void {
    this.#changes += changes;
    this.#firstChangeMs ??= changedAtMs;
    this.#lastChangeMs = this.#clock.monotonicMs();
    // One timer: when it fires and there was a later change, it is set again for the rest.
    this.#timer ??= this.#clock.after(this.#debounce.quietMs, () => this.#onTimer());
  }

  #onTimer(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.monotonicMs();
    const quietAtMs = this.#lastChangeMs + this.#debounce.quietMs;
    const latestMs = (this.#firstChangeMs ?? nowMs) + this.#debounce.longestMs;
    const dueMs = Math.min(quietAtMs, latestMs);
    if (dueMs > nowMs) {
      this.#timer = this.#clock.after(dueMs - nowMs, () => this.#onTimer());
      return;
    }
    const changedAtMs = this.#firstChangeMs ?? nowMs;
    const changes = this.#changes;
    this.#firstChangeMs = undefined;
    this.#changes = 0;
    this.#advance(this.#objects, changedAtMs, changes);
  }

  /** The published config with the newest endpoints: goes out at once unless more than endpoints comes of it. */
  #publishEndpoints(): void {
    this.#endpointsTimer = undefined;
    const changes = this.#endpointChanges;
    this.#endpointChanges = 0;
    const isOfEndpoints = (object: AnyConfig): boolean => ENDPOINT_KINDS.has(object.meta.kind);
    const objects = [...this.#current.objects.filter((object) => !isOfEndpoints(object)), ...this.#objects.filter(isOfEndpoints)];
    const next = buildSnapshot(this.#current, { objects, mesh: this.#mesh });
    if (diffSnapshots(this.#current, next).config) {
      this.#gather(this.#endpointsChangeMs, changes);
      return;
    }
    this.#take(next, this.#endpointsChangeMs, changes);
  }

  #advance(objects: readonly AnyConfig[], changedAtMs: number, changes: number): void {
    this.#take(buildSnapshot(this.#current, { objects, mesh: this.#mesh }), changedAtMs, changes);
  }

  #take(next: World, changedAtMs: number, changes: number): void {
    const diff = diffSnapshots(this.#current, next);
    if (!diff.config && diff.endpoints.size === 0 && diff.workloads.size === 0) return;
    this.#current = next;
    this.#label = this.#labelOf(next);
    this.#log.info("a new state of the mesh", { label: this.#label, changed: diff.objects.slice(0, 20), endpointsOnly: !diff.config });
    this.#publish({ world: next, diff, label: this.#label, changedAtMs, changes });
  }

  #labelOf(world: World): string {
    return `${new Date(this.#clock.nowMs()).toISOString().replace(/\.\d+Z$/, "Z")}/${world.version}`;
  }
}
