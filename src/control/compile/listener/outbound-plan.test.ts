import assert from "node:assert/strict";
import { test } from "node:test";
import { hostname } from "../../../model/host.ts";
import type { Protocol, Service } from "../../../model/service.ts";
import { planOutboundListeners } from "./outbound-plan.ts";

function service(name: string, ports: Readonly<Record<number, Protocol>>, more: Partial<Service> = {}): Service {
  return {
    hostname: hostname(name),
    namespace: "default",
    name,
    addresses: [],
    ports: Object.entries(ports).map(([number, protocol]) => ({
      name: `p${number}`,
      number: Number(number),
      protocol,
      targetPort: undefined,
    })),
    resolution: "static",
    meshExternal: false,
    exportTo: ["*"],
    subjectAltNames: [],
    createdAt: 0,
    ...more,
  };
}

/** "bind:port chain chain": http, http! (without looking at first bytes), host, host@server name. */
function plan(services: readonly Service[], localhost?: string): string[] {
  return planOutboundListeners({
    services,
    wildcard: "0.0.0.0",
    localhost,
    endpointAddresses: (of) => (of.name.startsWith("headless") ? ["10.0.0.1", "10.0.0.2"] : []),
    tcpIdleTimeoutMs: () => undefined,
  }).map(({ bind, port, chains }) => {
    const texts = chains.map((chain) => {
      if (chain.kind === "http") return chain.sniffed ? "http" : "http!";
      return chain.serverNames.length > 0 ? `${chain.hostname}@${chain.serverNames.join()}` : chain.hostname;
    });
    return `${bind}:${port} ${texts.join(" ")}`;
  });
}

const vip = { addresses: ["240.0.0.1"] };
const rows: readonly { name: string; services: readonly Service[]; localhost?: string; want: readonly string[] }[] = [
  {
    name: "all HTTP of a port shares a listener",
    services: [service("a", { 80: "http" }, vip), service("b", { 80: "grpc" })],
    want: ["0.0.0.0:80 http"],
  },
  { name: "TCP has one at its address", services: [service("a", { 9000: "tcp" }, vip)], want: ["240.0.0.1:9000 a"] },
  {
    name: "at each of its addresses",
    services: [service("a", { 9000: "tcp" }, { addresses: ["240.0.0.1", "fd00::1"] })],
    want: ["240.0.0.1:9000 a", "fd00::1:9000 a"],
  },
  { name: "TLS with an address is found by it", services: [service("a", { 443: "https" }, vip)], want: ["240.0.0.1:443 a"] },
  {
    name: "TLS without an address by its server name",
    services: [service("a", { 443: "https" }), service("b", { 443: "tls" })],
    want: ["0.0.0.0:443 a@a b@b"],
  },
  {
    name: "TCP without address shares with HTTP",
    services: [service("a", { 80: "http" }), service("b", { 80: "tcp" })],
    want: ["0.0.0.0:80 http b"],
  },
  {
    name: "the older of two TCP services without address keeps the port",
    services: [service("a", { 90: "tcp" }, { createdAt: 2 }), service("b", { 90: "tcp" }, { createdAt: 1 })],
    want: ["0.0.0.0:90 b"],
  },
  {
    name: "a service without address whose endpoints are dialled",
    services: [service("headless", { 90: "tcp" }, { resolution: "none" })],
    want: ["10.0.0.1:90 headless", "10.0.0.2:90 headless"],
  },
  { name: "the proxy's own ports are nobody's", services: [service("evil", { 15001: "http", 15006: "tcp" })], want: [] },
  { name: "UDP is not captured", services: [service("dns", { 53: "udp" }, vip)], want: [] },
  {
    name: "without capture listeners are local and read what they get",
    services: [service("a", { 80: "http" }, vip)],
    localhost: "127.0.0.1",
    want: ["127.0.0.1:80 http!"],
  },
  { name: "a name that covers all has no server name to ask for", services: [service("*", { 443: "tls" })], want: ["0.0.0.0:443 *"] },
];

for (const { name, services, localhost, want } of rows) {
  test(`planOutboundListeners: ${name}`, () => {
    assert.deepEqual(plan(services, localhost), want);
    assert.deepEqual(
      plan(services.toReversed(), localhost).map((line) => line.split(" ").sort()),
      want.map((line) => line.split(" ").sort()),
      "the order of services must not matter",
    );
  });
}
