/** A run is its seed: the same again gives the same, to the last choice. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { createMesh } from "../kit/mesh-world.ts";

/** Who answered each of some requests, and when. */
async function run(seed: number): Promise<string[]> {
  const mesh = await createMesh({
    seed,
    workloads: [{ name: "web" }, { name: "payment", service: "payment", replicas: 4 }],
    yaml: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payment, namespace: shop }
spec: { host: payment, trafficPolicy: { loadBalancer: { simple: RANDOM } } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payment, namespace: shop }
spec:
  hosts: [payment]
  http: [{ fault: { delay: { fixedDelay: 1s, percentage: { value: 50 } } }, route: [{ destination: { host: payment } }] }]
`,
  });
  try {
    const said: string[] = [];
    for (let i = 0; i < 40; i++) {
      const { app } = await mesh.client("web").get("http://payment/");
      said.push(`${Math.round(mesh.clock.monotonicMs())} ${app} ${mesh.accessLog("web").at(-1)?.["request_id"]}`);
    }
    return said;
  } finally {
    await mesh.close();
  }
}

test("the same seed gives the same run, another one another", async () => {
  const first = await run(7);
  assert.deepEqual(await run(7), first);
  assert.notDeepEqual(await run(8), first);
});
