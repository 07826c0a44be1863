/**
 * Users' regexes, on a linear engine: no input takes longer than its length. Literals, prefixes, suffixes and "anything" are recognised
 * and matched without it. Source: RE2 syntax; Envoy's matchers match the whole text.
 */
import { RE2JS } from "re2js";
import { PolicyRefusal } from "./refusal.ts";
import { toWireText } from "./wire-text.ts";

/** Longest pattern. */
export const REGEX_CHARS_MAX = 1024;

/** Whether the whole text matches. */
export type TextTest = (text: string) => boolean;

/** Compiles `pattern`. Throws PolicyRefusal for one that is too long or is no RE2 regex. */
export function compileRegex(pattern: string): TextTest {
  const engine = compileEngine(pattern);
  return recogniseSimple(pattern) ?? ((text) => engine.matches(text));
}

/** Compiles a substitution of every match; `\1` is a group's text, `\0` the whole match, `\\` a backslash. Source: RE2 GlobalReplace. */
export function compileReplace(pattern: string, substitution: string): (text: string) => string {
  const engine = compileEngine(pattern);
  const parts = parseSubstitution(substitution);
  const groupsMax = Math.max(0, ...parts.map((part) => (typeof part === "number" ? part : 0)));
  if (groupsMax > engine.groupCount())
    throw new PolicyRefusal(`substitution "${substitution}" asks for group ${groupsMax}, which regex "${pattern}" does not have`);
  return (text) => {
    const matcher = engine.matcher(text);
    let out = "";
    let at = 0;
    while (matcher.find()) {
      out += text.slice(at, matcher.start());
      for (const part of parts) out += typeof part === "string" ? part : (matcher.group(part) ?? "");
      at = matcher.end();
    }
    return at === 0 && out === "" ? text : out + text.slice(at);
  };
}

function compileEngine(pattern: string): RE2JS {
  if (pattern.length > REGEX_CHARS_MAX) throw new PolicyRefusal(`a regex of ${pattern.length} characters: at most ${REGEX_CHARS_MAX}`);
  try {
    // In a class each byte of a character would stand alone, so there it stays as it is and matches nothing.
    return RE2JS.compile(pattern.includes("[") ? pattern : toWireText(pattern));
  } catch (error) {
    throw new PolicyRefusal(`regex "${pattern}" is not valid RE2: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function parseSubstitution(substitution: string): (string | number)[] {
  const parts: (string | number)[] = [];
  let text = "";
  for (let i = 0; i < substitution.length; i++) {
    const char = substitution[i] as string;
    if (char !== "\\") {
      text += char;
      continue;
    }
    const next = substitution[++i];
    if (next === "\\") text += "\\";
    else if (next !== undefined && next >= "0" && next <= "9") {
      if (text !== "") parts.push(toWireText(text));
      text = "";
      parts.push(Number(next));
    } else throw new PolicyRefusal(`substitution "${substitution}": after a backslash comes a digit or another backslash`);
  }
  if (text !== "") parts.push(toWireText(text));
  return parts;
}

/** Undefined for what needs the engine. "." does not match a line feed, which no header or path has. */
function recogniseSimple(pattern: string): TextTest | undefined {
  let body = pattern.startsWith("^") ? pattern.slice(1) : pattern;
  if (/(?:^|[^\\])(?:\\\\)*\$$/.test(body)) body = body.slice(0, -1);
  const front = /^\.[*+]/.exec(body)?.[0] ?? "";
  if (body === front && front !== "") return front === ".+" ? (text) => text.length > 0 : () => true;
  let rest = body.slice(front.length);
  const back = /(?:^|[^\\])(?:\\\\)*(\.[*+])$/.exec(rest)?.[1] ?? "";
  rest = rest.slice(0, rest.length - back.length);
  const literal = literalOf(rest);
  if (literal === undefined) return undefined;
  const text = toWireText(literal);
  const frontMin = front === ".+" ? 1 : 0;
  const backMin = back === ".+" ? 1 : 0;
  if (front === "" && back === "") return (value) => value === text;
  if (front === "") return (value) => value.startsWith(text) && value.length >= text.length + backMin;
  if (back === "") return (value) => value.endsWith(text) && value.length >= text.length + frontMin;
  if (frontMin === 0 && backMin === 0) return (value) => value.includes(text);
  return undefined;
}

/** The text of a regex without operators: plain characters and escaped punctuation. */
function literalOf(pattern: string): string | undefined {
  let text = "";
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern[i] as string;
    if ("^$.|?*+()[]{}".includes(char)) return undefined;
    if (char !== "\\") {
      text += char;
      continue;
    }
    const next = pattern[++i];
    if (next === undefined || /[A-Za-z0-9]/.test(next)) return undefined;
    text += next;
  }
  return text;
}
