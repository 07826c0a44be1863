/** The rules of a VirtualService: hosts, gateways and what a route may say at once. Source: Istio networking/v1 VirtualService. */
import { isWildcard } from "../../../../model/host.ts";
import type { Findings, Path } from "../../finding.ts";
import { isIpAddress } from "../../rules/address.ts";
import { checkHeaders, isAuthority } from "../../rules/headers.ts";
import { checkExportTo, checkGatewayNames, isDnsLabel, wildcardHostFault } from "../../rules/names.ts";
import { checkDuration, checkPort } from "../../rules/values.ts";
import { NOT_YET } from "../../schema.ts";
import type { KindContext } from "../kind.ts";
import type { RawHttpRoute, RawRouteDestination, RawVirtualService } from "./schema.ts";
import { checkDirectResponse, checkFault, checkRedirect, checkRetries, checkRewrite } from "./validate-action.ts";
import { checkMatch } from "./validate-match.ts";

/** Reports what is wrong with a VirtualService. */
export function validateVirtualService(raw: RawVirtualService, { namespace, path }: KindContext, findings: Findings): void {
  const gateways = raw.gateways ?? [];
  const inMesh = gateways.length === 0 || gateways.includes("mesh");
  checkHosts(raw.hosts ?? [], inMesh, path, findings);
  checkGatewayNames(raw.gateways, [...path, "gateways"], findings);
  const routes = raw.http ?? [];
  if (routes.length === 0) findings.missing(path, ["http"], "at least one route is required");
  for (const [i, route] of routes.entries()) checkRoute(route, [...path, "http", i], findings);
  checkUnreachable(routes, path, findings);
  checkExportTo(raw.exportTo, { namespace, path: [...path, "exportTo"], allowNobody: false }, findings);
}

function checkHosts(hosts: readonly string[], inMesh: boolean, path: Path, findings: Findings): void {
  const at = [...path, "hosts"];
  if (hosts.length === 0) findings.error(at, `at least one host is required: delegates are ${NOT_YET}`);
  let valid = true;
  for (const [i, host] of hosts.entries()) {
    const fault = isIpAddress(host) ? undefined : wildcardHostFault(host);
    if (fault) findings.error([...at, i], fault);
    else if (host === "*" && inMesh) findings.error([...at, i], 'the host "*" is for gateways only', 'name gateways other than "mesh"');
    else continue;
    valid = false;
  }
  if (!valid) return;
  for (const [i, host] of hosts.entries()) {
    for (const other of hosts.slice(0, i)) {
      if (overlap(host, other))
        findings.error([...at, i], `"${host}" and "${other}" are duplicates: one is part of the other`, "write a VirtualService for each");
    }
  }
}

/** Whether two hosts of one VirtualService have names in common. Source: Istio host.Name Matches. */
function overlap(a: string, b: string): boolean {
  const [x, y] = [a.toLowerCase(), b.toLowerCase()];
  if (isWildcard(x) && isWildcard(y)) return x.length < y.length ? y.slice(1).endsWith(x.slice(1)) : x.slice(1).endsWith(y.slice(1));
  if (isWildcard(x)) return y.endsWith(x.slice(1));
  if (isWildcard(y)) return x.endsWith(y.slice(1));
  return x === y;
}

function checkRoute(route: RawHttpRoute, path: Path, findings: Findings): void {
  checkOneAction(route, path, findings);
  for (const [i, match] of (route.match ?? []).entries()) checkMatch(match, [...path, "match", i], findings);
  checkHeaders(route.headers, [...path, "headers"], findings);
  checkRedirect(route.redirect, [...path, "redirect"], findings);
  checkDirectResponse(route.directResponse, [...path, "directResponse"], findings);
  checkRewrite(route.rewrite, [...path, "rewrite"], findings);
  checkAuthorityOnce(route, path, findings);
  checkDuration(route.timeout, [...path, "timeout"], findings);
  checkRetries(route.retries, [...path, "retries"], findings);
  checkFault(route.fault, [...path, "fault"], findings);
  checkDestinations(route.route ?? [], [...path, "route"], findings);
}

function checkOneAction(route: RawHttpRoute, path: Path, findings: Findings): void {
  const has = { route: (route.route ?? []).length > 0, fault: route.fault !== undefined, rewrite: route.rewrite !== undefined };
  const own = route.redirect ? "redirect" : route.directResponse ? "directResponse" : undefined;
  if (!own) {
    if (!has.route) findings.missing(path, [], "one of route, redirect and directResponse is required");
    return;
  }
  if (route.redirect && route.directResponse) findings.error([...path, "directResponse"], "redirect and directResponse exclude each other");
  for (const name of ["route", "fault", "rewrite"] as const) {
    if (has[name]) findings.error([...path, name], `${name} and ${own} exclude each other`);
  }
}

function checkAuthorityOnce(route: RawHttpRoute, path: Path, findings: Findings): void {
  const request = route.headers?.request;
  const setters = [...Object.keys(request?.set ?? {}), ...Object.keys(request?.add ?? {})].filter(isAuthority);
  if (route.rewrite?.authority) setters.push("rewrite.authority");
  if (setters.length > 1) findings.error(path, `the authority is set more than once: ${setters.join(", ")}`);
}

function checkDestinations(destinations: readonly RawRouteDestination[], path: Path, findings: Findings): void {
  let total = 0;
  for (const [i, { destination, weight, headers }] of destinations.entries()) {
    const at = [...path, i];
    const { host, subset, port } = destination;
    const fault = host === "*" ? '"*" is no destination' : isIpAddress(host) ? undefined : wildcardHostFault(host);
    if (fault) findings.error([...at, "destination", "host"], fault);
    if (subset && !isDnsLabel(subset)) findings.error([...at, "destination", "subset"], `"${subset}" is no subset's name`);
    if (port) checkPort(port.number, [...at, "destination", "port", "number"], findings);
    if (weight !== undefined && weight < 0) findings.error([...at, "weight"], `a weight must not be negative (${weight})`);
    total += Math.max(0, weight ?? 0);
    checkHeaders(headers, [...at, "headers"], findings);
  }
  if (destinations.length > 1 && total === 0) findings.error(path, "the weights of all destinations are 0", "give at least one a weight");
}

function checkUnreachable(routes: readonly RawHttpRoute[], path: Path, findings: Findings): void {
  const catchAll = routes.findIndex((route) => (route.match ?? []).length === 0);
  if (catchAll === -1) return;
  for (let i = catchAll + 1; i < routes.length; i++) {
    findings.warn([...path, "http", i], `no request gets here: http[${catchAll}] matches everything`, "put the route without match last");
  }
}
