/** Rules for single values: durations, ports, percentages, regular expressions, status codes, retry conditions. */
import { RE2JS } from "re2js";
import { parseDurationMs } from "../../../base/duration.ts";
import { messageOf } from "../../../base/errors.ts";
import type { Findings, Path } from "../finding.ts";

/** Reports a duration that is none, under 1 ms or not of whole milliseconds. `zero`: whether 0 is taken, as "off". */
export function checkDuration(text: string | undefined, path: Path, findings: Findings, options: { readonly zero?: boolean } = {}): void {
  if (text === undefined) return;
  const ms = parseDurationMs(text);
  if (ms === undefined) {
    findings.error(path, `"${text}" is no duration`, 'write for example "1.5s" or "100ms"');
    return;
  }
  if (ms === 0 && options.zero) return;
  if (ms < 1) findings.error(path, `"${text}" is shorter than 1ms`, "leave the field out for none");
  else if (Math.abs(ms - Math.round(ms)) > 1e-9) findings.error(path, `"${text}" is not of whole milliseconds`);
}

/** Milliseconds of a duration that was checked; undefined where absent. */
export function durationMs(text: string | undefined): number | undefined {
  const ms = text === undefined ? undefined : parseDurationMs(text);
  return ms === undefined ? undefined : Math.round(ms);
}

/** Reports a port out of 1..65535. */
export function checkPort(port: number | undefined, path: Path, findings: Findings): void {
  if (port !== undefined && !(port >= 1 && port <= 65535)) findings.error(path, `port ${port} is not in 1..65535`);
}

/** Reports a percentage out of 0..100. */
export function checkPercentage(value: number | undefined, path: Path, findings: Findings): void {
  if (value !== undefined && !(value >= 0 && value <= 100)) findings.error(path, `${value} is not in 0..100`);
}

/** How long a regular expression may be. */
export const REGEX_BYTES_MAX = 1024;

/** Reports an expression that is empty, too long or not of RE2's syntax. */
export function checkRegex(pattern: string, path: Path, findings: Findings): void {
  if (pattern === "") {
    findings.error(path, "a regular expression must not be empty");
    return;
  }
  if (Buffer.byteLength(pattern) > REGEX_BYTES_MAX) {
    findings.error(path, `the regular expression is longer than ${REGEX_BYTES_MAX} bytes`);
    return;
  }
  try {
    RE2JS.compile(pattern);
  } catch (error) {
    findings.error(path, `not a regular expression of RE2: ${messageOf(error)}`, "RE2 has no look-around and no back-references");
  }
}

/** Reports an HTTP status that an answer cannot have. */
export function checkStatus(status: number | undefined, path: Path, findings: Findings): void {
  if (status !== undefined && !(status >= 200 && status <= 599)) findings.error(path, `status ${status} is not in 200..599`);
}

const RETRY_CONDITIONS: ReadonlySet<string> = new Set([
  "5xx",
  "gateway-error",
  "reset",
  "reset-before-request",
  "connect-failure",
  "retriable-4xx",
  "refused-stream",
  "retriable-status-codes",
  "retriable-headers",
  "envoy-ratelimited",
  "http3-post-connect-failure",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
  "unavailable",
]);

/** Reports retry conditions that Envoy does not know. Source: Envoy x-envoy-retry-on, x-envoy-retry-grpc-on. */
export function checkRetryOn(retryOn: string | undefined, path: Path, findings: Findings): void {
  if (!retryOn) return;
  for (const word of retryOn.split(",")) {
    if (RETRY_CONDITIONS.has(word) || (/^[1-5]\d\d$/.test(word) && Number(word) >= 100)) continue;
    findings.error(
      path,
      `"${word}" is no retry condition`,
      word.trim() !== word ? "write the list without spaces" : `known: ${[...RETRY_CONDITIONS].join(", ")}, and status codes`,
    );
  }
}

/** The numbers of gRPC's status names. Source: gRPC statuscodes.md. */
export const GRPC_STATUS: Readonly<Record<string, number>> = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
};
