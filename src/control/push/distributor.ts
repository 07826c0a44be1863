/** From a published state to proxies that have it: fan-out, queue, and the account of who acknowledged. */
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Identity } from "../../model/identity.ts";
import type { GrpcCallContext } from "../../net/grpc/types.ts";
import type { Compiler, ResourceCache } from "../compile/types.ts";
import type { PilotMetrics } from "../status/pilot-metrics.ts";
import { shortTypeName } from "../status/proxies.ts";
import { PushLog } from "../status/pushes.ts";
import { concernedBy } from "./fan-out.ts";
import { createGenerators, type Generators } from "./generators.ts";
import { PushQueue } from "./queue.ts";
import type { MeshState, Publication } from "./state.ts";

/** Serves proxies from the mesh's state, and pushes what is published. */
export interface Distributor {
  /** For the xDS server. */
  readonly source: Generators;
  readonly pushes: PushLog;
  /** Pushes a publication to all whom it concerns. `reason` is for people. */
  distribute(publication: Publication, reason: string): void;
  close(): void;
}

/** Makes a distributor over `state`. */
export function createDistributor(options: {
  readonly state: () => MeshState;
  readonly compiler: Compiler;
  readonly cache: ResourceCache;
  readonly prove: (call: GrpcCallContext) => Promise<Identity | undefined>;
  readonly metrics: PilotMetrics;
  readonly clock: Clock;
  readonly log: Log;
}): Distributor {
  const { state, metrics, clock, log } = options;
  const source = createGenerators({
    compiler: options.compiler,
    cache: options.cache,
    prove: options.prove,
    current: () => ({ snapshot: state().world, label: state().label }),
    log,
    events: {
      onConnect: () => metrics.onConnections(source.proxies.size),
      onDisconnect: () => metrics.onConnections(source.proxies.size),
      onSend: (_proxy, typeUrl, { bytes }) => metrics.onSend(typeUrl, bytes),
      onAck() {},
      onNack({ node, label }, typeUrl, message) {
        metrics.onReject(typeUrl);
        log.warn("a proxy refused its config and keeps what it had", { proxy: node.id, type: shortTypeName(typeUrl), label, message });
      },
    },
  });
  const pushes = new PushLog({
    clock,
    isConnected: (session) => source.proxies.has(session),
    onFinish(record) {
      if (record.proxies === 0) return;
      const { label, reason, proxies, acknowledged, refused, silent, ms } = record;
      const isGood = acknowledged === proxies;
      log[isGood ? "info" : "warn"](`acknowledged by ${acknowledged} of ${proxies} proxies in ${ms} ms`, {
        label,
        reason,
        refused: refused.length,
        silent: silent.length,
      });
    },
  });
  const queue = new PushQueue({ clock, label: () => state().label, onStart: (waitedMs) => metrics.onQueued(waitedMs) });

  return {
    source,
    pushes,
    distribute({ world, diff, label, changedAtMs }, reason) {
      metrics.onPublished({ debounceMs: clock.monotonicMs() - changedAtMs, endpointsOnly: !diff.config });
      metrics.onWorld(world);
      const concerns = concernedBy(diff, source.proxies.values());
      const progress = pushes.begin({ version: world.version, label, reason, changedAtMs, proxies: concerns.length });
      for (const { session, types } of concerns) {
        const proxy = source.proxies.get(session)?.node.id ?? session.id;
        queue.enqueue(session, {
          types,
          onDone() {
            metrics.onConverged(clock.monotonicMs() - changedAtMs);
            progress.settle(session, proxy, types);
          },
        });
      }
    },
    close: () => queue.close(),
  };
}
