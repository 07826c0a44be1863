/**
 * Asks an authority for a workload's certificate: makes the key, sends the request, checks what comes back. The key never leaves this process.
 * Source: istio.v1.auth.IstioCertificateService.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { createKeyAndCsr } from "../crypto/csr.ts";
import { splitPem } from "../crypto/der.ts";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "../gen/istio/v1/auth/ca_pb.ts";
import type { SpiffeId } from "../model/identity.ts";
import type { GrpcChannel } from "../net/grpc/types.ts";

/** The gRPC method of Istio's authorities. */
export const CREATE_CERTIFICATE_METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/** A certificate and all that its holder needs. */
export interface WorkloadCertificate {
  /** Leaf first, then intermediates; without the root. */
  readonly chainPem: string;
  readonly keyPem: Buffer;
  /** What to trust in peers: the roots that the authority sent. */
  readonly rootPem: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** How and for whom to ask. */
export interface CertificateRequestOptions {
  readonly channel: GrpcChannel;
  readonly identity: SpiffeId;
  /** Bearer token that proves the identity; undefined where the channel's own certificate does. Read anew for each request. */
  readonly token: (() => Promise<string>) | undefined;
  /** Sent as request metadata, for authorities of several clusters. */
  readonly clusterId: string | undefined;
  readonly ttlSeconds: number;
  readonly timeoutMs: number;
}

/**
 * One certificate. Rejects when the authority refuses (GrpcError) or answers with what does not fit: another key, another identity, no chain to
 * the root it sent.
 */
export async function requestCertificate(options: CertificateRequestOptions): Promise<WorkloadCertificate> {
  const { keyPem, csrPem } = createKeyAndCsr(options.identity);
  const request = create(IstioCertificateRequestSchema, { csr: csrPem, validityDuration: BigInt(options.ttlSeconds) });
  const metadata: Record<string, string> = {};
  if (options.token) metadata["authorization"] = `Bearer ${await options.token()}`;
  if (options.clusterId) metadata["clusterid"] = options.clusterId;
  const answer = await options.channel.unary(CREATE_CERTIFICATE_METHOD, toBinary(IstioCertificateRequestSchema, request), {
    metadata,
    timeoutMs: options.timeoutMs,
  });
  const chain = fromBinary(IstioCertificateResponseSchema, answer).certChain.flatMap((pem) => splitPem(pem));
  return checkChain(chain, keyPem, options.identity);
}

function checkChain(chain: readonly string[], keyPem: Buffer, identity: SpiffeId): WorkloadCertificate {
  const [leafPem, ...issuers] = chain;
  const rootPem = issuers.at(-1);
  if (!leafPem || !rootPem) throw new Error(`the authority sent ${chain.length} certificates; a leaf and at least its root are needed`);
  const leaf = new X509Certificate(leafPem);
  if (!leaf.checkPrivateKey(createPrivateKey(keyPem))) throw new Error("the authority's certificate is for another key");
  if (leaf.subjectAltName !== `URI:${identity}`)
    throw new Error(`the authority's certificate names ${leaf.subjectAltName ?? "nobody"}, not ${identity}`);
  let below = leaf;
  for (const pem of issuers) {
    const issuer = new X509Certificate(pem);
    if (!below.checkIssued(issuer) || !below.verify(issuer.publicKey))
      throw new Error(`the authority's chain is broken: "${below.subject}" was not signed by "${issuer.subject}"`);
    below = issuer;
  }
  return {
    chainPem: [leafPem, ...issuers.slice(0, -1)].join(""),
    keyPem,
    rootPem,
    notBeforeMs: leaf.validFromDate.getTime(),
    notAfterMs: leaf.validToDate.getTime(),
  };
}
