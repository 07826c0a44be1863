/** The DNS server and the resolver, with real sockets. */
import assert from "node:assert/strict";
import dgram from "node:dgram";
import dns from "node:dns";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { UserError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { createDnsServer, type DnsServerOptions } from "../../src/net/dns/server.ts";
import type { NameAnswer } from "../../src/net/dns/types.ts";
import { createSystemResolver } from "../../src/net/system/resolver.ts";

const many = Array.from({ length: 60 }, (_, i) => `10.0.0.${i + 1}`);
const OUTER: Readonly<Record<string, NameAnswer>> = {
  "example.com": { kind: "known", addresses: ["192.0.2.1", "2001:db8::1"], ttlS: 77 },
  "large.example.com": { kind: "known", addresses: many },
};
const INNER: Readonly<Record<string, NameAnswer>> = {
  "catalog.shop.svc.cluster.local": { kind: "known", addresses: ["240.0.0.1"], ttlS: 5 },
  "v4.test": { kind: "known", addresses: ["192.0.2.4"] },
  "catalog.other": { kind: "known", addresses: ["240.0.0.9"] },
};

async function start(answer: DnsServerOptions["answer"], upstreams: DnsServerOptions["upstreams"]) {
  return createDnsServer({ bind: { host: "127.0.0.1", port: 0 }, answer, upstreams, clock: systemClock, log: silentLog });
}
const outer = await start((name) => OUTER[name] ?? { kind: "unknown" }, []);
const inner = await start((name) => INNER[name] ?? { kind: "forward" }, [outer.address]);
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "lateen-dns-"));
after(async () => {
  await inner.close();
  await outer.close();
  fs.rmSync(directory, { recursive: true, force: true });
});

const asker = new dns.promises.Resolver({ timeout: 2000, tries: 1 });
asker.setServers([`127.0.0.1:${inner.address.port}`]);

test("names of the mesh are answered, others forwarded, large answers come over TCP", async () => {
  assert.deepEqual(await asker.resolve4("catalog.shop.svc.cluster.local", { ttl: true }), [{ address: "240.0.0.1", ttl: 5 }]);
  assert.deepEqual(await asker.resolve4("example.com", { ttl: true }), [{ address: "192.0.2.1", ttl: 77 }]);
  assert.deepEqual(await asker.resolve6("example.com"), ["2001:db8::1"]);
  assert.deepEqual((await asker.resolve4("large.example.com")).toSorted(), many.toSorted());
  await assert.rejects(asker.resolve6("catalog.shop.svc.cluster.local"), { code: "ENODATA" });
  await assert.rejects(asker.resolve4("nobody.example.com"), { code: "ENOTFOUND" });
});

test("an upstream that is silent or not there is passed over; with none left it is a server failure", async () => {
  const silent = dgram.createSocket("udp4").bind(0, "127.0.0.1");
  await once(silent, "listening");
  const mute = { host: "127.0.0.1", port: silent.address().port };
  const patient = await start(() => ({ kind: "forward" }), [mute, outer.address]);
  const lonely = await start(() => ({ kind: "forward" }), []);
  const ask = (port: number): dns.promises.Resolver => {
    const resolver = new dns.promises.Resolver({ timeout: 5000, tries: 1 });
    resolver.setServers([`127.0.0.1:${port}`]);
    return resolver;
  };
  assert.deepEqual(await ask(patient.address.port).resolve4("example.com"), ["192.0.2.1"]);
  await assert.rejects(ask(lonely.address.port).resolve4("example.com"), { code: "ESERVFAIL" });
  silent.close();
  await patient.close();
  await lonely.close();
});

test("garbage over TCP ends that connection and nothing else", async () => {
  const socket = net.connect(inner.address.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.write(Buffer.concat([Buffer.from([0, 20]), Buffer.alloc(20, 0xff)]));
  socket.resume();
  await once(socket, "close");
  assert.deepEqual(await asker.resolve4("catalog.shop.svc.cluster.local"), ["240.0.0.1"]);
});

test("a port in use is refused by name", async () => {
  await assert.rejects(
    createDnsServer({ bind: inner.address, answer: () => ({ kind: "unknown" }), upstreams: [], clock: systemClock, log: silentLog }),
    (error) => error instanceof UserError && error.message.includes(`127.0.0.1:${inner.address.port}`),
  );
});

// The resolver reads its servers' ports from no file, so it is tried with a name server on port 53 of a loopback address.
const privileged = process.getuid?.() === 0;
test("the resolver takes hosts first, then servers with the search list, and tells how long it holds", {
  skip: privileged ? false : "port 53 needs root",
}, async () => {
  const server = await createDnsServer({
    bind: { host: "127.0.0.53", port: 53 },
    answer: (name) => INNER[name] ?? { kind: "forward" },
    upstreams: [outer.address],
    clock: systemClock,
    log: silentLog,
  });
  const hostsPath = path.join(directory, "hosts");
  const resolvConfPath = path.join(directory, "resolv.conf");
  fs.writeFileSync(hostsPath, "# comment\n::1 both.test\n192.0.2.9 Both.Test alias # more\n");
  fs.writeFileSync(
    resolvConfPath,
    "nameserver 127.0.0.53\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5 timeout:2 attempts:1\n",
  );
  const resolver = createSystemResolver({ clock: systemClock, resolvConfPath, hostsPath });
  assert.deepEqual((await resolver.resolve("both.test", { family: "any" })).addresses, ["192.0.2.9", "::1"]);
  assert.deepEqual((await resolver.resolve("alias", { family: 4 })).addresses, ["192.0.2.9"]);
  assert.deepEqual(await resolver.resolve("catalog", { family: "any" }), { addresses: ["240.0.0.1"], ttlMs: 5000 });
  assert.deepEqual(await resolver.resolve("example.com", { family: "any" }), { addresses: ["192.0.2.1", "2001:db8::1"], ttlMs: 77_000 });
  assert.deepEqual((await resolver.resolve("large.example.com.", { family: 4 })).addresses.length, 60);
  assert.deepEqual((await resolver.resolve("192.0.2.1", { family: 4 })).addresses, ["192.0.2.1"]);
  await assert.rejects(resolver.resolve("v4.test", { family: 6 }), { code: "ENODATA" });
  await assert.rejects(resolver.resolve("nobody.example.com", { family: "any" }), { code: "ENOTFOUND" });
  await server.close();
});
