/** Encoded resources by the digest of what they were made from: each is built and encoded once for the whole mesh. */
import type { XdsResource } from "../../xds/types.ts";
import type { ResourceCache } from "../compile/types.ts";

/** What a cache may hold. */
export interface ResourceCacheLimits {
  readonly entriesMax: number;
  readonly bytesMax: number;
}

/** Room for a mesh of some ten thousand resources in a few versions. */
export const DEFAULT_CACHE_LIMITS: ResourceCacheLimits = { entriesMax: 200_000, bytesMax: 512 * 1024 * 1024 };

/** A cache with figures for metrics. */
export interface BoundedResourceCache extends ResourceCache {
  readonly entries: number;
  readonly bytes: number;
}

/** Makes a cache: beyond its limits what was used least lately goes, and is built again when it is asked for. */
export function createResourceCache(limits: ResourceCacheLimits = DEFAULT_CACHE_LIMITS): BoundedResourceCache {
  const known = new Map<string, XdsResource>();
  let bytes = 0;

  const shrink = (): void => {
    for (const [id, oldest] of known) {
      if (known.size <= limits.entriesMax && bytes <= limits.bytesMax) return;
      known.delete(id);
      bytes -= oldest.bytes.length;
    }
  };
  return {
    get entries() {
      return known.size;
    },
    get bytes() {
      return bytes;
    },
    resource(name, key, build) {
      const id = `${key} ${name}`;
      const before = known.get(id);
      if (before) {
        known.delete(id);
        known.set(id, before);
        return before;
      }
      const resource = { name, version: key, bytes: build() };
      known.set(id, resource);
      bytes += resource.bytes.length;
      shrink();
      return resource;
    },
  };
}
