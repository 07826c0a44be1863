/** Envoy's StringMatcher as a function, made when config arrives. Source: envoy.type.matcher.v3.StringMatcher. */
import { RE2JS } from "re2js";
import { messageOf } from "../../base/errors.ts";
import type { StringMatcher } from "../../gen/envoy/type/matcher/v3/string_pb.ts";
import { ConfigRefused } from "./address.ts";

/** Longest user's regex. */
const REGEX_CHARS_MAX = 1024;

/** The matcher; `kind` and `text` are for those who match some kinds their own way. Throws ConfigRefused. */
export interface CompiledMatch {
  readonly kind: "exact" | "prefix" | "suffix" | "contains" | "regex";
  readonly text: string;
  readonly matches: (value: string) => boolean;
}

/** Compiles a StringMatcher. Regexes run on a linear engine and match the whole value. */
export function compileStringMatch(matcher: StringMatcher | undefined): CompiledMatch {
  const pattern = matcher?.matchPattern;
  const fold = matcher?.ignoreCase ? (text: string): string => text.toLowerCase() : (text: string): string => text;
  switch (pattern?.case) {
    case "exact": {
      const text = fold(pattern.value);
      return { kind: "exact", text, matches: (value) => fold(value) === text };
    }
    case "prefix": {
      const text = fold(pattern.value);
      return { kind: "prefix", text, matches: (value) => fold(value).startsWith(text) };
    }
    case "suffix": {
      const text = fold(pattern.value);
      return { kind: "suffix", text, matches: (value) => fold(value).endsWith(text) };
    }
    case "contains": {
      const text = fold(pattern.value);
      return { kind: "contains", text, matches: (value) => fold(value).includes(text) };
    }
    case "safeRegex": {
      const text = pattern.value.regex;
      if (text.length > REGEX_CHARS_MAX) throw new ConfigRefused(`regex of ${text.length} characters: at most ${REGEX_CHARS_MAX}`);
      try {
        const regex = RE2JS.compile(text);
        return { kind: "regex", text, matches: (value) => regex.matches(value) };
      } catch (error) {
        throw new ConfigRefused(`regex "${text}": ${messageOf(error)}`);
      }
    }
    case "custom":
      throw new ConfigRefused("a custom string matcher is not supported");
    default:
      throw new ConfigRefused("a string matcher is empty");
  }
}
