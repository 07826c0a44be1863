/** The control plane's metrics under the names that Istio's dashboards ask for. Source: Istio pilot/pkg/xds/monitoring.go, names and units. */
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import type { World } from "../snapshot/snapshot.ts";
import { shortTypeName } from "./proxies.ts";

/** What is counted. Times are in milliseconds here and in seconds in the metrics. */
export interface PilotMetrics {
  onConnections(count: number): void;
  onSend(typeUrl: string, bytes: number): void;
  onReject(typeUrl: string): void;
  onUpdate(kind: "config" | "eds"): void;
  onPublished(times: { readonly debounceMs: number; readonly endpointsOnly: boolean }): void;
  onQueued(waitedMs: number): void;
  onConverged(ms: number): void;
  onWorld(world: World): void;
  onConfigProblems(count: number): void;
}

const SECONDS = [0.01, 0.1, 0.5, 1, 3, 5, 10, 20, 30];
const CONFIG_BYTES = [10_000, 1_000_000, 4_000_000, 10_000_000, 40_000_000];

/** Makes the metrics in `registry`. */
export function createPilotMetrics(registry: MetricsRegistry, version: string): PilotMetrics {
  const gauge = (name: string, help: string) => registry.gauge({ name, help, labels: [] }).with([]);
  const seconds = (name: string, help: string) => registry.histogram({ name, help, labels: [], buckets: SECONDS }).with([]);
  registry
    .gauge({ name: "istio_build", help: "The control plane's version.", labels: ["component", "tag"] })
    .with(["pilot", version])
    .set(1);
  registry
    .gauge({ name: "pilot_info", help: "The control plane's version.", labels: ["version"] })
    .with([version])
    .set(1);
  const connections = gauge("pilot_xds", "Proxies connected.");
  const services = gauge("pilot_services", "Services known.");
  const virtualServices = gauge("pilot_virt_services", "Virtual services known.");
  const problems = gauge("lateen_config_problems", "Faults that keep config files at their last good version.");
  const pushes = registry.counter({ name: "pilot_xds_pushes", help: "Responses sent, by type.", labels: ["type"] });
  const rejects = registry.counter({ name: "pilot_total_xds_rejects", help: "Responses that proxies refused, by type.", labels: ["type"] });
  const sizes = registry.histogram({
    name: "pilot_xds_config_size_bytes",
    help: "Bytes of a response.",
    labels: ["type"],
    buckets: CONFIG_BYTES,
  });
  const updates = registry.counter({ name: "pilot_inbound_updates", help: "Changes taken from config and registries.", labels: ["type"] });
  const triggers = registry.counter({ name: "pilot_push_triggers", help: "Pushes, by what made them.", labels: ["type"] });
  const debounce = seconds("pilot_debounce_time", "Seconds from a change to the snapshot that holds it.");
  const queue = seconds("pilot_proxy_queue_time", "Seconds that a proxy's push waited.");
  const convergence = seconds("pilot_proxy_convergence_time", "Seconds from a change until a proxy has acknowledged it.");

  return {
    onConnections: (count) => connections.set(count),
    onSend(typeUrl, bytes) {
      const type = shortTypeName(typeUrl).toLowerCase();
      pushes.with([type]).add();
      sizes.with([type]).record(bytes);
    },
    onReject: (typeUrl) => rejects.with([shortTypeName(typeUrl).toLowerCase()]).add(),
    onUpdate: (kind) => updates.with([kind]).add(),
    onPublished({ debounceMs, endpointsOnly }) {
      triggers.with([endpointsOnly ? "endpoint" : "config"]).add();
      debounce.record(debounceMs / 1000);
    },
    onQueued: (waitedMs) => queue.record(waitedMs / 1000),
    onConverged: (ms) => convergence.record(ms / 1000),
    onWorld(world) {
      services.set(world.services.size);
      virtualServices.set(world.objects.filter(({ meta }) => meta.kind === "VirtualService").length);
    },
    onConfigProblems: (count) => problems.set(count),
  };
}
