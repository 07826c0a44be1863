/** Ends of a connection and what its TLS handshake established. */

/** One side of a connection as "ip:port" text is made of. `port` is 0 for a Unix socket, whose path is `host`. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What a TLS handshake established. Taken from the verified certificate, never from what the peer merely says. */
export interface TlsInfo {
  readonly protocol: string;
  readonly alpn: string | undefined;
  /** Server name asked for by the client; undefined if none. */
  readonly serverName: string | undefined;
  /** Undefined when the peer showed no certificate. Present means: its chain was verified. */
  readonly peer: PeerCertificate | undefined;
  /** URI SANs of our own certificate: the By of x-forwarded-client-cert, %DOWNSTREAM_LOCAL_URI_SAN%. Absent where nobody told. */
  readonly localUriSans?: readonly string[] | undefined;
}

/** A verified peer certificate. */
export interface PeerCertificate {
  readonly uriSans: readonly string[];
  readonly dnsSans: readonly string[];
  /** Addresses, IPv4 as "192.0.2.1", IPv6 as RFC 5952 writes it. Absent where there is none. */
  readonly ipSans?: readonly string[] | undefined;
  /** Envoy's form of the subject: RFC 2253, "" when empty. */
  readonly subject: string;
  /** SHA-256 of the DER, lower-case hex: the Hash of x-forwarded-client-cert. */
  readonly sha256: string;
  readonly notAfterMs: number;
  /** The certificate itself, where it was kept: the Cert of x-forwarded-client-cert. */
  readonly der?: Uint8Array | undefined;
}
