/** The shape of a ServiceEntry. Source: Istio networking/v1 ServiceEntry. */
import { fields, type JsonSchema, listOf, mapOf, oneOfWords, portSchema, textSchema } from "../../schema.ts";
import { type RawWorkloadEntry, workloadEntrySchema } from "../workload-entry/schema.ts";

/** A ServiceEntry's spec as written. */
export interface RawServiceEntry {
  readonly hosts?: readonly string[];
  readonly addresses?: readonly string[];
  readonly ports?: readonly RawServicePort[];
  readonly location?: "MESH_EXTERNAL" | "MESH_INTERNAL";
  readonly resolution?: "NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN";
  readonly endpoints?: readonly RawWorkloadEntry[];
  readonly workloadSelector?: { readonly labels?: Readonly<Record<string, string>> };
  readonly exportTo?: readonly string[];
  readonly subjectAltNames?: readonly string[];
}

/** One port of it. */
export interface RawServicePort {
  readonly number: number;
  readonly protocol?: string;
  readonly name: string;
  readonly targetPort?: number;
}

/** The schema of the spec. */
export const serviceEntrySchema: JsonSchema = fields(
  {
    hosts: listOf(textSchema),
    addresses: listOf(textSchema),
    ports: listOf(
      fields({ number: portSchema, protocol: textSchema, name: textSchema, targetPort: portSchema }, { required: ["number", "name"] }),
    ),
    location: oneOfWords(["MESH_EXTERNAL", "MESH_INTERNAL"]),
    resolution: oneOfWords(["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN"], ["DYNAMIC_DNS"]),
    endpoints: listOf(workloadEntrySchema),
    workloadSelector: fields({ labels: mapOf(textSchema) }),
    exportTo: listOf(textSchema),
    subjectAltNames: listOf(textSchema),
  },
  { required: ["hosts"] },
);
