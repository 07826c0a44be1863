import assert from "node:assert/strict";
import { test } from "node:test";
import { hostCovers, mostSpecificHost, resolveShortName } from "./host.ts";

/** Exact beats wildcard, longer wildcard beats shorter. Source: Istio VirtualService `hosts`. */
const rows: readonly { name: string; ask: string; hosts: readonly string[]; want: string | undefined }[] = [
  { name: "exact beats wildcard", ask: "a.shop.example", hosts: ["*.example", "a.shop.example"], want: "a.shop.example" },
  { name: "longer wildcard beats shorter", ask: "a.shop.example", hosts: ["*.example", "*.shop.example"], want: "*.shop.example" },
  { name: "a wildcard needs a label in front", ask: "shop.example", hosts: ["*.shop.example"], want: undefined },
  { name: "case is ignored, as in DNS", ask: "A.Shop.Example", hosts: ["a.shop.example"], want: "a.shop.example" },
  { name: "a suffix that is no label does not match", ask: "myshop.example", hosts: ["*.shop.example"], want: undefined },
  { name: "star takes what is left", ask: "other.test", hosts: ["*.example", "*"], want: "*" },
  { name: "nothing asked of nothing", ask: "a.example", hosts: [], want: undefined },
];

for (const { name, ask, hosts, want } of rows) {
  test(`mostSpecificHost: ${name}`, () => {
    assert.equal(mostSpecificHost(ask, hosts), want);
    assert.equal(mostSpecificHost(ask, hosts.toReversed()), want, "the order of hosts must not matter");
  });
}

test("hostCovers: a wildcard covers a longer wildcard, never the other way round", () => {
  assert.ok(hostCovers("*.example", "*.shop.example"));
  assert.ok(!hostCovers("*.shop.example", "*.example"));
});

test("resolveShortName: a name with a dot is taken as it is", () => {
  const here = { namespace: "shop", domain: "cluster.local" };
  assert.equal(resolveShortName("payment", here), "payment.shop.svc.cluster.local");
  assert.equal(resolveShortName("payment.other", here), "payment.other");
});
