/**
 * Envoy's format strings, compiled to one closure: access-log lines as text or JSON, and values of headers to add.
 * Source: Envoy, Access logging, command operators.
 */
import { findOperator, type Operator } from "./format-operators.ts";
import type { FormatSource } from "./format-source.ts";

/** Makes a text of a stream. What is absent is "-". */
export type TextFormat = (source: FormatSource) => string;

/** A format that cannot be carried out: the message names the operator. */
export class FormatError extends Error {}

type Part = string | Operator;

/** Istio's access log. Source: Istio MeshConfig accessLogFormat, default. */
export const ISTIO_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n';

/** Envoy's access log where a listener names no format. Source: Envoy, Default format string. */
export const ENVOY_TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

/** Compiles a text format. `empty` stands for what is absent ("-" in logs, "" in headers and with omit_empty_values). Throws FormatError. */
export function compileTextFormat(format: string, options: { readonly empty?: string } = {}): TextFormat {
  const empty = options.empty ?? "-";
  const parts = parseFormat(format);
  const only = parts[0];
  if (parts.length === 0) return () => "";
  if (parts.length === 1) {
    if (typeof only === "string") return () => only;
    if (only !== undefined) return (source) => textOf(only.read(source), empty);
  }
  return (source) => {
    let text = "";
    for (const part of parts) text += typeof part === "string" ? part : textOf(part.read(source), empty);
    return text;
  };
}

/** Whether a format has no operators, so that its text is always the same. */
export function isConstantFormat(format: string): boolean {
  return parseFormat(format).every((part) => typeof part === "string");
}

/** A JSON format: an object whose texts are formats. */
export interface JsonFormatObject {
  readonly [key: string]: JsonFormatValue;
}

/** What a JSON format is made of. */
export type JsonFormatValue = null | number | string | boolean | readonly JsonFormatValue[] | JsonFormatObject;

/**
 * Compiles a JSON format to lines that end in a newline. A value that is one operator keeps its type (numbers are numbers, absent is null);
 * with `omitEmpty` absent members are left out. Throws FormatError.
 */
export function compileJsonFormat(
  format: JsonFormatObject,
  options: { readonly omitEmpty?: boolean; readonly sort?: boolean } = {},
): TextFormat {
  const write = compileObject(format, options);
  return (source) => `${write(source) ?? "{}"}\n`;
}

/** Undefined: nothing there. */
type JsonWriter = (source: FormatSource) => string | undefined;

function compileValue(value: JsonFormatValue, options: { readonly omitEmpty?: boolean; readonly sort?: boolean }): JsonWriter {
  if (typeof value === "string") {
    const parts = parseFormat(value);
    const only = parts[0];
    if (parts.length === 1 && only !== undefined && typeof only !== "string") {
      return (source) => {
        const read = only.read(source);
        if (read === undefined) return options.omitEmpty ? undefined : "null";
        return JSON.stringify(read);
      };
    }
    const text = compileTextFormat(value, { empty: options.omitEmpty ? "" : "-" });
    return (source) => JSON.stringify(text(source));
  }
  if (value === null || typeof value !== "object") {
    const constant = JSON.stringify(value);
    return () => constant;
  }
  if (isList(value)) {
    const writers = value.map((item) => compileValue(item, options));
    return (source) => `[${writers.map((write) => write(source) ?? "null").join(",")}]`;
  }
  return compileObject(value, options);
}

function isList(value: JsonFormatValue): value is readonly JsonFormatValue[] {
  return Array.isArray(value);
}

function compileObject(format: JsonFormatObject, options: { readonly omitEmpty?: boolean; readonly sort?: boolean }): JsonWriter {
  const entries = Object.entries(format);
  if (options.sort) entries.sort(([a], [b]) => (a < b ? -1 : 1));
  const members = entries.map(([key, value]) => ({ key: `${JSON.stringify(key)}:`, write: compileValue(value, options) }));
  return (source) => {
    let text = "";
    for (const { key, write } of members) {
      const value = write(source);
      if (value === undefined) continue;
      text += text === "" ? `{${key}${value}` : `,${key}${value}`;
    }
    if (text === "") return options.omitEmpty ? undefined : "{}";
    return `${text}}`;
  };
}

function textOf(value: string | number | undefined, empty: string): string {
  return value === undefined || value === "" ? empty : typeof value === "number" ? String(value) : value;
}

const COMMAND = /^%([A-Z0-9_]+)(?:\(([^)]*)\))?(?::(\d+))?%/;

/** Splits a format into constant texts and operators. "%%" is a percent sign. */
function parseFormat(format: string): Part[] {
  const parts: Part[] = [];
  let constant = "";
  let at = 0;
  while (at < format.length) {
    const next = format.indexOf("%", at);
    if (next < 0) {
      constant += format.slice(at);
      break;
    }
    constant += format.slice(at, next);
    if (format[next + 1] === "%") {
      constant += "%";
      at = next + 2;
      continue;
    }
    const match = COMMAND.exec(format.slice(next));
    if (!match) throw new FormatError(`format "${format.trimEnd()}": no operator begins at "${format.slice(next, next + 24)}"`);
    const [whole, name, argument, limit] = match as unknown as [string, string, string | undefined, string | undefined];
    const operator = findOperator(name, argument);
    if (typeof operator === "string")
      throw new FormatError(`format operator %${name}${argument === undefined ? "" : `(${argument})`}%: ${operator}`);
    if (constant !== "") parts.push(constant);
    constant = "";
    parts.push(limit === undefined ? operator : limited(operator, Number(limit)));
    at = next + whole.length;
  }
  if (constant !== "") parts.push(constant);
  return parts;
}

function limited(operator: Operator, charsMax: number): Operator {
  return {
    read(source) {
      const value = operator.read(source);
      return typeof value === "string" && value.length > charsMax ? value.slice(0, charsMax) : value;
    },
  };
}
