/** What a step's results amount to, how that compares with the case's expectation, and with the verdict recorded of istiod and Envoy. */
import type { LabResult, Outcome } from "./client-driver.ts";

/** A value, or the least and the most. */
export type Range = number | readonly [least: number, most: number];

/** Rules for headers by name. */
export interface HeaderRules {
  readonly present?: readonly string[];
  readonly absent?: readonly string[];
  readonly equals?: Readonly<Record<string, string>>;
  readonly matches?: Readonly<Record<string, string>>;
}

/** What a step has to come to; without `outcome` and `outcomes` each request has to be answered. */
export interface Expectation {
  readonly outcome?: Outcome;
  readonly outcomes?: Readonly<Record<string, Range>>;
  readonly status?: number;
  readonly statuses?: Readonly<Record<string, Range>>;
  readonly servedBy?: string | readonly string[];
  /** Requests served, by pod. */
  readonly distribution?: Readonly<Record<string, Range>>;
  /** All of them by one pod, whichever. */
  readonly sticky?: boolean;
  /** Requests that reached a pod's app, retries included. */
  readonly arrivals?: Readonly<Record<string, Range>>;
  /** Requests that reached apps, together. */
  readonly attempts?: Range;
  readonly latencyMs?: Range;
  readonly response?: HeaderRules;
  readonly upstream?: HeaderRules &
    Readonly<Record<"path" | "method" | "authority" | "proto" | "port" | "bodySize", unknown>> & { readonly tls?: object };
  readonly bodyContains?: string;
  readonly bodyMatches?: string;
  readonly trailers?: Readonly<Record<string, string>>;
  readonly grpcStatus?: number;
  readonly body?: string;
  readonly serverCert?: string;
  readonly informational?: number;
  readonly size?: number;
  readonly alpn?: string;
}

/** What was seen of a step. */
export interface Observation {
  readonly count: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly statuses: Readonly<Record<string, number>>;
  readonly servedBy: Readonly<Record<string, number>>;
  readonly arrivals: Readonly<Record<string, number>>;
  readonly ms: readonly [least: number, most: number];
  /** Everything about a single request, less what differs in every run. */
  readonly single?: Readonly<Record<string, unknown>>;
}

/** The part of an observation that is the same every time, as JSON. */
export type Verdict = Readonly<Record<string, unknown>>;

const VOLATILE_HEADERS = new Set(["date", "x-envoy-upstream-service-time", "connection", "keep-alive"]);
const MASKED_HEADERS: Readonly<Record<string, string>> = {
  "x-lab-id": "<id>",
  traceparent: "<trace>",
  tracestate: "<trace>",
  "x-b3-traceid": "<trace>",
  "x-b3-spanid": "<trace>",
  "x-b3-sampled": "<trace>",
  "sec-websocket-key": "<key>",
  "sec-websocket-accept": "<accept>",
};
const UUID = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;
const TOKEN = /eyJ[\w-]{20,}(\.[\w-]*){0,2}/g;

/** Sums a step up. */
export function observe(results: readonly LabResult[], arrivals: Readonly<Record<string, number>>): Observation {
  const times = results.map(({ ms }) => ms);
  const [first] = results;
  return {
    count: results.length,
    outcomes: tally(results.map(({ outcome }) => outcome)),
    statuses: tally(results.map(({ status }) => String(status ?? "none"))),
    servedBy: tally(results.map((result) => podOf(result) ?? "none")),
    arrivals: sortedByKey(arrivals),
    ms: [Math.min(...times), Math.max(...times)],
    ...(first && results.length === 1 ? { single: describe(first) } : {}),
  };
}

function podOf({ headers, echo, body = "" }: LabResult): string | undefined {
  return headers?.["x-pod"] ?? echo?.pod ?? /^(?:banner )?([a-z]+(?:-v\d)?)[:\n]/.exec(body)?.[1];
}

function describe(result: LabResult): Record<string, unknown> {
  const { echo, body } = result;
  const headers = sameEveryTime(result.headers ?? {}, new Set([...VOLATILE_HEADERS, ...(echo ? ["content-length"] : [])]));
  const out: Record<string, unknown> = Object.keys(headers).length > 0 ? { headers } : {};
  if (result.trailers) out["trailers"] = sortedByKey(result.trailers);
  for (const key of ["grpcStatus", "serverCert", "informational", "truncated"] as const) {
    const value = result[key];
    if (value !== undefined && value !== "") out[key] = value;
  }
  if (body !== undefined) out["body"] = maskBody(body);
  else if (result.bodySha) out["bodySha"] = result.bodySha;
  if (echo) {
    const { method, path, proto, authority, port, tls, bodySize, bodySha } = echo;
    const rest = { ...(tls ? { tls } : {}), bodySize, ...(bodySha ? { bodySha } : {}), headers: sameEveryTime(echo.headers, new Set()) };
    out["upstream"] = { method, path: path.replace(TOKEN, "<token>"), proto, authority, port, ...rest };
  }
  return out;
}

function sameEveryTime(headers: Readonly<Record<string, string>>, left: ReadonlySet<string>): Record<string, string> {
  const kept = Object.entries(headers).filter(([name]) => !left.has(name));
  return sortedByKey(Object.fromEntries(kept.map(([name, value]) => [name, MASKED_HEADERS[name] ?? maskHeader(name, value)])));
}

function maskHeader(name: string, value: string): string {
  if (name === "x-forwarded-client-cert")
    return value.replace(/Hash=[0-9a-f]+/g, "Hash=<hash>").replace(/(Cert|Chain)="[^"]*"/g, "$1=<pem>");
  if (name === "set-cookie") return value.replace(/="?[0-9a-f]{16}"?/, "=<hash>");
  return value.replace(TOKEN, "<token>").replace(UUID, "<id>");
}

/** The bytes of a raw connection hold whole responses. */
function maskBody(text: string): string {
  return text
    .replace(TOKEN, "<token>")
    .replace(/^(date|x-envoy-upstream-service-time): .*\r\n/gim, "")
    .replace(UUID, "<id>");
}

/** The differences from the expectation, as sentences. */
export function checkExpectation(expect: Expectation, results: readonly LabResult[], seen: Observation): string[] {
  const faults = new Set<string>();
  checkCounts(expect, results, seen, faults);
  for (const result of results) checkResult(expect, result, faults);
  return [...faults];
}

function checkCounts(expect: Expectation, results: readonly LabResult[], seen: Observation, faults: Set<string>): void {
  const outcome = expect.outcome ?? (expect.outcomes ? undefined : "response");
  const isAll = (counts: Readonly<Record<string, number>>, key: string | number): boolean => counts[key] === seen.count;
  const error = results.find((result) => result.error)?.error;
  if (outcome && !isAll(seen.outcomes, outcome)) faults.add(`outcomes ${show(seen.outcomes)}${error ? ` (${error})` : ""}, not ${outcome}`);
  if (expect.status !== undefined && !isAll(seen.statuses, expect.status))
    faults.add(`statuses ${show(seen.statuses)}, not ${expect.status}`);

  const counted = [
    ["outcome", expect.outcomes, seen.outcomes],
    ["status", expect.statuses, seen.statuses],
    ["requests served by", expect.distribution, seen.servedBy],
    ["requests that reached", expect.arrivals, seen.arrivals],
  ] as const;
  for (const [what, ranges, counts] of counted) {
    for (const [key, range] of Object.entries(ranges ?? {})) {
      if (!isWithin(counts[key] ?? 0, range)) faults.add(`${what} ${key}: ${counts[key] ?? 0}, not ${show(range)}`);
    }
  }

  const pods = Object.keys(seen.servedBy);
  const allowed = expect.servedBy === undefined ? pods : [expect.servedBy].flat();
  if (pods.some((pod) => !allowed.includes(pod))) faults.add(`served by ${show(seen.servedBy)}, not ${allowed.join(" or ")}`);
  if (expect.sticky && pods.length !== 1) faults.add(`not sticky: ${show(seen.servedBy)}`);
  const attempts = Object.values(seen.arrivals).reduce((sum, count) => sum + count, 0);
  if (expect.attempts !== undefined && !isWithin(attempts, expect.attempts))
    faults.add(`${attempts} upstream attempts, not ${show(expect.attempts)}`);
}

function checkResult(expect: Expectation, result: LabResult, faults: Set<string>): void {
  const compare = (what: string, want: unknown, have: unknown): void => {
    if (want !== undefined && have !== want) faults.add(`${what} is ${show(have)}, not ${show(want)}`);
  };
  const { echo, body = "" } = result;
  if (expect.latencyMs !== undefined && !isWithin(result.ms, expect.latencyMs))
    faults.add(`took ${result.ms} ms, not ${show(expect.latencyMs)}`);
  if (expect.response) checkHeaders("response", expect.response, result.headers ?? {}, faults);
  if (expect.upstream && !echo) faults.add("no echo from the app");
  if (expect.upstream && echo) {
    for (const key of ["path", "method", "authority", "proto", "port", "bodySize"] as const)
      compare(`upstream ${key}`, expect.upstream[key], echo[key]);
    checkHeaders("upstream", expect.upstream, echo.headers, faults);
    const seen: Readonly<Record<string, string>> = echo.tls ?? {};
    for (const [key, value] of Object.entries(expect.upstream.tls ?? {})) compare(`upstream tls.${key}`, value, seen[key]);
  }
  for (const key of ["grpcStatus", "body", "serverCert", "informational", "size", "alpn"] as const) compare(key, expect[key], result[key]);
  for (const [name, value] of Object.entries(expect.trailers ?? {})) compare(`trailer ${name}`, value, result.trailers?.[name]);
  const { bodyContains, bodyMatches } = expect;
  if (bodyContains && !body.includes(bodyContains)) faults.add(`body ${show(body.slice(0, 200))} lacks ${show(bodyContains)}`);
  if (bodyMatches && !new RegExp(bodyMatches, "s").test(body)) faults.add(`body ${show(body.slice(0, 200))} is not /${bodyMatches}/`);
}

function checkHeaders(what: string, rules: HeaderRules, headers: Readonly<Record<string, string>>, faults: Set<string>): void {
  for (const name of rules.present ?? []) if (!(name in headers)) faults.add(`${what} header ${name} is absent`);
  for (const name of rules.absent ?? []) if (name in headers) faults.add(`${what} header ${name} is present (${headers[name]})`);
  for (const [name, value] of Object.entries(rules.equals ?? {})) {
    if (headers[name] !== value) faults.add(`${what} header ${name} is ${show(headers[name])}, not ${show(value)}`);
  }
  for (const [name, pattern] of Object.entries(rules.matches ?? {})) {
    if (!new RegExp(pattern).test(headers[name] ?? "")) faults.add(`${what} header ${name} is ${show(headers[name])}, not /${pattern}/`);
  }
}

/** What of an observation has to be as recorded. Which of the equal reviews answered matters only where the expectation names one. */
export function verdictOf(seen: Observation, expect: Expectation, loose: readonly string[]): Verdict {
  const pinned = typeof expect.servedBy === "string";
  const full = {
    outcomes: Object.keys(seen.outcomes),
    statuses: Object.keys(seen.statuses),
    servedBy: Object.keys(seen.servedBy),
    ...(seen.single ? { ...seen.single, arrivals: seen.arrivals } : {}),
  };
  const verdict = (pinned ? full : mergeReviews(full)) as Record<string, unknown> & { servedBy: string[] };
  verdict.servedBy = [...new Set(verdict.servedBy)].sort();
  for (const path of loose) removeAt(verdict, path.split("/"));
  return verdict;
}

function mergeReviews(value: unknown): unknown {
  if (typeof value === "string") return value.replace(/reviews-v\d/g, "reviews-*");
  if (Array.isArray(value)) return value.map(mergeReviews);
  if (typeof value !== "object" || value === null) return value;
  const out: Record<string, unknown> = {};
  for (const [key, one] of Object.entries(value)) {
    const merged = key.replace(/reviews-v\d/g, "reviews-*");
    const before = out[merged];
    out[merged] = typeof one === "number" && typeof before === "number" ? before + one : mergeReviews(one);
  }
  return out;
}

function removeAt(holder: unknown, [key = "", ...rest]: readonly string[]): void {
  if (!isObject(holder)) return;
  if (rest.length === 0) delete holder[key];
  else removeAt(holder[key], rest);
}

/** The differences of a verdict from the recorded one, as sentences. */
export function checkVerdict(recorded: unknown, now: unknown, path = ""): string[] {
  if (show(recorded) === show(now)) return [];
  if (!isObject(recorded) || !isObject(now)) return [`recorded ${path} ${show(recorded)}, now ${show(now)}`];
  const keys = new Set([...Object.keys(recorded), ...Object.keys(now)]);
  return [...keys].flatMap((key) => checkVerdict(recorded[key], now[key], path ? `${path}/${key}` : key));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isWithin(value: number, range: Range): boolean {
  const [least, most] = typeof range === "number" ? [range, range] : range;
  return value >= least && value <= most;
}

function tally(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return sortedByKey(counts);
}

function sortedByKey<T>(record: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
