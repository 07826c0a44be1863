/** Who may talk to whom, and what the server's application is told of it. */
import assert from "node:assert/strict";
import { createAuthority, createSelfSignedRoot } from "../../src/control/ca/authority.ts";
import { formatSpiffeId } from "../../src/model/identity.ts";
import type { DialOptions } from "../../src/net/dial.ts";
import { createClientTls } from "../../src/net/tls/contexts.ts";
import type { KeyPair } from "../../src/net/tls/types.ts";
import { meshRules, meshTest } from "../kit/mesh-test.ts";
import type { Mesh } from "../kit/mesh-world.ts";

const WORKLOADS = [
  { name: "web", serviceAccount: "storefront" },
  { name: "payment", service: "payment" },
  { name: "ledger", service: "ledger", ports: [{ number: 9000, name: "tcp", protocol: "TCP", targetPort: 9000 }] },
];

const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;
const MESH_HTTP = ["istio-http/1.1", "istio"];

meshTest(
  "between sidecars the app is told the client's identity, whatever the client says of itself",
  { workloads: WORKLOADS, yaml: STRICT },
  async (mesh) => {
    const answer = await mesh
      .client("web")
      .get("http://payment/pay", { "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/shop/sa/admin" });
    assert.equal(answer.status, 200, answer.error);
    const xfcc = mesh.app("payment").requests[0]?.headers["x-forwarded-client-cert"] ?? "";
    assert.match(
      xfcc,
      /^By=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/payment;Hash=[0-9a-f]{64};Subject="";URI=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/storefront$/,
    );
  },
);

meshTest("bytes on the wire between sidecars are TLS", { workloads: WORKLOADS }, async (mesh) => {
  // A machine that stands in for payment's sees what arrives there.
  const seen: Buffer[] = [];
  const host = mesh.host("payment");
  host.redirect = () => ({ host: host.ips[0] ?? "", port: 15999 });
  await host.acceptor.listen({ at: { host: "0.0.0.0", port: 15999 } }, (incoming) => {
    const channel = incoming.accept();
    channel.handler = {
      onData(buffer, start, end) {
        seen.push(Buffer.from(buffer.subarray(start, end)));
        channel.destroy();
      },
      onEnd() {},
      onDrain() {},
      onClose() {},
    };
  });
  assert.equal((await mesh.client("web").get("http://payment/secret-path")).status, 503);
  assert.ok(seen.length > 0);
  for (const bytes of seen) {
    assert.equal(bytes[0], 22, "a TLS handshake record");
    assert.ok(!bytes.includes("secret-path"));
  }
});

interface Door {
  readonly name: string;
  readonly mode: "STRICT" | "PERMISSIVE";
  readonly tls: undefined | ((mesh: Mesh) => Promise<{ readonly keyPair: KeyPair | undefined; readonly alpn: readonly string[] }>);
  /** The app that answers, over HTTP and over TCP; undefined: nobody may. */
  readonly isLetIn: boolean;
}

const client = (trustDomain: string) => formatSpiffeId({ trustDomain, namespace: "shop", serviceAccount: "storefront" });
const DOORS: readonly Door[] = [
  { name: "STRICT refuses plaintext", mode: "STRICT", tls: undefined, isLetIn: false },
  { name: "PERMISSIVE takes plaintext", mode: "PERMISSIVE", tls: undefined, isLetIn: true },
  {
    name: "STRICT takes a certificate of the mesh",
    mode: "STRICT",
    tls: async (mesh) => ({ keyPair: await mesh.certificate(client("cluster.local")), alpn: MESH_HTTP }),
    isLetIn: true,
  },
  {
    name: "PERMISSIVE takes a certificate of the mesh",
    mode: "PERMISSIVE",
    tls: async (mesh) => ({ keyPair: await mesh.certificate(client("cluster.local")), alpn: MESH_HTTP }),
    isLetIn: true,
  },
  {
    name: "STRICT refuses a certificate of another trust domain",
    mode: "STRICT",
    tls: async (mesh) => ({ keyPair: await mesh.certificate(client("elsewhere.example")), alpn: MESH_HTTP }),
    isLetIn: false,
  },
  {
    name: "PERMISSIVE refuses a certificate of another trust domain",
    mode: "PERMISSIVE",
    tls: async (mesh) => ({ keyPair: await mesh.certificate(client("elsewhere.example")), alpn: MESH_HTTP }),
    isLetIn: false,
  },
  {
    name: "STRICT refuses a certificate of another authority",
    mode: "STRICT",
    tls: async (mesh) => ({ keyPair: await strangersCertificate(mesh), alpn: MESH_HTTP }),
    isLetIn: false,
  },
  {
    name: "PERMISSIVE refuses a certificate of another authority",
    mode: "PERMISSIVE",
    tls: async (mesh) => ({ keyPair: await strangersCertificate(mesh), alpn: MESH_HTTP }),
    isLetIn: false,
  },
  {
    name: "STRICT refuses a client without a certificate",
    mode: "STRICT",
    tls: async () => ({ keyPair: undefined, alpn: MESH_HTTP }),
    isLetIn: false,
  },
  {
    name: "PERMISSIVE refuses mesh TLS without a certificate",
    mode: "PERMISSIVE",
    tls: async () => ({ keyPair: undefined, alpn: MESH_HTTP }),
    isLetIn: false,
  },
];

for (const mode of ["STRICT", "PERMISSIVE"] as const) {
  meshRules(
    `a server in ${mode} mode`,
    { workloads: WORKLOADS, yaml: STRICT.replace("mode: STRICT", `mode: ${mode}`) },
    DOORS.filter((door) => door.mode === mode),
    async (mesh, { tls, isLetIn }) => {
      const secure = await tlsOf(mesh, tls);
      const http = mesh.stranger("10.9.9.9", secure);
      const before = mesh.app("payment").requests.length;
      const answer = await http.get(`http://${mesh.host("payment").ips[0]}:8080/door`);
      assert.equal(answer.status, isLetIn ? 200 : 0, answer.error);
      assert.equal(mesh.app("payment").requests.length - before, isLetIn ? 1 : 0);

      const bytes = mesh.app("ledger").tcpText.length;
      const echoed = await http.tcp(mesh.host("ledger").ips[0] ?? "", 9000).then(
        async (connection) => {
          connection.channel.writeLatin1("hello ledger");
          await mesh.clock.until("an echo or the end", () => connection.text !== "" || connection.isEnded || connection.closes > 0);
          return connection.text;
        },
        () => "",
      );
      assert.equal(echoed, isLetIn ? "ledger hello ledger" : "");
      assert.equal(mesh.app("ledger").tcpText.length - bytes, isLetIn ? 12 : 0);
    },
  );
}

meshTest(
  "a sidecar does not send to a server that shows another identity than the service's",
  { workloads: WORKLOADS, yaml: STRICT },
  async (mesh) => {
    // ledger's proxy answers at the address of an endpoint of payment: its certificate is good, and not payment's.
    await mesh.change({
      "impostor.yaml": `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: impostor, namespace: shop }
spec: { address: ${mesh.host("ledger").ips[0]}, serviceAccount: payment, labels: { test/service: payment } }
`,
      [mesh.fileOf("payment")]: undefined,
    });
    const answer = await mesh.client("web").get("http://payment/");
    assert.equal(answer.status, 503);
    assert.match(String(mesh.accessLog("web").at(-1)?.["response_flags"]), /UF/);
  },
);

meshTest(
  "the port-level mode of a workload wins over the mesh's",
  {
    workloads: WORKLOADS,
    yaml: `${STRICT}---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: payment, namespace: shop }
spec:
  selector: { matchLabels: { app: payment } }
  mtls: { mode: STRICT }
  portLevelMtls: { "8080": { mode: PERMISSIVE } }
`,
  },
  async (mesh) => {
    assert.equal((await mesh.stranger().get(`http://${mesh.host("payment").ips[0]}:8080/`)).status, 200);
  },
);

async function strangersCertificate(mesh: Mesh): Promise<KeyPair> {
  const authority = await createAuthority(await createSelfSignedRoot("cluster.local", mesh.clock), mesh.clock);
  return mesh.certificate(client("cluster.local"), authority);
}

async function tlsOf(mesh: Mesh, tls: Door["tls"]): Promise<DialOptions["tls"]> {
  if (!tls) return undefined;
  const { keyPair, alpn } = await tls(mesh);
  return { context: createClientTls({ keyPair, trustPem: mesh.authority.rootPem, alpn }), serverName: undefined, alpn };
}
