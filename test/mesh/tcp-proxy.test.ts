import assert from "node:assert/strict";
import { test } from "node:test";
import type { Channel } from "../../src/net/channel.ts";
import { createMemoryNetwork } from "../../src/net/memory/network.ts";
import { ChannelRecorder } from "../kit/channel-recorder.ts";
import { FakeClock, settle } from "../kit/fake-clock.ts";
import { socketAddress, startTestProxy, staticCluster, tcpFilter } from "../kit/mesh-proxy.ts";

const LOG = {
  access_log: [
    {
      name: "file",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path: "/log",
        log_format: {
          text_format_source: {
            inline_string:
              "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_HOST% %UPSTREAM_CLUSTER_RAW% %CONNECTION_TERMINATION_DETAILS%\n",
          },
        },
      },
    },
  ],
};

/** A client, a proxy with one TCP listener, and a server that keeps what it accepts. */
async function setUp(
  options: { readonly listener?: object; readonly cluster?: object; readonly tcp?: object; readonly network?: object[] } = {},
) {
  const clock = new FakeClock();
  const network = createMemoryNetwork({ clock });
  const server = network.host("10.0.0.3");
  const accepted: ChannelRecorder[] = [];
  await server.acceptor.listen(
    { at: { host: "10.0.0.3", port: 9000 } },
    (incoming) => void accepted.push(new ChannelRecorder(incoming.accept())),
  );
  const started = await startTestProxy({
    network: network.host("10.0.0.2"),
    clock,
    args: ["--drain-time-s", "5"],
    bootstrap: {
      static_resources: {
        clusters: [staticCluster("up", [["10.0.0.3", 9000]], options.cluster)],
        listeners: [
          {
            name: "l",
            address: socketAddress("0.0.0.0", 80),
            filter_chains: [{ filters: [...(options.network ?? []), tcpFilter("up", { ...LOG, ...options.tcp })] }],
            ...options.listener,
          },
        ],
      },
    },
  });
  const connect = async (): Promise<ChannelRecorder> => {
    const channel = await new Promise<Channel>((resolve, reject) => {
      network.host("10.0.0.1").dialer.dial(
        { to: { host: "10.0.0.2", port: 80 }, timeoutMs: 1000 },
        {
          onConnect: (made) => {
            new ChannelRecorder(made);
            resolve(made);
          },
          onFail: (reason) => reject(new Error(reason.message)),
        },
      );
    });
    return channel.handler as ChannelRecorder;
  };
  return { ...started, clock, network, accepted, connect };
}

test("bytes go both ways, half-close is passed on, and one line is logged", async () => {
  const { connect, accepted, accessLogs, proxy } = await setUp();
  const client = await connect();
  client.channel.writeLatin1("hello");
  client.channel.end();
  await settle();
  const [server] = accepted;
  assert.equal(server?.text, "hello");
  assert.equal(server?.isEnded, true);
  server?.channel.writeLatin1("and good bye");
  server?.channel.end();
  await settle();
  assert.equal(client.text, "and good bye");
  assert.equal(client.isEnded, true);
  await settle();
  assert.deepEqual(accessLogs.get("/log"), ["- 5 12 10.0.0.3:9000 up -\n"]);
  assert.match(proxy.metrics.toEnvoyText(), /^cluster\.up\.upstream_cx_total: 1$/m);
  assert.match(proxy.metrics.toEnvoyText(), /^cluster\.up\.upstream_cx_active: 0$/m);
  assert.match(proxy.metrics.toPrometheus(), /istio_tcp_received_bytes_total\{.*\} 5\n/);
});

test("a server may speak first", async () => {
  const { connect, accepted } = await setUp();
  const client = await connect();
  await settle();
  accepted[0]?.channel.writeLatin1("220 ready");
  await settle();
  assert.equal(client.text, "220 ready");
});

test("a slow reader slows the writer down, and nothing is lost", async () => {
  const { connect, accepted } = await setUp({
    listener: { per_connection_buffer_limit_bytes: 4096 },
    cluster: { per_connection_buffer_limit_bytes: 4096 },
  });
  const client = await connect();
  await settle();
  const [server] = accepted;
  server?.channel.pause();
  const bytes = Buffer.alloc(4 * 1024 * 1024, "x");
  const isRoom = client.channel.writeBytes(bytes);
  await settle();
  assert.equal(isRoom, false);
  assert.ok(client.channel.bufferedBytes > 1024 * 1024, `the client holds ${client.channel.bufferedBytes}: the proxy took too much`);
  server?.channel.resume();
  for (let i = 0; i < 3000 && (server?.bytes.length ?? 0) < bytes.length; i++) await settle();
  assert.equal(server?.bytes.length, bytes.length);
});

const failures: readonly { name: string; options: Parameters<typeof setUp>[0]; log: string }[] = [
  {
    name: "a refused upstream",
    options: {
      cluster: {
        load_assignment: {
          cluster_name: "up",
          endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress("10.0.0.3", 9001) } }] }],
        },
      },
    },
    log: "UF 0 0 10.0.0.3:9001 up -\n",
  },
  { name: "a cluster without hosts", options: { cluster: { load_assignment: { cluster_name: "up" } } }, log: "UH 0 0 - up -\n" },
  { name: "a cluster that is not there", options: { tcp: { cluster: "nope" } }, log: "NC 0 0 - nope -\n" },
  {
    name: "a circuit breaker",
    options: { cluster: { circuit_breakers: { thresholds: [{ max_connections: 0 }] } } },
    log: "UO 0 0 10.0.0.3:9000 up -\n",
  },
];
for (const { name, options, log } of failures) {
  test(`${name} closes the client's connection with its flag`, async () => {
    const { connect, accessLogs } = await setUp(options);
    const client = await connect();
    await settle();
    await settle();
    assert.ok(client.closed || client.isEnded, "the client must see the end");
    assert.deepEqual(accessLogs.get("/log"), [log]);
  });
}

test("RBAC that denies closes before the upstream hears anything", async () => {
  const rbac = {
    name: "rbac",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
      stat_prefix: "x.",
      rules: { action: "DENY", policies: { "no one": { permissions: [{ destination_port: 80 }], principals: [{ any: true }] } } },
    },
  };
  const { connect, accepted, accessLogs } = await setUp({ network: [rbac] });
  const client = await connect();
  await settle();
  assert.ok(client.closed || client.isEnded);
  assert.equal(accepted.length, 0);
  assert.deepEqual(accessLogs.get("/log"), ["- 0 0 - - rbac_access_denied_matched_policy[no_one]\n"]);
});

test("an idle connection ends after its timeout, a busy one does not", async () => {
  const { connect, accepted, clock } = await setUp({ tcp: { idle_timeout: "10s" } });
  const [idle, busy] = [await connect(), await connect()];
  await settle();
  await clock.advance(6000);
  busy?.channel.writeLatin1("x");
  await clock.advance(6000);
  assert.ok(idle?.closed || idle?.isEnded);
  assert.equal(busy?.isEnded, false);
  assert.equal(accepted.length, 2);
});

test("drain: no connection is taken any more, those that are open have their time, then they are cut", async () => {
  const { connect, proxy, clock } = await setUp();
  const client = await connect();
  await settle();
  let isDone = false;
  proxy.drain(5000, () => {
    isDone = true;
  });
  await assert.rejects(connect());
  await clock.advance(4900);
  assert.equal(client.isEnded, false);
  assert.equal(isDone, false);
  await clock.advance(200);
  assert.equal(isDone, true);
  proxy.close();
  await settle();
  assert.ok(client.closed || client.isEnded);
});

test("a port that is taken ends the start with its address", async () => {
  const clock = new FakeClock();
  const host = createMemoryNetwork({ clock }).host("10.0.0.2");
  await host.acceptor.listen({ at: { host: "0.0.0.0", port: 80 } }, () => {});
  const bootstrap = {
    static_resources: {
      clusters: [staticCluster("up", [])],
      listeners: [{ name: "l", address: socketAddress("0.0.0.0", 80), filter_chains: [{ filters: [tcpFilter("up")] }] }],
    },
  };
  await assert.rejects(startTestProxy({ network: host, clock, bootstrap }), /0\.0\.0\.0:80/);
});
