/** Envoy's StringMatcher as a function, made when config arrives. Source: envoy.type.matcher.v3.StringMatcher. */
import type { StringMatcher } from "../gen/envoy/type/matcher/v3/string_pb.ts";
import { PolicyRefusal } from "./refusal.ts";
import { compileRegex, type TextTest } from "./regex.ts";
import { toWireText } from "./wire-text.ts";

/** Compiles a matcher. Case is ignored for ASCII letters alone, as in Envoy. Throws PolicyRefusal. */
export function compileStringMatch(matcher: StringMatcher | undefined): TextTest {
  const pattern = matcher?.matchPattern;
  if (!matcher || pattern?.case === undefined) throw new PolicyRefusal("a string matcher is empty");
  if (pattern.case === "safeRegex") {
    if (matcher.ignoreCase) throw new PolicyRefusal("ignore_case does not go with a regex: write (?i)");
    return compileRegex(pattern.value.regex);
  }
  if (pattern.case === "custom") throw new PolicyRefusal("a custom string matcher is not supported");
  const wire = toWireText(pattern.value);
  if (!matcher.ignoreCase) {
    switch (pattern.case) {
      case "exact":
        return (text) => text === wire;
      case "prefix":
        return (text) => text.startsWith(wire);
      case "suffix":
        return (text) => text.endsWith(wire);
      case "contains":
        return (text) => text.includes(wire);
    }
  }
  const folded = foldCase(wire);
  switch (pattern.case) {
    case "exact":
      return (text) => text.length === folded.length && foldCase(text) === folded;
    case "prefix":
      return (text) => text.length >= folded.length && foldCase(text.slice(0, folded.length)) === folded;
    case "suffix":
      return (text) => text.length >= folded.length && foldCase(text.slice(text.length - folded.length)) === folded;
    case "contains":
      return (text) => foldCase(text).includes(folded);
  }
}

/** Lower case of ASCII letters; other characters are bytes and stay. */
export function foldCase(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : text;
}
