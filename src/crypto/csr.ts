/** Keys and certificate requests of a workload. Source: RFC 2986 (PKCS #10), RFC 5280 (SAN). */
import { createPrivateKey, generateKeyPairSync, sign } from "node:crypto";
import type { SpiffeId } from "../model/identity.ts";
import { encodeDer, encodeOid, encodePem, Tag } from "./der.ts";

/** A fresh key with the request that asks for its certificate. */
export interface KeyAndCsr {
  /** PKCS #8 PEM. Zero it (`fill(0)`) when it is no longer needed. */
  readonly keyPem: Buffer;
  readonly csrPem: string;
}

const OID = { ecdsaWithSha256: "1.2.840.10045.4.3.2", extensionRequest: "1.2.840.113549.1.9.14", subjectAltName: "2.5.29.17" } as const;
const URI_NAME = 0x86; // [6] IMPLICIT IA5String of GeneralName
const CONTEXT_0 = 0xa0;

/** Makes a P-256 key and a request for `identity`. An authority takes only the public key from it; the name is for its logs. */
export function createKeyAndCsr(identity: SpiffeId): KeyAndCsr {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const subject = encodeDer(Tag.sequence);
  const names = encodeDer(Tag.sequence, encodeDer(URI_NAME, Buffer.from(identity, "ascii")));
  const san = encodeDer(Tag.sequence, encodeOid(OID.subjectAltName), encodeDer(Tag.octetString, names));
  const attribute = encodeDer(Tag.sequence, encodeOid(OID.extensionRequest), encodeDer(Tag.set, encodeDer(Tag.sequence, san)));
  const info = encodeDer(
    Tag.sequence,
    encodeDer(Tag.integer, Buffer.from([0])),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    encodeDer(CONTEXT_0, attribute),
  );
  const signature = sign("sha256", info, { key: privateKey, dsaEncoding: "der" });
  const csr = encodeDer(
    Tag.sequence,
    info,
    encodeDer(Tag.sequence, encodeOid(OID.ecdsaWithSha256)),
    encodeDer(Tag.bitString, Buffer.from([0]), signature),
  );
  return { keyPem: Buffer.from(privateKey.export({ type: "pkcs8", format: "pem" })), csrPem: encodePem("CERTIFICATE REQUEST", csr) };
}

/** Whether a PEM text is a private key that this machine can use. Throws with the reason when not; the key's bytes are never in the message. */
export function checkPrivateKey(pem: Buffer): void {
  try {
    createPrivateKey(pem);
  } catch {
    throw new Error("the private key cannot be read: it must be unencrypted PEM (PKCS #8, EC or RSA)");
  }
}
