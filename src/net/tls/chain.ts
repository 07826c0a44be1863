/**
 * Verifies a chain at a given time, for simulations whose clock is not the machine's: OpenSSL judges validity by the system's
 * time only. The product never comes here.
 */
import { X509Certificate } from "node:crypto";

const DEPTH_MAX = 10;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
const PURPOSE_OIDS = { server: "1.3.6.1.5.5.7.3.1", client: "1.3.6.1.5.5.7.3.2" } as const;

/** Undefined when the leaf (with the issuers that the peer sent) leads to an anchor and all were valid at `nowMs`, else why not. */
export function verifyChainAt(
  leaf: X509Certificate,
  options: { readonly trustPem: string; readonly nowMs: number; readonly purpose: "server" | "client" },
): string | undefined {
  const anchors = (options.trustPem.match(CERTIFICATE) ?? []).map((pem) => new X509Certificate(pem));
  const uses: readonly string[] | undefined = leaf.keyUsage;
  if (uses?.length && !uses.includes(PURPOSE_OIDS[options.purpose])) return "unsuitable certificate purpose";
  let current = leaf;
  for (let depth = 0; depth < DEPTH_MAX; depth++) {
    const early = timeFault(current, options.nowMs);
    if (early) return early;
    const last = current;
    const anchor = anchors.find((candidate) => candidate.fingerprint256 === last.fingerprint256 || isIssuer(candidate, last));
    if (anchor) return timeFault(anchor, options.nowMs);
    const next = current.issuerCertificate;
    if (!next || !isIssuer(next, current)) return "unable to get local issuer certificate";
    current = next;
  }
  return "certificate chain too long";
}

function isIssuer(issuer: X509Certificate, issued: X509Certificate): boolean {
  return issuer.ca && issued.checkIssued(issuer) && issued.verify(issuer.publicKey);
}

function timeFault(certificate: X509Certificate, nowMs: number): string | undefined {
  if (nowMs < Date.parse(certificate.validFrom)) return "certificate is not yet valid";
  return nowMs > Date.parse(certificate.validTo) ? "certificate has expired" : undefined;
}
