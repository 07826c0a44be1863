/**
 * Changes of header fields that config asks for, compiled: what is removed, then what is added or set.
 * Source: envoy.config.core.v3.HeaderValueOption; Envoy, Custom request/response headers.
 */
import { HeaderValueOption_HeaderAppendAction as AppendAction, type HeaderValueOption } from "../gen/envoy/config/core/v3/base_pb.ts";
import { compileTextFormat, isConstantFormat } from "../telemetry/access-log-format.ts";
import type { FormatSource } from "../telemetry/format-source.ts";
import type { FieldTarget } from "./fields.ts";
import { PolicyRefusal } from "./refusal.ts";
import { toWireText } from "./wire-text.ts";

/** Applies the changes to `fields`; values may speak of the stream. */
export interface HeaderOps {
  apply(fields: FieldTarget, source: FormatSource): void;
}

interface Addition {
  readonly name: string;
  readonly action: AppendAction;
  readonly constant: string | undefined;
  readonly format: (source: FormatSource) => string;
  readonly keepEmpty: boolean;
}

/** Compiles one level's changes; undefined when there are none. Throws PolicyRefusal. */
export function compileHeaderOps(toAdd: readonly HeaderValueOption[], toRemove: readonly string[]): HeaderOps | undefined {
  if (toAdd.length === 0 && toRemove.length === 0) return undefined;
  const removals = toRemove.map((name) => checkName(name, "removed"));
  const additions = toAdd.map(compileAddition);
  return {
    apply(fields, source) {
      for (const name of removals) fields.remove(name);
      for (const addition of additions) {
        const value = addition.constant ?? addition.format(source);
        if (value === "" && !addition.keepEmpty) continue;
        applyAddition(fields, addition, value);
      }
    },
  };
}

function applyAddition(fields: FieldTarget, { name, action }: Addition, value: string): void {
  switch (action) {
    case AppendAction.APPEND_IF_EXISTS_OR_ADD:
      fields.add(name, value);
      return;
    case AppendAction.ADD_IF_ABSENT:
      if (!fields.has(name)) fields.add(name, value);
      return;
    case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
      fields.set(name, value);
      return;
    case AppendAction.OVERWRITE_IF_EXISTS:
      if (fields.has(name)) fields.set(name, value);
      return;
  }
}

function compileAddition(option: HeaderValueOption): Addition {
  const header = option.header;
  if (!header) throw new PolicyRefusal("a header to add has no header");
  const name = checkName(header.key, "added");
  const action =
    option.append === undefined
      ? option.appendAction
      : option.append
        ? AppendAction.APPEND_IF_EXISTS_OR_ADD
        : AppendAction.OVERWRITE_IF_EXISTS_OR_ADD;
  if (action < AppendAction.APPEND_IF_EXISTS_OR_ADD || action > AppendAction.OVERWRITE_IF_EXISTS)
    throw new PolicyRefusal(`header "${name}": append_action ${action} is not known`);
  const raw = header.rawValue.length > 0 ? String.fromCharCode(...header.rawValue) : toWireText(header.value);
  if (/[\r\n\0]/.test(raw)) throw new PolicyRefusal(`header "${name}": its value has a line break or a NUL`);
  const format = compileTextFormat(raw, { empty: "" });
  return {
    name,
    action,
    constant: isConstantFormat(raw) ? raw.replaceAll("%%", "%") : undefined,
    format,
    keepEmpty: option.keepEmptyValue,
  };
}

/** Host and pseudo headers have fields of their own in a route. Source: Envoy refuses the same. */
function checkName(given: string, what: "added" | "removed"): string {
  const name = given.toLowerCase();
  if (name.startsWith(":") || name === "host")
    throw new PolicyRefusal(`header "${given}" may not be ${what}: pseudo headers and host are changed by rewrites`);
  if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) throw new PolicyRefusal(`"${given}" is no header name`);
  return name;
}
