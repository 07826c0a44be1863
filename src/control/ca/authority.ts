/**
 * The certificate authority: signs workload certificates with a self-signed root or with an intermediate from files (Istio's `cacerts`).
 * Signing depends on @peculiar/x509 alone.
 */
import "reflect-metadata";
import { randomBytes, webcrypto } from "node:crypto";
import {
  BasicConstraintsExtension,
  cryptoProvider,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { splitPem } from "../../crypto/der.ts";
import type { SpiffeId } from "../../model/identity.ts";

/** An authority's own certificates and key, as PEM. */
export interface AuthorityFiles {
  /** The certificate that signs: the root itself, or an intermediate. */
  readonly caCertPem: string;
  readonly caKeyPem: string;
  /** From the signing certificate's issuer up; may hold the signing certificate and the root too. */
  readonly certChainPem: string;
  readonly rootCertPem: string;
}

/** Limits of what is signed. */
export interface AuthorityLimits {
  readonly defaultTtlMs: number;
  readonly maxTtlMs: number;
}

/** 24 hours, at most 7 days. */
export const DEFAULT_LIMITS: AuthorityLimits = { defaultTtlMs: 24 * 3_600_000, maxTtlMs: 7 * 24 * 3_600_000 };

/** A signed certificate and the way up to the root, as the certificate service sends it: leaf first, root last. */
export type CertificateChain = readonly string[];

/** Signs. */
export interface Authority {
  readonly rootPem: string;
  /** Certificate for a workload. The request gives its public key and nothing else. Rejects with a plain sentence when it is no good request. */
  signWorkload(csrPem: string, identity: SpiffeId, ttlMs: number): Promise<CertificateChain>;
  /** Key and chain of a server of the control plane, valid for these DNS names. */
  issueServer(dnsNames: readonly string[]): Promise<{ readonly keyPem: Buffer; readonly chainPem: string; readonly notAfterMs: number }>;
}

const EC = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as const;
const BACKDATE_MS = 2 * 60_000; // clocks differ
const ROOT_LIFE_MS = 10 * 365 * 86_400_000;
const RSA_BITS_MIN = 2048;
const SERIAL_BYTES = 16;

// The library asks for its Web Crypto once; Node has one.
cryptoProvider.set(webcrypto);

/** Makes a root for `trustDomain`, valid ten years. */
export async function createSelfSignedRoot(trustDomain: string, clock: Clock): Promise<AuthorityFiles> {
  const keys = await webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `O=${trustDomain}`,
    notBefore: new Date(clock.nowMs() - BACKDATE_MS),
    notAfter: new Date(clock.nowMs() + ROOT_LIFE_MS),
    signingAlgorithm: EC,
    keys,
    extensions: [
      new BasicConstraintsExtension(true, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pem = `${certificate.toString("pem")}\n`;
  const key = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  const caKeyPem = `-----BEGIN PRIVATE KEY-----\n${(key.match(/.{1,64}/g) ?? []).join("\n")}\n-----END PRIVATE KEY-----\n`;
  return { caCertPem: pem, caKeyPem, certChainPem: "", rootCertPem: pem };
}

/** Makes an authority of its files. Rejects with what is wrong: a key that does not fit, a certificate that may not sign, one that has expired. */
export async function createAuthority(files: AuthorityFiles, clock: Clock, limits: AuthorityLimits = DEFAULT_LIMITS): Promise<Authority> {
  const ca = readCertificate(files.caCertPem, "ca-cert.pem");
  if (!ca.getExtension(BasicConstraintsExtension)?.ca)
    throw new Error(`ca-cert.pem ("${ca.subject}") is no certificate of an authority: basicConstraints lacks CA:TRUE`);
  if (ca.notAfter.getTime() <= clock.nowMs()) throw new Error(`ca-cert.pem ("${ca.subject}") expired on ${ca.notAfter.toISOString()}`);
  const { key, algorithm } = await importSigningKey(files.caKeyPem);
  await checkKeyFits(ca, key, algorithm);
  const roots = splitPem(files.rootCertPem);
  if (roots.length === 0) throw new Error("root-cert.pem holds no certificate");
  const above = intermediates(files, roots);

  const issue = async (publicKey: webcrypto.CryptoKey, names: SubjectAlternativeNameExtension, ttlMs: number): Promise<X509Certificate> => {
    const notAfter = Math.min(clock.nowMs() + ttlMs, ca.notAfter.getTime());
    return X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject: "",
      issuer: ca.subject,
      notBefore: new Date(clock.nowMs() - BACKDATE_MS),
      notAfter: new Date(notAfter),
      signingAlgorithm: algorithm,
      signingKey: key,
      publicKey,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
        new ExtendedKeyUsageExtension(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]), // serverAuth, clientAuth
        names,
      ],
    });
  };

  return {
    rootPem: roots.join(""),
    async signWorkload(csrPem, identity, ttlMs) {
      const publicKey = await readPublicKey(csrPem);
      const wanted = ttlMs > 0 ? Math.min(ttlMs, limits.maxTtlMs) : limits.defaultTtlMs;
      const leaf = await issue(publicKey, new SubjectAlternativeNameExtension([{ type: "url", value: identity }], true), wanted);
      return [`${leaf.toString("pem")}\n`, ...above, ...roots];
    },
    async issueServer(dnsNames) {
      const keys = await webcrypto.subtle.generateKey(EC, true, ["sign", "verify"]);
      const names = new SubjectAlternativeNameExtension(
        dnsNames.map((value) => ({ type: "dns" as const, value })),
        true,
      );
      const leaf = await issue(keys.publicKey, names, limits.defaultTtlMs);
      const der = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
      const keyPem = Buffer.from(`-----BEGIN PRIVATE KEY-----\n${(der.match(/.{1,64}/g) ?? []).join("\n")}\n-----END PRIVATE KEY-----\n`);
      return { keyPem, chainPem: [`${leaf.toString("pem")}\n`, ...above].join(""), notAfterMs: leaf.notAfter.getTime() };
    },
  };
}

function newSerial(): string {
  const bytes = randomBytes(SERIAL_BYTES);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40; // positive, and never with a leading zero
  return bytes.toString("hex");
}

function readCertificate(pem: string, file: string): X509Certificate {
  const [first] = splitPem(pem);
  if (!first) throw new Error(`${file} holds no certificate in PEM`);
  try {
    return new X509Certificate(first);
  } catch (error) {
    throw new Error(`${file} cannot be read as a certificate: ${messageOf(error)}`);
  }
}

/** What goes between leaf and root: the signing certificate and what is above it, without the roots. */
function intermediates(files: AuthorityFiles, roots: readonly string[]): string[] {
  const fingerprints = new Set(roots.map((pem) => new X509Certificate(pem).toString("hex")));
  const chain: string[] = [];
  for (const pem of [...splitPem(files.caCertPem), ...splitPem(files.certChainPem)]) {
    const fingerprint = new X509Certificate(pem).toString("hex");
    if (fingerprints.has(fingerprint)) continue;
    fingerprints.add(fingerprint);
    chain.push(pem);
  }
  return chain;
}

async function importSigningKey(pem: string): Promise<{ key: webcrypto.CryptoKey; algorithm: typeof EC | typeof RSA }> {
  const body = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(pem)?.[1];
  if (!body)
    throw new Error("ca-key.pem must be an unencrypted PKCS #8 key (BEGIN PRIVATE KEY); convert it with: openssl pkcs8 -topk8 -nocrypt");
  const der = Buffer.from(body, "base64");
  for (const algorithm of [EC, RSA]) {
    try {
      return { key: await webcrypto.subtle.importKey("pkcs8", der, algorithm, false, ["sign"]), algorithm };
    } catch {
      // Not of this type; the next is tried.
    }
  }
  throw new Error("ca-key.pem is neither an EC P-256 nor an RSA key");
}

async function checkKeyFits(ca: X509Certificate, key: webcrypto.CryptoKey, algorithm: typeof EC | typeof RSA): Promise<void> {
  const probe = Buffer.from("lateen");
  const signature = await webcrypto.subtle.sign(algorithm, key, probe);
  const publicKey = await webcrypto.subtle.importKey("spki", ca.publicKey.rawData, algorithm, false, ["verify"]).catch(() => undefined);
  if (!publicKey || !(await webcrypto.subtle.verify(algorithm, publicKey, signature, probe)))
    throw new Error("ca-key.pem is not the key of ca-cert.pem");
}

/** The public key of a request whose signature holds. P-256, P-384 or RSA of at least 2048 bits. */
async function readPublicKey(csrPem: string): Promise<webcrypto.CryptoKey> {
  let csr: Pkcs10CertificateRequest;
  try {
    csr = new Pkcs10CertificateRequest(csrPem);
  } catch {
    throw new Error("the certificate request is no PKCS #10 in PEM");
  }
  let key: webcrypto.CryptoKey;
  try {
    if (!(await csr.verify())) throw new Error("signature");
    key = (await csr.publicKey.export()) as webcrypto.CryptoKey;
  } catch {
    throw new Error("the certificate request is not signed by the key in it");
  }
  const algorithm = key.algorithm as { name: string; namedCurve?: string; modulusLength?: number };
  const isCurve = algorithm.name === "ECDSA" && (algorithm.namedCurve === "P-256" || algorithm.namedCurve === "P-384");
  const isRsa = algorithm.name.startsWith("RSA") && (algorithm.modulusLength ?? 0) >= RSA_BITS_MIN;
  if (!isCurve && !isRsa)
    throw new Error(
      `a key of type ${algorithm.name} ${algorithm.namedCurve ?? algorithm.modulusLength ?? ""} is not accepted: P-256, P-384, or RSA of ${RSA_BITS_MIN} bits or more`,
    );
  return key;
}
