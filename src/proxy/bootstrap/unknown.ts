/** Finds what a bootstrap's JSON says that we do not know, by path, before it becomes a message. */
import type { DescField, DescMessage, Registry } from "@bufbuild/protobuf";

/** Deepest nesting of a config. */
const DEPTH_MAX = 100;

/** What was found. */
export interface UnknownParts {
  /** Paths of fields that no .proto file here has. */
  readonly fields: readonly string[];
  /** Any types that we do not have, each with its path. */
  readonly types: readonly { readonly path: string; readonly typeUrl: string }[];
}

/** Walks a value along its descriptor. Values of the wrong shape are left to the decoder, which says what is wrong. */
export function findUnknown(schema: DescMessage, json: unknown, registry: Registry): UnknownParts {
  const fields: string[] = [];
  const types: { path: string; typeUrl: string }[] = [];
  walkMessage(schema, json, "", 0);
  return { fields, types };

  function walkMessage(desc: DescMessage, value: unknown, path: string, depth: number): void {
    if (!isObject(value) || depth > DEPTH_MAX) return;
    if (desc.typeName === "google.protobuf.Any") {
      walkAny(value, path, depth);
      return;
    }
    if (desc.typeName.startsWith("google.protobuf.")) return;
    for (const [key, inner] of Object.entries(value)) {
      const field = desc.fields.find((candidate) => candidate.name === key || candidate.jsonName === key);
      const at = path === "" ? key : `${path}.${key}`;
      if (!field) fields.push(at);
      else walkField(field, inner, at, depth);
    }
  }

  function walkField(field: DescField, value: unknown, path: string, depth: number): void {
    const inner = field.message;
    if (!inner || value === null) return;
    if (field.fieldKind === "list" && Array.isArray(value)) {
      value.forEach((item, i) => void walkMessage(inner, item, `${path}[${i}]`, depth + 1));
    } else if (field.fieldKind === "map" && isObject(value)) {
      for (const [key, item] of Object.entries(value)) walkMessage(inner, item, `${path}["${key}"]`, depth + 1);
    } else if (field.fieldKind === "message") walkMessage(inner, value, path, depth + 1);
  }

  function walkAny(value: Readonly<Record<string, unknown>>, path: string, depth: number): void {
    const typeUrl = value["@type"];
    if (typeof typeUrl !== "string") return;
    const desc = registry.getMessage(typeUrl.slice(typeUrl.lastIndexOf("/") + 1));
    if (!desc) {
      types.push({ path, typeUrl });
      return;
    }
    const { "@type": _, ...rest } = value;
    walkMessage(desc, rest, path, depth + 1);
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
