/** What a TLS context is made of. contexts.ts makes them over node:tls; the simulation has its own. */
import type { PeerCertificate } from "../channel.ts";

/** A certificate chain and its key, as PEM. The key's buffer is zeroed by whoever made it, after the context stands. */
export interface KeyPair {
  readonly chainPem: string;
  readonly keyPem: Buffer;
}

/** What both sides of TLS have. */
export interface TlsOptions {
  /** Leaf first. Undefined for a client that shows none. */
  readonly keyPair: KeyPair | undefined;
  /** PEM bundle of the authorities that may have signed the peer. Undefined: the peer is not verified (no mesh ever asks for this). */
  readonly trustPem: string | undefined;
  readonly alpn: readonly string[];
  /** Default TLSv1.2 to TLSv1.3. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
  readonly maxVersion?: "TLSv1.2" | "TLSv1.3" | undefined;
  readonly ciphers?: readonly string[] | undefined;
  readonly ecdhCurves?: readonly string[] | undefined;
  /** Last say on a peer whose chain is good: undefined lets it in, text says why not. */
  readonly verifyPeer?: ((peer: PeerCertificate) => string | undefined) | undefined;
}

/** A server's context. */
export interface ServerTlsOptions extends TlsOptions {
  /** Refuse clients that show no certificate. When false one that is shown is verified all the same, where there is trust. */
  readonly requireClientCertificate: boolean;
}
