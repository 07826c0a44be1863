import assert from "node:assert/strict";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { createKeyAndCsr } from "../../crypto/csr.ts";
import { splitPem } from "../../crypto/der.ts";
import { formatSpiffeId } from "../../model/identity.ts";
import { createAuthority, createSelfSignedRoot } from "./authority.ts";

const HOUR_MS = 3_600_000;
const payment = formatSpiffeId({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "payment" });
const admin = formatSpiffeId({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "admin" });

async function authority(clock = new FakeClock(Date.now())) {
  return { clock, authority: await createAuthority(await createSelfSignedRoot("cluster.local", clock), clock) };
}

test("a workload's certificate has the identity asked for by authentication, whatever the request says", async () => {
  const { authority: ca } = await authority();
  const { csrPem, keyPem } = createKeyAndCsr(admin);
  const [leafPem = "", ...rest] = await ca.signWorkload(csrPem, payment, 0);
  const leaf = new X509Certificate(leafPem);
  assert.equal(leaf.subjectAltName, `URI:${payment}`);
  assert.equal(leaf.subject ?? "", "");
  assert.equal(leaf.ca, false);
  assert.ok(leaf.checkPrivateKey(createPrivateKey(keyPem)));
  assert.ok(leaf.verify(new X509Certificate(rest.at(-1) ?? "").publicKey), "signed by the root that is sent last");
});

const ttls: readonly { name: string; askMs: number; wantHours: number }[] = [
  { name: "none asked gives a day", askMs: 0, wantHours: 24 },
  { name: "an hour asked gives an hour", askMs: HOUR_MS, wantHours: 1 },
  { name: "a year asked gives the most there is, a week", askMs: 365 * 24 * HOUR_MS, wantHours: 168 },
  { name: "a negative life gives a day", askMs: -5, wantHours: 24 },
];
for (const { name, askMs, wantHours } of ttls) {
  test(`life of a certificate: ${name}`, async () => {
    const { authority: ca, clock } = await authority();
    const [leafPem = ""] = await ca.signWorkload(createKeyAndCsr(payment).csrPem, payment, askMs);
    const life = new X509Certificate(leafPem).validToDate.getTime() - clock.nowMs();
    assert.ok(Math.abs(life - wantHours * HOUR_MS) < 1000, `${life} ms`);
  });
}

test("a request is refused with a sentence: garbage, and a signature by another key", async () => {
  const { authority: ca } = await authority();
  await assert.rejects(ca.signWorkload("hello", payment, 0), /no PKCS #10/);
  const bytes = Buffer.from(createKeyAndCsr(payment).csrPem.split("\n").slice(1, -2).join(""), "base64");
  bytes[bytes.length - 3] = (bytes[bytes.length - 3] ?? 0) ^ 1;
  const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
  await assert.rejects(ca.signWorkload(forged, payment, 0), /not signed by the key in it/);
});

test("files that do not belong together are refused by name", async () => {
  const clock = new FakeClock(Date.now());
  const [one, two] = [await createSelfSignedRoot("a", clock), await createSelfSignedRoot("b", clock)];
  await assert.rejects(createAuthority({ ...one, caKeyPem: two.caKeyPem }, clock), /ca-key.pem is not the key of ca-cert.pem/);
  await assert.rejects(createAuthority({ ...one, caKeyPem: "x" }, clock), /PKCS #8/);
  await clock.advance(11 * 365 * 24 * HOUR_MS);
  await assert.rejects(createAuthority(one, clock), /expired/);
});

test("a server's certificate has its DNS names and the chain without the root", async () => {
  const { authority: ca } = await authority();
  const { chainPem } = await ca.issueServer(["istiod.istio-system.svc"]);
  assert.equal(splitPem(chainPem).length, 1);
  assert.equal(new X509Certificate(chainPem).subjectAltName, "DNS:istiod.istio-system.svc");
});
