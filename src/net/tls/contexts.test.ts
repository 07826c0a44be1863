import assert from "node:assert/strict";
import { test } from "node:test";
import { createTestAuthority } from "../../../test/kit/test-authority.ts";
import { asClientTls, asServerTls, createClientTls, createServerTls } from "./contexts.ts";
import type { ServerTlsOptions } from "./types.ts";

const authority = await createTestAuthority("mesh");
const keyPair = await authority.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b"] });
const other = await authority.issue({ uris: ["spiffe://cluster.local/ns/a/sa/c"] });
const good: ServerTlsOptions = { keyPair, trustPem: authority.trustPem, alpn: ["h2"], requireClientCertificate: true };

const refused: readonly { readonly name: string; readonly change: Partial<ServerTlsOptions>; readonly why: RegExp }[] = [
  { name: "no certificate", change: { keyPair: undefined }, why: /needs a certificate/ },
  { name: "another certificate's key", change: { keyPair: { chainPem: keyPair.chainPem, keyPem: other.keyPem } }, why: /mismatch/ },
  { name: "no key", change: { keyPair: { chainPem: keyPair.chainPem, keyPem: Buffer.from("nonsense") } }, why: /no TLS context/ },
  { name: "a trust bundle without a certificate", change: { trustPem: "" }, why: /holds no certificate/ },
  { name: "client certificates that nobody can verify", change: { trustPem: undefined }, why: /no trusted authority/ },
  {
    name: "names to check where no chain is",
    change: { trustPem: undefined, requireClientCertificate: false, verifyPeer: () => undefined },
    why: /no trusted authority/,
  },
  { name: "an unknown cipher suite", change: { ciphers: ["ECDHE-ECDSA-AES128-GCM-SHA256", "ROT13"] }, why: /"ROT13" is not known/ },
  { name: "an unknown curve", change: { ecdhCurves: ["P-1"] }, why: /no TLS context/ },
];
for (const { name, change, why } of refused) {
  test(`a context is refused: ${name}`, () => {
    assert.throws(
      () => createServerTls({ ...good, ...change }),
      (error) => {
        assert.match(String(error), why);
        // A key is never in a message, not even in part.
        const key = keyPair.keyPem.toString("latin1").split("\n")[1] ?? "";
        assert.ok(key.length > 20 && !String(error).includes(key.slice(0, 20)));
        return true;
      },
    );
  });
}

test("Envoy's groups of suites and its curve names are taken", () => {
  createServerTls({
    ...good,
    ciphers: ["[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]", "ECDHE-RSA-AES256-GCM-SHA384"],
    ecdhCurves: ["X25519MLKEM768", "X25519", "P-256", "P-384"],
  });
});

test("a handle is what it was made as, and nothing else is one", () => {
  const server = createServerTls(good);
  const client = createClientTls({ keyPair: undefined, trustPem: authority.trustPem, alpn: [] });
  assert.equal(asServerTls(server), server);
  assert.equal(asClientTls(client), client);
  for (const odd of [client, undefined, null, {}, { kind: "server", secureContext: {} }, "server"])
    assert.throws(() => asServerTls(odd), /no server's TLS context/);
  for (const odd of [server, undefined, { kind: "client", secureContext: {} }])
    assert.throws(() => asClientTls(odd), /no client's TLS context/);
});

test("a context outlives the key's buffer", () => {
  const keyPem = Buffer.from(keyPair.keyPem);
  const context = createServerTls({ ...good, keyPair: { chainPem: keyPair.chainPem, keyPem } });
  keyPem.fill(0);
  assert.ok(context.secureContext);
  assert.ok(!JSON.stringify(Object.keys(context)).includes("key"), "the context has no member with the key");
});
