/** How a proxy comes by its certificate: from the mesh's authority, for a token, and again before it ends. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { silentLog } from "../../src/base/log.ts";
import { startEmbeddedIdentity } from "../../src/proxy/config/embedded-identity.ts";
import type { MeshClock } from "../kit/mesh-clock.ts";
import { SEED } from "../kit/mesh-test.ts";
import { CONTROL_PLANE, createMesh, type LocalSecrets, type Mesh, type MeshOptions } from "../kit/mesh-world.ts";

const HOUR_MS = 3_600_000;

/** A mesh whose proxies ask for their certificates; `subjectOf` says whom an instance's token is for. */
async function withTokens(
  subjectOf: (serviceAccount: string) => string,
  body: (mesh: Mesh, starts: string[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "lateen-identity-"));
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const failures: string[] = [];
  const options: MeshOptions = {
    seed: SEED,
    workloads: [{ name: "web" }, { name: "payment", service: "payment" }],
    tokenRule: {
      issuer: "test",
      audiences: ["lateen-ca"],
      jwksUri: undefined,
      jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: "ES256" }] },
    },
    secrets: (instance, { network, clock, random, rootPem }) => {
      const [token, root] = [join(folder, `${instance.name}.token`), join(folder, "root.pem")];
      writeFileSync(root, rootPem);
      writeFileSync(token, tokens.get(subjectOf(instance.serviceAccount)) ?? "");
      const variables = {
        CA_ADDR: `${CONTROL_PLANE.host}:${CONTROL_PLANE.port}`,
        ISTIOD_SAN: CONTROL_PLANE.serverName,
        POD_NAMESPACE: instance.namespace,
        SERVICE_ACCOUNT: instance.serviceAccount,
        LATEEN_TOKEN_FILE: `${instance.name}.token`,
        LATEEN_CA_ROOT_FILE: "root.pem",
      };
      const identity = startEmbeddedIdentity({
        variables,
        directory: folder,
        network,
        clock,
        random,
        log: silentLog,
        mark: 1337,
        onFail: (why) => failures.push(why),
      });
      return identity satisfies LocalSecrets;
    },
  };
  const tokens = new Map<string, string>();
  for (const name of ["web", "payment", "stranger"]) {
    const token = new SignJWT({}).setProtectedHeader({ alg: "ES256" }).setIssuer("test").setAudience("lateen-ca");
    tokens.set(name, await token.setSubject(`system:serviceaccount:shop:${name}`).setExpirationTime("90d").sign(privateKey));
  }
  try {
    const mesh = await createMesh(options);
    try {
      await body(mesh, failures);
    } finally {
      await mesh.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("a token gives a proxy its certificate, which is renewed while requests go on, for as long as it runs", async () => {
  await withTokens(
    (own) => own,
    async (mesh, failures) => {
      assert.deepEqual(failures, []);
      const web = mesh.client("web");
      const serials = new Set<string>();
      for (let hours = 0; hours <= 36; hours += 9) {
        const answer = await web.get("http://payment/");
        assert.equal(answer.status, 200, `after ${hours} h: ${answer.error} ${answer.body}`);
        serials.add(/Hash=([0-9a-f]+)/.exec(mesh.app("payment").requests.at(-1)?.headers["x-forwarded-client-cert"] ?? "")?.[1] ?? "");
        await leap(mesh.clock, 9 * HOUR_MS);
      }
      assert.ok(serials.size >= 2, `${serials.size} certificates in 36 h`);
      assert.ok(!serials.has(""));
    },
  );
});

test("a proxy whose token is for another service account never serves", async () => {
  await assert.rejects(
    withTokens(
      (own) => (own === "payment" ? "stranger" : own),
      async () => assert.fail("a proxy serves with what it did not prove"),
    ),
    /waited in vain for every proxy to be live/,
  );
});

/** Lets hours pass; what computes in other threads keeps up. */
async function leap(clock: MeshClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 60_000) await clock.advance(60_000);
}
