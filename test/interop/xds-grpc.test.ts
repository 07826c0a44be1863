/**
 * gRPC's own xDS client (proxyless gRPC) finds a service through our xDS server: listener, routes, cluster and endpoints, each asked for by name over
 * state of the world, and follows when they move.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";
import { systemClock } from "../../src/base/clock.ts";
import { digestOf } from "../../src/base/digest.ts";
import { silentLog } from "../../src/base/log.ts";
import { ChildFinder } from "../../src/control/push/children.ts";
import { Cluster_DiscoveryType, Cluster_LbPolicy, ClusterSchema } from "../../src/gen/envoy/config/cluster/v3/cluster_pb.ts";
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
import type { XdsSource } from "../../src/xds/server-types.ts";
import { TypeUrl, type XdsResource } from "../../src/xds/types.ts";

const NAME = "payment:8080";
const METHOD = "/t.Test/Who";
const ads = { configSourceSpecifier: { case: "ads" as const, value: {} }, resourceApiVersion: ApiVersion.V3 };

function resource<Desc extends DescMessage>(name: string, schema: Desc, init: MessageInitShape<Desc>): XdsResource {
  const bytes = toBinary(schema, create(schema, init));
  return { name, version: digestOf(bytes), bytes };
}

function cluster(name: string): XdsResource {
  return resource(name, ClusterSchema, {
    name,
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: ads },
    lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
  });
}

function endpoints(name: string, port: number): XdsResource {
  const address = {
    address: {
      case: "socketAddress" as const,
      value: { address: "127.0.0.1", portSpecifier: { case: "portValue" as const, value: port } },
    },
  };
  return resource(name, ClusterLoadAssignmentSchema, {
    clusterName: name,
    endpoints: [
      {
        locality: { region: "here" },
        loadBalancingWeight: 1,
        lbEndpoints: [{ hostIdentifier: { case: "endpoint", value: { address } } }],
      },
    ],
  });
}

const listener = resource(NAME, ListenerSchema, {
  name: NAME,
  apiListener: {
    apiListener: anyPack(
      HttpConnectionManagerSchema,
      create(HttpConnectionManagerSchema, {
        routeSpecifier: { case: "rds", value: { routeConfigName: "routes", configSource: ads } },
        httpFilters: [{ name: "router", configType: { case: "typedConfig", value: anyPack(RouterSchema, create(RouterSchema)) } }],
      }),
    ),
  },
});

function routes(toCluster: string): XdsResource {
  const route = {
    match: { pathSpecifier: { case: "prefix" as const, value: "" } },
    action: { case: "route" as const, value: { clusterSpecifier: { case: "cluster" as const, value: toCluster } } },
  };
  return resource("routes", RouteConfigurationSchema, { name: "routes", virtualHosts: [{ name: "all", domains: ["*"], routes: [route] }] });
}

const types = new Map<string, Map<string, XdsResource>>();
const nacks: string[] = [];
const backends: grpc.Server[] = [];
const ports: number[] = [];
let xds: XdsServer;
let server: GrpcServer;
let listening: ListeningSocket;
let client: grpc.Client;

const set = (typeUrl: string, ...resources: readonly XdsResource[]): void =>
  void types.set(typeUrl, new Map(resources.map((one) => [one.name, one])));
const finder = new ChildFinder();
const source: XdsSource = {
  onConnect: async () => {},
  onDisconnect() {},
  resources: (_session, typeUrl, { wildcard, names }) =>
    [...(types.get(typeUrl)?.values() ?? [])].filter(({ name }) => wildcard || names.has(name)),
  children: (_session, typeUrl, one) => finder.children(typeUrl, one),
  onNack: (_session, typeUrl, message) => void nacks.push(`${typeUrl}: ${message}`),
};

const raw = (bytes: Buffer): Buffer => bytes;
const definition = {
  path: METHOD,
  requestStream: false,
  responseStream: false,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
} as const;

function ask(): Promise<string> {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + 10_000;
    client.makeUnaryRequest(
      METHOD,
      raw,
      raw,
      Buffer.from("?"),
      { deadline, waitForReady: true } as never,
      (error: Error | null, answer?: Buffer) => {
        if (error) reject(error);
        else resolve(String(answer));
      },
    );
  });
}

before(async () => {
  for (const name of ["one", "two"]) {
    const backend = new grpc.Server();
    backend.addService(
      { who: definition },
      { who: (_call: unknown, answer: (error: null, value: Buffer) => void) => answer(null, Buffer.from(name)) },
    );
    ports.push(
      await new Promise<number>((resolve, reject) => {
        backend.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
      }),
    );
    backends.push(backend);
  }
  set(TypeUrl.listener, listener);
  set(TypeUrl.route, routes("one"));
  set(TypeUrl.cluster, cluster("one"));
  set(TypeUrl.endpoint, endpoints("one", ports[0] ?? 0));
  const network = createSystemNetwork({ clock: systemClock });
  xds = createXdsServer({ source, clock: systemClock, log: silentLog, limits: { drainMs: 200 } });
  server = createGrpcServer({ log: silentLog, clock: systemClock }, [xds.service]);
  listening = await network.acceptor.listen({ at: { host: "127.0.0.1", port: 0 } }, (incoming) => server.serve(incoming.accept()));
  // The client reads its bootstrap when it is loaded.
  process.env["GRPC_XDS_BOOTSTRAP_CONFIG"] = JSON.stringify({
    xds_servers: [
      { server_uri: `127.0.0.1:${listening.address.port}`, channel_creds: [{ type: "insecure" }], server_features: ["xds_v3"] },
    ],
    node: { id: "sidecar~127.0.0.1~a.shop~shop.svc.cluster.local", locality: { region: "here" } },
  });
  const grpcXds = await import("@grpc/grpc-js-xds");
  grpcXds.register();
  client = new grpc.Client(`xds:///${NAME}`, grpc.credentials.createInsecure());
});

after(() => {
  client?.close();
  xds?.close();
  server?.close();
  listening?.close();
  for (const backend of backends) backend.forceShutdown();
});

test("a call finds its server by listener, routes, cluster and endpoints", async () => {
  assert.equal(await ask(), "one");
  const [session] = xds.sessions;
  for (const typeUrl of [TypeUrl.listener, TypeUrl.route, TypeUrl.cluster, TypeUrl.endpoint])
    assert.equal(session?.status.get(typeUrl)?.state, "acked", typeUrl);
  assert.equal(session?.subscriptions.get(TypeUrl.cluster)?.wildcard, false);
  assert.deepEqual(nacks, []);
});

test("endpoints that move are followed, and a route that moves to a new cluster, while calls go on", async () => {
  const [session] = xds.sessions;
  assert.ok(session);
  set(TypeUrl.endpoint, endpoints("one", ports[1] ?? 0));
  await session.push("v2");
  let answer = "";
  for (let i = 0; i < 200 && answer !== "two"; i++) answer = await ask();
  assert.equal(answer, "two");

  set(TypeUrl.cluster, cluster("three"));
  set(TypeUrl.endpoint, endpoints("three", ports[0] ?? 0));
  set(TypeUrl.route, routes("three"));
  await session.push("v3");
  for (let i = 0; i < 500 && answer !== "one"; i++) answer = await ask();
  assert.equal(answer, "one");
  assert.deepEqual(nacks, []);
});
