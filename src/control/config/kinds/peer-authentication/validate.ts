/** The rules of a PeerAuthentication. Source: Istio security/v1 PeerAuthentication. */
import type { Findings } from "../../finding.ts";
import { checkSelector } from "../../rules/names.ts";
import type { KindContext } from "../kind.ts";
import type { RawPeerAuthentication } from "./schema.ts";

/** Reports what is wrong with a PeerAuthentication. */
export function validatePeerAuthentication(raw: RawPeerAuthentication, { path }: KindContext, findings: Findings): void {
  const labels = raw.selector?.matchLabels ?? {};
  const selects = Object.keys(labels).length > 0;
  checkSelector(labels, [...path, "selector", "matchLabels"], findings);
  if (raw.selector && !selects)
    findings.warn([...path, "selector"], "selects nothing in particular: the policy holds for the whole namespace");
  if (!raw.portLevelMtls) return;
  const ports = Object.keys(raw.portLevelMtls);
  const at = [...path, "portLevelMtls"];
  if (ports.length === 0) findings.error(at, "names no port", "leave the field out");
  if (!selects) findings.error(at, "a policy for a namespace or the mesh cannot have ports", "add selector.matchLabels");
  for (const port of ports) {
    if (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65535)
      findings.error([...at, port], `port ${port} is not in 1..65535`);
  }
}
