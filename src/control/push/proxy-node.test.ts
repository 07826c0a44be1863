import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "@bufbuild/protobuf";
import type { Identity } from "../../model/identity.ts";
import { GrpcStatus } from "../../net/grpc/types.ts";
import type { XdsNode } from "../../xds/server-types.ts";
import { readProxyNode } from "./proxy-node.ts";

const ID = "sidecar~10.0.0.7~payment-v1-0.shop~shop.svc.cluster.local";

function node(metadata: JsonObject = {}, id = ID): XdsNode {
  return {
    id,
    cluster: "payment",
    metadata,
    userAgentName: "envoy",
    userAgentVersion: "1.40.0",
    locality: { region: "eu", zone: "a", subZone: "1" },
  };
}

const alice: Identity = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "payment" };

test("a node's parts come from its id and Istio's metadata", () => {
  const read = readProxyNode(
    node({
      LABELS: { app: "payment", version: "v1", bad: 7 },
      NAMESPACE: "shop",
      SERVICE_ACCOUNT: "payment",
      WORKLOAD_NAME: "payment-v1",
      CLUSTER_ID: "Kubernetes",
      NETWORK: "n1",
      INTERCEPTION_MODE: "TPROXY",
    }),
    undefined,
  );
  assert.deepEqual(read, {
    id: ID,
    kind: "sidecar",
    ip: "10.0.0.7",
    name: "payment-v1-0",
    namespace: "shop",
    labels: { app: "payment", version: "v1" },
    serviceAccount: "payment",
    workloadName: "payment-v1",
    clusterId: "Kubernetes",
    network: "n1",
    locality: { region: "eu", zone: "a", subzone: "1" },
    interception: "TPROXY",
    isLateen: false,
    explicit: undefined,
  });
});

test("what metadata leaves out has its default", () => {
  const read = readProxyNode({ ...node(), userAgentName: "lateen" }, undefined);
  assert.equal(read.workloadName, "payment-v1-0");
  assert.equal(read.interception, "REDIRECT");
  assert.equal(read.serviceAccount, "");
  assert.equal(read.isLateen, true);
});

/** The identity of a call and what its node says. Without authentication anything may be said. */
const rows: readonly { rule: string; metadata: JsonObject; id?: string; proved: Identity | undefined; code: number | undefined }[] = [
  { rule: "the own namespace and account", metadata: { SERVICE_ACCOUNT: "payment" }, proved: alice, code: undefined },
  { rule: "an account that is not said is the proved one", metadata: {}, proved: alice, code: undefined },
  { rule: "another account", metadata: { SERVICE_ACCOUNT: "storefront" }, proved: alice, code: GrpcStatus.PERMISSION_DENIED },
  { rule: "another namespace", metadata: {}, proved: { ...alice, namespace: "bank" }, code: GrpcStatus.PERMISSION_DENIED },
  { rule: "anything, where nothing is proved", metadata: { SERVICE_ACCOUNT: "storefront" }, proved: undefined, code: undefined },
  {
    rule: "metadata of another namespace than the id",
    metadata: { NAMESPACE: "bank" },
    proved: undefined,
    code: GrpcStatus.INVALID_ARGUMENT,
  },
  { rule: "an id that is not of Istio's form", metadata: {}, id: "envoy-1", proved: undefined, code: GrpcStatus.INVALID_ARGUMENT },
  { rule: "an id of an unknown type", metadata: {}, id: "ztunnel~1.2.3.4~a.b~c", proved: undefined, code: GrpcStatus.INVALID_ARGUMENT },
  {
    rule: "an id without end",
    metadata: {},
    id: `sidecar~1.2.3.4~${"a".repeat(2000)}.b~c`,
    proved: undefined,
    code: GrpcStatus.INVALID_ARGUMENT,
  },
];

for (const { rule, metadata, id, proved, code } of rows) {
  test(`${code === undefined ? "taken" : "refused"}: ${rule}`, () => {
    if (code === undefined) assert.equal(readProxyNode(node(metadata, id), proved).namespace, "shop");
    else assert.throws(() => readProxyNode(node(metadata, id), proved), { code });
  });
}

test("the proved account becomes the proxy's", () => {
  assert.equal(readProxyNode(node(), alice).serviceAccount, "payment");
});
