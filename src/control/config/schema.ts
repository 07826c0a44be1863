/** The shape of a document: small JSON schemas, checked by ajv, with messages for the person who wrote the YAML. */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import { type Findings, nearestName, type Path } from "./finding.ts";

/** The part of JSON Schema (draft 7) that the kinds use, and two keywords of our own. */
export interface JsonSchema {
  readonly type?: "object" | "array" | "string" | "integer" | "number" | "boolean" | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | JsonSchema;
  readonly items?: JsonSchema;
  readonly enum?: readonly (string | number)[];
  readonly minimum?: number;
  readonly maximum?: number;
  /** Fields that Istio has and Lateen does not do yet. */
  readonly "x-not-yet"?: readonly string[];
  /** Values that Istio has and Lateen does not do yet. */
  readonly "x-not-yet-values"?: readonly string[];
}

/** An object with fixed fields: any other field is refused by name. */
export function fields(
  properties: Readonly<Record<string, JsonSchema>>,
  options: { readonly required?: readonly string[]; readonly notYet?: readonly string[] } = {},
): JsonSchema {
  return { type: "object", properties, required: options.required ?? [], additionalProperties: false, "x-not-yet": options.notYet ?? [] };
}

/** A list. */
export function listOf(items: JsonSchema): JsonSchema {
  return { type: "array", items };
}

/** An object whose names the user chooses. */
export function mapOf(values: JsonSchema): JsonSchema {
  return { type: "object", additionalProperties: values };
}

/** One of a few words. */
export function oneOfWords(words: readonly string[], notYet: readonly string[] = []): JsonSchema {
  return { type: "string", enum: words, "x-not-yet-values": notYet };
}

/** Text. */
export const textSchema: JsonSchema = { type: "string" };
/** A whole number, 0 or more: unset where 0, as in protobuf. */
export const countSchema: JsonSchema = { type: "integer", minimum: 0, maximum: 4294967295 };
/** A port; its range is a semantic rule, so that the message is the same everywhere. */
export const portSchema: JsonSchema = { type: "integer" };
/** True or false. */
export const flagSchema: JsonSchema = { type: "boolean" };
/** "1.5s", "100ms". */
export const durationSchema: JsonSchema = { type: "string", description: 'A duration, such as "1.5s" or "100ms".' };

const compiled = new WeakMap<JsonSchema, ValidateFunction>();
let ajv: Ajv | undefined;

function validatorOf(schema: JsonSchema): ValidateFunction {
  let validate = compiled.get(schema);
  if (!validate) {
    ajv ??= createAjv();
    validate = ajv.compile(schema);
    compiled.set(schema, validate);
  }
  return validate;
}

function createAjv(): Ajv {
  const made = new Ajv({ allErrors: true, verbose: true, strict: true, strictRequired: false, allowUnionTypes: true, logger: false });
  made.addKeyword({ keyword: "x-not-yet" });
  made.addKeyword({ keyword: "x-not-yet-values" });
  return made;
}

/**
 * Checks `value` against the schema; every fault becomes a finding with its path under `at`. True when all fields that the schema
 * knows are of its shape, so that the semantic rules may look at them (there may still be unknown fields, which are faults).
 */
export function checkShape(schema: JsonSchema, value: unknown, at: Path, findings: Findings): boolean {
  const validate = validatorOf(schema);
  if (validate(value)) return true;
  const errors = validate.errors ?? [];
  // Unknown fields first: what one of them was meant to be is then not also said to be missing.
  const last = (error: ErrorObject): number => (error.keyword === "required" ? 1 : 0);
  for (const error of [...errors].sort((a, b) => last(a) - last(b))) report(error, value, at, findings);
  return errors.every((error) => error.keyword === "additionalProperties");
}

function report(error: ErrorObject, root: unknown, at: Path, findings: Findings): void {
  const path = [...at, ...pathOfPointer(error.instancePath, root)];
  // verbose: the schema beside the keyword, which is always one of ours.
  const schema = error.parentSchema as JsonSchema;
  switch (error.keyword) {
    case "additionalProperties": {
      const name = String(error.params["additionalProperty"]);
      reportUnknown(name, [...path, name], schema, findings);
      return;
    }
    case "required": {
      const name = String(error.params["missingProperty"]);
      findings.missing(path, [name], "is required");
      return;
    }
    case "enum": {
      if (typeof error.data === "string" && schema["x-not-yet-values"]?.includes(error.data))
        findings.error(path, `${error.data} is ${NOT_YET}`);
      else findings.error(path, `must be one of ${(schema.enum ?? []).join(", ")}, not ${show(error.data)}`);
      return;
    }
    case "type":
      findings.error(
        path,
        `must be ${typeName(String(error.params["type"]))}, not ${show(error.data)}`,
        typeHint(String(error.params["type"]), error.data),
      );
      return;
    case "minimum":
      findings.error(path, `must be at least ${schema.minimum}, not ${show(error.data)}`);
      return;
    case "maximum":
      findings.error(path, `must be at most ${schema.maximum}, not ${show(error.data)}`);
      return;
    default:
      findings.error(path, error.message ?? `breaks the rule "${error.keyword}"`);
  }
}

/** What is said of a thing that Istio has and Lateen does not do yet. */
export const NOT_YET = "not supported by this version of Lateen yet";

/** Says that a field is not yet supported, or unknown and what it might have meant. */
export function reportUnknown(name: string, path: Path, schema: JsonSchema, findings: Findings): void {
  if (schema["x-not-yet"]?.includes(name)) {
    findings.error(path, NOT_YET);
    return;
  }
  const near = nearestName(name, [...Object.keys(schema.properties ?? {}), ...(schema["x-not-yet"] ?? [])]);
  findings.error(path, "unknown field", near ? `did you mean ${near}?` : `known here: ${Object.keys(schema.properties ?? {}).join(", ")}`);
}

function pathOfPointer(pointer: string, root: unknown): Path {
  const path: (string | number)[] = [];
  let value = root;
  for (const part of pointer.split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    const inList = Array.isArray(value);
    path.push(inList ? Number(name) : name);
    value = typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
  }
  return path;
}

function typeName(type: string): string {
  if (type === "object") return "a map";
  if (type === "array") return "a list";
  if (type === "string") return "text";
  if (type === "integer") return "a whole number";
  if (type === "boolean") return "true or false";
  return `a ${type}`;
}

function typeHint(type: string, value: unknown): string | undefined {
  if (type === "string" && (typeof value === "number" || typeof value === "boolean")) return "put it in quotes";
  if ((type === "integer" || type === "number" || type === "boolean") && typeof value === "string") return "write it without quotes";
  return undefined;
}

function show(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a map";
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}..."` : text;
}

/**
 * The value without fields that are null, where the schema has fixed fields: an empty field is as if it were absent, as in
 * protobuf's JSON. Nulls in lists and in maps of the user's names stay, and are refused.
 */
export function withoutNulls(schema: JsonSchema, value: unknown): unknown {
  if (Array.isArray(value)) return schema.items ? value.map((item) => withoutNulls(schema.items ?? {}, item)) : value;
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const { properties, additionalProperties } = schema;
  if (properties)
    return Object.fromEntries(
      entries
        .filter(([, v]) => v !== null)
        .map(([k, v]) => [k, withoutNulls(Object.hasOwn(properties, k) ? (properties[k] ?? {}) : {}, v)]),
    );
  if (typeof additionalProperties === "object")
    return Object.fromEntries(entries.map(([k, v]) => [k, withoutNulls(additionalProperties, v)]));
  return value;
}
