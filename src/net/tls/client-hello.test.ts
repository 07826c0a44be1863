import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { test } from "node:test";
import tls from "node:tls";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { type ClientHello, parseClientHello, peekClientHello } from "./client-hello.ts";

/** What a real client sends first. */
async function realHello(options: tls.ConnectionOptions): Promise<Buffer> {
  const server = net.createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as net.AddressInfo;
  const client = tls.connect({ ...options, port, host: "127.0.0.1", rejectUnauthorized: false });
  client.on("error", () => {});
  const [socket] = (await once(server, "connection")) as [net.Socket];
  const [bytes] = (await once(socket, "data")) as [Buffer];
  client.destroy();
  socket.destroy();
  server.close();
  return bytes;
}

const mesh = await realHello({
  servername: "outbound_.80_._.Catalog.shop.svc.cluster.local",
  ALPNProtocols: ["istio-peer-exchange", "istio"],
});
const bare = await realHello({ maxVersion: "TLSv1.2", servername: "" });

test("server name and ALPN are read, the name in lower case", () => {
  assert.deepEqual(parseClientHello(mesh), {
    kind: "hello",
    serverName: "outbound_.80_._.catalog.shop.svc.cluster.local",
    alpn: ["istio-peer-exchange", "istio"],
  });
  assert.deepEqual(parseClientHello(bare), { kind: "hello", serverName: undefined, alpn: [] });
});

test("each prefix asks for more, never for less than one byte more nor for more than the whole", () => {
  for (let length = 0; length < mesh.length; length++) {
    const hello = parseClientHello(mesh.subarray(0, length));
    assert.ok(hello.kind === "more", `${length}: ${JSON.stringify(hello)}`);
    assert.ok(hello.bytesMin > length && hello.bytesMin <= mesh.length);
  }
});

test("a message cut over several records is joined", () => {
  const message = mesh.subarray(5);
  const records = [message.subarray(0, 1), message.subarray(1, 200), message.subarray(200)].map((part) => {
    const head = Buffer.from([22, 3, 1, 0, 0]);
    head.writeUInt16BE(part.length, 3);
    return Buffer.concat([head, part]);
  });
  const whole = Buffer.concat(records);
  assert.equal(parseClientHello(whole).kind, "hello");
  for (let length = 0; length < whole.length; length++) {
    const hello = parseClientHello(whole.subarray(0, length));
    assert.ok(hello.kind === "more" && hello.bytesMin > length && hello.bytesMin <= whole.length, `${length}: ${JSON.stringify(hello)}`);
  }
});

const mangled = (change: (bytes: Buffer) => void): Buffer => {
  const copy = Buffer.from(mesh);
  change(copy);
  return copy;
};
const notTls: readonly { readonly name: string; readonly bytes: Buffer }[] = [
  { name: "HTTP", bytes: Buffer.from("GET / HTTP/1.1\r\n") },
  { name: "one plaintext byte", bytes: Buffer.from("h") },
  { name: "SSL 2", bytes: Buffer.from([22, 2]) },
  { name: "another record type", bytes: Buffer.from([23, 3, 1, 0, 5]) },
  { name: "an empty record", bytes: Buffer.from([22, 3, 1, 0, 0]) },
  { name: "a record that is too long", bytes: Buffer.from([22, 3, 1, 0x40, 1]) },
  { name: "a ServerHello", bytes: Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]) },
  { name: "a ClientHello that is too long", bytes: Buffer.from([22, 3, 1, 0, 4, 1, 1, 0, 0]) },
  { name: "a session id that runs over", bytes: mangled((b) => b.writeUInt8(255, 5 + 4 + 34)) },
  {
    name: "records of a byte each without end",
    bytes: Buffer.concat(Array.from({ length: 80 }, (_, i) => Buffer.from([22, 3, 1, 0, 1, i === 0 ? 1 : 0]))),
  },
];
for (const { name, bytes } of notTls) test(`not TLS: ${name}`, () => assert.equal(parseClientHello(bytes).kind, "not-tls"));

test("no mangled byte makes it throw, or read outside the name that was sent", () => {
  for (let at = 0; at < mesh.length; at++) {
    for (const value of [0, 1, 0x7f, 0xff]) {
      const hello = parseClientHello(mangled((b) => b.writeUInt8(value, at)));
      assert.ok(["hello", "more", "not-tls"].includes(hello.kind));
    }
  }
});

test("a server name with a NUL or a blank is refused", () => {
  const at = mesh.indexOf("outbound_");
  for (const value of [0, 0x20, 0xff]) assert.equal(parseClientHello(mangled((b) => b.writeUInt8(value, at + 3))).kind, "not-tls");
});

test("peeking follows a client that dribbles, and gives up at one deadline for all", async () => {
  const clock = new FakeClock();
  let have = 0;
  const asked: number[] = [];
  const incoming = {
    peek({ bytesMin, timeoutMs }: { bytesMin: number; timeoutMs: number }, done: (bytes: Buffer, ended: boolean) => void): void {
      asked.push(timeoutMs);
      clock.after(100, () => {
        have = Math.min(bytesMin, mesh.length);
        done(mesh.subarray(0, have), false);
      });
    },
  };
  const whole = new Promise<ClientHello>((resolve) => peekClientHello(incoming, { timeoutMs: 1000, clock }, resolve));
  await clock.advance(1000);
  assert.equal((await whole).kind, "hello");
  assert.deepEqual(asked, [1000, 900, 800]);
  const ended = await new Promise<ClientHello>((resolve) => {
    peekClientHello({ peek: (_, done) => done(mesh.subarray(0, 9), true) }, { timeoutMs: 1000, clock }, resolve);
  });
  assert.equal(ended.kind, "not-tls");
});
