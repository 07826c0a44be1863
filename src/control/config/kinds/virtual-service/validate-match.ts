/** The rules of a route's matches. Source: Istio networking/v1 HTTPMatchRequest. */
import type { Findings, Path } from "../../finding.ts";
import { checkMatchHeaderName } from "../../rules/headers.ts";
import { checkGatewayNames, checkLabels, isDnsLabel } from "../../rules/names.ts";
import { checkPort, checkRegex } from "../../rules/values.ts";
import { NOT_YET } from "../../schema.ts";
import type { RawHttpMatch, RawStringMatch } from "./schema.ts";

/** Reports what is wrong with one match. */
export function checkMatch(match: RawHttpMatch, path: Path, findings: Findings): void {
  // An empty prefix is every path; of anything else it is a slip.
  checkStringMatch(match.uri, [...path, "uri"], { mayBeEmptyPrefix: true }, findings);
  for (const name of ["scheme", "method", "authority"] as const) checkStringMatch(match[name], [...path, name], {}, findings);
  for (const [name, value] of Object.entries(match.headers ?? {})) {
    checkHeaderName(name, [...path, "headers", name], findings);
    checkStringMatch(value, [...path, "headers", name], {}, findings);
  }
  for (const [name, value] of Object.entries(match.withoutHeaders ?? {})) {
    checkHeaderName(name, [...path, "withoutHeaders", name], findings);
    // Presence, in the spelling of Istio.
    if (value && value.regex !== "*") checkStringMatch(value, [...path, "withoutHeaders", name], {}, findings);
  }
  for (const [name, value] of Object.entries(match.queryParams ?? {}))
    checkStringMatch(value, [...path, "queryParams", name], {}, findings);
  if (match.port !== 0) checkPort(match.port, [...path, "port"], findings);
  checkLabels(match.sourceLabels, [...path, "sourceLabels"], findings);
  if (match.sourceNamespace && !isDnsLabel(match.sourceNamespace))
    findings.error([...path, "sourceNamespace"], `"${match.sourceNamespace}" is no namespace`);
  checkGatewayNames(match.gateways, [...path, "gateways"], findings);
  if (match.ignoreUriCase && match.uri?.regex !== undefined) {
    findings.warn([...path, "ignoreUriCase"], "has no effect on a regular expression", "begin the expression with (?i)");
  }
}

function checkHeaderName(name: string, path: Path, findings: Findings): void {
  if (name.startsWith("@request.auth.claims")) findings.error(path, `matching claims of a token is ${NOT_YET}`);
  else checkMatchHeaderName(name, path, findings);
}

function checkStringMatch(
  match: RawStringMatch | undefined,
  path: Path,
  options: { readonly mayBeEmptyPrefix?: boolean },
  findings: Findings,
): void {
  if (!match) return;
  const given = (["exact", "prefix", "regex"] as const).filter((kind) => match[kind] !== undefined);
  if (given.length > 1) findings.error(path, `${given.join(" and ")} exclude each other`);
  if (match.prefix === "" && !options.mayBeEmptyPrefix) findings.error([...path, "prefix"], "a prefix must not be empty");
  if (match.regex !== undefined) checkRegex(match.regex, [...path, "regex"], findings);
}
