/** What every network must do, as rows: run for the system's and for the one in memory. */
import assert from "node:assert/strict";
import { systemClock } from "../../src/base/clock.ts";
import { UserError } from "../../src/base/errors.ts";
import type { Address, PeerCertificate } from "../../src/net/channel.ts";
import type { DialHandler, Incoming, ListeningSocket, ListenOptions, Network } from "../../src/net/dial.ts";
import { peekClientHello } from "../../src/net/tls/client-hello.ts";
import { createClientTls, createServerTls } from "../../src/net/tls/contexts.ts";
import type { KeyPair } from "../../src/net/tls/types.ts";
import { ChannelRecorder, dial, dialOk } from "./channel-recorder.ts";
import { createTestAuthority } from "./test-authority.ts";

/** A network and where to listen in it. */
export interface ContractPlace {
  readonly network: Network;
  readonly ip: string;
  readonly unixPath: string;
}

/** One rule. */
export interface ContractRow {
  readonly name: string;
  run(place: ContractPlace): Promise<void>;
}

const HOUR_MS = 3_600_000;

/** Listens, runs, closes. */
async function withServer(
  place: ContractPlace,
  run: (server: { readonly at: Address; next(): Promise<Incoming>; readonly socket: ListeningSocket }) => Promise<void>,
  options: Partial<ListenOptions> = {},
): Promise<void> {
  const arrived: Incoming[] = [];
  const waiting: ((incoming: Incoming) => void)[] = [];
  const all: Incoming[] = [];
  const socket = await place.network.acceptor.listen({ at: { host: place.ip, port: 0 }, ...options }, (incoming) => {
    all.push(incoming);
    const wake = waiting.shift();
    if (wake) wake(incoming);
    else arrived.push(incoming);
  });
  try {
    await run({
      at: socket.address,
      socket,
      next: () => {
        const first = arrived.shift();
        return first ? Promise.resolve(first) : new Promise((resolve) => waiting.push(resolve));
      },
    });
  } finally {
    socket.close();
    for (const incoming of all) incoming.destroy();
  }
}

/** Both sides of a fresh connection. */
async function withPair(
  place: ContractPlace,
  run: (client: ChannelRecorder, server: ChannelRecorder) => Promise<void>,
  options: Partial<ListenOptions> = {},
): Promise<void> {
  await withServer(
    place,
    async ({ at, next }) => {
      const client = await dialOk(place.network.dialer, { to: at, watermarks: options.watermarks });
      const server = new ChannelRecorder((await next()).accept());
      try {
        await run(client, server);
      } finally {
        client.channel.destroy();
        server.channel.destroy();
      }
    },
    options,
  );
}

function acceptTls(
  incoming: Incoming,
  context: unknown,
  timeoutMs = 5000,
): Promise<{ recorder?: ChannelRecorder; failure?: Parameters<DialHandler["onFail"]>[0] }> {
  return new Promise((resolve) => {
    incoming.acceptTls(
      { context, timeoutMs },
      { onConnect: (channel) => resolve({ recorder: new ChannelRecorder(channel) }), onFail: (failure) => resolve({ failure }) },
    );
  });
}

function peek(incoming: Incoming, bytesMin: number, timeoutMs = 5000): Promise<{ text: string; ended: boolean }> {
  return new Promise((resolve) =>
    incoming.peek({ bytesMin, timeoutMs }, (bytes, ended) => resolve({ text: bytes.toString("latin1"), ended })),
  );
}

const plainRows: readonly ContractRow[] = [
  {
    name: "bytes go both ways in order, whichever way they are written, and both sides agree on the addresses",
    run: (place) =>
      withPair(place, async (client, server) => {
        client.channel.writeLatin1("one \xe9 ");
        client.channel.writeBytes(Buffer.from("two "));
        const source = Buffer.from("..three..");
        client.channel.forward(source, 2, 7);
        source.fill(0);
        await server.until("all", (s) => s.bytes.length === 15);
        assert.equal(server.text, "one \xe9 two three");
        server.channel.writeLatin1("back");
        await client.until("back", (c) => c.text === "back");
        assert.deepEqual(client.channel.remote, server.channel.local);
        assert.deepEqual(client.channel.local, server.channel.remote);
        assert.equal(client.channel.remote.host, place.ip);
        assert.equal(client.channel.tls, undefined);
      }),
  },
  {
    name: "a port that nobody listens on refuses, and the failure is of the connect",
    run: async (place) => {
      let at: Address | undefined;
      await withServer(place, async (server) => {
        at = server.at;
      });
      assert.ok(at);
      const { failure } = await dial(place.network.dialer, { to: at });
      assert.equal(failure?.phase, "connect");
      assert.equal(failure?.code, "ECONNREFUSED");
    },
  },
  {
    name: "a name is no address to dial",
    run: async (place) => {
      const { failure } = await dial(place.network.dialer, { to: { host: "catalog", port: 80 } });
      assert.equal(failure?.phase, "connect");
      assert.match(failure?.message ?? "", /"catalog" is no IP address/);
    },
  },
  {
    name: "a cancelled dial is never heard of again",
    run: (place) =>
      withServer(place, async ({ at }) => {
        let calls = 0;
        const handler = { onConnect: () => calls++, onFail: () => calls++ };
        place.network.dialer.dial({ to: at, timeoutMs: 5000 }, handler).cancel();
        place.network.dialer.dial({ to: { host: "nobody", port: 1 }, timeoutMs: 5000 }, handler).cancel();
        const other = await dialOk(place.network.dialer, { to: at });
        other.channel.destroy();
        await other.until("close", (o) => o.closes > 0);
        assert.equal(calls, 0);
      }),
  },
  {
    name: "one side may end and still hear the other",
    run: (place) =>
      withPair(place, async (client, server) => {
        client.channel.writeLatin1("question");
        client.channel.end();
        await server.until("end", (s) => s.isEnded);
        assert.equal(server.text, "question");
        server.channel.writeLatin1("answer");
        server.channel.end();
        await client.until("close", (c) => c.closes > 0);
        await server.until("close", (s) => s.closes > 0);
        assert.equal(client.text, "answer");
        assert.ok(client.isEnded);
        assert.equal(client.closed?.code, undefined);
        assert.equal(client.channel.isOpen, false);
      }),
  },
  {
    name: "a reset shows as ECONNRESET, a close as an end",
    run: async (place) => {
      await withPair(place, async (client, server) => {
        client.channel.destroy({ reset: true });
        await server.until("close", (s) => s.closes > 0);
        assert.equal(server.closed?.code, "ECONNRESET");
        await client.until("close", (c) => c.closes > 0);
      });
      await withPair(place, async (client, server) => {
        client.channel.destroy();
        await server.until("end", (s) => s.isEnded);
        assert.equal(server.closes, 0);
        await client.until("close", (c) => c.closes > 0);
        assert.equal(client.closed?.code, undefined);
      });
    },
  },
  {
    name: "onClose comes once, and writes after it are dropped",
    run: (place) =>
      withPair(place, async (client) => {
        client.channel.destroy();
        client.channel.destroy();
        client.channel.writeLatin1("late");
        client.channel.end();
        await client.until("close", (c) => c.closes > 0);
        await new Promise((resolve) => setImmediate(resolve));
        assert.equal(client.closes, 1);
        assert.equal(client.channel.isOpen, false);
      }),
  },
  {
    name: "a writer is told to stop above the high watermark and to go on below the low one; nothing is lost",
    run: (place) =>
      withPair(
        place,
        async (client, server) => {
          server.channel.pause();
          const piece = Buffer.alloc(64 * 1024, "x");
          let written = 0;
          while (written < 64 * 1024 * 1024) {
            written += piece.length;
            if (!client.channel.writeBytes(piece)) break;
            await new Promise((resolve) => setImmediate(resolve));
          }
          assert.ok(written < 64 * 1024 * 1024, "the writer was never stopped");
          assert.ok(client.channel.bufferedBytes > 0);
          assert.equal(client.drains, 0);
          server.channel.resume();
          await client.until("drain", (c) => c.drains > 0);
          assert.ok(client.channel.bufferedBytes <= 16 * 1024);
          await server.until("all bytes", (s) => s.bytes.length === written);
          assert.equal(client.drains, 1);
        },
        { watermarks: { highBytes: 32 * 1024, lowBytes: 16 * 1024 } },
      ),
  },
  {
    name: "peeking waits for as many bytes as asked, and leaves them",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        const incoming = await next();
        const five = peek(incoming, 5);
        for (const char of "hello") {
          client.channel.writeLatin1(char);
          await new Promise((resolve) => setImmediate(resolve));
        }
        assert.deepEqual(await five, { text: "hello", ended: false });
        assert.equal((await peek(incoming, 2)).text, "hello");
        const eleven = peek(incoming, 11);
        client.channel.writeLatin1(" world");
        assert.equal((await eleven).text, "hello world");
        const server = new ChannelRecorder(incoming.accept());
        client.channel.writeLatin1("!");
        await server.until("all", (s) => s.text === "hello world!");
        server.channel.writeLatin1("ok");
        await client.until("ok", (c) => c.text === "ok");
        client.channel.destroy();
        server.channel.destroy();
      }),
  },
  {
    name: "peeking gives what is there when the client ends or falls silent",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        const incoming = await next();
        client.channel.writeLatin1("hi");
        assert.equal((await peek(incoming, 1)).text, "hi");
        assert.deepEqual(await peek(incoming, 5, 20), { text: "hi", ended: false });
        client.channel.end();
        assert.deepEqual(await peek(incoming, 5), { text: "hi", ended: true });
        const server = new ChannelRecorder(incoming.accept());
        await server.until("end", (s) => s.isEnded);
        assert.equal(server.text, "hi");
        server.channel.writeLatin1("bye");
        server.channel.end();
        await client.until("close", (c) => c.closes > 0);
        assert.equal(client.text, "bye");
      }),
  },
  {
    name: "a client that ends without a word is peeked as ended",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        client.channel.end();
        const incoming = await next();
        assert.deepEqual(await peek(incoming, 1), { text: "", ended: true });
        const server = new ChannelRecorder(incoming.accept());
        await server.until("end", (s) => s.isEnded);
        server.channel.end();
        await client.until("close", (c) => c.closes > 0);
      }),
  },
  {
    name: "a client that is gone before it is taken shows as a closed channel",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        const incoming = await next();
        const peeked = peek(incoming, 1);
        client.channel.destroy({ reset: true });
        assert.deepEqual(await peeked, { text: "", ended: true });
        const server = new ChannelRecorder(incoming.accept());
        server.channel.writeLatin1("anybody?");
        await server.until("close", (s) => s.closes > 0);
        assert.equal(server.channel.isOpen, false);
      }),
  },
  {
    name: "a connection is taken once",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        const incoming = await next();
        const server = new ChannelRecorder(incoming.accept());
        assert.throws(() => incoming.accept(), /taken/);
        assert.throws(() => incoming.peek({ bytesMin: 1, timeoutMs: 1 }, () => {}), /taken/);
        server.channel.destroy();
        client.channel.destroy();
      }),
  },
  {
    name: "what is refused before it is taken is closed or reset",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const first = await dialOk(place.network.dialer, { to: at });
        (await next()).destroy();
        await first.until("end", (c) => c.isEnded);
        const second = await dialOk(place.network.dialer, { to: at });
        (await next()).destroy({ reset: true });
        await second.until("close", (c) => c.closes > 0);
        assert.equal(second.closed?.code, "ECONNRESET");
        first.channel.destroy();
      }),
  },
  {
    name: "an address in use is refused by name, with what to do",
    run: (place) =>
      withServer(place, async ({ at }) => {
        await assert.rejects(
          place.network.acceptor.listen({ at }, () => {}),
          (error) =>
            error instanceof UserError &&
            error.message.includes(`:${at.port}`) &&
            error.message.includes("EADDRINUSE") &&
            error.hint !== undefined,
        );
      }),
  },
  {
    name: "an address that is not here is refused by name",
    run: async (place) => {
      await assert.rejects(
        place.network.acceptor.listen({ at: { host: "203.0.113.9", port: 0 } }, () => {}),
        (error) => error instanceof UserError && error.message.includes("203.0.113.9") && error.message.includes("EADDRNOTAVAIL"),
      );
    },
  },
  {
    name: "a closed listener takes nobody, and what it took lives on",
    run: (place) =>
      withServer(place, async ({ at, next, socket }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        const server = new ChannelRecorder((await next()).accept());
        socket.close();
        const { failure } = await dial(place.network.dialer, { to: at });
        assert.equal(failure?.code, "ECONNREFUSED");
        client.channel.writeLatin1("still");
        await server.until("still", (s) => s.text === "still");
        client.channel.destroy();
        server.channel.destroy();
      }),
  },
  {
    name: "a Unix socket is a listener like others",
    run: (place) => {
      const at = { host: place.unixPath, port: 0 };
      return withServer(
        place,
        async (server) => {
          assert.deepEqual(server.at, at);
          const client = await dialOk(place.network.dialer, { to: at });
          const incoming = await server.next();
          assert.deepEqual(incoming.local, at);
          assert.deepEqual(client.channel.remote, at);
          const channel = new ChannelRecorder(incoming.accept());
          client.channel.writeLatin1("hello");
          await channel.until("hello", (s) => s.text === "hello");
          await assert.rejects(
            place.network.acceptor.listen({ at }, () => {}),
            (error) => error instanceof UserError && error.message.includes(at.host),
          );
          client.channel.destroy();
          channel.channel.destroy();
        },
        { at },
      );
    },
  },
  {
    name: "without capture the original destination is the near side",
    run: (place) =>
      withServer(
        place,
        async ({ at, next }) => {
          const client = await dialOk(place.network.dialer, { to: at });
          assert.deepEqual((await next()).originalDestination, at);
          client.channel.destroy();
        },
        { originalDestination: true },
      ),
  },
];

// ---- TLS ----

const mesh = await createTestAuthority("mesh");
const stranger = await createTestAuthority("stranger");
const below = await mesh.intermediate("below");
const STOREFRONT = "spiffe://cluster.local/ns/shop/sa/storefront";
const CATALOG = "spiffe://cluster.local/ns/shop/sa/catalog";
const ALPN = ["istio-peer-exchange", "istio"];

const good = await mesh.issue({ uris: [STOREFRONT] });
const server = await mesh.issue({ uris: [CATALOG] });

/** As a mesh does it: exactly one URI, of the trust domain, and it is expected. */
const oneOf =
  (...expected: readonly string[]) =>
  (peer: PeerCertificate): string | undefined => {
    if (peer.uriSans.length !== 1) return `${peer.uriSans.length} URI names`;
    return expected.includes(peer.uriSans[0] ?? "") ? undefined : `${peer.uriSans[0]} is not expected`;
  };

interface PeerRow {
  readonly name: string;
  readonly keyPair: KeyPair | undefined;
  /** Undefined: it gets in. */
  readonly refusal: RegExp | undefined;
}

const peers: readonly PeerRow[] = [
  { name: "a good certificate", keyPair: good, refusal: undefined },
  { name: "a good certificate below an intermediate", keyPair: await below.issue({ uris: [STOREFRONT] }), refusal: undefined },
  {
    name: "a stranger's authority",
    keyPair: await stranger.issue({ uris: [STOREFRONT] }),
    refusal: /CERTIFICATE_VERIFY_FAILED.*(local issuer|verify the first)/,
  },
  {
    name: "an expired certificate",
    keyPair: await mesh.issue({ uris: [STOREFRONT], notBeforeMs: Date.now() - 3 * HOUR_MS, notAfterMs: Date.now() - HOUR_MS }),
    refusal: /certificate has expired/,
  },
  {
    name: "a certificate that is not yet valid",
    keyPair: await mesh.issue({ uris: [STOREFRONT], notBeforeMs: Date.now() + HOUR_MS, notAfterMs: Date.now() + 2 * HOUR_MS }),
    refusal: /not yet valid/,
  },
  { name: "two SPIFFE ids", keyPair: await mesh.issue({ uris: [STOREFRONT, CATALOG] }), refusal: /2 URI names/ },
  { name: "no SPIFFE id", keyPair: await mesh.issue({ dnsNames: ["storefront.shop"] }), refusal: /0 URI names/ },
  {
    name: "an id that is not expected",
    keyPair: await mesh.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/other"] }),
    refusal: /not expected/,
  },
  {
    name: "a foreign trust domain",
    keyPair: await mesh.issue({ uris: ["spiffe://elsewhere/ns/shop/sa/storefront"] }),
    refusal: /not expected/,
  },
  {
    name: "a comma that hides a second id",
    keyPair: await mesh.issue({ uris: [`${STOREFRONT},URI:${CATALOG}`] }),
    refusal: /not expected/,
  },
  { name: "a name with a NUL", keyPair: await mesh.issue({ uris: [`${STOREFRONT}\0`] }), refusal: /bytes that no name has/ },
];

/** Three ways in which a listener may ask. "peeked": its ClientHello was looked at first, as filter-chain matching does. */
const listenerKinds = [
  { kind: "required", requireClientCertificate: true, peeked: false },
  { kind: "required and peeked", requireClientCertificate: true, peeked: true },
  { kind: "optional", requireClientCertificate: false, peeked: true },
] as const;

function clientContext(keyPair: KeyPair | undefined): unknown {
  return createClientTls({ keyPair, trustPem: mesh.trustPem, alpn: ALPN, verifyPeer: oneOf(CATALOG) });
}

function serverContext(requireClientCertificate: boolean): unknown {
  return createServerTls({ keyPair: server, trustPem: mesh.trustPem, alpn: ALPN, verifyPeer: oneOf(STOREFRONT), requireClientCertificate });
}

const peerRows: readonly ContractRow[] = listenerKinds.flatMap(({ kind, requireClientCertificate, peeked }) => {
  const context = serverContext(requireClientCertificate);
  const none: PeerRow = {
    name: "no certificate",
    keyPair: undefined,
    refusal: requireClientCertificate ? /PEER_DID_NOT_RETURN_A_CERTIFICATE/ : undefined,
  };
  return [...peers, none].map(({ name, keyPair, refusal }) => ({
    name: `a listener with client certificates ${kind} ${refusal ? "refuses" : "takes"} ${name}`,
    run: (place: ContractPlace) =>
      withServer(place, async ({ at, next }) => {
        const dialled = dial(place.network.dialer, {
          to: at,
          tls: { context: clientContext(keyPair), serverName: "catalog.shop", alpn: ALPN },
        });
        const incoming = await next();
        if (peeked) {
          const hello = await new Promise((resolve) => peekClientHello(incoming, { timeoutMs: 5000, clock: systemClock }, resolve));
          assert.deepEqual(hello, { kind: "hello", serverName: "catalog.shop", alpn: ALPN });
        }
        const accepted = await acceptTls(incoming, context);
        // In TLS 1.3 a client is done before its certificate is judged: what it writes at once must reach nobody.
        const client = (await dialled).recorder;
        client?.channel.writeLatin1("secret");
        if (refusal) {
          assert.equal(accepted.recorder, undefined);
          assert.equal(accepted.failure?.phase, "tls");
          assert.match(accepted.failure?.message ?? "", refusal);
          await client?.until("end", (c) => c.isEnded || c.closes > 0);
          client?.channel.destroy();
          return;
        }
        assert.ok(accepted.recorder, JSON.stringify(accepted.failure));
        assert.ok(client);
        await accepted.recorder.until("secret", (s) => s.text === "secret");
        accepted.recorder.channel.writeLatin1("answer");
        await client.until("answer", (c) => c.text === "answer");
        const info = accepted.recorder.channel.tls;
        assert.deepEqual(info?.peer?.uriSans, keyPair ? [STOREFRONT] : undefined);
        assert.equal(info?.serverName, "catalog.shop");
        assert.equal(info?.alpn, "istio-peer-exchange");
        assert.equal(info?.protocol, "TLSv1.3");
        assert.deepEqual(client.channel.tls?.peer?.uriSans, [CATALOG]);
        assert.equal(client.channel.tls?.alpn, "istio-peer-exchange");
        client.channel.destroy();
        accepted.recorder.channel.destroy();
      }),
  }));
});

const serverPeers: readonly PeerRow[] = peers.filter((row) => row.refusal);
const clientRows: readonly ContractRow[] = serverPeers.map(({ name, keyPair, refusal }) => ({
  name: `a client refuses a server with ${name}`,
  run: (place: ContractPlace) =>
    withServer(place, async ({ at, next }) => {
      const context = createClientTls({ keyPair: good, trustPem: mesh.trustPem, alpn: ALPN, verifyPeer: oneOf(STOREFRONT) });
      const dialled = dial(place.network.dialer, { to: at, tls: { context, serverName: undefined, alpn: ALPN } });
      const accepted = acceptTls(
        await next(),
        createServerTls({ keyPair, trustPem: mesh.trustPem, alpn: ALPN, requireClientCertificate: false }),
      );
      const { failure } = await dialled;
      assert.equal(failure?.phase, "tls");
      assert.match(failure?.message ?? "", refusal ?? /never/);
      const { recorder } = await accepted;
      await recorder?.until("end", (s) => s.isEnded || s.closes > 0);
      recorder?.channel.destroy();
    }),
}));

/** One good TLS connection. */
async function withTlsPair(
  place: ContractPlace,
  contexts: { readonly client: unknown; readonly server: unknown; readonly alpn?: readonly string[] },
  run: (client: ChannelRecorder, server: ChannelRecorder) => Promise<void>,
): Promise<void> {
  await withServer(place, async ({ at, next }) => {
    const dialled = dialOk(place.network.dialer, {
      to: at,
      tls: { context: contexts.client, serverName: undefined, alpn: contexts.alpn ?? ALPN },
    });
    const { recorder, failure } = await acceptTls(await next(), contexts.server);
    const client = await dialled;
    assert.ok(recorder, JSON.stringify(failure));
    try {
      await run(client, recorder);
    } finally {
      client.channel.destroy();
      recorder.channel.destroy();
    }
  });
}

const tlsRows: readonly ContractRow[] = [
  {
    name: "TLS without a protocol in common goes on without ALPN",
    run: (place) =>
      withTlsPair(place, { client: clientContext(good), server: serverContext(true), alpn: ["h3"] }, async (client, accepted) => {
        assert.equal(client.channel.tls?.alpn, undefined);
        assert.equal(accepted.channel.tls?.alpn, undefined);
      }),
  },
  {
    name: "TLS carries much both ways, and an end",
    run: (place) =>
      withTlsPair(place, { client: clientContext(good), server: serverContext(true) }, async (client, accepted) => {
        const bulk = Buffer.alloc(3 * 1024 * 1024, "abcdefghij");
        for (let at = 0; at < bulk.length; at += 65536) client.channel.writeBytes(bulk.subarray(at, at + 65536));
        accepted.channel.writeBytes(bulk);
        await accepted.until("bulk", (s) => s.bytes.length >= bulk.length);
        await client.until("bulk", (c) => c.bytes.length >= bulk.length);
        assert.ok(accepted.bytes.equals(bulk) && client.bytes.equals(bulk));
        client.channel.end();
        await accepted.until("end", (s) => s.isEnded);
        accepted.channel.end();
        await client.until("close", (c) => c.closes > 0);
        assert.equal(client.closed?.code, undefined);
      }),
  },
  {
    name: "TLS: a reset is heard of",
    run: (place) =>
      withTlsPair(place, { client: clientContext(good), server: serverContext(true) }, async (client, accepted) => {
        // Not during the handshake's last write: who writes into a reset is told of it there, and reads an end.
        accepted.channel.writeLatin1("hello");
        await client.until("hello", (c) => c.text === "hello");
        client.channel.destroy({ reset: true });
        await accepted.until("close", (s) => s.closes > 0);
        assert.equal(accepted.closed?.code, "ECONNRESET");
      }),
  },
  {
    name: "TLS without trust verifies nobody and calls nobody verified",
    run: (place) =>
      withTlsPair(
        place,
        {
          client: createClientTls({ keyPair: undefined, trustPem: undefined, alpn: [] }),
          server: createServerTls({ keyPair: server, trustPem: undefined, alpn: [], requireClientCertificate: false }),
          alpn: [],
        },
        async (client, accepted) => {
          assert.equal(client.channel.tls?.peer, undefined);
          assert.equal(accepted.channel.tls?.peer, undefined);
        },
      ),
  },
  {
    name: "TLS 1.2 is spoken where a side has no more",
    run: (place) =>
      withTlsPair(
        place,
        {
          client: createClientTls({
            keyPair: good,
            trustPem: mesh.trustPem,
            alpn: ALPN,
            maxVersion: "TLSv1.2",
            verifyPeer: oneOf(CATALOG),
          }),
          server: serverContext(true),
        },
        async (client, accepted) => {
          assert.equal(accepted.channel.tls?.protocol, "TLSv1.2");
          client.channel.writeLatin1("hello");
          await accepted.until("hello", (s) => s.text === "hello");
        },
      ),
  },
  {
    name: "a plaintext client fails the handshake of a TLS listener, as does one that ends",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const plain = await dialOk(place.network.dialer, { to: at });
        plain.channel.writeLatin1("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        const refused = await acceptTls(await next(), serverContext(true));
        assert.equal(refused.failure?.phase, "tls");
        assert.match(refused.failure?.message ?? "", /^TLS_error:\|268435612:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end$/);
        const silent = await dialOk(place.network.dialer, { to: at });
        silent.channel.end();
        const ended = await acceptTls(await next(), serverContext(true));
        assert.equal(ended.failure?.phase, "tls");
        assert.equal(ended.failure?.code, "ECONNRESET");
        plain.channel.destroy();
        silent.channel.destroy();
      }),
  },
  {
    name: "a TLS client fails at a plaintext server, at one that closes, and at one that is silent",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const tls = { context: clientContext(good), serverName: undefined, alpn: ALPN };
        const plain = dial(place.network.dialer, { to: at, tls });
        new ChannelRecorder((await next()).accept()).channel.writeLatin1("HTTP/1.1 400 Bad Request\r\n\r\n");
        assert.match((await plain).failure?.message ?? "", /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/);
        const closed = dial(place.network.dialer, { to: at, tls });
        (await next()).destroy();
        assert.equal((await closed).failure?.phase, "tls");
        const silent = dial(place.network.dialer, { to: at, tls, timeoutMs: 50 });
        await next();
        assert.equal((await silent).failure?.phase, "timeout");
      }),
  },
  {
    name: "a handshake that a client does not go on with ends at its timeout",
    run: (place) =>
      withServer(place, async ({ at, next }) => {
        const client = await dialOk(place.network.dialer, { to: at });
        client.channel.writeBytes(Buffer.from([22, 3, 1]));
        const { failure } = await acceptTls(await next(), serverContext(true), 50);
        assert.equal(failure?.phase, "timeout");
        await client.until("gone", (c) => c.isEnded || c.closes > 0);
        client.channel.destroy();
      }),
  },
];

/** All rules. */
export const networkContract: readonly ContractRow[] = [...plainRows, ...tlsRows, ...peerRows, ...clientRows];
