/** The shape of a WorkloadEntry. Source: Istio networking/v1 WorkloadEntry. */
import { countSchema, fields, type JsonSchema, mapOf, portSchema, textSchema } from "../../schema.ts";

/** A WorkloadEntry's spec as written. */
export interface RawWorkloadEntry {
  readonly address?: string;
  readonly ports?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly network?: string;
  readonly locality?: string;
  readonly weight?: number;
  readonly serviceAccount?: string;
}

/** The schema of the spec, also of a ServiceEntry's endpoints. */
export const workloadEntrySchema: JsonSchema = fields({
  address: textSchema,
  ports: mapOf(portSchema),
  labels: mapOf(textSchema),
  network: textSchema,
  locality: textSchema,
  weight: countSchema,
  serviceAccount: textSchema,
});
