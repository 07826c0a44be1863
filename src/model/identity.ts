/** SPIFFE identities of workloads. Source: SPIFFE-ID specification; Istio pkg/spiffe (path form /ns/NS/sa/SA). */

/** "spiffe://<trust domain>/ns/<namespace>/sa/<service account>", checked. */
export type SpiffeId = string & { readonly __brand: "SpiffeId" };

/** The parts of an identity. */
export interface Identity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const NAME = /^[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,252})$/;

/** The identity as text. Throws when a part could change the meaning of the whole (a slash, nothing at all). */
export function formatSpiffeId({ trustDomain, namespace, serviceAccount }: Identity): SpiffeId {
  if (!TRUST_DOMAIN.test(trustDomain))
    throw new Error(`"${trustDomain}" is no trust domain: lower-case letters, digits, dots, dashes and underscores`);
  for (const part of [namespace, serviceAccount])
    if (!NAME.test(part)) throw new Error(`"${part}" cannot be a namespace or service account of an identity`);
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}` as SpiffeId;
}

/** The parts of an identity, or undefined for anything that is not exactly of Istio's form. */
export function parseSpiffeId(text: string): Identity | undefined {
  const match = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(text);
  if (!match) return undefined;
  const [, trustDomain = "", namespace = "", serviceAccount = ""] = match;
  if (!TRUST_DOMAIN.test(trustDomain) || !NAME.test(namespace) || !NAME.test(serviceAccount)) return undefined;
  return { trustDomain, namespace, serviceAccount };
}
