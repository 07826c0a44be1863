import assert from "node:assert/strict";
import { test } from "node:test";
import { ChannelRecorder, dial, dialOk } from "../../../test/kit/channel-recorder.ts";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { networkContract } from "../../../test/kit/network-contract.ts";
import { createTestAuthority } from "../../../test/kit/test-authority.ts";
import { systemClock } from "../../base/clock.ts";
import type { Incoming } from "../dial.ts";
import { createClientTls, createServerTls } from "../tls/contexts.ts";
import { createMemoryNetwork, type MemoryHost } from "./network.ts";

for (const { name, run } of networkContract) {
  test(`in memory: ${name}`, async () => {
    const host = createMemoryNetwork({ clock: systemClock }).host("10.0.0.1", "2001:db8::1");
    await run({ network: host, ip: "10.0.0.1", unixPath: "/run/sds.sock" });
  });
}

async function listen(
  host: MemoryHost,
  ip: string,
  port: number,
  options: { readonly originalDestination?: boolean } = {},
): Promise<Incoming[]> {
  const arrived: Incoming[] = [];
  await host.acceptor.listen({ at: { host: ip, port }, ...options }, (incoming) => {
    arrived.push(incoming);
    incoming.accept().handler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };
  });
  return arrived;
}

test("capture takes a dial elsewhere and keeps where it was going, on both sides; a marked one passes", async () => {
  const network = createMemoryNetwork({ clock: new FakeClock() });
  const [client, server] = [network.host("10.0.0.1"), network.host("10.0.0.2")];
  client.redirect = ({ to, direction }) => (direction === "outbound" && to.port === 8080 ? { host: "127.0.0.1", port: 15001 } : undefined);
  server.redirect = ({ direction }) => (direction === "inbound" ? { host: "10.0.0.2", port: 15006 } : undefined);
  const outbound = await listen(client, "127.0.0.1", 15001, { originalDestination: true });
  const inbound = await listen(server, "0.0.0.0", 15006, { originalDestination: true });
  const app = await listen(server, "127.0.0.1", 8080);
  const to = { host: "10.0.0.2", port: 8080 };

  const captured = await dialOk(client.dialer, { to });
  assert.deepEqual(outbound[0]?.originalDestination, to);
  assert.deepEqual(outbound[0]?.local, { host: "127.0.0.1", port: 15001 });
  assert.deepEqual(captured.channel.remote, to, "the client does not notice");
  assert.equal(inbound.length, 0);

  await dialOk(client.dialer, { to, mark: 1337 });
  assert.deepEqual(inbound[0]?.originalDestination, to);
  assert.equal(inbound[0]?.remote.host, "10.0.0.1");

  await dialOk(server.dialer, { to: { host: "127.0.0.1", port: 8080 } });
  assert.equal(app.length, 1);
});

test("a host that crashes resets its connections and refuses new ones, and may come back", async () => {
  const network = createMemoryNetwork({ clock: new FakeClock() });
  const [client, server] = [network.host("10.0.0.1"), network.host("10.0.0.2")];
  await listen(server, "10.0.0.2", 80);
  const to = { host: "10.0.0.2", port: 80 };
  const before = await dialOk(client.dialer, { to });
  server.crash();
  await before.until("close", (c) => c.closes > 0);
  assert.equal(before.closed?.code, "ECONNRESET");
  assert.equal((await dial(client.dialer, { to })).failure?.code, "ECONNREFUSED");
  await listen(server, "10.0.0.2", 80);
  await dialOk(client.dialer, { to });
  assert.equal((await dial(client.dialer, { to: { host: "10.9.9.9", port: 80 } })).failure?.code, "EHOSTUNREACH");
});

test("names are the network's", async () => {
  const network = createMemoryNetwork({ clock: new FakeClock() });
  const { resolver } = network.host("10.0.0.1");
  network.setName("Catalog.shop", ["2001:db8::2", "10.0.0.2"]);
  network.setName("empty", []);
  assert.deepEqual((await resolver.resolve("catalog.shop.", { family: "any" })).addresses, ["10.0.0.2", "2001:db8::2"]);
  assert.deepEqual((await resolver.resolve("catalog.shop", { family: 6 })).addresses, ["2001:db8::2"]);
  await assert.rejects(resolver.resolve("empty", { family: 4 }), { code: "ENODATA" });
  await assert.rejects(resolver.resolve("nobody", { family: 4 }), { code: "ENOTFOUND" });
});

test("a kept buffer is overwritten after onData", async () => {
  const network = createMemoryNetwork({ clock: new FakeClock() });
  const host = network.host("10.0.0.1");
  let kept: Buffer | undefined;
  await host.acceptor.listen({ at: { host: "10.0.0.1", port: 80 } }, (incoming) => {
    incoming.accept().handler = {
      onData(buffer) {
        kept = buffer;
      },
      onEnd() {},
      onDrain() {},
      onClose() {},
    };
  });
  const client = await dialOk(host.dialer, { to: { host: "10.0.0.1", port: 80 } });
  client.channel.writeLatin1("abc");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(kept, Buffer.from([0xdd, 0xdd, 0xdd]));
});

test("certificates are judged by the simulation's clock, forwards and backwards", async () => {
  const hourMs = 3_600_000;
  const nowMs = Date.now();
  const authority = await createTestAuthority("mesh", { notAfterMs: nowMs + 1000 * hourMs });
  const below = await authority.intermediate("below");
  const stranger = await createTestAuthority("stranger", { notAfterMs: nowMs + 1000 * hourMs });
  const times = { notBeforeMs: nowMs + 100 * hourMs, notAfterMs: nowMs + 124 * hourMs, uris: ["spiffe://cluster.local/ns/a/sa/b"] };
  const rows = [
    { atMs: nowMs + 99 * hourMs, keyPair: await authority.issue(times), want: /not yet valid/ },
    { atMs: nowMs + 101 * hourMs, keyPair: await authority.issue(times), want: undefined },
    { atMs: nowMs + 101 * hourMs, keyPair: await below.issue(times), want: undefined },
    { atMs: nowMs + 125 * hourMs, keyPair: await authority.issue(times), want: /has expired/ },
    { atMs: nowMs + 101 * hourMs, keyPair: await stranger.issue(times), want: /local issuer/ },
  ];
  for (const { atMs, keyPair, want } of rows) {
    const host = createMemoryNetwork({ clock: new FakeClock(atMs) }).host("10.0.0.1");
    const context = createServerTls({ keyPair, trustPem: undefined, alpn: [], requireClientCertificate: false });
    await host.acceptor.listen({ at: { host: "10.0.0.1", port: 443 } }, (incoming) => {
      incoming.acceptTls({ context, timeoutMs: 1000 }, { onConnect: (channel) => void new ChannelRecorder(channel), onFail() {} });
    });
    const client = createClientTls({ keyPair: undefined, trustPem: authority.trustPem, alpn: [] });
    const { failure } = await dial(host.dialer, {
      to: { host: "10.0.0.1", port: 443 },
      tls: { context: client, serverName: undefined, alpn: [] },
    });
    if (want) assert.match(failure?.message ?? "", want);
    else assert.equal(failure, undefined);
  }
});
