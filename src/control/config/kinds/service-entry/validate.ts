/** The rules of a ServiceEntry. Source: Istio networking/v1 ServiceEntry. */

import { isWildcard } from "../../../../model/host.ts";
import { isHttp } from "../../../../model/service.ts";
import type { Findings } from "../../finding.ts";
import { isIpAddress, parseCidr } from "../../rules/address.ts";
import { checkExportTo, checkSelector, checkUnique, hostFault, isDnsLabel, wildcardHostFault } from "../../rules/names.ts";
import { PROTOCOL_WORDS, parseProtocol } from "../../rules/protocol.ts";
import { checkPort } from "../../rules/values.ts";
import { NOT_YET } from "../../schema.ts";
import type { KindContext } from "../kind.ts";
import { validateWorkloadEntry } from "../workload-entry/validate.ts";
import type { RawServiceEntry } from "./schema.ts";

/** Reports what is wrong with a ServiceEntry. */
export function validateServiceEntry(raw: RawServiceEntry, context: KindContext, findings: Findings): void {
  checkHosts(raw, context, findings);
  checkAddresses(raw, context, findings);
  checkPorts(raw, context, findings);
  checkEndpoints(raw, context, findings);
  checkExportTo(raw.exportTo, { namespace: context.namespace, path: [...context.path, "exportTo"], allowNobody: true }, findings);
}

function checkHosts(raw: RawServiceEntry, { path }: KindContext, findings: Findings): void {
  const hosts = raw.hosts ?? [];
  if (hosts.length === 0) findings.error([...path, "hosts"], "at least one host is required");
  for (const [i, host] of hosts.entries()) {
    const fault = host === "*" ? '"*" is no host of a ServiceEntry' : wildcardHostFault(host);
    if (fault) findings.error([...path, "hosts", i], fault);
  }
  checkUnique(hosts, (i) => [...path, "hosts", i], "host", findings);
}

function checkAddresses(raw: RawServiceEntry, { path }: KindContext, findings: Findings): void {
  for (const [i, address] of (raw.addresses ?? []).entries()) {
    const at = [...path, "addresses", i];
    const range = parseCidr(address);
    if (!range && !isIpAddress(address)) findings.error(at, `"${address}" is neither an IP address nor a range such as 10.0.0.0/8`);
    else if (range && !range.whole) findings.error(at, `a range of addresses (${address}) is ${NOT_YET}`);
  }
}

function checkPorts(raw: RawServiceEntry, { path }: KindContext, findings: Findings): void {
  const ports = raw.ports ?? [];
  if (ports.length === 0) findings.warn([...path, "ports"], "a service without ports takes no traffic");
  checkUnique(
    ports.map((port) => port.name),
    (i) => [...path, "ports", i, "name"],
    "port name",
    findings,
  );
  checkUnique(
    ports.map((port) => String(port.number)),
    (i) => [...path, "ports", i, "number"],
    "port",
    findings,
  );
  for (const [i, port] of ports.entries()) {
    const at = [...path, "ports", i];
    if (!isDnsLabel(port.name)) findings.error([...at, "name"], `"${port.name}" is no port name`, "letters, digits and dashes, at most 63");
    checkPort(port.number, [...at, "number"], findings);
    if (port.targetPort !== 0) checkPort(port.targetPort, [...at, "targetPort"], findings);
    const protocol = parseProtocol(port.protocol);
    if (protocol === undefined)
      findings.error([...at, "protocol"], `"${port.protocol}" is no protocol`, `one of ${PROTOCOL_WORDS.join(", ")}`);
    else if (protocol === "unsupported")
      findings.warn(
        [...at, "protocol"],
        "no protocol is given, so the port is taken as TCP",
        "protocols are not detected by this version of Lateen yet",
      );
    else if (protocol === "udp") findings.warn([...at, "protocol"], "UDP is not proxied");
    const many = (raw.hosts ?? []).length > 1 && (raw.resolution ?? "NONE") !== "NONE";
    if (many && protocol && !isHttp(protocol) && protocol !== "tls" && protocol !== "https") {
      findings.error(
        [...at, "protocol"],
        "several hosts cannot share a port that is neither HTTP nor TLS: nothing in the bytes tells them apart",
        "write a ServiceEntry for each host",
      );
    }
  }
}

function checkEndpoints(raw: RawServiceEntry, { path }: KindContext, findings: Findings): void {
  const resolution = raw.resolution ?? "NONE";
  const endpoints = raw.endpoints ?? [];
  const at = [...path, "endpoints"];
  if (raw.workloadSelector && raw.endpoints) findings.error(at, "endpoints and workloadSelector exclude each other");
  checkSelector(raw.workloadSelector?.labels, [...path, "workloadSelector", "labels"], findings);
  if (raw.workloadSelector && Object.keys(raw.workloadSelector.labels ?? {}).length === 0) {
    findings.warn([...path, "workloadSelector"], "selects every WorkloadEntry of the namespace", "name labels");
  }
  if (resolution === "NONE") {
    if (endpoints.length > 0) findings.error(at, "resolution NONE takes no endpoints", "use resolution: STATIC");
    if (raw.workloadSelector) findings.warn([...path, "workloadSelector"], "is not used with resolution NONE", "use resolution: STATIC");
  }
  const dns = resolution === "DNS" || resolution === "DNS_ROUND_ROBIN";
  if (dns && endpoints.length === 0 && !raw.workloadSelector) {
    for (const [i, host] of (raw.hosts ?? []).entries()) {
      if (isWildcard(host) || hostFault(host))
        findings.error(
          [...path, "hosts", i],
          `resolution ${resolution} without endpoints looks the host up, and "${host}" is no full name`,
        );
    }
  }
  if (resolution === "DNS_ROUND_ROBIN" && endpoints.length > 1) findings.error(at, "resolution DNS_ROUND_ROBIN takes at most one endpoint");
  const servicePorts = new Set((raw.ports ?? []).map((port) => port.name));
  for (const [i, endpoint] of endpoints.entries())
    validateWorkloadEntry(endpoint, { path: [...at, i], servicePorts, mayBeName: dns }, findings);
}
