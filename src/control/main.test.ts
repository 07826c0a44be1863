/** The whole control plane over a network in memory: what opens when, who is let in, what a push does, what stays after it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { FakeClock } from "../../test/kit/fake-clock.ts";
import { UserError } from "../base/errors.ts";
import { type Log, type LogFields, silentLog } from "../base/log.ts";
import { createSeededRandom } from "../base/random.ts";
import { NodeSchema } from "../gen/envoy/config/core/v3/base_pb.ts";
import { requestCertificate } from "../identity/certificate-client.ts";
import { formatSpiffeId } from "../model/identity.ts";
import type { Channel } from "../net/channel.ts";
import { createGrpcChannel } from "../net/grpc/channel.ts";
import type { GrpcMetadata } from "../net/grpc/types.ts";
import { HeaderList } from "../net/http/headers.ts";
import { MESH_HTTP_LIMITS } from "../net/http/stream.ts";
import { createHttp1ClientConnection } from "../net/http1/client-connection.ts";
import { createMemoryNetwork, type MemoryHost } from "../net/memory/network.ts";
import { createClientTls } from "../net/tls/contexts.ts";
import type { KeyPair } from "../net/tls/types.ts";
import { createXdsClient } from "../xds/client.ts";
import { TypeUrl } from "../xds/types.ts";
import { createSelfSignedRoot } from "./ca/authority.ts";
import { defaultMeshConfig } from "./config/mesh-config.ts";
import { createMemorySource, type MemorySource } from "./config/sources/memory.ts";
import { type ControlPlaneOptions, startControlPlane } from "./main.ts";

const IP = "198.18.0.2";
const NAME = "istiod.istio-system.svc";
const SERVICE = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: payment, namespace: shop}
spec:
  hosts: [payment.shop.svc.cluster.local]
  addresses: [10.1.0.1]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{address: 10.0.0.1}]
`;

async function setUp(files: Readonly<Record<string, string>> = { "shop.yaml": SERVICE }, change: Partial<ControlPlaneOptions> = {}) {
  const clock = new FakeClock(Date.now()); // TLS looks at the real time.
  const net = createMemoryNetwork({ clock });
  const host = net.host(IP);
  const keys = await generateKeyPair("ES256");
  const rule = {
    issuer: "lab",
    audiences: ["istio-ca"],
    jwksUri: undefined,
    jwks: { keys: [{ ...(await exportJWK(keys.publicKey)), alg: "ES256" }] },
  };
  const root = await createSelfSignedRoot("cluster.local", clock);
  let source: MemorySource | undefined;
  const lines: { message: string; fields: LogFields | undefined }[] = [];
  const note = (message: string, fields?: LogFields): void => void lines.push({ message, fields });
  const log: Log = { debug() {}, info: note, warn: note, error: note };
  const starting = startControlPlane({
    version: "0",
    mesh: defaultMeshConfig(),
    sources(reader) {
      source = createMemorySource(reader, files);
      return [source];
    },
    grpcAddr: { host: IP, port: 15010 },
    secure: { at: { host: IP, port: 15012 }, authority: root, serverNames: [NAME], tokenRule: rule },
    monitoringAddr: { host: IP, port: 15014 },
    network: host,
    clock,
    log,
    ...change,
  });
  const token = (account: string, namespace = "shop"): Promise<string> =>
    new SignJWT({ sub: `system:serviceaccount:${namespace}:${account}` })
      .setProtectedHeader({ alg: "ES256" })
      .setIssuer("lab")
      .setAudience("istio-ca")
      .setExpirationTime(Math.floor(Date.now() / 1000) + 600)
      .sign(keys.privateKey);
  /** Moves time in small steps until the promise is settled. */
  const drive = async <T>(promise: Promise<T>): Promise<T> => {
    let isSettled = false;
    const mark = (): void => {
      isSettled = true;
    };
    promise.then(mark, mark);
    for (let i = 0; i < 400 && !isSettled; i++) {
      await clock.advance(5);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(isSettled, "settled in time");
    return promise;
  };
  return {
    clock,
    host,
    client: net.host("10.0.0.1"),
    root,
    token,
    drive,
    starting,
    lines,
    set: (texts: Readonly<Record<string, string | undefined>>) => source?.set(texts),
  };
}

type World = Awaited<ReturnType<typeof setUp>>;

function channelTo(world: World, port: number, tls?: { readonly keyPair?: KeyPair; readonly trustPem?: string }) {
  const context = tls && createClientTls({ keyPair: tls.keyPair, trustPem: tls.trustPem ?? world.root.rootCertPem, alpn: ["h2"] });
  return createGrpcChannel({
    network: world.client,
    target: { host: IP, port },
    authority: NAME,
    clock: world.clock,
    keepalive: false,
    ...(context ? { tls: { context, serverName: NAME, alpn: ["h2"] } } : {}),
  });
}

/** Connects as a proxy and says what came of it. */
function connect(
  world: World,
  port: number,
  options: {
    readonly tls?: { readonly keyPair?: KeyPair; readonly trustPem?: string };
    readonly metadata?: GrpcMetadata;
    readonly account?: string;
    readonly namespace?: string;
  } = {},
) {
  const { account = "payment", namespace = "shop" } = options;
  const node = toBinary(
    NodeSchema,
    create(NodeSchema, {
      id: `sidecar~10.0.0.1~payment-0.${namespace}~${namespace}.svc.cluster.local`,
      metadata: { NAMESPACE: namespace, SERVICE_ACCOUNT: account },
    }),
  );
  const clusters = new Set<string>();
  let why = "";
  const { promise, resolve } = Promise.withResolvers<void>();
  const client = createXdsClient({
    openChannel: () => channelTo(world, port, options.tls),
    node,
    mode: "delta",
    setNodeOnFirstMessageOnly: true,
    clock: world.clock,
    random: createSeededRandom(1),
    log: {
      ...silentLog,
      warn(_message, fields) {
        why = String(fields?.["why"]);
        resolve();
      },
    },
    ...(options.metadata ? { metadata: () => options.metadata ?? {} } : {}),
  });
  client.subscribe(
    TypeUrl.cluster,
    { wildcard: true },
    {
      onUpdate(update) {
        for (const { name } of update.resources) clusters.add(name);
        for (const name of update.removed) clusters.delete(name);
        resolve();
        return undefined;
      },
    },
  );
  client.start();
  return { client, clusters, why: () => why, settled: promise };
}

async function get(
  world: World,
  path: string,
  from: MemoryHost = world.client,
): Promise<{ readonly status: number; readonly body: string }> {
  const channel = await new Promise<Channel>((resolve, reject) => {
    from.dialer.dial(
      { to: { host: IP, port: 15014 }, timeoutMs: 1000 },
      { onConnect: resolve, onFail: (reason) => reject(new Error(reason.message)) },
    );
  });
  return new Promise((resolve, reject) => {
    const connection = createHttp1ClientConnection(
      channel,
      { limits: MESH_HTTP_LIMITS },
      { onAvailable() {}, onDraining() {}, onClose: (reason) => reject(new Error(reason.detail)) },
    );
    let status = 0;
    const parts: Buffer[] = [];
    const head = {
      method: "GET",
      path,
      authority: "x",
      scheme: "http",
      headers: new HeaderList(),
      version: "HTTP/1.1" as const,
      upgrade: undefined,
    };
    const end = (): void => {
      resolve({ status, body: Buffer.concat(parts).toString() });
      connection.destroy();
    };
    connection.openStream(head, true, {
      onInformational() {},
      onResponse(answer, ended) {
        status = answer.status;
        if (ended) end();
      },
      onData(buffer, start, stop, ended) {
        parts.push(Buffer.from(buffer.subarray(start, stop)));
        if (ended) end();
      },
      onTrailers: end,
      onReset: (reset) => reject(new Error(reset.detail)),
      onDrain() {},
    });
  });
}

test("config with faults: nothing starts, every fault is named with its place, and no port stays open", async () => {
  const world = await setUp({
    "a.yaml": SERVICE.replace("resolution", "resolutoin"),
    "b.yaml": "kind: [",
    "good.yaml": SERVICE.replace("{name: payment", "{name: other"),
  });
  await assert.rejects(world.drive(world.starting), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.equal(error.exitCode, 1);
    assert.match(error.message, /a\.yaml:\d+:\d+: .*resolutoin/);
    assert.match(error.message, /b\.yaml:\d+:\d+: /);
    assert.doesNotMatch(error.message, /good\.yaml/);
    return true;
  });
  await assert.rejects(world.drive(get(world, "/ready")));
});

test("an address that cannot be had: nothing stays open", async () => {
  const world = await setUp(undefined, { monitoringAddr: { host: IP, port: 15010 } });
  await assert.rejects(world.drive(world.starting));
  const { settled, why } = connect(world, 15010);
  await world.drive(settled);
  assert.notEqual(why(), "");
});

test("an authority that cannot sign is refused in a sentence", async () => {
  const world = await setUp();
  const other = await setUp(undefined, {
    secure: { at: { host: IP, port: 15012 }, authority: { ...world.root, caKeyPem: "no key" }, serverNames: [NAME], tokenRule: undefined },
  });
  await assert.rejects(other.drive(other.starting), /ca-key\.pem/);
  await (await world.drive(world.starting)).close();
});

test("it is ready, counts, and gives a plaintext proxy its clusters", async () => {
  const world = await setUp();
  const plane = await world.drive(world.starting);
  assert.equal((await world.drive(get(world, "/ready"))).status, 200);
  assert.equal((await world.drive(get(world, "/debug/adsz"))).status, 403, "debug pages are not for other machines");
  const { client, clusters, settled } = connect(world, 15010);
  await world.drive(settled);
  assert.ok(clusters.has("outbound|8080||payment.shop.svc.cluster.local"));
  assert.match((await world.drive(get(world, "/metrics"))).body, /^pilot_xds 1$/m);
  client.close();
  await world.drive(plane.close());
  await assert.rejects(world.drive(get(world, "/ready")));
});

test("a change is pushed and acknowledged; a bad one keeps the last good state, and is told", async () => {
  const world = await setUp();
  const plane = await world.drive(world.starting);
  const { clusters, settled } = connect(world, 15010);
  await world.drive(settled);
  world.set({ "more.yaml": SERVICE.replaceAll("payment", "catalog").replace("10.1.0.1", "10.1.0.2") });
  const record = await world.drive(plane.pushes.finished(2));
  assert.equal(record.acknowledged, 1);
  assert.equal(record.reason, "more.yaml (ServiceEntry shop/catalog)");
  assert.ok(clusters.has("outbound|8080||catalog.shop.svc.cluster.local"));

  world.set({
    "more.yaml":
      "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: catalog, namespace: shop}\nspec: {hosts: [], hostz: [x]}\n",
  });
  await world.clock.advance(500);
  assert.ok(clusters.has("outbound|8080||catalog.shop.svc.cluster.local"));
  assert.equal(plane.pushes.records.length, 1);
  const said = JSON.stringify(world.lines);
  assert.match(said, /more\.yaml:4:\d+.*hostz/);
  await world.drive(plane.close());
});

test("the secure port: a token gets a certificate, and the certificate its own config", async () => {
  const world = await setUp();
  const plane = await world.drive(world.starting);
  const identity = formatSpiffeId({ trustDomain: "cluster.local", namespace: "shop", serviceAccount: "payment" });
  const channel = channelTo(world, 15012, {});
  const certificate = await world.drive(
    requestCertificate({ channel, identity, token: () => world.token("payment"), clusterId: undefined, ttlSeconds: 3600, timeoutMs: 5000 }),
  );
  channel.close();
  const keyPair = { chainPem: certificate.chainPem, keyPem: certificate.keyPem };
  const { client, clusters, settled } = connect(world, 15012, { tls: { keyPair } });
  await world.drive(settled);
  assert.ok(clusters.has("outbound|8080||payment.shop.svc.cluster.local"));
  client.close();

  const others = connect(world, 15012, { tls: { keyPair }, account: "storefront" });
  await world.drive(others.settled);
  assert.match(others.why(), /shop\/storefront.*code 7/);
  assert.equal(others.clusters.size, 0);
  others.client.close();
  await world.drive(plane.close());
});

/** Who is not let in on the secure port. */
const refusals: readonly { rule: string; metadata: (world: World) => Promise<GrpcMetadata>; namespace?: string; why: RegExp }[] = [
  { rule: "nobody in particular", metadata: async () => ({}), why: /code 16/ },
  {
    rule: "a token of another account",
    metadata: async (w) => ({ authorization: `Bearer ${await w.token("storefront")}` }),
    why: /code 7/,
  },
  {
    rule: "a token of another namespace",
    metadata: async (w) => ({ authorization: `Bearer ${await w.token("payment", "bank")}` }),
    why: /code 7/,
  },
  { rule: "a token that is none", metadata: async () => ({ authorization: "Bearer a.b.c" }), why: /code 16/ },
];

for (const { rule, metadata, why: wanted } of refusals) {
  test(`the secure port refuses ${rule}`, async () => {
    const world = await setUp();
    const plane = await world.drive(world.starting);
    const { client, clusters, why, settled } = connect(world, 15012, { tls: {}, metadata: await metadata(world) });
    await world.drive(settled);
    assert.match(why(), wanted);
    assert.equal(clusters.size, 0);
    client.close();
    await world.drive(plane.close());
  });
}

test("the secure port refuses a stranger's certificate in the handshake, and lets a token of the own account in", async () => {
  const world = await setUp();
  const plane = await world.drive(world.starting);
  const { createTestAuthority } = await import("../../test/kit/test-authority.ts");
  const stranger = await createTestAuthority("stranger");
  const keyPair = await stranger.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/payment"] });
  const refused = connect(world, 15012, { tls: { keyPair } });
  await world.drive(refused.settled);
  assert.equal(refused.clusters.size, 0);
  refused.client.close();
  const metadata = { authorization: `Bearer ${await world.token("payment")}` };
  const taken = connect(world, 15012, { tls: {}, metadata });
  await world.drive(taken.settled);
  assert.ok(taken.clusters.size > 0, taken.why());
  taken.client.close();
  await world.drive(plane.close());
});
