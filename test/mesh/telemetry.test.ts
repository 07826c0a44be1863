/** What both sidecars tell of a request: metrics and access logs, which agree. */
import assert from "node:assert/strict";
import { meshRules, meshTest } from "../kit/mesh-test.ts";

const WORKLOADS = [
  { name: "web", serviceAccount: "storefront", labels: { version: "v3" } },
  { name: "payment-v1", service: "payment", labels: { version: "v1" } },
  { name: "legacy", service: "legacy", sidecar: false },
];

const SHOP = {
  source_workload: "web",
  source_workload_namespace: "shop",
  source_app: "web",
  source_version: "v3",
  source_canonical_service: "web",
  source_canonical_revision: "v3",
  source_cluster: "test",
};
const PAYMENT = {
  destination_workload: "payment-v1",
  destination_workload_namespace: "shop",
  destination_app: "payment",
  destination_version: "v1",
  destination_service: "payment.shop.svc.cluster.local",
  destination_service_name: "payment",
  destination_service_namespace: "shop",
  destination_canonical_service: "payment",
  destination_canonical_revision: "v1",
  destination_cluster: "test",
};
const MUTUAL = {
  source_principal: "spiffe://cluster.local/ns/shop/sa/storefront",
  destination_principal: "spiffe://cluster.local/ns/shop/sa/payment",
};

const ROWS = [
  { name: "200", path: "/ok", answer: { status: 200 }, want: { response_code: "200", response_flags: "-" } },
  { name: "an error of the application", path: "/fault", answer: { status: 500 }, want: { response_code: "500", response_flags: "-" } },
  {
    name: "an answer that has no body",
    path: "/none",
    answer: { status: 204, body: "" },
    want: { response_code: "204", response_flags: "-" },
  },
];

meshRules(
  "istio_requests_total and the access log, on both sides",
  { workloads: WORKLOADS },
  ROWS,
  async (mesh, { path, answer, want }) => {
    mesh.app("payment-v1").answer = () => answer;
    const before = { web: mesh.accessLog("web").length, payment: mesh.accessLog("payment-v1").length };
    assert.equal((await mesh.client("web").get(`http://payment${path}`)).status, answer.status);
    const common = { ...SHOP, ...PAYMENT, ...MUTUAL, ...want, request_protocol: "http", grpc_response_status: "" };
    await mesh.clock.until("the server's side to be counted", () => mesh.accessLog("payment-v1").length > before.payment);
    const samples = (name: string) =>
      mesh
        .samples(name)
        .filter((sample) => sample.name === "istio_requests_total" && sample.labels["response_code"] === want.response_code);
    assert.deepEqual(
      samples("web").map(({ labels, value }) => ({ ...labels, value })),
      [{ ...common, reporter: "source", connection_security_policy: "unknown", value: 1 }],
    );
    assert.deepEqual(
      samples("payment-v1").map(({ labels, value }) => ({ ...labels, value })),
      [{ ...common, reporter: "destination", connection_security_policy: "mutual_tls", value: 1 }],
    );
    const lines = [mesh.accessLog("web").slice(before.web), mesh.accessLog("payment-v1").slice(before.payment)];
    for (const side of lines) {
      assert.equal(side.length, 1);
      const [line] = side;
      assert.equal(line?.["path"], path);
      assert.equal(line?.["method"], "GET");
      assert.equal(line?.["authority"], "payment");
      assert.equal(String(line?.["response_code"]), want.response_code);
      assert.equal(line?.["response_flags"], want.response_flags);
      assert.equal(line?.["response_code_details"], "via_upstream");
    }
    assert.equal(lines[0]?.[0]?.["request_id"], lines[1]?.[0]?.["request_id"], "one request, one id");
    assert.equal(lines[0]?.[0]?.["upstream_cluster"], "outbound|80||payment.shop.svc.cluster.local");
    assert.equal(lines[0]?.[0]?.["upstream_host"], `${mesh.host("payment-v1").ips[0]}:8080`);
    assert.equal(lines[1]?.[0]?.["upstream_cluster"], "inbound|8080||");
    assert.equal(lines[1]?.[0]?.["requested_server_name"], "outbound_.80_._.payment.shop.svc.cluster.local");
  },
);

meshRules(
  "a client or a server without a sidecar",
  { workloads: WORKLOADS },
  [
    { name: "a client outside of the mesh is unknown to the server", isServer: true },
    { name: "a server outside of the mesh has no identity for the client", isServer: false },
  ],
  async (mesh, { isServer }) => {
    if (isServer) {
      assert.equal((await mesh.stranger().get(`http://${mesh.host("payment-v1").ips[0]}:8080/`)).status, 200);
      const labels = {
        reporter: "destination",
        source_workload: "unknown",
        source_principal: "unknown",
        connection_security_policy: "none",
        response_code: "200",
      };
      assert.equal(mesh.figure("payment-v1", "istio_requests_total", labels), 1);
    } else {
      assert.equal((await mesh.client("web").get("http://legacy/")).app, "legacy");
      const labels = {
        reporter: "source",
        destination_service: "legacy.shop.svc.cluster.local",
        destination_principal: "unknown",
        response_code: "200",
      };
      assert.equal(mesh.figure("web", "istio_requests_total", labels), 1);
      assert.equal(mesh.app("legacy").requests[0]?.headers["x-envoy-peer-metadata"], undefined, "nothing of the mesh goes out of it");
    }
  },
);

meshTest(
  "a connection that no filter chain takes is in the server's access log",
  {
    workloads: WORKLOADS,
    yaml: `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`,
  },
  async (mesh) => {
    const [ip = ""] = mesh.host("payment-v1").ips;
    assert.equal((await mesh.stranger().get(`http://${ip}:8080/`)).status, 0);
    assert.deepEqual(
      mesh.accessLog("payment-v1").map((line) => [line["response_flags"], line["response_code_details"], line["downstream_local_address"]]),
      [["NR", "filter_chain_not_found", `${ip}:8080`]],
    );
    assert.deepEqual(
      mesh.log.filter((line) => /not carried out/.test(line)),
      [],
      "a Lateen proxy carries out all that a Lateen control plane sends",
    );
  },
);
