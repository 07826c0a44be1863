/** Throw-away authorities and certificates for tests. */
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";
import type { KeyPair } from "../../src/net/tls/types.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const HOUR_MS = 3_600_000;

/** What a certificate is to say. */
export interface CertificateOptions {
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  /** Default "O=lateen". */
  readonly subject?: string;
  /** Default an hour ago. */
  readonly notBeforeMs?: number;
  /** Default in an hour. */
  readonly notAfterMs?: number;
}

/** Signs certificates. */
export interface TestAuthority {
  readonly trustPem: string;
  /** A fresh key and its certificate, with the intermediates' certificates after it. */
  issue(options: CertificateOptions): Promise<KeyPair>;
  /** An authority below this one. */
  intermediate(name: string): Promise<TestAuthority>;
}

/** Makes a self-signed authority. */
export async function createTestAuthority(
  name: string,
  options: { readonly notBeforeMs?: number; readonly notAfterMs?: number } = {},
): Promise<TestAuthority> {
  x509.cryptoProvider.set(webcrypto as unknown as Crypto);
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const nowMs = Date.now();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `O=${name}`,
    notBefore: new Date(options.notBeforeMs ?? nowMs - 24 * HOUR_MS),
    notAfter: new Date(options.notAfterMs ?? nowMs + 24 * HOUR_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: authorityExtensions(),
  });
  return authorityOf(root, keys.privateKey, root.toString("pem"), []);
}

function authorityOf(certificate: x509.X509Certificate, signingKey: CryptoKey, trustPem: string, above: readonly string[]): TestAuthority {
  const sign = async (
    subject: string,
    publicKey: CryptoKey,
    notBeforeMs: number,
    notAfterMs: number,
    extensions: x509.Extension[],
  ): Promise<x509.X509Certificate> =>
    x509.X509CertificateGenerator.create({
      serialNumber: serial(),
      subject,
      issuer: certificate.subject,
      notBefore: new Date(notBeforeMs),
      notAfter: new Date(notAfterMs),
      signingAlgorithm: ALGORITHM,
      publicKey,
      signingKey,
      extensions,
    });
  return {
    trustPem,
    async issue({ uris = [], dnsNames = [], subject = "O=lateen", notBeforeMs = Date.now() - HOUR_MS, notAfterMs = Date.now() + HOUR_MS }) {
      const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
      const names = [
        ...uris.map((value) => ({ type: "url" as const, value })),
        ...dnsNames.map((value) => ({ type: "dns" as const, value })),
      ];
      const extensions: x509.Extension[] = [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      ];
      if (names.length > 0) extensions.push(new x509.SubjectAlternativeNameExtension(names, true));
      const leaf = await sign(subject, keys.publicKey, notBeforeMs, notAfterMs, extensions);
      const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey));
      const keyPem = `-----BEGIN PRIVATE KEY-----\n${pkcs8.toString("base64").replace(/(.{64})/g, "$1\n")}\n-----END PRIVATE KEY-----\n`;
      return { chainPem: [leaf.toString("pem"), ...above].join("\n"), keyPem: Buffer.from(keyPem) };
    },
    async intermediate(name) {
      const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
      const below = await sign(
        `O=${name}`,
        keys.publicKey,
        certificate.notBefore.getTime(),
        certificate.notAfter.getTime(),
        authorityExtensions(),
      );
      return authorityOf(below, keys.privateKey, trustPem, [below.toString("pem"), ...above]);
    },
  };
}

function authorityExtensions(): x509.Extension[] {
  return [
    new x509.BasicConstraintsExtension(true, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
  ];
}

let serials = 0;

function serial(): string {
  serials += 1;
  return (0x1000 + serials).toString(16);
}
