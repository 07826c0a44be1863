/** The rules of what a route does: redirects, answers, rewrites, retries, faults. Source: Istio networking/v1 HTTPRoute. */
import type { Findings, Path } from "../../finding.ts";
import { nearestName } from "../../finding.ts";
import { headerValueFault } from "../../rules/headers.ts";
import { checkDuration, checkPercentage, checkPort, checkRegex, checkRetryOn, checkStatus, GRPC_STATUS } from "../../rules/values.ts";
import type { RawFault, RawHttpRoute, RawRedirect, RawRetry, RawRewrite } from "./schema.ts";

/** How large the body of a direct response may be. */
export const DIRECT_RESPONSE_BYTES_MAX = 1024 * 1024;

const REDIRECT_CODES: readonly number[] = [301, 302, 303, 307, 308];

/** Reports what is wrong with a redirect. */
export function checkRedirect(redirect: RawRedirect | undefined, path: Path, findings: Findings): void {
  if (!redirect) return;
  const { uri, authority, port, derivePort, scheme, redirectCode } = redirect;
  if (!uri && !authority && !scheme && port === undefined && derivePort === undefined)
    findings.error(path, "must change at least one of uri, authority, scheme and port");
  if (port !== undefined && derivePort !== undefined) findings.error(path, "port and derivePort exclude each other");
  checkPort(port, [...path, "port"], findings);
  if (scheme && scheme !== "http" && scheme !== "https") findings.error([...path, "scheme"], `"${scheme}" is neither http nor https`);
  if (redirectCode && !REDIRECT_CODES.includes(redirectCode))
    findings.error([...path, "redirectCode"], `${redirectCode} is none of ${REDIRECT_CODES.join(", ")}`);
}

/** Reports what is wrong with a direct response. */
export function checkDirectResponse(response: RawHttpRoute["directResponse"], path: Path, findings: Findings): void {
  if (!response) return;
  checkStatus(response.status, [...path, "status"], findings);
  const bytes = Buffer.byteLength(response.body?.string ?? "");
  if (bytes > DIRECT_RESPONSE_BYTES_MAX)
    findings.error([...path, "body"], `the body has ${bytes} bytes, more than ${DIRECT_RESPONSE_BYTES_MAX}`);
}

/** Reports what is wrong with a rewrite. */
export function checkRewrite(rewrite: RawRewrite | undefined, path: Path, findings: Findings): void {
  if (!rewrite) return;
  const { uri, authority, uriRegexRewrite } = rewrite;
  if (!uri && !authority && !uriRegexRewrite) findings.error(path, "must change at least one of uri, uriRegexRewrite and authority");
  if (uri && uriRegexRewrite) findings.error(path, "uri and uriRegexRewrite exclude each other");
  if (authority && headerValueFault(authority)) findings.error([...path, "authority"], `"${authority}" is no authority`);
  if (!uriRegexRewrite) return;
  if (!uriRegexRewrite.match || !uriRegexRewrite.rewrite)
    findings.error([...path, "uriRegexRewrite"], "both match and rewrite are required");
  if (uriRegexRewrite.match) checkRegex(uriRegexRewrite.match, [...path, "uriRegexRewrite", "match"], findings);
}

/** Reports what is wrong with a retry policy. */
export function checkRetries(retries: RawRetry | undefined, path: Path, findings: Findings): void {
  if (!retries) return;
  const { attempts = 0, perTryTimeout, backoff, retryOn, retryRemoteLocalities } = retries;
  if (attempts < 0) findings.error([...path, "attempts"], `must not be negative (${attempts})`);
  if (attempts === 0 && (perTryTimeout !== undefined || retryOn || retryRemoteLocalities !== undefined)) {
    findings.error([...path, "attempts"], "0 attempts means no retries, and yet they are configured", "set attempts to 1 or more");
  }
  if (retryRemoteLocalities) findings.warn([...path, "retryRemoteLocalities"], "has no effect yet: all localities have one priority");
  checkDuration(perTryTimeout, [...path, "perTryTimeout"], findings);
  checkDuration(backoff, [...path, "backoff"], findings);
  checkRetryOn(retryOn, [...path, "retryOn"], findings);
}

/** Reports what is wrong with a fault on purpose. */
export function checkFault(fault: RawFault | undefined, path: Path, findings: Findings): void {
  if (!fault) return;
  const { delay, abort } = fault;
  if (!delay && !abort) findings.error(path, "one of delay and abort is required");
  if (delay) {
    checkDuration(delay.fixedDelay, [...path, "delay", "fixedDelay"], findings);
    checkPercentage(delay.percentage?.value, [...path, "delay", "percentage", "value"], findings);
    checkPercentage(delay.percent, [...path, "delay", "percent"], findings);
    if (!delay.percentage && delay.percent === undefined)
      findings.warn([...path, "delay"], "without a percentage no request is delayed", "set percentage.value");
  }
  if (!abort) return;
  const at = [...path, "abort"];
  if (abort.httpStatus !== undefined && abort.grpcStatus !== undefined) findings.error(at, "httpStatus and grpcStatus exclude each other");
  if (abort.httpStatus === undefined && abort.grpcStatus === undefined) findings.error(at, "one of httpStatus and grpcStatus is required");
  checkStatus(abort.httpStatus, [...at, "httpStatus"], findings);
  if (abort.grpcStatus !== undefined && !Object.hasOwn(GRPC_STATUS, abort.grpcStatus)) {
    const near = nearestName(abort.grpcStatus, Object.keys(GRPC_STATUS));
    findings.error(
      [...at, "grpcStatus"],
      `"${abort.grpcStatus}" is no gRPC status`,
      near ? `did you mean ${near}?` : "write its name, such as UNAVAILABLE",
    );
  }
  checkPercentage(abort.percentage?.value, [...at, "percentage", "value"], findings);
  if (!abort.percentage) findings.warn(at, "without a percentage no request is aborted", "set percentage.value");
}
