/** The rules of a WorkloadEntry, alone or as an endpoint of a ServiceEntry. Source: Istio networking/v1 WorkloadEntry. */
import type { Findings, Path } from "../../finding.ts";
import { isIpAddress } from "../../rules/address.ts";
import { checkLabels, hostFault, isDnsLabel, isObjectName } from "../../rules/names.ts";
import { checkPort } from "../../rules/values.ts";
import { NOT_YET } from "../../schema.ts";
import type { RawWorkloadEntry } from "./schema.ts";

/** How the address of a Unix socket begins. */
export const UNIX_PREFIX = "unix://";

/** What the ServiceEntry around it says. */
export interface WorkloadEntryRules {
  readonly path: Path;
  /** Undefined for a WorkloadEntry that stands alone. */
  readonly servicePorts?: ReadonlySet<string>;
  /** Whether a host name may be the address. */
  readonly mayBeName: boolean;
}

/** Reports what is wrong with a workload's address, ports, labels and account. */
export function validateWorkloadEntry(
  raw: RawWorkloadEntry,
  { path, servicePorts, mayBeName }: WorkloadEntryRules,
  findings: Findings,
): void {
  checkAddress(raw, path, mayBeName, servicePorts, findings);
  for (const [name, port] of Object.entries(raw.ports ?? {})) {
    const at = [...path, "ports", name];
    if (servicePorts && !servicePorts.has(name))
      findings.error(at, `the ServiceEntry has no port "${name}"`, `it has ${[...servicePorts].join(", ") || "none"}`);
    if (!isDnsLabel(name)) findings.error(at, `"${name}" is no port name`);
    checkPort(port, at, findings);
  }
  checkLabels(raw.labels, [...path, "labels"], findings);
  if (raw.serviceAccount && !isObjectName(raw.serviceAccount))
    findings.error([...path, "serviceAccount"], `"${raw.serviceAccount}" is no service account`);
}

function checkAddress(
  raw: RawWorkloadEntry,
  path: Path,
  mayBeName: boolean,
  servicePorts: ReadonlySet<string> | undefined,
  findings: Findings,
): void {
  const at = [...path, "address"];
  const address = raw.address ?? "";
  if (address === "") {
    if (raw.network) findings.error(at, `an address left to a gateway of network "${raw.network}" is ${NOT_YET}`);
    else findings.missing(path, ["address"], "is required");
  } else if (address.startsWith(UNIX_PREFIX)) {
    const socket = address.slice(UNIX_PREFIX.length);
    if (!socket.startsWith("/")) findings.error(at, `"${address}": the path of a Unix socket must be absolute`);
    if (Object.keys(raw.ports ?? {}).length > 0) findings.error([...path, "ports"], "a Unix socket has no ports");
    if (servicePorts && servicePorts.size !== 1) findings.error(at, "a Unix socket serves a ServiceEntry of exactly one port");
  } else if (!isIpAddress(address)) {
    if (!mayBeName) findings.error(at, `"${address}" is no IP address`, "use resolution: DNS for endpoints with names");
    else if (hostFault(address)) findings.error(at, `"${address}" is neither an IP address nor a host name`);
  }
}
