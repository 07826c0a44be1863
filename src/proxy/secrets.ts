/** Certificates and trust by name, as SDS delivers them. config/ fills it; listeners and clusters make TLS contexts of it. */
import type { KeyPair } from "../net/tls/types.ts";

/** A TLS secret of one version. */
export type Secret =
  | { readonly kind: "key-pair"; readonly name: string; readonly version: string; readonly keyPair: KeyPair }
  | { readonly kind: "trust"; readonly name: string; readonly version: string; readonly trustPem: string };

/** Where a secret comes from: inline data and files have a made-up name; SDS secrets have theirs and a server. */
export interface SecretSource {
  /**
   * Calls back at once if the secret is known, and then at each new version, until closed. SDS secrets are asked of their
   * server at the first watch of a name.
   */
  watch(name: string, onSecret: (secret: Secret) => void): { close(): void };
  /** Secrets that are known now, for /certs and the config dump (never their keys). */
  readonly known: readonly Secret[];
}
