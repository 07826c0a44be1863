import assert from "node:assert/strict";
import { test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import type { GrpcCallContext } from "../../net/grpc/types.ts";
import { createAuthenticator, parseTokenRule } from "./authenticate.ts";

const { publicKey, privateKey } = await generateKeyPair("ES256");
const stranger = await generateKeyPair("ES256");
const rule = parseTokenRule(
  JSON.stringify({ issuer: "lateen", audiences: ["lateen-ca"], jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: "ES256" }] } }),
);
const authenticator = createAuthenticator({ trustDomain: "cluster.local", rule });

interface Claims {
  readonly iss?: string;
  readonly aud?: string;
  readonly sub?: string;
  readonly exp?: string | undefined;
  readonly key?: CryptoKey;
}

async function token({
  iss = "lateen",
  aud = "lateen-ca",
  sub = "system:serviceaccount:shop:payment",
  key = privateKey,
  ...rest
}: Claims): Promise<string> {
  const jwt = new SignJWT({}).setProtectedHeader({ alg: "ES256" }).setIssuer(iss).setAudience(aud).setSubject(sub);
  const exp = "exp" in rest ? rest.exp : "1h";
  if (exp) jwt.setExpirationTime(exp);
  return jwt.sign(key);
}

function call(authorization: string | undefined, uriSans: readonly string[] = []): GrpcCallContext {
  const peer = uriSans.length > 0 ? { uriSans, dnsSans: [], subject: "", sha256: "", notAfterMs: 0 } : undefined;
  return {
    method: "/m",
    peer: "127.0.0.1:1",
    metadata: authorization ? { authorization } : {},
    tls: { protocol: "TLSv1.3", alpn: "h2", serverName: undefined, peer },
  };
}

const refusedTokens: readonly { name: string; claims: Claims; why: RegExp }[] = [
  { name: "another issuer", claims: { iss: "else" }, why: /iss/ },
  { name: "another audience", claims: { aud: "default" }, why: /aud/ },
  { name: "expired", claims: { exp: "-1h" }, why: /exp/ },
  { name: "without an end", claims: { exp: undefined }, why: /exp/ },
  { name: "a stranger's key", claims: { key: stranger.privateKey }, why: /signature/ },
  { name: "a subject that is no service account", claims: { sub: "joe" }, why: /no service account/ },
  { name: "a subject with a part too many", claims: { sub: "system:serviceaccount:a:b:c" }, why: /no service account/ },
];
for (const { name, claims, why } of refusedTokens) {
  test(`a token is refused: ${name}`, async () => {
    await assert.rejects(authenticator.authenticate(call(`Bearer ${await token(claims)}`)), why);
  });
}

test("a good token gives its service account", async () => {
  const identity = await authenticator.authenticate(call(`Bearer ${await token({})}`));
  assert.deepEqual(identity, { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "payment" });
});

test("an unsigned token is refused", async () => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const none = `${part({ alg: "none" })}.${part({ iss: "lateen", aud: "lateen-ca", sub: "system:serviceaccount:shop:payment", exp: 4e9 })}.`;
  await assert.rejects(authenticator.authenticate(call(`Bearer ${none}`)), /refused/);
});

test("a workload certificate proves its one identity; two, another trust domain, or none prove nothing", async () => {
  const mine = "spiffe://cluster.local/ns/shop/sa/payment";
  assert.equal((await authenticator.authenticate(call(undefined, [mine]))).serviceAccount, "payment");
  await assert.rejects(authenticator.authenticate(call(undefined, [mine, "spiffe://cluster.local/ns/shop/sa/admin"])));
  await assert.rejects(authenticator.authenticate(call(undefined, ["spiffe://else/ns/shop/sa/payment"])), /trust domain else/);
  await assert.rejects(authenticator.authenticate(call(undefined)), /neither/);
});

test("a bad token is not saved by a good certificate", async () => {
  await assert.rejects(authenticator.authenticate(call("Bearer x.y.z", ["spiffe://cluster.local/ns/shop/sa/payment"])), /refused/);
});

test("JWT_RULE is read strictly", () => {
  assert.throws(() => parseTokenRule("{"), /no JSON/);
  assert.throws(() => parseTokenRule('{"issuer":"a","audiences":[],"jwks_uri":"https://x"}'), /audiences/);
  assert.throws(() => parseTokenRule('{"issuer":"a","audiences":["b"]}'), /jwks_uri or jwks/);
  assert.throws(() => parseTokenRule('{"issuer":"a","audiences":["b"],"jwks_uri":"http://metadata/keys"}'), /https/);
});
