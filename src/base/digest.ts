/** Content digests: the version of a thing is the hash of what it is. */
import { createHash } from "node:crypto";

const known = new WeakMap<object, string>();

/** 32 hex characters of SHA-256 over bytes or text. */
export function digestOf(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 32);
}

/**
 * The digest of an immutable, plain JSON-like object (no cycles; undefined members are as if absent). Key order does not
 * matter. Computed once an object and remembered, as for each object inside it: so never change an object that was digested.
 */
export function digestOfObject(value: object): string {
  const before = known.get(value);
  if (before) return before;
  const digest = digestOf(canonical(value));
  known.set(value, digest);
  return digest;
}

function canonical(value: object): string {
  if (value instanceof Uint8Array) return `b:${digestOf(value)}`;
  if (Array.isArray(value)) return `[${value.map(part).join(",")}]`;
  if (value instanceof Map)
    return `m{${[...value]
      .map(([k, v]) => `${part(k)}:${part(v)}`)
      .sort()
      .join(",")}}`;
  if (value instanceof Set) return `s{${[...value].map(part).sort().join(",")}}`;
  const entries = Object.entries(value).filter(([, v]) => v !== undefined);
  return `{${entries
    .map(([k, v]) => `${JSON.stringify(k)}:${part(v)}`)
    .sort()
    .join(",")}}`;
}

function part(value: unknown): string {
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "object" && value !== null) return digestOfObject(value);
  return JSON.stringify(value) ?? "undefined";
}
