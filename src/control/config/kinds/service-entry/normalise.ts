/** The normal form of a ServiceEntry. */
import { hostname } from "../../../../model/host.ts";
import type { Resolution } from "../../../../model/service.ts";
import { parseCidr } from "../../rules/address.ts";
import { parseProtocol } from "../../rules/protocol.ts";
import type { ServiceEntrySpec } from "../../types.ts";
import { defineKind, type KindReader, NETWORKING_VERSIONS } from "../kind.ts";
import { normaliseWorkloadEntry } from "../workload-entry/normalise.ts";
import { type RawServiceEntry, serviceEntrySchema } from "./schema.ts";
import { validateServiceEntry } from "./validate.ts";

const RESOLUTIONS: Readonly<Record<NonNullable<RawServiceEntry["resolution"]>, Resolution>> = {
  NONE: "none",
  STATIC: "static",
  DNS: "dns",
  DNS_ROUND_ROBIN: "dns-round-robin",
};

/** Hosts stay as written: a ServiceEntry's are full names always. */
function normaliseServiceEntry(raw: RawServiceEntry): ServiceEntrySpec {
  return {
    hosts: (raw.hosts ?? []).map(hostname),
    addresses: (raw.addresses ?? []).map((address) => parseCidr(address)?.address ?? address),
    ports: (raw.ports ?? []).map((port) => ({
      name: port.name,
      number: port.number,
      protocol: parseProtocol(port.protocol) ?? "unsupported",
      targetPort: port.targetPort || undefined,
    })),
    meshExternal: (raw.location ?? "MESH_EXTERNAL") === "MESH_EXTERNAL",
    resolution: RESOLUTIONS[raw.resolution ?? "NONE"],
    endpoints: (raw.endpoints ?? []).map((endpoint) => normaliseWorkloadEntry(endpoint)),
    workloadSelector: raw.workloadSelector ? (raw.workloadSelector.labels ?? {}) : undefined,
    exportTo: raw.exportTo ?? [],
    subjectAltNames: raw.subjectAltNames ?? [],
  };
}

/** ServiceEntry. */
export const serviceEntryKind: KindReader = defineKind<RawServiceEntry, ServiceEntrySpec>({
  kind: "ServiceEntry",
  apiVersions: NETWORKING_VERSIONS,
  schema: serviceEntrySchema,
  validate: validateServiceEntry,
  normalise: normaliseServiceEntry,
});
