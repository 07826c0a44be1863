import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import { parseDescription } from "./description.ts";
import { planExplicit } from "./explicit-plan.ts";

const mesh = parseDescription(
  `name: shop
namespace: shop
workloads:
  web: { command: x, ports: { http: { port: 80, targetPort: 8080 } }, replicas: 2 }
  pay: { command: x, ports: { http: 8080, tcp: 9000 } }
  old: { command: x, ports: { http: 8081 }, sidecar: false }
  probe: { command: x, sidecar: false }
gateways:
  ingress: { listen: { "8080": 80 } }
`,
  "lateen.yaml",
  "x",
);
const plan = (slot = 0, taken: readonly number[] = []) =>
  planExplicit(mesh, { slot, isTaken: (port) => taken.includes(port), noProxy: "intern.example" });

test("every part has an address of its own, and every client one for each service, all in the mesh's /16", () => {
  const { plan: planned, parts, controlPlaneIp } = plan(3);
  const services = [...parts.values()].flatMap(({ addresses }) => Object.values(addresses.serviceAddresses));
  const all = [controlPlaneIp, ...[...planned.instances, ...planned.gateways].map(({ ip }) => ip), ...services];
  // Three clients with a sidecar, three services.
  assert.equal(services.length, 9);
  assert.equal(new Set(all).size, all.length);
  for (const address of all) assert.match(address, /^127\.67\./);
});

test("applications listen on ports that nobody has: not this machine, not the mesh, not each other", () => {
  const first = plan().parts.get("web-1")?.addresses.appPorts[8080] ?? 0;
  const { parts } = plan(0, [first]);
  const ports = [...parts.values()].flatMap(({ addresses }) => Object.values(addresses.appPorts));
  assert.equal(ports.length, 5);
  assert.equal(new Set(ports).size, 5);
  assert.ok(!ports.includes(first));
  for (const port of ports) assert.ok(port >= 10_000 && port < 32_768);
});

test("a workload is told where to listen and where its services are", () => {
  const { parts } = plan();
  const { variables, addresses } = parts.get("pay") ?? assert.fail();
  assert.equal(variables["PORT"], String(addresses.appPorts[8080]));
  assert.equal(variables["PORT_TCP"], String(addresses.appPorts[9000]));
  assert.equal(variables["WEB_SERVICE_HOST"], addresses.serviceAddresses["web.shop.svc.cluster.local"]);
  assert.equal(variables["WEB_SERVICE_PORT"], "80");
  assert.equal(variables["HTTP_PROXY"], "http://127.64.1.4:15007");
  assert.equal(variables["no_proxy"], `localhost,127.0.0.1,::1,${Object.values(addresses.serviceAddresses).join(",")},intern.example`);
});

test("without a sidecar there is no proxy to go through: services are their first instance, reached at its own port", () => {
  const { parts } = plan();
  const { variables, addresses } = parts.get("probe") ?? assert.fail();
  assert.deepEqual(addresses.serviceAddresses, {});
  assert.equal(variables["HTTP_PROXY"], undefined);
  assert.deepEqual([variables["WEB_SERVICE_HOST"], variables["WEB_SERVICE_PORT"]], ["127.64.1.2", "8080"]);
  assert.deepEqual([variables["OLD_SERVICE_HOST"], variables["OLD_SERVICE_PORT"]], ["127.0.0.1", parts.get("old")?.variables["PORT"]]);
});

test("the mesh reaches a workload without sidecar at the application itself, others at their own address", () => {
  const { plan: planned, parts } = plan();
  const entries = parseAllDocuments(planned.objects).map(
    (document) => document.toJS() as { kind: string; metadata: { name: string }; spec: Record<string, unknown> },
  );
  const specOf = (name: string) => entries.find((entry) => entry.metadata.name === name && entry.kind === "WorkloadEntry")?.spec;
  assert.equal(specOf("lateen-old")?.["address"], "127.0.0.1");
  assert.deepEqual(specOf("lateen-old")?.["ports"], { http: Number(parts.get("old")?.variables["PORT"]) });
  assert.equal(specOf("lateen-pay")?.["address"], "127.64.1.4");
  assert.equal(specOf("lateen-pay")?.["ports"], undefined);
});

test("more clients and services than there are addresses are refused", () => {
  const many = {
    ...mesh,
    workloads: mesh.workloads
      .map((workload) => ({ ...workload, replicas: 400 }))
      .concat(Array.from({ length: 60 }, (_, i) => ({ ...(mesh.workloads[0] ?? assert.fail()), name: `w${i}`, service: `s${i}` }))),
  };
  assert.throws(() => planExplicit(many, { slot: 0, isTaken: () => false, noProxy: "" }), {
    name: "UserError",
    message: /^instances times services are more than 30000/,
  });
});
