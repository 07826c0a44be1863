/**
 * A stock Envoy takes its config from our xDS server over real gRPC, by delta and by state of the world: no refusal, and no request is lost when a
 * route moves to a new cluster and the old one goes.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { systemClock } from "../../src/base/clock.ts";
import { digestOf } from "../../src/base/digest.ts";
import { silentLog } from "../../src/base/log.ts";
import { ChildFinder } from "../../src/control/push/children.ts";
import { Cluster_DiscoveryType, ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ApiVersion } from "../../src/gen/envoy/config/core/v3/config_source_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../src/gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../src/gen/envoy/config/listener/v3/listener_pb.ts";
import { RouteConfigurationSchema } from "../../src/gen/envoy/config/route/v3/route_pb.ts";
import { RouterSchema } from "../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import { HttpConnectionManagerSchema } from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { ListeningSocket } from "../../src/net/dial.ts";
import { createGrpcServer, type GrpcServer } from "../../src/net/grpc/server.ts";
import { createSystemNetwork } from "../../src/net/system/network.ts";
import { createXdsServer, type XdsServer } from "../../src/xds/server.ts";
import type { XdsSession, XdsSource } from "../../src/xds/server-types.ts";
import { TypeUrl, type XdsResource } from "../../src/xds/types.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const envoy = process.env["ENVOY"] ?? join(root, ".cache/envoy/envoy/_bin/envoy");
const skip = existsSync(envoy) ? false : "no Envoy here";

const ads = { configSourceSpecifier: { case: "ads" as const, value: {} }, resourceApiVersion: ApiVersion.V3 };
const socketAddress = (port: number) => ({
  address: { case: "socketAddress" as const, value: { address: "127.0.0.1", portSpecifier: { case: "portValue" as const, value: port } } },
});

function resource<Desc extends DescMessage>(name: string, schema: Desc, init: MessageInitShape<Desc>): XdsResource {
  const bytes = toBinary(schema, create(schema, init));
  return { name, version: digestOf(bytes), bytes };
}

function cluster(name: string, connectTimeoutS = 1): XdsResource {
  return resource(name, ClusterSchema, {
    name,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: { ...ads, initialFetchTimeout: { seconds: 0n, nanos: 0 } } },
    connectTimeout: { seconds: BigInt(connectTimeoutS), nanos: 0 },
  });
}

function endpoints(name: string, port: number): XdsResource {
  return resource(name, ClusterLoadAssignmentSchema, {
    clusterName: name,
    endpoints: [{ lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: { address: socketAddress(port) } } }] }],
  });
}

function listener(port: number): XdsResource {
  const manager = create(HttpConnectionManagerSchema, {
    statPrefix: "test",
    routeSpecifier: { case: "rds", value: { routeConfigName: "routes", configSource: ads } },
    httpFilters: [
      { name: "envoy.filters.http.router", configType: { case: "typedConfig", value: anyPack(RouterSchema, create(RouterSchema)) } },
    ],
  });
  return resource("in", ListenerSchema, {
    name: "in",
    address: socketAddress(port),
    filterChains: [
      { filters: [{ name: "http", configType: { case: "typedConfig", value: anyPack(HttpConnectionManagerSchema, manager) } }] },
    ],
  });
}

function routes(toCluster: string, hosts: readonly string[] = ["all"]): XdsResource {
  return resource("routes", RouteConfigurationSchema, {
    name: "routes",
    virtualHosts: hosts.map((name) => ({
      name,
      domains: ["*"],
      routes: [
        {
          match: { pathSpecifier: { case: "prefix" as const, value: "/" } },
          action: { case: "route" as const, value: { clusterSpecifier: { case: "cluster" as const, value: toCluster } } },
        },
      ],
    })),
  });
}

async function get(port: number, path = "/"): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, agent: false }, (answer) => {
      const parts: Buffer[] = [];
      answer.on("data", (part: Buffer) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(parts).toString() }));
      answer.on("error", reject);
    });
    asked.on("error", reject);
    asked.end();
  });
}

async function waitUntil(what: string, isSo: () => Promise<boolean> | boolean, timeoutMs = 20_000): Promise<void> {
  const endMs = Date.now() + timeoutMs;
  while (!(await isSo())) {
    assert.ok(Date.now() < endMs, `in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

for (const mode of ["delta", "sotw"] as const) {
  describe(`${mode}: Envoy and our xDS server`, { skip }, () => {
    const types = new Map<string, Map<string, XdsResource>>();
    const nacks: string[] = [];
    const servers: Server[] = [];
    const finder = new ChildFinder();
    const network = createSystemNetwork({ clock: systemClock });
    let xds: XdsServer;
    let grpc: GrpcServer;
    let listening: ListeningSocket;
    let process_: ChildProcess;
    let listenPort = 0;
    let adminPort = 0;
    let said = "";
    const ports: number[] = [];

    const set = (typeUrl: string, ...resources: readonly XdsResource[]): void =>
      void types.set(typeUrl, new Map(resources.map((one) => [one.name, one])));
    const session = (): XdsSession => {
      const [first] = xds.sessions;
      assert.ok(first, "Envoy is connected");
      return first;
    };
    const source: XdsSource = {
      onConnect: async () => {},
      onDisconnect() {},
      resources: (_session, typeUrl, { wildcard, names }) =>
        [...(types.get(typeUrl)?.values() ?? [])].filter(({ name }) => wildcard || names.has(name)),
      children: (_session, typeUrl, one) => finder.children(typeUrl, one),
      label: () => "v1",
      onNack: (_session, typeUrl, message) => void nacks.push(`${typeUrl}: ${message}`),
    };

    before(async () => {
      for (const body of ["one", "two"]) {
        const server = createServer((_ask, answer) => answer.end(body));
        server.listen(0, "127.0.0.1");
        await once(server, "listening");
        servers.push(server);
        ports.push((server.address() as AddressInfo).port);
      }
      [listenPort, adminPort] = [await freePort(), await freePort()];
      set(TypeUrl.cluster, cluster("one"));
      set(TypeUrl.endpoint, endpoints("one", ports[0] ?? 0));
      set(TypeUrl.listener, listener(listenPort));
      set(TypeUrl.route, routes("one"));
      xds = createXdsServer({ source, clock: systemClock, log: silentLog, limits: { drainMs: 300, answerTimeoutMs: 1000 } });
      grpc = createGrpcServer({ log: silentLog, clock: systemClock }, [xds.service]);
      listening = await network.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => grpc.serve(incoming.accept()));
      const bootstrap = {
        node: { id: "sidecar~127.0.0.1~a.shop~shop.svc.cluster.local", cluster: "a" },
        admin: { address: { socket_address: { address: "127.0.0.1", port_value: adminPort } } },
        dynamic_resources: {
          lds_config: { ads: {}, resource_api_version: "V3" },
          cds_config: { ads: {}, resource_api_version: "V3" },
          ads_config: {
            api_type: mode === "delta" ? "DELTA_GRPC" : "GRPC",
            transport_api_version: "V3",
            set_node_on_first_message_only: true,
            grpc_services: [{ envoy_grpc: { cluster_name: "xds" } }],
          },
        },
        static_resources: {
          clusters: [
            {
              name: "xds",
              type: "STATIC",
              connect_timeout: "1s",
              typed_extension_protocol_options: {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                  "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                  explicit_http_config: { http2_protocol_options: {} },
                },
              },
              load_assignment: {
                cluster_name: "xds",
                endpoints: [
                  {
                    lb_endpoints: [
                      { endpoint: { address: { socket_address: { address: "127.0.0.1", port_value: listening.address.port } } } },
                    ],
                  },
                ],
              },
            },
          ],
        },
      };
      process_ = spawn(
        envoy,
        ["--config-yaml", JSON.stringify(bootstrap), "-l", "warning", "--concurrency", "1", "--disable-hot-restart"],
        { stdio: ["ignore", "ignore", "pipe"] },
      );
      process_.stderr?.on("data", (part: Buffer) => {
        said = (said + part.toString()).slice(-10_000);
      });
      await waitUntil(`Envoy serves; it says: ${said}`, async () => (await get(listenPort).catch(() => undefined))?.status === 200);
    });

    after(async () => {
      process_?.kill("SIGKILL");
      if (process_ && process_.exitCode === null) await once(process_, "exit");
      xds?.close();
      grpc?.close();
      listening?.close();
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    });

    test("it serves what it was given, and acknowledged all of it", async () => {
      assert.deepEqual(await get(listenPort), { status: 200, body: "one" });
      const dump = JSON.parse((await get(adminPort, "/config_dump?include_eds")).body) as {
        readonly configs: readonly Record<string, unknown>[];
      };
      const text = JSON.stringify(dump);
      for (const wanted of ["dynamic_active_clusters", "dynamic_endpoint_configs", "dynamic_listeners", "dynamic_route_configs"])
        assert.ok(text.includes(wanted), wanted);
      assert.ok(!text.includes("error_state"), text);
      for (const typeUrl of [TypeUrl.cluster, TypeUrl.endpoint, TypeUrl.listener, TypeUrl.route])
        assert.equal(session().status.get(typeUrl)?.state, "acked", typeUrl);
      assert.deepEqual(nacks, []);
    });

    test("a changed cluster is warm again at once", async () => {
      set(TypeUrl.cluster, cluster("one", 2));
      const startMs = Date.now();
      await session().push("v2");
      await waitUntil("nothing is warming", async () => {
        const dump = JSON.parse((await get(adminPort, "/config_dump")).body) as { readonly configs: readonly Record<string, unknown>[] };
        const text = JSON.stringify(dump.configs.find((one) => String(one["@type"]).endsWith("ClustersConfigDump")));
        return !text.includes("dynamic_warming_clusters") && text.includes('"connect_timeout":"2s"');
      });
      assert.ok(Date.now() - startMs < 5000);
      assert.deepEqual(await get(listenPort), { status: 200, body: "one" });
    });

    test("a route moves to a new cluster and back, and the cluster left behind goes: no request is lost", async () => {
      let isOver = false;
      const answers = new Map<string, number>();
      const load = Promise.all(
        Array.from({ length: 4 }, async () => {
          while (!isOver) {
            const { status, body } = await get(listenPort).catch((error: Error) => ({ status: 0, body: error.message }));
            const key = status === 200 ? body : `${status} ${body}`;
            answers.set(key, (answers.get(key) ?? 0) + 1);
          }
        }),
      );
      for (let round = 0; round < 10; round++) {
        const [name, at] = round % 2 === 0 ? (["two", 1] as const) : (["one", 0] as const);
        set(TypeUrl.cluster, cluster(name, 3 + round));
        set(TypeUrl.endpoint, endpoints(name, ports[at] ?? 0));
        set(TypeUrl.route, routes(name));
        await session().push(`round-${round}`);
        // Every other round the old cluster's time to go comes, else it is needed again before.
        await new Promise((resolve) => setTimeout(resolve, round % 3 === 0 ? 400 : 50));
      }
      await waitUntil("the cluster that nobody needs is gone", async () => {
        const text = (await get(adminPort, "/clusters")).body;
        return !text.includes("two::") && text.includes("one::");
      });
      isOver = true;
      await load;
      assert.deepEqual([...answers.keys()].sort(), ["one", "two"], JSON.stringify([...answers]));
      assert.deepEqual(nacks, []);
    });

    test("what Envoy refuses is told in its words and frozen; mended, it goes on", async () => {
      set(TypeUrl.route, routes("one", ["a", "b"]));
      await session().push("bad");
      assert.equal(session().status.get(TypeUrl.route)?.state, "nacked");
      assert.match(session().status.get(TypeUrl.route)?.nackMessage ?? "", /wildcard/);
      assert.deepEqual(await get(listenPort), { status: 200, body: "one" });
      set(TypeUrl.route, routes("one"));
      await session().push("good");
      assert.equal(session().status.get(TypeUrl.route)?.state, "acked");
      nacks.length = 0;
    });

    test("a cluster that never warms keeps nothing else back for long", async () => {
      set(TypeUrl.cluster, cluster("one"), cluster("ghost"), cluster("two"));
      set(TypeUrl.endpoint, endpoints("one", ports[0] ?? 0), endpoints("two", ports[1] ?? 0));
      set(TypeUrl.route, routes("two"));
      await session().push("ghost");
      await waitUntil("the route that came with it is used", async () => (await get(listenPort)).body === "two", 5000);
      set(TypeUrl.cluster, cluster("one"), cluster("two"));
      set(TypeUrl.route, routes("one"));
      await session().push("no ghost");
      await waitUntil("the next route too", async () => (await get(listenPort)).body === "one", 5000);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      set(TypeUrl.cluster, cluster("one"));
      await session().push("mended");
      await waitUntil("clusters are acknowledged again", () => session().status.get(TypeUrl.cluster)?.state === "acked", 10_000);
      assert.deepEqual(nacks, []);
    });

    test("after a cut it comes again and goes on where it was", async () => {
      const old = session();
      old.close(14, "cut by the test");
      await waitUntil("Envoy comes again", () => xds.sessions.size === 1 && session() !== old);
      await waitUntil("it has all", () => session().status.get(TypeUrl.route)?.state === "acked");
      assert.deepEqual(await get(listenPort), { status: 200, body: "one" });
      set(TypeUrl.endpoint, endpoints("one", ports[1] ?? 0));
      await session().push("after", new Set([TypeUrl.endpoint]));
      await waitUntil("the endpoint that was pushed is used", async () => (await get(listenPort)).body === "two");
      assert.deepEqual(nacks, []);
    });
  });
}
