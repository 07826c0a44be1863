/** What the compiler gives: for a proxy, all resources of a type. generators.ts implements it; push/ asks it. */
import type { ProxyNode } from "../../model/proxy-node.ts";
import type { XdsResource } from "../../xds/types.ts";
import type { Snapshot } from "../snapshot/types.ts";

/** Bytes by the digest of what they were made from, shared by all proxies. */
export interface ResourceCache {
  /** The resource for `key`; `build` makes it the first time. */
  resource(name: string, key: string, build: () => Uint8Array): XdsResource;
}

/** Compiles a snapshot for one proxy. Pure but for the cache: the same arguments give the same resources. */
export interface Compiler {
  clusters(snapshot: Snapshot, node: ProxyNode, cache: ResourceCache): readonly XdsResource[];
  endpoints(snapshot: Snapshot, node: ProxyNode, names: ReadonlySet<string>, cache: ResourceCache): readonly XdsResource[];
  listeners(snapshot: Snapshot, node: ProxyNode, cache: ResourceCache): readonly XdsResource[];
  routes(snapshot: Snapshot, node: ProxyNode, names: ReadonlySet<string>, cache: ResourceCache): readonly XdsResource[];
}
