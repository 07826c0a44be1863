/** What a kind of config is made of: the shape of its spec, its rules, and its normal form. */

import type { Findings, Path } from "../finding.ts";
import { checkShape, type JsonSchema, withoutNulls } from "../schema.ts";
import type { Kind } from "../types.ts";

/** What an object is besides its spec, as far as rules and normal forms depend on it. */
export interface KindContext {
  readonly name: string;
  readonly namespace: string;
  /** metadata.labels. */
  readonly labels: Readonly<Record<string, string>>;
  /** The DNS suffix of services: "cluster.local". */
  readonly domain: string;
  /** The spec's place in the document, which paths of findings begin with. */
  readonly path: Path;
}

/** A kind as the reader of documents uses it. */
export interface KindReader {
  readonly kind: Kind;
  readonly apiVersions: readonly string[];
  /** The schema of `spec`. */
  readonly schema: JsonSchema;
  /** The normal form of a spec, or undefined when the findings have an error. */
  read(spec: unknown, context: KindContext, findings: Findings): object | undefined;
}

/** Puts the parts of a kind together. `Raw` is what the schema lets through. */
export function defineKind<Raw, Spec extends object>(parts: {
  readonly kind: Kind;
  readonly apiVersions: readonly string[];
  readonly schema: JsonSchema;
  validate(raw: Raw, context: KindContext, findings: Findings): void;
  normalise(raw: Raw, context: KindContext): Spec;
}): KindReader {
  return {
    kind: parts.kind,
    apiVersions: parts.apiVersions,
    schema: parts.schema,
    read(spec, context, findings) {
      const value = withoutNulls(parts.schema, spec ?? {});
      if (!checkShape(parts.schema, value, context.path, findings)) return undefined;
      // The schema has just been checked.
      const raw = value as Raw;
      parts.validate(raw, context, findings);
      return findings.hasErrors ? undefined : parts.normalise(raw, context);
    },
  };
}

/** The apiVersions of Istio's networking group. */
export const NETWORKING_VERSIONS: readonly string[] = [
  "networking.istio.io/v1",
  "networking.istio.io/v1beta1",
  "networking.istio.io/v1alpha3",
];
/** The apiVersions of Istio's security group. */
export const SECURITY_VERSIONS: readonly string[] = ["security.istio.io/v1", "security.istio.io/v1beta1"];
