import assert from "node:assert/strict";
import { test } from "node:test";
import { fromJson, type JsonObject } from "@bufbuild/protobuf";
import { FakeClock, settle } from "../../../test/kit/fake-clock.ts";
import { recordingLog } from "../../../test/kit/proxy-parts.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { readCluster } from "./cluster-config.ts";
import { DnsDiscovery } from "./dns.ts";

type Answer = { readonly addresses: readonly string[]; readonly ttlMs: number } | Error;

function setUp(more: JsonObject = {}, names: readonly string[] = ["a.test"]) {
  const clock = new FakeClock();
  const log = recordingLog();
  const answers = new Map<string, Answer>();
  const asked: string[] = [];
  const endpoint = (name: string): JsonObject => ({ endpoint: { address: { socket_address: { address: name, port_value: 80 } } } });
  const { config } = readCluster(
    fromJson(ClusterSchema, {
      name: "c",
      type: "STRICT_DNS",
      load_assignment: { cluster_name: "c", endpoints: [{ lb_endpoints: names.map(endpoint) }] },
      ...more,
    }),
    { reader: { environment: {} }, bind: undefined, mark: undefined },
  );
  if (config.discovery.kind !== "dns") throw new Error("no DNS");
  const { discovery } = config;
  const found: string[][] = [];
  const start = () =>
    new DnsDiscovery(discovery, {
      clock,
      log,
      clusterName: "c",
      resolver: {
        async resolve(name) {
          asked.push(name);
          const answer = answers.get(name) ?? new Error("ENOTFOUND");
          if (answer instanceof Error) throw answer;
          return answer;
        },
      },
      onHosts: ({ hosts }) => void found.push(hosts.map(({ address }) => `${address.host}:${address.port}`)),
    });
  return { clock, log, answers, asked, found, start };
}

test("strict DNS: every address is a host, asked for again after dns_refresh_rate", async () => {
  const { clock, answers, asked, found, start } = setUp({ dns_refresh_rate: "2s" });
  answers.set("a.test", { addresses: ["10.0.0.1", "10.0.0.2"], ttlMs: 60_000 });
  start();
  await settle();
  assert.deepEqual(found, [["10.0.0.1:80", "10.0.0.2:80"]]);
  answers.set("a.test", { addresses: ["10.0.0.2", "10.0.0.1"], ttlMs: 60_000 });
  await clock.advance(2000);
  assert.equal(asked.length, 2);
  assert.equal(found.length, 1, "the same addresses in another order change nothing");
  answers.set("a.test", { addresses: ["10.0.0.3"], ttlMs: 60_000 });
  await clock.advance(2000);
  assert.deepEqual(found.at(-1), ["10.0.0.3:80"]);
});

test("logical DNS: the first address is the host", async () => {
  const { answers, found, start } = setUp({ type: "LOGICAL_DNS" });
  answers.set("a.test", { addresses: ["10.0.0.1", "10.0.0.2"], ttlMs: 1000 });
  start();
  await settle();
  assert.deepEqual(found, [["10.0.0.1:80"]]);
});

test("respect_dns_ttl: the TTL says when, but not more often than once a second", async () => {
  const { clock, answers, asked, start } = setUp({ respect_dns_ttl: true });
  answers.set("a.test", { addresses: ["10.0.0.1"], ttlMs: 0 });
  start();
  await clock.advance(999);
  assert.equal(asked.length, 1);
  await clock.advance(1);
  assert.equal(asked.length, 2);
});

test("what was found last stays when the server does not answer", async () => {
  const { clock, log, answers, found, start } = setUp();
  answers.set("a.test", { addresses: ["10.0.0.1"], ttlMs: 1000 });
  start();
  await settle();
  answers.set("a.test", new Error("SERVFAIL"));
  await clock.advance(5000);
  assert.equal(found.length, 1);
  assert.match(log.lines.at(-1) ?? "", /a\.test cannot be resolved: SERVFAIL; what was found last stays/);
});

test("a name that never was found does not hold up the others", async () => {
  const { answers, found, start } = setUp({}, ["a.test", "b.test", "10.0.0.9"]);
  answers.set("b.test", { addresses: ["10.0.0.2"], ttlMs: 1000 });
  start();
  await settle();
  assert.deepEqual(found.at(-1), ["10.0.0.2:80", "10.0.0.9:80"]);
});

test("closed, nothing is asked any more", async () => {
  const { clock, answers, asked, start } = setUp();
  answers.set("a.test", { addresses: ["10.0.0.1"], ttlMs: 1000 });
  const dns = start();
  await settle();
  dns.close();
  await clock.advance(60_000);
  assert.equal(asked.length, 1);
});
