/**
 * JSON whose parts are made when they are asked for: a field mask over a config of thousands of resources then costs what it shows.
 * Source: Envoy /config_dump?mask=, google.protobuf.FieldMask.
 */

/** JSON as it is printed. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json };

/** JSON, or a function that makes it; absent members are undefined. */
export type LazyJson = Json | (() => Json) | readonly LazyJson[] | { readonly [name: string]: LazyJson | undefined };

/** A parsed mask: the members that are shown, each with a mask of its own; an empty one shows all. */
export interface FieldMask {
  readonly members: ReadonlyMap<string, FieldMask>;
}

/** Paths in a mask and their depth. */
const PATHS_MAX = 64;
const DEPTH_MAX = 16;

/** Parses "name,warming_state.version_info". Throws on a mask that is too large. */
export function parseFieldMask(text: string): FieldMask {
  const root = { members: new Map<string, FieldMask>() };
  const paths = text.split(",").filter((path) => path !== "");
  if (paths.length > PATHS_MAX) throw new Error(`a mask has at most ${PATHS_MAX} paths`);
  for (const path of paths) {
    const steps = path.split(".");
    if (steps.length > DEPTH_MAX) throw new Error(`a path of a mask has at most ${DEPTH_MAX} steps`);
    let at: Map<string, FieldMask> = root.members;
    for (const step of steps) {
      // protobuf's form and JSON's name the same field.
      const name = step.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const known = at.get(name);
      const members = known ? new Map(known.members) : new Map<string, FieldMask>();
      at.set(name, { members });
      at = members;
    }
  }
  return root;
}

/** What a mask shows of a value. "@type" is always shown. Without a mask all is. */
export function evaluate(value: LazyJson, mask: FieldMask | undefined): Json {
  if (typeof value === "function") return evaluate(value(), mask);
  if (Array.isArray(value)) return value.map((item: LazyJson) => evaluate(item, mask));
  if (typeof value !== "object" || value === null) return value;
  const shown: Record<string, Json> = {};
  const isAll = !mask || mask.members.size === 0;
  for (const [name, member] of Object.entries(value as { readonly [name: string]: LazyJson | undefined })) {
    if (member === undefined) continue;
    const inner = isAll ? undefined : mask.members.get(name);
    if (!isAll && !inner && name !== "@type") continue;
    shown[name] = evaluate(member, inner);
  }
  return shown;
}
