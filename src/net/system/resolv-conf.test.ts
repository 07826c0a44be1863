import assert from "node:assert/strict";
import { test } from "node:test";
import { namesToTry, parseHosts, parseResolvConf } from "./resolv-conf.ts";

test("a Kubernetes resolv.conf is read whole", () => {
  const text =
    "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5 timeout:2 attempts:3\n";
  assert.deepEqual(parseResolvConf(text), {
    servers: ["10.96.0.10"],
    search: ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"],
    ndots: 5,
    timeoutMs: 2000,
    attempts: 3,
  });
});

test("what is missing or odd has the manual's default", () => {
  const plain = { servers: ["127.0.0.1"], search: [], ndots: 1, timeoutMs: 5000, attempts: 2 };
  assert.deepEqual(parseResolvConf(""), plain);
  assert.deepEqual(parseResolvConf("nameserver nowhere\noptions ndots:x timeout\n; nameserver 1.1.1.1\n# search a\n"), plain);
  assert.deepEqual(parseResolvConf("nameserver 2001:db8::53\nnameserver fe80::1%eth0").servers, ["[2001:db8::53]", "[fe80::1%eth0]"]);
  assert.equal(parseResolvConf("nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4").servers.length, 3);
  assert.deepEqual(parseResolvConf("search a\ndomain B.").search, ["b"]);
});

const conf = parseResolvConf("search a.test b.test\noptions ndots:2");
const rows: readonly (readonly [string, readonly string[]])[] = [
  ["catalog", ["catalog.a.test", "catalog.b.test", "catalog"]],
  ["catalog.shop", ["catalog.shop.a.test", "catalog.shop.b.test", "catalog.shop"]],
  ["catalog.shop.svc", ["catalog.shop.svc", "catalog.shop.svc.a.test", "catalog.shop.svc.b.test"]],
  ["catalog.", ["catalog"]],
];
for (const [name, want] of rows) test(`names to try for ${name}`, () => assert.deepEqual(namesToTry(name, conf), want));

test("hosts gives all addresses of a name, in order, case aside", () => {
  const hosts = parseHosts("127.0.0.1 localhost\n::1 localhost ip6\nnonsense here\n10.0.0.1 Web.Test # web\n");
  assert.deepEqual(hosts.get("localhost"), ["127.0.0.1", "::1"]);
  assert.deepEqual(hosts.get("web.test"), ["10.0.0.1"]);
  assert.equal(hosts.get("here"), undefined);
});
