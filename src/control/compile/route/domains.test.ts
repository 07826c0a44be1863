import assert from "node:assert/strict";
import { test } from "node:test";
import { hostname } from "../../../model/host.ts";
import { serviceDomains } from "./domains.ts";

/** Source: Istio, the hosts under which a sidecar serves a service. */
const rows: readonly {
  name: string;
  host: string;
  namespace: string;
  addresses?: readonly string[];
  domain?: string;
  want: readonly string[];
}[] = [
  {
    name: "in its own namespace a service has its short name",
    host: "reviews.shop.svc.cluster.local",
    namespace: "shop",
    want: ["reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local.", "reviews", "reviews.shop.svc", "reviews.shop"],
  },
  {
    name: "elsewhere it has not",
    host: "reviews.shop.svc.cluster.local",
    namespace: "other",
    want: ["reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local.", "reviews.shop", "reviews.shop.svc"],
  },
  {
    name: "another suffix is not this mesh's",
    host: "reviews.shop.svc.cluster.local",
    namespace: "shop",
    domain: "mesh.example",
    want: ["reviews.shop.svc.cluster.local", "reviews.shop.svc.cluster.local."],
  },
  {
    name: "a host of outside has only its name",
    host: "api.example.com",
    namespace: "shop",
    want: ["api.example.com", "api.example.com."],
  },
  {
    name: "virtual addresses are domains; 0.0.0.0 is none",
    host: "api.example.com",
    namespace: "shop",
    addresses: ["240.0.0.1", "0.0.0.0", "fd00::1"],
    want: ["api.example.com", "api.example.com.", "240.0.0.1", "[fd00::1]"],
  },
  { name: "an address has no final dot", host: "192.0.2.1", namespace: "shop", want: ["192.0.2.1"] },
  {
    name: "a name without namespace is not shortened",
    host: "x.svc.cluster.local",
    namespace: "x",
    want: ["x.svc.cluster.local", "x.svc.cluster.local."],
  },
];

for (const { name, host, namespace, addresses = [], domain = "cluster.local", want } of rows) {
  test(`serviceDomains: ${name}`, () => {
    const { all, derived } = serviceDomains({ hostname: hostname(host), addresses }, { namespace, domain });
    assert.deepEqual(all, want);
    assert.ok(!derived.has(host), "the full name yields to nobody");
  });
}
