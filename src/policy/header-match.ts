/** Envoy's HeaderMatcher as a function. Source: envoy.config.route.v3.HeaderMatcher. */
import type { HeaderMatcher } from "../gen/envoy/config/route/v3/route_components_pb.ts";
import type { FieldSource } from "./fields.ts";
import { PolicyRefusal } from "./refusal.ts";
import type { TextTest } from "./regex.ts";
import { compileRegex } from "./regex.ts";
import { compileStringMatch } from "./string-match.ts";
import { toWireText } from "./wire-text.ts";

/** What a matcher looks at. */
export interface MatchedHead {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly scheme: string;
  readonly headers: FieldSource;
}

/** Whether a head matches. */
export type HeadTest = (head: MatchedHead) => boolean;

/**
 * How several values of one name count. "any": one of them, or all joined by commas, matches (routes; what denies). "all": each of them
 * matches (what allows), so that a second line cannot smuggle in what the first one hides.
 */
export type ManyValues = "any" | "all";

/** Compiles a matcher; for routing any value counts, also where the match is inverted, as in Envoy. Throws PolicyRefusal. */
export function compileHeaderMatch(matcher: HeaderMatcher, many: ManyValues | "routing" = "routing"): HeadTest {
  const name = matcher.name.toLowerCase();
  if (name === "") throw new PolicyRefusal("a header matcher has no name");
  const test = compileValueTest(matcher);
  if (test !== "present") return compileValues(name, test, matcher, many);
  const presence = compilePresence(name, matcher);
  return matcher.invertMatch ? (head) => !presence(head) : presence;
}

/** The other way to count, for what stands under a "not". */
export function flip(many: ManyValues): ManyValues {
  return many === "any" ? "all" : "any";
}

function compileValueTest(matcher: HeaderMatcher): TextTest | "present" {
  const how = matcher.headerMatchSpecifier;
  switch (how.case) {
    case undefined:
    case "presentMatch":
      return "present";
    case "exactMatch": {
      const wire = toWireText(how.value);
      return (text) => text === wire;
    }
    case "prefixMatch": {
      const wire = toWireText(how.value);
      return (text) => text.startsWith(wire);
    }
    case "suffixMatch": {
      const wire = toWireText(how.value);
      return (text) => text.endsWith(wire);
    }
    case "containsMatch": {
      const wire = toWireText(how.value);
      return (text) => text.includes(wire);
    }
    case "safeRegexMatch":
      return compileRegex(how.value.regex);
    case "stringMatch":
      return compileStringMatch(how.value);
    case "rangeMatch": {
      const { start, end } = how.value;
      return (text) => {
        if (!/^[+-]?\d{1,19}$/.test(text)) return false;
        const value = BigInt(text.replace("+", ""));
        return value >= start && value < end;
      };
    }
    default:
      throw new PolicyRefusal(`header "${matcher.name}": this kind of match is not known`);
  }
}

function compilePresence(name: string, matcher: HeaderMatcher): HeadTest {
  const wanted = matcher.headerMatchSpecifier.case === "presentMatch" ? matcher.headerMatchSpecifier.value : true;
  const pseudo = pseudoReader(name);
  if (pseudo) return (head) => (pseudo(head) !== "") === wanted;
  return wanted ? ({ headers }) => headers.has(name) : ({ headers }) => !headers.has(name);
}

function compileValues(name: string, test: TextTest, matcher: HeaderMatcher, given: ManyValues | "routing"): HeadTest {
  const isInverted = matcher.invertMatch;
  // Inverting turns "one of them matches" into "none matches": a policy turns what counts as well, so that its verdict stays the strict one.
  const many = given === "routing" ? "any" : isInverted ? flip(given) : given;
  const pseudo = pseudoReader(name);
  if (pseudo) return (head) => test(pseudo(head)) !== isInverted;
  // Without the header nothing matches, inverted or not, unless its absence counts as an empty value.
  const absent = matcher.treatMissingHeaderAsEmpty ? test("") !== isInverted : false;
  return ({ headers }) => {
    const first = headers.get(name);
    if (first === undefined) return absent;
    const isFirst = test(first);
    if (many === "any" && isFirst) return !isInverted;
    const values = headers.getAll(name);
    const matches = values.length === 1 ? isFirst : many === "any" ? values.some(test) || test(values.join(",")) : values.every(test);
    return matches !== isInverted;
  };
}

function pseudoReader(name: string): ((head: MatchedHead) => string) | undefined {
  switch (name) {
    case ":method":
      return (head) => head.method;
    case ":path":
      return (head) => head.path;
    case ":authority":
    case "host":
      return (head) => head.authority;
    case ":scheme":
      return (head) => head.scheme;
    default:
      if (name.startsWith(":")) throw new PolicyRefusal(`pseudo header "${name}" is not known`);
      return undefined;
  }
}
