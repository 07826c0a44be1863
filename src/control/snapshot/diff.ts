/** What changed from one snapshot to the next, so that a push costs what the change costs. */
import type { Hostname } from "../../model/host.ts";
import type { Endpoint } from "../../model/service.ts";
import type { AnyConfig } from "../config/types.ts";
import type { World } from "./snapshot.ts";
import type { SnapshotDiff } from "./types.ts";

/** The object name that stands for the mesh config. */
export const MESH_OBJECT = "MeshConfig//mesh";

/**
 * The difference. Endpoints alone are a matter of EDS, unless something else is made of them: the identities that a cluster accepts, the
 * addresses of a service of names (which stand in its cluster). A workload's own ports are a matter of the proxy beside it.
 */
export function diffSnapshots(before: World | undefined, after: World): SnapshotDiff {
  const objects = changedObjects(before, after);
  const endpoints = changedEndpoints(before, after);
  const config =
    before === undefined ||
    before.mesh !== after.mesh ||
    !isEqualMap(before.services, after.services) ||
    objects.some((key) => !key.startsWith("WorkloadEntry/") && !key.startsWith("ServiceEntry/")) ||
    [...endpoints].some((hostname) => reachesBeyondEndpoints(hostname, before, after));
  const workloads = new Set(before ? [...endpoints].flatMap((hostname) => changedWorkloads(hostname, before, after)) : []);
  return { config, endpoints, workloads, objects };
}

function changedObjects(before: World | undefined, after: World): readonly string[] {
  const gone = new Set(before?.objects);
  const changed = new Set<string>();
  for (const object of after.objects) if (!gone.delete(object)) changed.add(keyOf(object));
  for (const object of gone) changed.add(keyOf(object));
  if (before && before.mesh !== after.mesh) changed.add(MESH_OBJECT);
  return [...changed].sort();
}

function keyOf({ meta }: AnyConfig): string {
  return `${meta.kind}/${meta.namespace}/${meta.name}`;
}

function changedEndpoints(before: World | undefined, after: World): ReadonlySet<Hostname> {
  const changed = new Set<Hostname>();
  const old = before?.registry.endpoints ?? new Map<Hostname, readonly Endpoint[]>();
  for (const [hostname, list] of after.registry.endpoints) if (old.get(hostname) !== list) changed.add(hostname);
  for (const hostname of old.keys()) if (!after.registry.endpoints.has(hostname)) changed.add(hostname);
  return changed;
}

function reachesBeyondEndpoints(hostname: Hostname, before: World, after: World): boolean {
  const resolution = after.services.get(hostname)?.resolution;
  if (resolution === "dns" || resolution === "dns-round-robin") return true;
  const identities = (world: World): string =>
    [...new Set(world.endpoints(hostname).map(({ identity }) => identity ?? ""))].sort().join(" ");
  return identities(before) !== identities(after);
}

/** Workloads of the service whose proxy gets other listeners. */
function changedWorkloads(hostname: Hostname, before: World, after: World): readonly string[] {
  const old = before.endpoints(hostname);
  const now = after.endpoints(hostname);
  const stays = new Set(now);
  const went = old.filter((endpoint) => !stays.delete(endpoint));
  const changed = [...went, ...stays].filter((endpoint) => before.workloads.describe(endpoint) !== after.workloads.describe(endpoint));
  return changed.map(({ namespace, address }) => `${namespace}/${address}`);
}

function isEqualMap<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
