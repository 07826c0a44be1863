import assert from "node:assert/strict";
import { test } from "node:test";
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { FilterChainMatchSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { type ConnectionTraits, compileFilterChains } from "./filter-chain-match.ts";

const BASE: ConnectionTraits = {
  destination: { host: "10.1.2.3", port: 443 },
  source: { host: "192.168.0.7", port: 50000 },
  serverName: "",
  transportProtocol: "raw_buffer",
  applicationProtocols: [],
};

function compile(chains: Readonly<Record<string, JsonValue>>) {
  return compileFilterChains(
    Object.entries(chains).map(([name, match]) => ({
      name,
      match: match === null ? undefined : fromJson(FilterChainMatchSchema, match),
      chain: name,
    })),
  );
}

const range = (prefix: string, length: number): JsonValue => ({ address_prefix: prefix, prefix_len: length });

/** Source: envoy.config.listener.v3.FilterChainMatch, in the order of its criteria. */
const rows: readonly {
  name: string;
  chains: Readonly<Record<string, JsonValue>>;
  traits?: Partial<ConnectionTraits>;
  want: string | undefined;
}[] = [
  { name: "one chain without criteria takes all", chains: { a: null }, want: "a" },
  { name: "no chain fits", chains: { a: { destination_port: 80 } }, want: undefined },
  { name: "a port beats none", chains: { a: {}, b: { destination_port: 443 } }, want: "b" },
  {
    name: "a port that fits is not left again",
    chains: { a: {}, b: { destination_port: 443, transport_protocol: "tls" } },
    want: undefined,
  },
  {
    name: "the longer prefix wins",
    chains: { a: { prefix_ranges: [range("10.0.0.0", 8)] }, b: { prefix_ranges: [range("10.1.2.0", 24)] } },
    want: "b",
  },
  { name: "a prefix beats none", chains: { a: {}, b: { prefix_ranges: [range("10.0.0.0", 8)] } }, want: "b" },
  { name: "an address outside falls to the chain of all", chains: { a: {}, b: { prefix_ranges: [range("11.0.0.0", 8)] } }, want: "a" },
  { name: "a v6 range does not take v4", chains: { b: { prefix_ranges: [range("::", 0)] } }, want: undefined },
  {
    name: "a v6 range takes v6",
    chains: { b: { prefix_ranges: [range("2001:db8::", 32)] } },
    traits: { destination: { host: "2001:db8::1", port: 443 } },
    want: "b",
  },
  {
    name: "the exact name wins",
    chains: { a: { server_names: ["*.example.com"] }, b: { server_names: ["www.example.com"] } },
    traits: { serverName: "www.example.com" },
    want: "b",
  },
  {
    name: "the longer wildcard wins",
    chains: { a: { server_names: ["*.com"] }, b: { server_names: ["*.example.com"] } },
    traits: { serverName: "www.example.com" },
    want: "b",
  },
  {
    name: "a wildcard takes several labels",
    chains: { a: { server_names: ["*.com"] } },
    traits: { serverName: "x.y.example.com" },
    want: "a",
  },
  {
    name: "a wildcard needs a label in front",
    chains: { a: { server_names: ["*.example.com"] } },
    traits: { serverName: "example.com" },
    want: undefined,
  },
  { name: "no name is taken only by a chain without names", chains: { a: { server_names: ["*.com"] }, b: {} }, want: "b" },
  { name: "tls beats any transport", chains: { a: {}, b: { transport_protocol: "tls" } }, traits: { transportProtocol: "tls" }, want: "b" },
  { name: "raw_buffer is not tls", chains: { b: { transport_protocol: "tls" } }, want: undefined },
  {
    name: "the client's first protocol that somebody has",
    chains: { a: { application_protocols: ["http/1.1"] }, b: { application_protocols: ["h2"] } },
    traits: { applicationProtocols: ["istio", "h2", "http/1.1"] },
    want: "b",
  },
  { name: "no protocol known falls to the chain without", chains: { a: { application_protocols: ["http/1.1", "h2c"] }, b: {} }, want: "b" },
  {
    name: "Istio's inbound: mutual TLS by ALPN",
    chains: {
      plain: { transport_protocol: "raw_buffer", destination_port: 443 },
      mtls: { transport_protocol: "tls", destination_port: 443, application_protocols: ["istio", "istio-peer-exchange"] },
      tls: { transport_protocol: "tls", destination_port: 443 },
    },
    traits: { transportProtocol: "tls", applicationProtocols: ["istio-peer-exchange", "istio"] },
    want: "mtls",
  },
  { name: "a direct source's range", chains: { a: {}, b: { direct_source_prefix_ranges: [range("192.168.0.0", 16)] } }, want: "b" },
  { name: "an external source", chains: { a: { source_type: "SAME_IP_OR_LOOPBACK" }, b: { source_type: "EXTERNAL" } }, want: "b" },
  {
    name: "loopback is local",
    chains: { a: { source_type: "SAME_IP_OR_LOOPBACK" }, b: { source_type: "EXTERNAL" } },
    traits: { source: { host: "127.0.0.6", port: 1 } },
    want: "a",
  },
  {
    name: "the own address is local",
    chains: { a: { source_type: "SAME_IP_OR_LOOPBACK" }, b: {} },
    traits: { source: { host: "10.1.2.3", port: 1 } },
    want: "a",
  },
  {
    name: "a source's range",
    chains: { a: { source_prefix_ranges: [range("192.168.0.0", 24)] }, b: { source_prefix_ranges: [range("192.168.0.7", 32)] } },
    want: "b",
  },
  { name: "a source's port", chains: { a: {}, b: { source_ports: [50000] } }, want: "b" },
  { name: "another source's port", chains: { a: {}, b: { source_ports: [50001] } }, want: "a" },
  {
    name: "the destination comes before the name",
    chains: { a: { server_names: ["www.example.com"] }, b: { prefix_ranges: [range("10.1.2.3", 32)] } },
    traits: { serverName: "www.example.com" },
    want: "b",
  },
];
for (const { name, chains, traits, want } of rows) {
  test(`filter chain match: ${name}`, () => {
    assert.equal(compile(chains).find({ ...BASE, ...traits }), want);
    const reversed = Object.fromEntries(Object.entries(chains).reverse());
    assert.equal(compile(reversed).find({ ...BASE, ...traits }), want, "the order of chains must not matter");
  });
}

const refused: readonly { name: string; chains: Readonly<Record<string, JsonValue>>; want: RegExp }[] = [
  {
    name: "two chains with the same criteria",
    chains: { a: { destination_port: 80 }, b: { destination_port: 80 } },
    want: /filter chains "a" and "b" have the same/,
  },
  {
    name: "two chains whose ranges are the same",
    chains: { a: { prefix_ranges: [range("10.0.0.1", 8)] }, b: { prefix_ranges: [range("10.0.0.2", 8)] } },
    want: /the same/,
  },
  { name: "a range that is none", chains: { a: { prefix_ranges: [range("10.0.0", 8)] }, b: {} }, want: /"10.0.0" is no IP address/ },
  { name: "a prefix that is too long", chains: { a: { prefix_ranges: [range("10.0.0.0", 33)] }, b: {} }, want: /33/ },
  { name: "a wildcard inside a name", chains: { a: { server_names: ["www.*.com"] }, b: {} }, want: /wildcard/ },
  { name: "criteria that are not carried out", chains: { a: { address_suffix: "1" }, b: {} }, want: /address_suffix/ },
];
for (const { name, chains, want } of refused) {
  test(`filter chain match refuses ${name}`, () => assert.throws(() => compile(chains), want));
}
