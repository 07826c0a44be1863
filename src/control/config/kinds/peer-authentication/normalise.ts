/** The normal form of a PeerAuthentication. */
import type { PeerAuthenticationSpec } from "../../types.ts";
import { defineKind, type KindReader, SECURITY_VERSIONS } from "../kind.ts";
import { peerAuthenticationSchema, type RawPeerAuthentication } from "./schema.ts";
import { validatePeerAuthentication } from "./validate.ts";

function normalisePeerAuthentication(raw: RawPeerAuthentication): PeerAuthenticationSpec {
  const labels = raw.selector?.matchLabels ?? {};
  const ports = Object.entries(raw.portLevelMtls ?? {}).map(([port, mtls]) => [Number(port), mtls.mode ?? "UNSET"] as const);
  return {
    selector: Object.keys(labels).length > 0 ? labels : undefined,
    mode: raw.mtls?.mode ?? "UNSET",
    portLevel: new Map(ports),
  };
}

/** PeerAuthentication. */
export const peerAuthenticationKind: KindReader = defineKind<RawPeerAuthentication, PeerAuthenticationSpec>({
  kind: "PeerAuthentication",
  apiVersions: SECURITY_VERSIONS,
  schema: peerAuthenticationSchema,
  validate: validatePeerAuthentication,
  normalise: normalisePeerAuthentication,
});
