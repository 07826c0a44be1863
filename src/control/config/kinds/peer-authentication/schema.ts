/** The shape of a PeerAuthentication. Source: Istio security/v1 PeerAuthentication. */
import { fields, type JsonSchema, mapOf, oneOfWords, textSchema } from "../../schema.ts";
import type { MtlsMode } from "../../types.ts";

/** A PeerAuthentication's spec as written. */
export interface RawPeerAuthentication {
  readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> };
  readonly mtls?: { readonly mode?: MtlsMode | "UNSET" };
  readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: MtlsMode | "UNSET" }>>;
}

const mtlsSchema = fields({ mode: oneOfWords(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]) });

/** The schema of the spec. */
export const peerAuthenticationSchema: JsonSchema = fields({
  selector: fields({ matchLabels: mapOf(textSchema) }),
  mtls: mtlsSchema,
  portLevelMtls: mapOf(mtlsSchema),
});
