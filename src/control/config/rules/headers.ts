/** Rules for header names, header values and header operations. Source: RFC 9110 5.1; Envoy, custom request headers. */
import type { Findings, Path } from "../finding.ts";
import type { HeaderOperations } from "../types.ts";

/** Operations as written. */
export interface RawHeaders {
  readonly request?: RawHeaderOperation;
  readonly response?: RawHeaderOperation;
}

/** One side of them. */
export interface RawHeaderOperation {
  readonly set?: Readonly<Record<string, string>>;
  readonly add?: Readonly<Record<string, string>>;
  readonly remove?: readonly string[];
}

const TOKEN = /^[!#$%&'*+\-.^_`|~A-Za-z0-9]+$/;
const PSEUDO: ReadonlySet<string> = new Set([":method", ":scheme", ":authority", ":path", ":status"]);

/** Reports a name that no header can have; pseudo-headers are taken. */
export function checkMatchHeaderName(name: string, path: Path, findings: Findings): void {
  if (!PSEUDO.has(name) && !TOKEN.test(name)) findings.error(path, `"${name}" is no header name`);
}

/** Whether the name is the authority, in either spelling. */
export function isAuthority(name: string): boolean {
  return /^(:authority|host)$/i.test(name);
}

/** Reports what is wrong with header operations. Only a request's `set` and `add` may name the authority. */
export function checkHeaders(headers: RawHeaders | undefined, path: Path, findings: Findings): void {
  for (const side of ["request", "response"] as const) {
    const operation = headers?.[side];
    for (const how of ["set", "add"] as const) {
      for (const [name, value] of Object.entries(operation?.[how] ?? {})) {
        const at = [...path, side, how, name];
        checkOperationName(name, at, side === "request", findings);
        const fault = headerValueFault(value);
        if (fault) findings.error(at, fault);
      }
    }
    for (const [i, name] of (operation?.remove ?? []).entries()) checkOperationName(name, [...path, side, "remove", i], false, findings);
  }
}

function checkOperationName(name: string, path: Path, mayBeAuthority: boolean, findings: Findings): void {
  if (isAuthority(name)) {
    if (!mayBeAuthority) findings.error(path, `"${name}" cannot be changed here`, "set it with rewrite.authority");
  } else if (name.startsWith(":")) findings.error(path, `"${name}": pseudo-headers cannot be changed`);
  else if (!TOKEN.test(name)) findings.error(path, `"${name}" is no header name`);
}

/** What is wrong with a header's value, in which %NAME% and %NAME(argument)% are variables and %% is a percent sign. */
export function headerValueFault(value: string): string | undefined {
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(value)) return "a header's value must not have control characters";
  for (let at = value.indexOf("%"); at !== -1; at = value.indexOf("%", at)) {
    if (value[at + 1] === "%") {
      at += 2;
      continue;
    }
    const variable = /^%[A-Z][A-Z0-9_]*(\([^)]*\)(:\d+)?)?%/.exec(value.slice(at));
    if (!variable) return `"${value}": a "%" begins a variable such as %REQ(x-id)% or is written %%`;
    at += variable[0].length;
  }
  return undefined;
}

/** The operations with all their members. */
export function normaliseHeaders(headers: RawHeaders | undefined): HeaderOperations {
  const side = (operation: RawHeaderOperation | undefined): HeaderOperations["request"] => ({
    set: operation?.set ?? {},
    add: operation?.add ?? {},
    remove: operation?.remove ?? [],
  });
  return { request: side(headers?.request), response: side(headers?.response) };
}
