/** What changed from one snapshot to the next, so that a push costs what the change costs. */
import type { Hostname } from "../../model/host.ts";
import type { Endpoint } from "../../model/service.ts";
import type { AnyConfig } from "../config/types.ts";
import type { World } from "./snapshot.ts";
import type { SnapshotDiff } from "./types.ts";

/** The object name that stands for the mesh config. */
export const MESH_OBJECT = "MeshConfig//mesh";

/**
 * The difference. Endpoints alone are a matter of EDS, unless something else is made of them: a workload's own ports, the
 * identities that a cluster accepts, the addresses of a service of names (which stand in its cluster).
 */
export function diffSnapshots(before: World | undefined, after: World): SnapshotDiff {
  const objects = changedObjects(before, after);
  const endpoints = changedEndpoints(before, after);
  const config =
    before === undefined ||
    before.mesh !== after.mesh ||
    !isEqualMap(before.services, after.services) ||
    objects.some((key) => !key.startsWith("WorkloadEntry/") && !key.startsWith("ServiceEntry/")) ||
    [...endpoints].some((hostname) => reachesBeyondEndpoints(hostname, before, after)) ||
    (endpoints.size > 0 && !isEqualMap(before.workloads.describe(), after.workloads.describe()));
  return { config, endpoints, objects };
}

function changedObjects(before: World | undefined, after: World): readonly string[] {
  const old = new Map((before?.objects ?? []).map((object) => [keyOf(object), object]));
  const changed: string[] = [];
  for (const object of after.objects) {
    const key = keyOf(object);
    if (old.get(key) !== object) changed.push(key);
    old.delete(key);
  }
  changed.push(...old.keys());
  if (before && before.mesh !== after.mesh) changed.push(MESH_OBJECT);
  return changed.sort();
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

function isEqualMap<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
  if (a.size !== b.size) return false;
  for (const [key, value] of a) if (b.get(key) !== value) return false;
  return true;
}
