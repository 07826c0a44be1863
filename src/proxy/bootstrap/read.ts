/**
 * Reads a bootstrap: a file and a text merged over it, in YAML or JSON, as Envoy's v3 Bootstrap message. Unknown fields are refused by
 * path, or warned of where that was asked for; so are types of extensions that we do not have.
 */
import { readFileSync } from "node:fs";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { parseDocument } from "yaml";
import { messageOf, UserError } from "../../base/errors.ts";
import { type Bootstrap, BootstrapSchema } from "../../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { anyTypes } from "./any-types.ts";
import { findUnknown } from "./unknown.ts";

/** Bytes of a bootstrap file: one with a thousand static clusters has about one. */
const FILE_BYTES_MAX = 64 * 1024 * 1024;
const ALIASES_MAX = 100;

/** Where an unknown extension changes nothing that is served: it is left out with a warning. Elsewhere it is refused. */
const OPTIONAL =
  /^(bootstrap_extensions|bootstrapExtensions|layered_runtime|layeredRuntime|stats_sinks|statsSinks|stats_config|statsConfig|typed_dns_resolver_config|typedDnsResolverConfig|fatal_actions|fatalActions|watchdogs?|default_regex_engine|defaultRegexEngine|overload_manager|overloadManager|tracing|admin)\b/;

/** What there is to read. */
export interface BootstrapInput {
  readonly path: string | undefined;
  readonly text: string | undefined;
  readonly allowUnknownFields: boolean;
}

/** A bootstrap and what to tell the operator about it. */
export interface ReadBootstrap {
  readonly bootstrap: Bootstrap;
  readonly warnings: readonly string[];
}

/** Reads it. Throws a UserError with everything that is wrong. */
export function readBootstrap({ path, text, allowUnknownFields }: BootstrapInput): ReadBootstrap {
  const fromFile = path === undefined ? {} : parse(readText(path), path);
  const fromText = text === undefined ? {} : parse(text, "--config-yaml");
  const json = merge(fromFile, fromText);
  const registry = anyTypes();
  const unknown = findUnknown(BootstrapSchema, json, registry);
  const where = path ?? "--config-yaml";
  const warnings: string[] = [];
  const violations: string[] = [];
  for (const { path: at, typeUrl } of unknown.types) {
    if (!OPTIONAL.test(at)) {
      violations.push(`${at}: type ${typeUrl} is not supported`);
      continue;
    }
    warnings.push(`${at}: type ${typeUrl} is not supported and left out`);
    removeAt(json, at);
  }
  for (const field of unknown.fields) {
    if (allowUnknownFields) warnings.push(`${field}: this field is not known and left out`);
    else violations.push(`${field}: this field is not known`);
  }
  if (violations.length > 0) {
    throw new UserError(`bootstrap ${where} rejected: ${violations.join("; ")}`, {
      hint: unknown.fields.length > 0 ? "correct the names, or give --allow-unknown-static-fields to leave unknown fields out" : undefined,
    });
  }
  try {
    // A decode boundary: `json` came out of a YAML or JSON parser.
    return { bootstrap: fromJson(BootstrapSchema, json as JsonValue, { registry, ignoreUnknownFields: allowUnknownFields }), warnings };
  } catch (error) {
    throw new UserError(`bootstrap ${where} rejected: ${messageOf(error)}`);
  }
}

function readText(path: string): string {
  try {
    const bytes = readFileSync(path);
    if (bytes.length > FILE_BYTES_MAX) throw new Error(`it has ${bytes.length} bytes: at most ${FILE_BYTES_MAX}`);
    return bytes.toString("utf8");
  } catch (error) {
    throw new UserError(`bootstrap ${path} cannot be read: ${messageOf(error)}`);
  }
}

type Json = Record<string, unknown>;

function parse(text: string, where: string): Json {
  const value = parseText(text, where);
  if (value === null || value === undefined) return {};
  if (!isObject(value)) throw new UserError(`bootstrap ${where} rejected: it is no object`);
  return value;
}

function parseText(text: string, where: string): unknown {
  // JSON is YAML too, but its own parser is a hundred times as fast.
  if (/^\s*\{/.test(text)) {
    try {
      return JSON.parse(text);
    } catch {
      // Flow style YAML may begin in the same way: the other parser has the word, and the better message.
    }
  }
  const document = parseDocument(text, { version: "1.2", uniqueKeys: true, prettyErrors: true });
  const [error] = document.errors;
  if (error) throw new UserError(`bootstrap ${where} rejected: ${error.message}`);
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (cause) {
    throw new UserError(`bootstrap ${where} rejected: ${messageOf(cause)}`);
  }
}

/** As protobuf's merge, which Envoy does: objects are merged, lists appended, the rest replaced. */
function merge(under: Json, over: Json): Json {
  const merged: Json = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const before = merged[key];
    if (isObject(before) && isObject(value)) merged[key] = merge(before, value);
    else if (Array.isArray(before) && Array.isArray(value)) merged[key] = [...before, ...value];
    else merged[key] = value;
  }
  return merged;
}

/** Empties the Any at a path that findUnknown told. */
function removeAt(json: Json, path: string): void {
  const steps = [...path.matchAll(/\["([^"]*)"\]|\[(\d+)\]|([^.[]+)/g)].map(([, key, index, name]) => key ?? index ?? name ?? "");
  let holder: unknown = json;
  for (const step of steps.slice(0, -1)) holder = isObject(holder) || Array.isArray(holder) ? (holder as Json)[step] : undefined;
  if (isObject(holder)) delete holder[steps.at(-1) ?? ""];
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
