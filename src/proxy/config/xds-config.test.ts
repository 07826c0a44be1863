import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { FakeXdsClient, xdsResource } from "../../../test/kit/fake-xds-client.ts";
import { createClusterContext, recordingHandler, recordingLog, requestHead } from "../../../test/kit/proxy-parts.ts";
import { Bootstrap_DynamicResourcesSchema } from "../../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { TcpProxySchema } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import type { Incoming } from "../../net/dial.ts";
import { TypeUrl } from "../../xds/types.ts";
import { Clusters } from "../cluster/manager.ts";
import { Listeners } from "../listener/manager.ts";
import type { FilterTypes } from "../network/filters.ts";
import type { DownstreamConnection } from "../types.ts";
import { XdsConfig } from "./xds-config.ts";

const ADS = { ads: {}, initial_fetch_timeout: "0s" };
const NOTHING = { originalDestination: undefined, triedHosts: undefined, hash: undefined, metadataMatch: undefined };

function setUp() {
  const clock = new FakeClock();
  const log = recordingLog();
  const context = createClusterContext(clock, { log });
  const client = new FakeXdsClient();
  const clusters = new Clusters({ context, read: { reader: { environment: {} }, bind: undefined, mark: undefined } });
  const drained: string[] = [];
  const closed: string[] = [];
  const accepted: DownstreamConnection[] = [];
  const filters: FilterTypes = {
    network: [],
    terminal: [
      {
        typeName: TcpProxySchema.typeName,
        validate: () => [],
        routes: () => [],
        create: (_config, { listenerName, chainName }) => ({
          accept: (connection) => void accepted.push(connection),
          drain: () => void drained.push(`${listenerName}/${chainName}`),
          activeConnections: 0,
          close: () => void closed.push(`${listenerName}/${chainName}`),
        }),
      },
    ],
  };
  const listening = new Map<string, (incoming: Incoming) => void>();
  const listeners = new Listeners({
    context: { ...context, filters },
    acceptor: {
      async listen({ at }, onConnection) {
        const key = `${at.host}:${at.port}`;
        listening.set(key, onConnection);
        return { address: at, close: () => void listening.delete(key) };
      },
    },
    reader: { environment: {} },
    drain: { timeMs: 1000, strategy: "immediate" },
    inherited: new Map(),
  });
  const xds = new XdsConfig({
    clock,
    log,
    discovery: { refusalOf: (source) => (source ? undefined : "no source"), clientOf: () => client },
    clusters,
    listeners,
    secrets: context.secrets,
    dynamic: fromJson(Bootstrap_DynamicResourcesSchema, { cds_config: ADS, lds_config: ADS }),
    unknownFields: "warn",
  });
  clusters.endpointSource = xds;
  let isReady = false;
  xds.start(() => {
    isReady = true;
  });
  return { clock, log, context, client, clusters, listeners, listening, accepted, drained, closed, xds, isReady: () => isReady };
}

const eds = (name: string, more: JsonObject = {}) =>
  xdsResource(ClusterSchema, fromJson(ClusterSchema, { name, type: "EDS", eds_cluster_config: { eds_config: ADS }, ...more }), name);
const endpoints = (name: string, ...ips: readonly string[]) =>
  xdsResource(
    ClusterLoadAssignmentSchema,
    fromJson(ClusterLoadAssignmentSchema, {
      cluster_name: name,
      endpoints: [{ lb_endpoints: ips.map((address) => ({ endpoint: { address: { socket_address: { address, port_value: 80 } } } })) }],
    }),
    name,
  );
const listener = (name: string, port: number, more: JsonObject = {}, statPrefix = "x") => {
  const message = fromJson(ListenerSchema, {
    name,
    address: { socket_address: { address: "10.0.0.1", port_value: port } },
    filter_chains: [{ filters: [{ name: "tcp" }] }],
    ...more,
  });
  for (const chain of message.filterChains) {
    for (const filter of chain.filters)
      filter.configType = { case: "typedConfig", value: anyPack(TcpProxySchema, create(TcpProxySchema, { statPrefix })) };
  }
  return xdsResource(ListenerSchema, message, name);
};
const hostsOf = (clusters: Clusters, name: string): string[] | undefined => clusters.get(name)?.hosts.map(({ address }) => address.host);

test("a cluster serves once its endpoints are there, and listeners are asked for after that", async () => {
  const { client, clusters, isReady } = setUp();
  assert.equal(client.send(TypeUrl.cluster, [eds("a")]), undefined);
  await settle();
  assert.equal(clusters.get("a"), undefined);
  assert.equal(client.names(TypeUrl.listener), undefined);
  assert.deepEqual(client.names(TypeUrl.endpoint), ["a"]);
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2")]);
  await settle();
  assert.deepEqual(hostsOf(clusters, "a"), ["10.0.0.2"]);
  assert.equal(isReady(), false);
  client.send(TypeUrl.listener, []);
  await settle();
  assert.equal(isReady(), true);
});

test("the same cluster again keeps its pools; a changed one takes over when it is warm, and the old one drains", async () => {
  const { client, clusters, context } = setUp();
  client.send(TypeUrl.cluster, [eds("a")]);
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2")]);
  await settle();
  const first = clusters.get("a");
  const host = first?.chooseHost(NOTHING);
  assert.ok(first && host);
  first.openStream(host, { head: requestHead(), endStream: true, downstreamIsHttp2: false }, recordingHandler());
  context.dials[0]?.connect();
  context.connections[0]?.answer();
  client.send(TypeUrl.cluster, [{ ...eds("a"), version: "2" }]);
  await settle();
  assert.equal(clusters.get("a"), first);
  assert.equal(context.connections[0]?.isClosed, false);
  client.send(TypeUrl.cluster, [eds("a", { connect_timeout: "7s" })]);
  await settle();
  assert.notEqual(clusters.get("a"), first);
  assert.deepEqual(hostsOf(clusters, "a"), ["10.0.0.2"], "endpoints that are known are not waited for");
  assert.equal(context.connections[0]?.isClosed, true);
});

test("a host that leaves drains: what runs goes on", async () => {
  const { client, clusters, context } = setUp();
  client.send(TypeUrl.cluster, [eds("a")]);
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2")]);
  await settle();
  const cluster = clusters.get("a");
  const host = cluster?.chooseHost(NOTHING);
  assert.ok(cluster && host);
  const handler = recordingHandler();
  cluster.openStream(host, { head: requestHead(), endStream: true, downstreamIsHttp2: false }, handler);
  context.dials[0]?.connect();
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.3")]);
  await settle();
  assert.deepEqual(hostsOf(clusters, "a"), ["10.0.0.3"]);
  assert.equal(context.connections[0]?.isClosed, false);
  context.connections[0]?.answer();
  await settle();
  assert.deepEqual(handler.heard, ["connected", "response 200"]);
  assert.equal(context.connections[0]?.isClosed, true);
});

test("one bad cluster refuses the response by name, the good one serves, the last good one stays", async () => {
  const { client, clusters, xds } = setUp();
  client.send(TypeUrl.cluster, [eds("a"), eds("b")]);
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2"), endpoints("b", "10.0.0.3")]);
  await settle();
  const nack = client.send(TypeUrl.cluster, [
    eds("a", { connect_timeout: "0s" }),
    eds("c", { lb_policy: "LOAD_BALANCING_POLICY_CONFIG" }),
    eds("b", { connect_timeout: "3s" }),
  ]);
  await settle();
  assert.equal(nack, "a: connect_timeout must be more than 0; c: lb_policy 7 is not supported");
  assert.deepEqual(hostsOf(clusters, "a"), ["10.0.0.2"]);
  assert.equal(clusters.get("b")?.config.connectTimeoutMs, 3000);
  assert.equal(clusters.get("c"), undefined);
  assert.deepEqual([...xds.refusals.clusters.keys()], ["a", "c"]);
  assert.equal(client.send(TypeUrl.cluster, [eds("a")]), undefined);
  assert.deepEqual([...xds.refusals.clusters.keys()], ["c"], "an accepted version clears its name");
});

test("state of the world: clusters that are left out go, one that was refused stays", async () => {
  const { client, clusters, clock } = setUp();
  client.send(TypeUrl.cluster, [eds("a"), eds("b")], { isFullState: true });
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2"), endpoints("b", "10.0.0.3")]);
  await settle();
  client.send(TypeUrl.cluster, [eds("a", { connect_timeout: "0s" })], { isFullState: true });
  await settle();
  assert.deepEqual(clusters.names, ["a", "b"], "it serves until routes have come");
  await clock.advance(1000);
  assert.deepEqual(clusters.names, ["a"]);
  assert.deepEqual(client.names(TypeUrl.endpoint), ["a"], "the endpoints of one that went are not asked for any more");
});

test("a cluster that is taken away goes as soon as routes have come, and stays when it comes back before", async () => {
  const { client, clusters, xds, clock } = setUp();
  client.send(TypeUrl.cluster, [eds("a"), eds("b")]);
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2"), endpoints("b", "10.0.0.3")]);
  await settle();
  const b = clusters.get("b");
  client.send(TypeUrl.cluster, [], { removed: ["a", "b"] });
  assert.deepEqual(hostsOf(clusters, "a"), ["10.0.0.2"]);
  client.send(TypeUrl.cluster, [eds("b")]);
  xds.onRoutes();
  assert.deepEqual(clusters.names, ["b"]);
  await clock.advance(2000);
  assert.equal(clusters.get("b"), b);
});

test("endpoints that cannot be used are refused, and the last good ones stay", async () => {
  const { client, clusters } = setUp();
  client.send(TypeUrl.cluster, [eds("a")]);
  client.send(TypeUrl.endpoint, [endpoints("a", "10.0.0.2")]);
  const bad = xdsResource(
    ClusterLoadAssignmentSchema,
    fromJson(ClusterLoadAssignmentSchema, { cluster_name: "a", endpoints: [{ lb_endpoints: [{ endpoint_name: "x" }] }] }),
    "a",
  );
  assert.match(client.send(TypeUrl.endpoint, [bad]) ?? "", /^a: endpoints\[0\]\.lb_endpoints\[0\]: endpoint_name is not supported$/);
  await settle();
  assert.deepEqual(hostsOf(clusters, "a"), ["10.0.0.2"]);
});

test("fields that are not carried out are warned of by name, once a cluster", () => {
  const { client, log } = setUp();
  client.send(TypeUrl.cluster, [
    eds("a", { outlier_detection: {}, health_checks: [{ timeout: "1s", interval: "1s", tcp_health_check: {} }] }),
  ]);
  assert.deepEqual(
    log.lines.filter((line) => line.startsWith("warn")),
    ['warn cluster "a": not carried out: health_checks, outlier_detection'],
  );
});

test("clusters without endpoints in time go on with none where the source says so", async () => {
  const { client, clusters, clock } = setUp();
  client.send(TypeUrl.cluster, [eds("a", { eds_cluster_config: { eds_config: { ads: {}, initial_fetch_timeout: "2s" } } })]);
  await clock.advance(1999);
  assert.equal(clusters.get("a"), undefined);
  await clock.advance(1);
  assert.deepEqual(hostsOf(clusters, "a"), []);
});

async function withListeners() {
  const parts = setUp();
  parts.client.send(TypeUrl.cluster, []);
  await settle();
  return parts;
}

test("a listener's successor takes over its socket; only chains that changed drain, and end with the drain time", async () => {
  const { client, listening, drained, closed, clock } = await withListeners();
  const chains = (b: number): JsonObject => ({
    filter_chains: [
      { name: "a", filter_chain_match: { destination_port: 1 }, filters: [{ name: "tcp" }] },
      { name: "b", filter_chain_match: { destination_port: b }, filters: [{ name: "tcp" }] },
    ],
  });
  client.send(TypeUrl.listener, [listener("l", 80, chains(2))]);
  await settle();
  const socket = listening.get("10.0.0.1:80");
  assert.ok(socket);
  client.send(TypeUrl.listener, [listener("l", 80, chains(3))]);
  await settle();
  assert.equal(listening.get("10.0.0.1:80"), socket, "the socket was never closed");
  assert.deepEqual(drained, ["l/b"]);
  await clock.advance(999);
  assert.deepEqual(closed, []);
  await clock.advance(1);
  assert.deepEqual(closed, ["l/b"]);
});

test("a listener that goes closes its socket, and drains", async () => {
  const { client, listening, drained } = await withListeners();
  client.send(TypeUrl.listener, [listener("l", 80)]);
  await settle();
  client.send(TypeUrl.listener, [], { removed: ["l"] });
  assert.equal(listening.size, 0);
  assert.deepEqual(drained, ["l/0"]);
});

test("an address may go from one listener to another in one response", async () => {
  const { client, listening, listeners } = await withListeners();
  client.send(TypeUrl.listener, [listener("l", 80)], { isFullState: true });
  await settle();
  client.send(TypeUrl.listener, [listener("m", 80)], { isFullState: true });
  await settle();
  assert.deepEqual(
    listeners.active.map((entry) => entry.listener.config.name),
    ["m"],
  );
  assert.ok(listening.has("10.0.0.1:80"));
});

test("a bad listener does not hold up a good one, and is named with every reason", async () => {
  const { client, listeners } = await withListeners();
  const nack = client.send(TypeUrl.listener, [
    listener("bad", 81, {
      filter_chains: [{ filters: [] }, { transport_socket: { name: "starttls" }, filters: [{ name: "tcp" }] }],
      udp_listener_config: {},
    }),
    listener("good", 80),
  ]);
  await settle();
  assert.equal(
    nack,
    'bad: udp_listener_config is not supported, filter chain "0": the filter chain has no filters, filter chain "1": transport_socket "starttls" (without config) is not supported here',
  );
  assert.deepEqual(
    listeners.active.map((entry) => entry.listener.config.name),
    ["good"],
  );
});

function incoming(to: string, port: number): Incoming {
  const channel = { handler: {}, destroy() {} };
  return {
    local: { host: "10.0.0.1", port: 15001 },
    remote: { host: "10.0.0.1", port: 40000 },
    originalDestination: { host: to, port },
    peek() {},
    // A test's channel: the fake filter only keeps it.
    accept: () => channel as unknown as ReturnType<Incoming["accept"]>,
    acceptTls() {},
    destroy() {},
  };
}

test("a captured connection goes to the listener of its destination: exactly, then of all addresses, then stays", async () => {
  const { client, listening, accepted } = await withListeners();
  const at = (address: string, port: number): JsonObject => ({
    bind_to_port: false,
    address: { socket_address: { address, port_value: port } },
  });
  client.send(TypeUrl.listener, [
    listener("capture", 15001, { use_original_dst: true }),
    listener("vip", 0, at("10.9.9.9", 80)),
    listener("wildcard", 0, at("0.0.0.0", 80)),
  ]);
  await settle();
  assert.deepEqual([...listening.keys()], ["10.0.0.1:15001"], "those that do not bind open nothing");
  const rows: readonly (readonly [ip: string, port: number, want: string])[] = [
    ["10.9.9.9", 80, "vip"],
    ["10.9.9.8", 80, "wildcard"],
    ["10.9.9.9", 81, "capture"],
  ];
  for (const [ip, port, want] of rows) {
    listening.get("10.0.0.1:15001")?.(incoming(ip, port));
    assert.equal(accepted.at(-1)?.listenerName, want, `${ip}:${port}`);
  }
  assert.deepEqual(accepted[2]?.localAddress, { host: "10.9.9.9", port: 81 });
});
