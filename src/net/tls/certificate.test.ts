import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { createTestAuthority } from "../../../test/kit/test-authority.ts";
import { parseCertificate } from "./certificate.ts";

const authority = await createTestAuthority("mesh");
const derOf = (pem: string): Buffer => new X509Certificate(pem).raw;

test("names, subject, hash and validity are read from the DER", async () => {
  const notBeforeMs = Date.UTC(2026, 0, 2, 3, 4, 5);
  const notAfterMs = Date.UTC(2051, 11, 31, 23, 59, 59);
  const { chainPem } = await authority.issue({
    uris: ["spiffe://cluster.local/ns/shop/sa/catalog"],
    dnsNames: ["catalog.shop", "*.example"],
    subject: "C=DE, O=Lateen, CN=catalog",
    notBeforeMs,
    notAfterMs,
  });
  const der = derOf(chainPem);
  assert.deepEqual(parseCertificate(der), {
    uriSans: ["spiffe://cluster.local/ns/shop/sa/catalog"],
    dnsSans: ["catalog.shop", "*.example"],
    subject: "CN=catalog,O=Lateen,C=DE",
    sha256: new X509Certificate(chainPem).fingerprint256.replaceAll(":", "").toLowerCase(),
    notBeforeMs,
    notAfterMs,
  });
});

test("addresses are read as the text that config has for them", () => {
  const address = (...bytes: number[]): number[] => [0x87, bytes.length, ...bytes];
  const v4 = address(192, 0, 2, 1);
  const v6 = address(0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), 1);
  const names = Buffer.from([0x30, v4.length + v6.length, ...v4, ...v6]);
  assert.deepEqual(parseCertificate(certificateWith(names)).ipSans, ["192.0.2.1", "2001:db8::1"]);
  assert.throws(() => parseCertificate(certificateWith(Buffer.from([0x30, 5, ...address(1, 2, 3)]))), /neither 4 nor 16 bytes/);
});

test("a comma and a prefix inside a name do not make it two", async () => {
  const { chainPem } = await authority.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b,URI:spiffe://cluster.local/ns/a/sa/admin"] });
  assert.deepEqual(parseCertificate(derOf(chainPem)).uriSans, [
    "spiffe://cluster.local/ns/a/sa/b,URI:spiffe://cluster.local/ns/a/sa/admin",
  ]);
});

const badNames: readonly string[] = ["spiffe://cluster.local/ns/a/sa/b\0.evil", "spiffe://cluster.local/ns/a/sa/b, URI:spiffe://x", "a\nb"];
for (const name of badNames) {
  test(`a name with a NUL, a blank or a control is refused: ${JSON.stringify(name)}`, async () => {
    const { chainPem } = await authority.issue({ uris: [name] });
    assert.throws(() => parseCertificate(derOf(chainPem)), /bytes that no name has/);
  });
}

const subjects: readonly (readonly [string, string])[] = [
  ["CN=a\\, b", "CN=a\\, b"],
  ["CN=\\#1", "CN=\\#1"],
  ["CN=ümlaut", "CN=\\C3\\BCmlaut"],
  ["O=one, OU=two, DC=three", "DC=three,OU=two,O=one"],
];
for (const [subject, want] of subjects) {
  test(`a subject is printed as RFC 2253: ${want}`, async () => {
    const { chainPem } = await authority.issue({ subject, dnsNames: ["a"] });
    assert.equal(parseCertificate(derOf(chainPem)).subject, want);
  });
}

test("no prefix of a certificate, no byte after it and no mangled length is taken for one", async () => {
  const { chainPem } = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/catalog"] });
  const der = derOf(chainPem);
  for (let length = 0; length < der.length; length++) assert.throws(() => parseCertificate(der.subarray(0, length)));
  assert.throws(() => parseCertificate(Buffer.concat([der, Buffer.from([0])])), /after its end/);
  const whole = parseCertificate(der);
  for (let at = 0; at < der.length; at++) {
    const mangled = Buffer.from(der);
    mangled[at] = (mangled[at] ?? 0) ^ 0x80;
    try {
      assert.ok(parseCertificate(mangled).sha256 !== whole.sha256);
    } catch (error) {
      assert.match(String(error), /certificate/);
    }
  }
});

/** As much of a certificate as is read of one, with these names (DER of GeneralNames). */
function certificateWith(names: Buffer): Buffer {
  const wrap = (tag: number, ...parts: Buffer[]): Buffer => {
    const body = Buffer.concat(parts);
    return Buffer.concat([Buffer.from(body.length < 128 ? [tag, body.length] : [tag, 0x81, body.length]), body]);
  };
  const time = wrap(0x17, Buffer.from("260102030405Z"));
  const extension = wrap(0x30, wrap(0x06, Buffer.from("551d11", "hex")), wrap(0x04, names));
  const empty = wrap(0x30);
  const tbs = wrap(
    0x30,
    wrap(0x02, Buffer.from([1])),
    empty,
    empty,
    wrap(0x30, time, time),
    empty,
    empty,
    wrap(0xa3, wrap(0x30, extension)),
  );
  return wrap(0x30, tbs, empty, wrap(0x03, Buffer.from([0])));
}
