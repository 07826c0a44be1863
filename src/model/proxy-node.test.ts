import assert from "node:assert/strict";
import { test } from "node:test";
import { parseNodeId, readExplicitAddresses } from "./proxy-node.ts";

test("a node id of Istio's form has four parts; a name may have dots", () => {
  const parts = { kind: "sidecar", ip: "10.0.0.1", name: "web.v1", namespace: "shop", domain: "shop.svc.cluster.local" };
  assert.deepEqual(parseNodeId("sidecar~10.0.0.1~web.v1.shop~shop.svc.cluster.local"), parts);
});

for (const id of [
  "",
  "web",
  "sidecar~10.0.0.1~web.shop",
  "ztunnel~10.0.0.1~web.shop~x",
  "sidecar~10.0.0.1~web~x",
  "sidecar~10.0.0.1~web.~x",
  "sidecar~10.0.0.1~.shop~x",
]) {
  test(`"${id}" is no node id`, () => {
    assert.throws(() => parseNodeId(id), /node id/);
  });
}

test("explicit addresses are read with interception NONE; others than loopback and ports are left out", () => {
  const metadata = {
    INTERCEPTION_MODE: "NONE",
    LATEEN_SERVICE_ADDRESSES: {
      "a.shop.svc.cluster.local": "127.64.128.1",
      "b.shop.svc.cluster.local": "0.0.0.0",
      c: 7,
      d: "127.0.0.1.example.com",
    },
    LATEEN_APP_PORTS: { "8080": 10000, "9000": "10001", "70000": 1, x: 2, "9001": 0 },
    HTTP_PROXY_PORT: "15007",
  };
  assert.deepEqual(readExplicitAddresses(metadata), {
    serviceAddresses: { "a.shop.svc.cluster.local": "127.64.128.1" },
    appPorts: { "8080": 10000, "9000": 10001 },
    httpProxyPort: 15007,
  });
  assert.deepEqual(readExplicitAddresses({ INTERCEPTION_MODE: "NONE", LATEEN_SERVICE_ADDRESSES: {} }), {
    serviceAddresses: {},
    appPorts: {},
    httpProxyPort: undefined,
  });
});

test("without NONE, and for Istio's own proxies in that mode, there are no explicit addresses", () => {
  assert.equal(readExplicitAddresses({ INTERCEPTION_MODE: "REDIRECT", LATEEN_SERVICE_ADDRESSES: { a: "127.0.0.2" } }), undefined);
  assert.equal(readExplicitAddresses({ INTERCEPTION_MODE: "NONE" }), undefined);
  assert.equal(readExplicitAddresses({ INTERCEPTION_MODE: "NONE", LATEEN_SERVICE_ADDRESSES: "127.0.0.2" }), undefined);
});
