import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAllDocuments } from "yaml";
import { parseDescription } from "./description.ts";
import { createNameTable, planMesh } from "./plan.ts";

const plan = planMesh(
  parseDescription(
    `name: shop
namespace: shop
workloads:
  web: { command: x, ports: { http: 80 }, replicas: 2 }
  pay-v1: { command: x, service: pay, labels: { version: v1 }, ports: { http: 8080 } }
  pay-v2: { command: x, service: pay, labels: { version: v2 }, ports: { http: 8080 }, sidecar: false }
gateways:
  ingress: { listen: { "8080": 80 } }
`,
    "lateen.yaml",
    "x",
  ),
);

test("every instance and gateway has an address of its own", () => {
  const ips = [...plan.instances, ...plan.gateways].map(({ ip }) => ip);
  assert.equal(new Set(ips).size, 5);
  assert.deepEqual(
    plan.instances.map(({ name }) => name),
    ["web-1", "web-2", "pay-v1", "pay-v2"],
  );
});

test("a workload without sidecar has no identity, so that nobody sends it mutual TLS", () => {
  assert.equal(plan.instances[2]?.spiffeId, "spiffe://cluster.local/ns/shop/sa/pay");
  assert.equal(plan.instances[3]?.spiffeId, undefined);
  const entries = parseAllDocuments(plan.objects).map(
    (document) => document.toJS() as { kind: string; metadata: { name: string }; spec: Record<string, unknown> },
  );
  const accountOf = (name: string): unknown =>
    entries.find((entry) => entry.metadata.name === name && entry.kind === "WorkloadEntry")?.spec["serviceAccount"];
  assert.equal(accountOf("lateen-pay-v1"), "pay");
  assert.equal(accountOf("lateen-pay-v2"), undefined);
});

test("workloads of one service share its address", () => {
  assert.deepEqual(
    plan.services.map(({ hostname }) => hostname),
    ["web.shop.svc.cluster.local", "pay.shop.svc.cluster.local"],
  );
  assert.equal(new Set(plan.services.map(({ vip }) => vip)).size, 2);
});

test("names: short in the own namespace, longer ones from everywhere, others not at all", () => {
  const lookUp = createNameTable(plan);
  const vip = [plan.services[1]?.vip];
  for (const name of ["pay", "pay.shop", "pay.shop.svc", "pay.shop.svc.cluster.local"]) assert.deepEqual(lookUp(name, "shop"), vip);
  assert.equal(lookUp("pay", "other"), undefined);
  assert.deepEqual(lookUp("pay.shop", "other"), vip);
  assert.equal(lookUp("example.com", "shop"), undefined);
});
