/** What is carried beside plain HTTP/1.1: gRPC, WebSocket, TCP; services outside by name; gateways. */
import assert from "node:assert/strict";
import { GrpcError, GrpcStatus } from "../../src/net/grpc/types.ts";
import { meshRules, meshTest } from "../kit/mesh-test.ts";

const TCP = { number: 9000, name: "tcp", protocol: "TCP", targetPort: 9000 };
const GRPC = { number: 9090, name: "grpc", protocol: "GRPC", targetPort: 9090 };
const HTTP = { number: 80, name: "http", protocol: "HTTP" };
const PLAIN = { ...HTTP, targetPort: 80 };

meshTest(
  "gRPC goes through both sidecars, with its trailers",
  { workloads: [{ name: "web" }, { name: "inventory", service: "inventory", ports: [GRPC] }] },
  async (mesh) => {
    const channel = mesh.client("web").grpc("inventory", 9090);
    const call = (method: string) =>
      mesh.clock.run(method, channel.unary(`/echo.Echo/${method}`, Buffer.from("hello"), { timeoutMs: 5000 }));
    assert.equal(Buffer.from(await call("Say")).toString(), "inventory hello");
    assert.match(mesh.app("inventory").grpcMetadata["x-forwarded-client-cert"] ?? "", /URI=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/web$/);
    await assert.rejects(call("Nothing"), (error) => error instanceof GrpcError && error.code === GrpcStatus.UNIMPLEMENTED);
    assert.equal(mesh.figure("web", "istio_requests_total", { request_protocol: "grpc", grpc_response_status: "0" }), 1);
    assert.equal(mesh.figure("web", "istio_requests_total", { request_protocol: "grpc", grpc_response_status: "12" }), 1);
  },
);

meshTest(
  "gRPC streams both ways at once",
  { workloads: [{ name: "web" }, { name: "inventory", service: "inventory", ports: [GRPC] }] },
  async (mesh) => {
    const heard: string[] = [];
    const ended = Promise.withResolvers<GrpcError | undefined>();
    const stream = mesh
      .client("web")
      .grpc("inventory", 9090)
      .openStream(
        "/echo.Echo/Chat",
        {},
        {
          onMessage: (message) => void heard.push(Buffer.from(message).toString()),
          onEnd: (error) => ended.resolve(error),
        },
      );
    stream.send(Buffer.from("one"));
    await mesh.clock.until("the first answer", () => heard.length === 1);
    stream.send(Buffer.from("two"));
    await mesh.clock.until("the second answer", () => heard.length === 2);
    stream.end();
    assert.equal(await mesh.clock.run("the end", ended.promise), undefined);
    assert.deepEqual(heard, ["inventory one", "inventory two"]);
  },
);

meshTest(
  "a WebSocket is a tunnel through both sidecars",
  { workloads: [{ name: "web" }, { name: "orders", service: "orders" }] },
  async (mesh) => {
    const tunnel = await mesh.client("web").upgrade("http://orders/live");
    tunnel.send("one");
    await mesh.clock.until("the first echo", () => tunnel.text === "one");
    tunnel.send(" two");
    await mesh.clock.until("the second echo", () => tunnel.text === "one two");
    tunnel.end();
    await mesh.clock.until("the end", () => tunnel.isEnded);
    assert.equal(mesh.app("orders").requests[0]?.path, "/live");
    assert.match(mesh.app("orders").requests[0]?.headers["x-forwarded-client-cert"] ?? "", /sa\/web$/);
  },
);

meshTest(
  "TCP goes through both sidecars over mutual TLS, half-closed ends and all",
  { workloads: [{ name: "web" }, { name: "ledger", service: "ledger", ports: [TCP] }] },
  async (mesh) => {
    const connection = await mesh.client("web").tcp("ledger", 9000);
    connection.channel.writeLatin1("hello");
    await mesh.clock.until("an echo", () => connection.text === "ledger hello");
    connection.channel.writeLatin1(" again");
    connection.channel.end();
    await mesh.clock.until("the end", () => connection.isEnded);
    assert.equal(connection.text, "ledger hello again");
    const policy = {
      reporter: "destination",
      connection_security_policy: "mutual_tls",
      source_principal: "spiffe://cluster.local/ns/shop/sa/web",
    };
    await mesh.clock.until("both connections to be counted", () => mesh.figure("ledger", "istio_tcp_connections_closed_total") === 1);
    assert.equal(mesh.figure("ledger", "istio_tcp_connections_opened_total", policy), 1);
    assert.equal(mesh.figure("ledger", "istio_tcp_received_bytes_total", policy), 11);
    assert.equal(mesh.figure("ledger", "istio_tcp_sent_bytes_total", policy), 18);
    assert.equal(mesh.figure("web", "istio_tcp_received_bytes_total", { reporter: "source" }), 11);
  },
);

meshTest(
  "a TCP service without endpoints closes the connection",
  { workloads: [{ name: "web" }, { name: "ledger", service: "ledger", ports: [TCP] }] },
  async (mesh) => {
    await mesh.change({ [mesh.fileOf("ledger")]: undefined });
    const connection = await mesh.client("web").tcp("ledger", 9000);
    await mesh.clock.until("the end", () => connection.closes > 0 || connection.isEnded);
    assert.equal(connection.text, "");
    assert.match(String(mesh.accessLog("web").at(-1)?.["response_flags"]), /UH/);
  },
);

meshTest(
  "a service outside is found by its name, and followed when its address changes",
  {
    workloads: [{ name: "web" }, { name: "old", sidecar: false, ports: [PLAIN] }, { name: "new", sidecar: false, ports: [PLAIN] }],
    yaml: `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: api, namespace: shop }
spec:
  hosts: [api.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{ number: 80, name: http, protocol: HTTP }]
`,
  },
  async (mesh) => {
    const web = mesh.client("web");
    mesh.network.setName("api.example.com", [...mesh.host("old").ips]);
    await mesh.clock.until("the name to be resolved", () => true);
    await mesh.clock.pass(60_000);
    assert.equal((await web.get("http://api.example.com/")).app, "old");
    mesh.network.setName("api.example.com", [...mesh.host("new").ips]);
    await mesh.clock.pass(60_000);
    assert.equal((await web.get("http://api.example.com/")).app, "new");
    assert.equal(mesh.figure("web", "istio_requests_total", { destination_service: "api.example.com", response_code: "200" }), 2);
  },
);

const GATEWAY = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: shop, namespace: shop }
spec:
  selector: { app: ingress }
  servers:
    - port: { number: 80, name: http, protocol: HTTP }
      hosts: [shop.example, "*.wide.example"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: shop, namespace: shop }
spec:
  hosts: [shop.example]
  gateways: [shop]
  http:
    - match: [{ uri: { prefix: /pay } }]
      route: [{ destination: { host: payment } }]
    - route: [{ destination: { host: web } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: wide, namespace: shop }
spec:
  hosts: [a.wide.example]
  gateways: [shop]
  http: [{ route: [{ destination: { host: payment } }] }]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

meshRules(
  "a gateway",
  {
    workloads: [
      { name: "ingress", kind: "router" },
      { name: "web", service: "web" },
      { name: "payment", service: "payment" },
    ],
    yaml: GATEWAY,
  },
  [
    { name: "routes a host", host: "shop.example", path: "/", want: "web" },
    { name: "routes a host whatever its case", host: "Shop.Example", path: "/", want: "web" },
    { name: "routes a host with its port", host: "shop.example:80", path: "/", want: "web" },
    { name: "routes a path of a host", host: "shop.example", path: "/pay", want: "payment" },
    { name: "routes a host of its wildcard", host: "a.wide.example", path: "/", want: "payment" },
    { name: "answers 404 for a host of its wildcard that nobody routes", host: "b.wide.example", path: "/", want: 404 },
    { name: "answers 404 for another host", host: "other.example", path: "/", want: 404 },
    { name: "does not serve the mesh's names", host: "payment.shop.svc.cluster.local", path: "/", want: 404 },
  ],
  async (mesh, { host, path, want }) => {
    const answer = await mesh.stranger().get(`http://${mesh.host("ingress").ips[0]}${path}`, {
      host,
      "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/shop/sa/admin",
    });
    if (typeof want === "number") {
      assert.equal(answer.status, want, answer.error);
      return;
    }
    assert.equal(answer.app, want, `${answer.status} ${answer.error}`);
    const request = mesh.app(want).requests.at(-1);
    assert.match(request?.headers["x-forwarded-client-cert"] ?? "", /URI=spiffe:\/\/cluster\.local\/ns\/shop\/sa\/ingress$/);
    assert.doesNotMatch(request?.headers["x-forwarded-client-cert"] ?? "", /admin/);
    assert.equal(request?.headers["x-forwarded-for"], "10.9.9.9");
  },
);
