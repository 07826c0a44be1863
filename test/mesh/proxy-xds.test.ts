import assert from "node:assert/strict";
import { test } from "node:test";
import { type DescMessage, fromJson, type JsonValue, toBinary } from "@bufbuild/protobuf";
import { digestOf } from "../../src/base/digest.ts";
import { silentLog } from "../../src/base/log.ts";
import { ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../src/gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.ts";
import { SecretSchema } from "../../src/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { Channel } from "../../src/net/channel.ts";
import { createGrpcServer } from "../../src/net/grpc/server.ts";
import { createMemoryNetwork } from "../../src/net/memory/network.ts";
import { anyTypes } from "../../src/proxy/bootstrap/any-types.ts";
import { createXdsServer } from "../../src/xds/server.ts";
import type { XdsSession } from "../../src/xds/server-types.ts";
import { type Subscription, TypeUrl, type XdsResource } from "../../src/xds/types.ts";
import { ChannelRecorder } from "../kit/channel-recorder.ts";
import { FakeClock, settle } from "../kit/fake-clock.ts";
import { socketAddress, startTestProxy, staticCluster, type TestProxy, tcpFilter } from "../kit/mesh-proxy.ts";
import { createTestAuthority } from "../kit/test-authority.ts";

const ADS = { ads: {}, initial_fetch_timeout: "0s", resource_api_version: "V3" };
const HTTP2 = {
  typed_extension_protocol_options: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};
const SCHEMAS: Readonly<Record<string, DescMessage>> = {
  [TypeUrl.cluster]: ClusterSchema,
  [TypeUrl.endpoint]: ClusterLoadAssignmentSchema,
  [TypeUrl.listener]: ListenerSchema,
  [TypeUrl.secret]: SecretSchema,
};

/** A control plane that serves what the test puts into it. */
class ControlPlane {
  readonly nacks: string[] = [];
  readonly sessions = new Set<XdsSession>();
  readonly #types = new Map<string, Map<string, XdsResource>>();

  put(typeUrl: string, name: string, json: object): void {
    const schema = SCHEMAS[typeUrl];
    if (!schema) throw new Error(typeUrl);
    const bytes = toBinary(schema, fromJson(schema, json as JsonValue, { registry: anyTypes() }));
    const type = this.#types.get(typeUrl) ?? new Map<string, XdsResource>();
    this.#types.set(typeUrl, type.set(name, { name, version: digestOf(bytes), bytes }));
  }

  drop(typeUrl: string, name: string): void {
    this.#types.get(typeUrl)?.delete(name);
  }

  async onConnect(session: XdsSession): Promise<void> {
    this.sessions.add(session);
  }

  onDisconnect(session: XdsSession): void {
    this.sessions.delete(session);
  }

  resources(_session: XdsSession, typeUrl: string, { wildcard, names }: Subscription): readonly XdsResource[] {
    return [...(this.#types.get(typeUrl)?.values() ?? [])].filter(({ name }) => wildcard || names.has(name));
  }

  onNack(_session: XdsSession, _typeUrl: string, message: string): void {
    this.nacks.push(message);
  }

  async push(label: string): Promise<void> {
    const pushes = [...this.sessions].map((session) => session.push(label));
    await ticks();
    await Promise.race([Promise.all(pushes), ticks(200)]);
  }
}

/** Lets streams over several hops settle. */
async function ticks(count = 40): Promise<void> {
  for (let i = 0; i < count; i++) await settle();
}

async function setUp(mode: "DELTA_GRPC" | "GRPC") {
  const clock = new FakeClock(Date.now());
  const network = createMemoryNetwork({ clock });
  const control = new ControlPlane();
  const xds = createXdsServer({ source: control, clock, log: silentLog });
  const grpc = createGrpcServer({ log: silentLog, clock }, [xds.service]);
  const serve = (): Promise<{ close(): void }> =>
    network.host("10.0.0.9").acceptor.listen({ at: { host: "10.0.0.9", port: 15010 } }, (incoming) => void grpc.serve(incoming.accept()));
  const listening = await serve();
  const start = (ip: string): Promise<TestProxy> =>
    startTestProxy({
      network: network.host(ip),
      clock,
      args: ["--drain-time-s", "5", "--drain-strategy", "immediate"],
      bootstrap: {
        node: { id: `sidecar~${ip}~a.shop~shop.svc.cluster.local`, cluster: "a.shop" },
        admin: { address: socketAddress(ip, 15000) },
        dynamic_resources: {
          lds_config: ADS,
          cds_config: ADS,
          ads_config: {
            api_type: mode,
            transport_api_version: "V3",
            set_node_on_first_message_only: true,
            grpc_services: [{ envoy_grpc: { cluster_name: "xds-grpc" } }],
          },
        },
        static_resources: { clusters: [staticCluster("xds-grpc", [["10.0.0.9", 15010]], HTTP2)] },
      },
    });
  const connect = async (ip: string, port: number): Promise<ChannelRecorder> => {
    const channel = await new Promise<Channel>((resolve, reject) => {
      network.host("10.0.0.1").dialer.dial(
        { to: { host: ip, port }, timeoutMs: 1000 },
        {
          onConnect(made) {
            new ChannelRecorder(made);
            resolve(made);
          },
          onFail: (reason) => reject(new Error(reason.message)),
        },
      );
    });
    return channel.handler as ChannelRecorder;
  };
  const echo = async (ip: string, port: number): Promise<void> => {
    await network.host(ip).acceptor.listen({ at: { host: ip, port } }, (incoming) => {
      const channel = incoming.accept();
      channel.handler = {
        onData: (buffer, from, to) => void channel.forward(buffer, from, to),
        onEnd: () => channel.end(),
        onDrain() {},
        onClose() {},
      };
    });
  };
  const ask = async (ip: string, port: number, text: string): Promise<string> => {
    const client = await connect(ip, port);
    client.channel.writeLatin1(text);
    client.channel.end();
    for (let i = 0; i < 200 && !client.isEnded && !client.closed; i++) await settle();
    return client.text;
  };
  return { clock, network, control, grpc, listening, serve, start, ask, echo };
}

const endpoints = (cluster: string, ip: string, port: number): object => ({
  cluster_name: cluster,
  endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(ip, port) } }] }],
});
const edsCluster = (name: string, more: object = {}): object => ({ name, type: "EDS", eds_cluster_config: { eds_config: ADS }, ...more });
const tcpListener = (name: string, port: number, cluster: string, chain: object = {}): object => ({
  name,
  address: socketAddress("0.0.0.0", port),
  filter_chains: [{ filters: [tcpFilter(cluster)], ...chain }],
});

for (const mode of ["DELTA_GRPC", "GRPC"] as const) {
  test(`${mode}: a proxy gets everything over ADS, serves, follows changes, refuses nonsense and outlives its control plane`, async () => {
    const { control, start, ask, echo, grpc, listening } = await setUp(mode);
    await echo("10.0.0.3", 9000);
    control.put(TypeUrl.cluster, "up", edsCluster("up"));
    control.put(TypeUrl.endpoint, "up", endpoints("up", "10.0.0.3", 9000));
    control.put(TypeUrl.listener, "l", tcpListener("l", 80, "up"));
    const { proxy, lines } = await start("10.0.0.2");
    assert.equal(proxy.state, "INITIALIZING");
    await ticks();
    assert.equal(proxy.state, "LIVE", lines.join("\n"));
    assert.equal(await ask("10.0.0.2", 80, "hello"), "hello");

    // A change of endpoints and a new listener.
    await echo("10.0.0.4", 9000);
    control.put(TypeUrl.endpoint, "up", endpoints("up", "10.0.0.4", 9000));
    control.put(TypeUrl.listener, "m", tcpListener("m", 81, "up"));
    await control.push("2");
    assert.deepEqual(
      proxy.clusters.get("up")?.hosts.map(({ address }) => address.host),
      ["10.0.0.4"],
    );
    assert.equal(await ask("10.0.0.2", 81, "again"), "again");

    // Nonsense beside something good.
    control.put(TypeUrl.listener, "bad", { name: "bad", address: socketAddress("0.0.0.0", 82) });
    control.put(TypeUrl.listener, "n", tcpListener("n", 83, "up"));
    await control.push("3");
    assert.deepEqual(control.nacks, ["bad: no filter chains"]);
    assert.equal(lines.filter((line) => line.includes("rejected")).length, 1);
    assert.equal(await ask("10.0.0.2", 83, "good"), "good");
    assert.equal(await ask("10.0.0.2", 80, "kept"), "kept");

    // A listener goes.
    control.drop(TypeUrl.listener, "bad");
    control.drop(TypeUrl.listener, "m");
    await control.push("4");
    await assert.rejects(ask("10.0.0.2", 81, "gone"));

    // The control plane dies: what was known serves on.
    listening.close();
    grpc.close();
    await ticks();
    assert.equal(await ask("10.0.0.2", 80, "alone"), "alone");
    proxy.close();
  });
}

const sdsSecret = (name: string): object => ({ name, sds_config: ADS });
const tlsContext = (kind: "Downstream" | "Upstream", san: string, more: object = {}): object => ({
  name: "tls",
  typed_config: {
    "@type": `type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.${kind}TlsContext`,
    common_tls_context: {
      tls_certificate_sds_secret_configs: [sdsSecret("default")],
      combined_validation_context: {
        default_validation_context: { match_typed_subject_alt_names: [{ san_type: "URI", matcher: { prefix: san } }] },
        validation_context_sds_secret_config: sdsSecret("ROOTCA"),
      },
    },
    ...more,
  },
});

test("mutual TLS by SDS: listeners wait for their secrets, strangers are refused, a new certificate is used without a cut", async () => {
  const { control, start, ask, echo } = await setUp("DELTA_GRPC");
  await echo("10.0.0.4", 9000);
  const authority = await createTestAuthority("mesh");
  const putSecrets = async (): Promise<void> => {
    const { chainPem, keyPem } = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/a"] });
    control.put(TypeUrl.secret, "default", {
      name: "default",
      tls_certificate: { certificate_chain: { inline_string: chainPem }, private_key: { inline_string: keyPem.toString() } },
    });
    control.put(TypeUrl.secret, "ROOTCA", { name: "ROOTCA", validation_context: { trusted_ca: { inline_string: authority.trustPem } } });
  };
  const cluster = (san: string): object => edsCluster("up", { transport_socket: tlsContext("Upstream", san, { sni: "up.test" }) });
  // The same resources for both: the client's sidecar listens on 80, the server's on 81.
  control.put(TypeUrl.cluster, "up", cluster("spiffe://cluster.local/ns/shop/"));
  control.put(TypeUrl.endpoint, "up", endpoints("up", "10.0.0.3", 81));
  control.put(TypeUrl.cluster, "app", staticCluster("app", [["10.0.0.4", 9000]]));
  control.put(TypeUrl.listener, "out", tcpListener("out", 80, "up"));
  control.put(
    TypeUrl.listener,
    "in",
    tcpListener("in", 81, "app", {
      transport_socket: tlsContext("Downstream", "spiffe://cluster.local/", { require_client_certificate: true }),
    }),
  );
  const client = await start("10.0.0.2");
  const server = await start("10.0.0.3");
  await ticks();
  assert.equal(client.proxy.state, "INITIALIZING", "the cluster waits for its secrets");
  await putSecrets();
  await control.push("secrets");
  await ticks();
  assert.deepEqual([client.proxy.state, server.proxy.state], ["LIVE", "LIVE"], client.lines.join("\n"));
  assert.equal(await ask("10.0.0.2", 80, "private"), "private");
  assert.equal(await ask("10.0.0.3", 81, "plaintext"), "", "STRICT: plaintext gets nothing");

  await putSecrets();
  await control.push("rotated");
  assert.equal(await ask("10.0.0.2", 80, "rotated"), "rotated");

  control.put(TypeUrl.cluster, "up", cluster("spiffe://cluster.local/ns/other/"));
  await control.push("names");
  assert.equal(await ask("10.0.0.2", 80, "to a stranger"), "", "a server of another name is not spoken to");
  assert.match(client.proxy.metrics.toEnvoyText(), /^cluster\.up\.upstream_cx_connect_fail: [1-9]/m);
  client.proxy.close();
  server.proxy.close();
});

test("the admin tells what was taken and what warms, without keys", async () => {
  const { control, start, network } = await setUp("DELTA_GRPC");
  const authority = await createTestAuthority("mesh");
  const { chainPem, keyPem } = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/a"] });
  control.put(TypeUrl.secret, "default", {
    name: "default",
    tls_certificate: { certificate_chain: { inline_string: chainPem }, private_key: { inline_string: keyPem.toString() } },
  });
  control.put(TypeUrl.secret, "ROOTCA", { name: "ROOTCA", validation_context: { trusted_ca: { inline_string: authority.trustPem } } });
  control.put(TypeUrl.cluster, "up", edsCluster("up", { transport_socket: tlsContext("Upstream", "spiffe://") }));
  control.put(TypeUrl.endpoint, "up", endpoints("up", "10.0.0.3", 81));
  control.put(TypeUrl.listener, "l", tcpListener("l", 80, "up"));
  const { proxy } = await start("10.0.0.2");
  await ticks();
  const get = async (path: string, method = "GET"): Promise<{ status: string; body: string }> => {
    const channel = await new Promise<Channel>((resolve, reject) => {
      network.host("10.0.0.2").dialer.dial(
        { to: { host: "10.0.0.2", port: 15000 }, timeoutMs: 1000 },
        {
          onConnect: (made) => {
            new ChannelRecorder(made);
            resolve(made);
          },
          onFail: (reason) => reject(new Error(reason.message)),
        },
      );
    });
    const recorder = channel.handler as ChannelRecorder;
    channel.writeLatin1(`${method} ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
    for (let i = 0; i < 200 && !recorder.isEnded && !recorder.closed; i++) await settle();
    const [head = "", body = ""] = recorder.text.split("\r\n\r\n", 2);
    return { status: head.slice(9, 12), body };
  };
  const json = async (path: string): Promise<{ configs?: readonly Record<string, unknown>[] }> => JSON.parse((await get(path)).body);

  assert.deepEqual(await get("/ready"), { status: "200", body: "LIVE\n" });
  const dump = await json("/config_dump?include_eds");
  assert.deepEqual(
    dump.configs?.map((config) => String(config["@type"]).split(".").at(-1)),
    ["BootstrapConfigDump", "ClustersConfigDump", "EndpointsConfigDump", "ListenersConfigDump", "RoutesConfigDump", "SecretsConfigDump"],
  );
  const text = JSON.stringify(dump);
  assert.ok(text.includes(Buffer.from(chainPem).toString("base64")), "the chain is shown");
  assert.ok(!text.includes(keyPem.toString("base64").slice(100, 160)) && !text.includes(keyPem.toString().slice(40, 90)), "no key ever is");

  // What the lab asks to know that nothing warms.
  assert.deepEqual(await json("/config_dump?resource=dynamic_listeners&mask=name,warming_state.version_info"), {
    configs: [{ "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump.DynamicListener", name: "l" }],
  });
  assert.deepEqual(await json("/config_dump?resource=dynamic_warming_clusters&mask=version_info"), {});
  control.put(TypeUrl.cluster, "cold", edsCluster("cold"));
  control.put(TypeUrl.listener, "bad", { name: "bad" });
  await control.push("cold");
  assert.match((await get("/config_dump?resource=dynamic_warming_clusters&mask=version_info")).body, /"version_info": "[0-9a-f]{32}"/);
  assert.match(
    (await get("/config_dump?resource=dynamic_listeners&name_regex=ba.")).body,
    /"details": "the address is empty, no filter chains"[\s\S]*"client_status": "NACKED"/,
  );
  assert.equal((await get("/config_dump?resource=no_such")).status, "404");

  assert.match((await get("/clusters")).body, /^up::10\.0\.0\.3:81::health_flags::healthy$/m);
  assert.match((await get("/clusters?format=json")).body, /"name": "up",\n\s*"added_via_api": true/);
  assert.equal((await get("/listeners")).body, "l::0.0.0.0:80\n");
  assert.match(
    (await get("/stats?filter=membership_(total|healthy)$&usedonly")).body,
    /^cluster\.up\.membership_healthy: 1\ncluster\.up\.membership_total: 1\n/m,
  );
  assert.match((await get("/stats/prometheus")).body, /envoy_cluster_membership_total\{.*cluster_name="up".*\} 1/);
  assert.match((await get("/certs")).body, /"uri": "spiffe:\/\/cluster\.local\/ns\/shop\/sa\/a"/);
  assert.match((await get("/server_info")).body, /"state": "LIVE"/);
  for (const path of ["/quitquitquit", "/drain_listeners", "/healthcheck/fail", "/reset_counters", "/logging?level=debug"]) {
    assert.equal((await get(path)).status, "405", `${path} changes something: POST alone`);
  }
  assert.equal((await get("/logging?level=debug", "POST")).status, "200");
  assert.equal((await get("/logging?level=loud", "POST")).status, "400");
  assert.equal((await get("/heap_dump")).status, "404", "a heap holds keys");
  assert.equal((await get("/constructor")).status, "404");
  assert.equal((await get("/healthcheck/fail", "POST")).status, "200");
  assert.deepEqual(await get("/ready"), { status: "503", body: "DRAINING\n" });
  proxy.close();
});
