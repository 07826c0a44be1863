/**
 * Who is calling: the identity that a call has proved, by a service-account token or by the certificate it already has. What a
 * caller merely says (node id, CSR) is never asked. Source: Istio's authenticators; RFC 7519.
 */
import { createLocalJWKSet, createRemoteJWKSet, type JSONWebKeySet, type JWTVerifyGetKey, jwtVerify } from "jose";
import { messageOf } from "../../base/errors.ts";
import { type Identity, parseSpiffeId } from "../../model/identity.ts";
import { type GrpcCallContext, GrpcError, GrpcStatus } from "../../net/grpc/types.ts";

/** Which tokens are taken. Source: istiod's JWT_RULE. */
export interface TokenRule {
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Where the issuer's keys are: an https URL (http on loopback only), or the keys themselves. */
  readonly jwksUri: string | undefined;
  readonly jwks: JSONWebKeySet | undefined;
}

/** Proves callers. */
export interface Authenticator {
  /** The caller's identity. Rejects with UNAUTHENTICATED and why. */
  authenticate(call: GrpcCallContext): Promise<Identity>;
}

const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"];
const TOKEN_BYTES_MAX = 16 * 1024;
const SUBJECT = /^system:serviceaccount:([^:]+):([^:]+)$/;

/** Reads istiod's JWT_RULE (JSON: issuer, audiences, jwks_uri or jwks). Throws with what is wrong in it. */
export function parseTokenRule(text: string): TokenRule {
  let rule: Record<string, unknown>;
  try {
    rule = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new Error(`JWT_RULE is no JSON: ${messageOf(error)}`);
  }
  const { issuer, audiences } = rule;
  const jwksUri = rule["jwks_uri"] ?? rule["jwksUri"];
  const jwks = typeof rule["jwks"] === "string" ? (JSON.parse(rule["jwks"]) as unknown) : rule["jwks"];
  if (typeof issuer !== "string" || issuer === "") throw new Error("JWT_RULE: issuer must be a text");
  if (!Array.isArray(audiences) || audiences.length === 0 || !audiences.every((a) => typeof a === "string"))
    throw new Error("JWT_RULE: audiences must be a list of texts, at least one");
  if (jwksUri !== undefined && typeof jwksUri !== "string") throw new Error("JWT_RULE: jwks_uri must be a text");
  if (typeof jwksUri === "string") checkJwksUri(jwksUri);
  if (jwksUri === undefined && (typeof jwks !== "object" || jwks === null)) throw new Error("JWT_RULE: jwks_uri or jwks is needed");
  return { issuer, audiences: audiences as string[], jwksUri: jwksUri as string | undefined, jwks: jwks as JSONWebKeySet | undefined };
}

function checkJwksUri(uri: string): void {
  const url = URL.parse(uri);
  if (!url) throw new Error(`JWT_RULE: jwks_uri "${uri}" is no URL`);
  const isLoopback = ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLoopback))
    throw new Error(`JWT_RULE: jwks_uri "${uri}" must be https (http is taken on loopback only)`);
}

/** Makes an authenticator for a trust domain. `rule` undefined: certificates alone. */
export function createAuthenticator(options: { readonly trustDomain: string; readonly rule: TokenRule | undefined }): Authenticator {
  const { rule, trustDomain } = options;
  const keys = rule && keysOf(rule);
  return {
    async authenticate(call) {
      const bearer = bearerToken(call);
      if (bearer !== undefined && rule && keys) return { trustDomain, ...(await verifyToken(bearer, rule, keys)) };
      const uris = call.tls?.peer?.uriSans ?? [];
      const identity = uris.length === 1 ? parseSpiffeId(uris[0] as string) : undefined;
      if (identity && identity.trustDomain === trustDomain) return identity;
      if (identity) throw unauthenticated(`the certificate is of trust domain ${identity.trustDomain}, not ${trustDomain}`);
      throw unauthenticated(
        bearer !== undefined
          ? "tokens are not taken here: no JWT_RULE is set"
          : "neither a bearer token nor a workload certificate was shown",
      );
    },
  };
}

function keysOf(rule: TokenRule): JWTVerifyGetKey {
  if (rule.jwks) return createLocalJWKSet(rule.jwks);
  return createRemoteJWKSet(new URL(rule.jwksUri as string), { timeoutDuration: 5000, cooldownDuration: 1000 });
}

function bearerToken(call: GrpcCallContext): string | undefined {
  const match = /^Bearer (.+)$/.exec(call.metadata["authorization"] ?? "");
  return match?.[1];
}

async function verifyToken(token: string, rule: TokenRule, keys: JWTVerifyGetKey): Promise<{ namespace: string; serviceAccount: string }> {
  if (token.length > TOKEN_BYTES_MAX) throw unauthenticated("the token is too long");
  let subject: string | undefined;
  try {
    const { payload } = await jwtVerify(token, keys, {
      issuer: rule.issuer,
      audience: [...rule.audiences],
      algorithms: ALGORITHMS,
      requiredClaims: ["exp", "sub"],
    });
    subject = payload.sub;
  } catch (error) {
    throw unauthenticated(`the token is refused: ${messageOf(error)}`);
  }
  const [, namespace, serviceAccount] = SUBJECT.exec(subject ?? "") ?? [];
  if (!namespace || !serviceAccount)
    throw unauthenticated(`the token's subject "${subject}" is no service account (system:serviceaccount:NAMESPACE:NAME)`);
  return { namespace, serviceAccount };
}

function unauthenticated(why: string): GrpcError {
  return new GrpcError(GrpcStatus.UNAUTHENTICATED, why);
}
