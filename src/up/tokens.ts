/** The mesh's own issuer of service-account tokens: what Kubernetes is elsewhere. Its key lives in this process alone. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";

/** Audience of the tokens that the authority takes. */
export const TOKEN_AUDIENCE = "lateen-ca";

/** Issues tokens. */
export interface TokenIssuer {
  /** For the control plane's JWT_RULE. */
  readonly jwtRule: string;
  /** A token of `ttlSeconds` that proves a service account. */
  token(namespace: string, serviceAccount: string, ttlSeconds: number): Promise<string>;
}

/** Makes an issuer with a fresh key. */
export async function createTokenIssuer(meshName: string): Promise<TokenIssuer> {
  const issuer = `lateen-up/${meshName}`;
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwk = { ...(await exportJWK(publicKey)), alg: "ES256", use: "sig", kid: "lateen-up" };
  return {
    jwtRule: JSON.stringify({ issuer, audiences: [TOKEN_AUDIENCE], jwks: { keys: [jwk] } }),
    token: (namespace, serviceAccount, ttlSeconds) =>
      new SignJWT({})
        .setProtectedHeader({ alg: "ES256", kid: "lateen-up" })
        .setIssuer(issuer)
        .setAudience(TOKEN_AUDIENCE)
        .setSubject(`system:serviceaccount:${namespace}:${serviceAccount}`)
        .setIssuedAt()
        .setExpirationTime(`${ttlSeconds}s`)
        .sign(privateKey),
  };
}
