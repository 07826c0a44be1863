/** A mesh from Istio's YAML, for tests of what is compiled from it. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { parseDocument } from "yaml";
import { createCompiler } from "../../src/control/compile/compiler.ts";
import type { ResourceCache } from "../../src/control/compile/types.ts";
import { defaultMeshConfig } from "../../src/control/config/mesh-config.ts";
import { createConfigReader } from "../../src/control/config/read.ts";
import type { MeshConfig } from "../../src/control/config/types.ts";
import { buildSnapshot, type World } from "../../src/control/snapshot/snapshot.ts";
import { parseClusterName } from "../../src/model/cluster-name.ts";
import type { ProxyNode } from "../../src/model/proxy-node.ts";
import type { XdsResource } from "../../src/xds/types.ts";
import { type CompiledProxy, decodeAll } from "./print.ts";

/** A snapshot of the documents in `yaml`; throws with what is wrong in them. */
export function worldOf(yaml: string, mesh: Partial<MeshConfig> = {}, previous?: World): World {
  const settings = { ...defaultMeshConfig("cluster.local"), ...mesh };
  const version = createConfigReader({ domain: settings.domain }).read("mesh.yaml", yaml);
  assert.deepEqual(
    version.errors.map(({ message }) => message),
    [],
  );
  return buildSnapshot(previous, { objects: version.objects.map(({ object }) => object), mesh: settings });
}

/** A mesh and its proxies, from a file whose first document is `{mesh, proxies}`. */
export function readMesh(path: string): { readonly world: World; readonly proxies: ReadonlyMap<string, ProxyNode> } {
  const text = readFileSync(path, "utf8");
  const end = text.indexOf("\n---\n");
  const head = parseDocument(text.slice(0, end)).toJS() as { mesh?: Partial<MeshConfig>; proxies: Record<string, Partial<ProxyNode>> };
  return {
    world: worldOf(text.slice(end + 5), head.mesh),
    proxies: new Map(Object.entries(head.proxies).map(([name, node]) => [name, nodeOf({ name, ...node })])),
  };
}

/** A proxy of which only some things matter. */
export function nodeOf(node: Partial<ProxyNode>): ProxyNode {
  const { kind = "sidecar", ip = "10.0.0.1", name = "client", namespace = "default" } = node;
  return {
    id: `${kind}~${ip}~${name}.${namespace}~${namespace}.svc.cluster.local`,
    kind,
    ip,
    name,
    namespace,
    labels: { app: name },
    serviceAccount: "default",
    workloadName: name,
    clusterId: "Kubernetes",
    network: "",
    locality: { region: "", zone: "", subzone: "" },
    interception: "REDIRECT",
    isLateen: false,
    ...node,
  };
}

/** A cache that keeps everything and counts what it had to build. */
export function countingCache(): ResourceCache & { readonly builds: string[] } {
  const known = new Map<string, XdsResource>();
  const builds: string[] = [];
  return {
    builds,
    resource(name, key, build) {
      const before = known.get(key);
      if (before) return before;
      builds.push(name);
      const made = { name, version: key, bytes: build() };
      known.set(key, made);
      return made;
    },
  };
}

/** All that a proxy would get: what its clusters and listeners refer to is asked for as the proxy would ask. */
export function compileAll(
  world: World,
  node: ProxyNode,
  compiler = createCompiler(),
  cache: ResourceCache = countingCache(),
): CompiledProxy {
  const clusters = compiler.clusters(world, node, cache);
  const listeners = compiler.listeners(world, node, cache);
  const first = decodeAll({ clusters, listeners, endpoints: [], routes: [] });
  const endpointNames = new Set(clusters.map(({ name }) => name).filter((name) => parseClusterName(name)?.direction === "outbound"));
  return decodeAll({
    clusters,
    listeners,
    endpoints: compiler.endpoints(world, node, endpointNames, cache),
    routes: compiler.routes(world, node, first.routeNames, cache),
  });
}
