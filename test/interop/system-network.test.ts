/** The system's sockets keep the contract of networks; with real ports, so not among the unit tests. */
import assert from "node:assert/strict";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { UserError } from "../../src/base/errors.ts";
import type { Address } from "../../src/net/channel.ts";
import type { Incoming } from "../../src/net/dial.ts";
import { useFastPath } from "../../src/net/sockets/channel.ts";
import { dup } from "../../src/net/system/libc.ts";
import { createSystemNetwork } from "../../src/net/system/network.ts";
import { type ClientTlsContext, createClientTls, createServerTls, type ServerTls } from "../../src/net/tls/contexts.ts";
import { startClientHandshake, startServerHandshake } from "../../src/net/tls/handshake.ts";
import { ChannelRecorder, dial, dialOk } from "../kit/channel-recorder.ts";
import { networkContract } from "../kit/network-contract.ts";
import { createTestAuthority } from "../kit/test-authority.ts";

const directory = fs.mkdtempSync(path.join(os.tmpdir(), "lateen-net-"));
process.on("exit", () => fs.rmSync(directory, { recursive: true, force: true }));
const network = createSystemNetwork({ clock: systemClock });

let paths = 0;
for (const isFast of [true, false]) {
  for (const { name, run } of networkContract) {
    test(`system, ${isFast ? "fast path" : "documented API"}: ${name}`, async () => {
      useFastPath(isFast);
      paths += 1;
      await run({ network, ip: "127.0.0.1", unixPath: path.join(directory, `${paths}.sock`) }).finally(() => useFastPath(true));
    });
  }
}

test("a dual-stack listener shows IPv4 peers as plain IPv4", async () => {
  const arrived: Incoming[] = [];
  const socket = await network.acceptor.listen({ at: { host: "::", port: 0 }, originalDestination: true }, (incoming) =>
    arrived.push(incoming),
  );
  const client = await dialOk(network.dialer, { to: { host: "127.0.0.1", port: socket.address.port }, from: "127.0.0.2" });
  while (arrived.length === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(arrived[0]?.remote, { host: "127.0.0.2", port: client.channel.local.port });
  assert.deepEqual(arrived[0]?.local, { host: "127.0.0.1", port: socket.address.port });
  assert.deepEqual(arrived[0]?.originalDestination, { host: "127.0.0.1", port: socket.address.port });
  client.channel.destroy();
  arrived[0]?.destroy();
  socket.close();
});

test("an inherited descriptor is listened on", async () => {
  const holder = net.createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  const { port } = holder.address() as net.AddressInfo;
  const fd = dup((holder as unknown as { _handle: { fd: number } })._handle.fd);
  holder.close();
  const arrived: Incoming[] = [];
  const socket = await network.acceptor.listen({ at: { host: "127.0.0.1", port }, fd }, (incoming) => arrived.push(incoming));
  assert.deepEqual(socket.address, { host: "127.0.0.1", port });
  const client = await dialOk(network.dialer, { to: socket.address });
  while (arrived.length === 0) await new Promise((resolve) => setImmediate(resolve));
  client.channel.destroy();
  arrived[0]?.destroy();
  socket.close();
  await assert.rejects(
    network.acceptor.listen({ at: { host: "127.0.0.1", port: 1 }, fd: 9999 }, () => {}),
    (error) => error instanceof UserError && error.message.includes("descriptor 9999"),
  );
});

test("a Unix socket is its user's alone; a stale one is replaced, any other file is left", async () => {
  const at = { host: path.join(directory, "sds.sock"), port: 0 };
  const first = await network.acceptor.listen({ at }, () => {});
  assert.equal(fs.statSync(at.host).mode & 0o777, 0o600);
  // What a killed process leaves: a socket that nobody listens on.
  const stale = path.join(directory, "stale.sock");
  fs.linkSync(at.host, stale);
  first.close();
  assert.equal(fs.existsSync(at.host), false);
  const second = await network.acceptor.listen({ at: { host: stale, port: 0 } }, () => {});
  second.close();
  fs.writeFileSync(at.host, "mine");
  await assert.rejects(
    network.acceptor.listen({ at }, () => {}),
    UserError,
  );
  assert.equal(fs.readFileSync(at.host, "utf8"), "mine");
  await assert.rejects(
    network.acceptor.listen({ at: { host: path.join(directory, "nowhere", "a.sock"), port: 0 } }, () => {}),
    (error) => error instanceof UserError && error.message.includes("nowhere/a.sock"),
  );
});

test("connections beyond the cap of those that nobody took are reset, and told", async () => {
  const shed: Address[] = [];
  const capped = createSystemNetwork({ clock: systemClock, waitingMax: 2, onShed: (address) => shed.push(address) });
  const arrived: Incoming[] = [];
  const socket = await capped.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => arrived.push(incoming));
  const clients = [await dialOk(network.dialer, { to: socket.address }), await dialOk(network.dialer, { to: socket.address })];
  // The reset may come before or after the client's connect is told.
  const third = await dial(network.dialer, { to: socket.address });
  await third.recorder?.until("reset", (c) => c.closes > 0);
  assert.equal(third.failure?.code ?? third.recorder?.closed?.code, "ECONNRESET");
  assert.deepEqual(shed, [socket.address]);
  for (const incoming of arrived) incoming.destroy();
  const again = await dialOk(network.dialer, { to: socket.address });
  while (arrived.length < 3) await new Promise((resolve) => setImmediate(resolve));
  for (const client of [...clients, again]) client.channel.destroy();
  for (const incoming of arrived) incoming.destroy();
  socket.close();
});

const mesh = await createTestAuthority("mesh");
const uris = ["spiffe://cluster.local/ns/a/sa/b"];

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  test(`sessions are resumed with the identity judged again, and die with their context (${version})`, async () => {
    let allowed = true;
    const judged: string[] = [];
    const judge = (who: string) => (peer: { readonly uriSans: readonly string[] }) => {
      judged.push(`${who} ${peer.uriSans.join()}`);
      return allowed ? undefined : "no longer allowed";
    };
    const keyPair = await mesh.issue({ uris });
    const serverContext = createServerTls({
      keyPair,
      trustPem: mesh.trustPem,
      alpn: ["h2"],
      maxVersion: version,
      requireClientCertificate: true,
      verifyPeer: judge("server"),
    });
    const context = createClientTls({ keyPair, trustPem: mesh.trustPem, alpn: ["h2"], verifyPeer: judge("client") });
    const server = await network.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => {
      incoming.acceptTls(
        { context: serverContext, timeoutMs: 1000 },
        { onConnect: (channel) => new ChannelRecorder(channel).channel.writeLatin1("hello"), onFail() {} },
      );
    });
    const once = async (): Promise<string> => {
      const { recorder, failure } = await dial(network.dialer, {
        to: server.address,
        tls: { context, serverName: "a.example", alpn: ["h2"] },
      });
      if (!recorder) return failure?.message ?? "";
      await recorder.until("hello", (c) => c.text === "hello" || c.closes > 0 || c.isEnded);
      recorder.channel.destroy();
      return recorder.text;
    };
    assert.equal(await once(), "hello");
    assert.equal(context.sessions.size, 1, "a session is kept");
    assert.equal(await once(), "hello");
    assert.deepEqual(
      judged.toSorted(),
      ["client", "client", "server", "server"].map((who) => `${who} ${uris[0]}`),
      "a resumed session is judged on both sides",
    );
    allowed = false;
    assert.match(await once(), /no longer allowed/);
    assert.equal(context.sessions.size, 0, "a refused peer's session is dropped");
    server.close();
  });
}

test("the second handshake is a resumption, until the server's or the client's context is another", async () => {
  const keyPair = await mesh.issue({ uris });
  const makeServer = (): ServerTls => createServerTls({ keyPair, trustPem: mesh.trustPem, alpn: [], requireClientCertificate: true });
  const makeClient = (): ClientTlsContext => createClientTls({ keyPair, trustPem: mesh.trustPem, alpn: [] });
  let serverContext = makeServer();
  const time = { clock: systemClock };
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    startServerHandshake(
      { socket, context: serverContext, clientAlpn: undefined, time },
      { onSecure: (secure) => secure.end("hello"), onFail() {} },
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const isResumed = (context: ClientTlsContext): Promise<boolean> =>
    new Promise((resolve, reject) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        startClientHandshake(
          { socket, context, serverName: "a.example", alpn: [], peerKey: "one", time },
          {
            onSecure(secure, info) {
              assert.deepEqual(info.peer?.uriSans, uris);
              const isReused = secure.isSessionReused();
              // The session comes after the handshake: by the end it is kept.
              secure.resume().once("close", () => resolve(isReused));
              secure.once("end", () => secure.end());
            },
            onFail: reject,
          },
        );
      });
      socket.on("error", reject);
    });
  const client = makeClient();
  assert.deepEqual([await isResumed(client), await isResumed(client), await isResumed(client)], [false, true, true]);
  assert.equal(await isResumed(makeClient()), false);
  serverContext = makeServer();
  assert.deepEqual([await isResumed(client), await isResumed(client)], [false, true]);
  server.close();
});

test("a mark that may not be set fails the dial, not the process", {
  skip: process.getuid?.() === 0 ? "root may set it" : false,
}, async () => {
  const { failure } = await dial(network.dialer, { to: { host: "127.0.0.1", port: 9 }, mark: 1337 });
  assert.equal(failure?.phase, "connect");
  assert.equal(failure?.code, "EPERM");
});

test("a marked dial connects as any other", { skip: process.getuid?.() === 0 ? false : "only root may set a mark" }, async () => {
  const socket = await network.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => {
    new ChannelRecorder(incoming.accept()).channel.writeLatin1("hello");
  });
  const client = await dialOk(network.dialer, { to: socket.address, mark: 1337 });
  await client.until("hello", (c) => c.text === "hello");
  client.channel.destroy();
  const refused = await dial(network.dialer, { to: { host: "127.0.0.1", port: 1 }, mark: 1337 });
  assert.equal(refused.failure?.code, "ECONNREFUSED");
  socket.close();
});
