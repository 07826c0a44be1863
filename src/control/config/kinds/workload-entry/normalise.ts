/** The normal form of a WorkloadEntry. */
import type { WorkloadEntrySpec } from "../../types.ts";
import { defineKind, type KindReader, NETWORKING_VERSIONS } from "../kind.ts";
import { type RawWorkloadEntry, workloadEntrySchema } from "./schema.ts";
import { validateWorkloadEntry } from "./validate.ts";

/** The label that holds a locality where the field is empty, with dots for slashes. Source: Istio `istio-locality`. */
const LOCALITY_LABEL = "istio-locality";

/** The normal form; metadata's labels win over the spec's. */
export function normaliseWorkloadEntry(raw: RawWorkloadEntry, metadataLabels: Readonly<Record<string, string>> = {}): WorkloadEntrySpec {
  const labels = { ...raw.labels, ...metadataLabels };
  return {
    address: raw.address ?? "",
    ports: raw.ports ?? {},
    labels,
    network: raw.network ?? "",
    locality: raw.locality || (labels[LOCALITY_LABEL] ?? "").replaceAll(".", "/"),
    weight: raw.weight || 1,
    serviceAccount: raw.serviceAccount || undefined,
  };
}

/** WorkloadEntry. */
export const workloadEntryKind: KindReader = defineKind<RawWorkloadEntry, WorkloadEntrySpec>({
  kind: "WorkloadEntry",
  apiVersions: NETWORKING_VERSIONS,
  schema: workloadEntrySchema,
  validate: (raw, { path }, findings) => validateWorkloadEntry(raw, { path, mayBeName: true }, findings),
  normalise: (raw, { labels }) => normaliseWorkloadEntry(raw, labels),
});
