import assert from "node:assert/strict";
import { test } from "node:test";
import type { FilterChain } from "../../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import type { Protocol } from "../../../model/service.ts";
import { defaultMeshConfig } from "../../config/mesh-config.ts";
import type { MtlsMode } from "../../config/types.ts";
import { buildInboundListener, type InboundPort } from "./inbound.ts";
import { listenerMesh } from "./mesh-input.ts";

const mesh = listenerMesh(defaultMeshConfig());
const MODES: readonly MtlsMode[] = ["STRICT", "PERMISSIVE", "DISABLE"];
const PROTOCOLS: readonly (Protocol | undefined)[] = [undefined, "http", "http2", "grpc", "tcp", "tls", "https"];

function port(number: number, mode: MtlsMode, protocol: Protocol | undefined): InboundPort {
  return { port: number, mode, declared: protocol && { protocol, hostname: "web", servicePort: number } };
}

function build(defaultMode: MtlsMode, ports: readonly InboundPort[]) {
  return buildInboundListener({ wildcard: "0.0.0.0", transparent: false, defaultMode, ports, mesh });
}

/** Chains for connections to a port: its own, or those of no port in particular. */
function chainsOf(chains: readonly FilterChain[], number: number): FilterChain[] {
  const own = chains.filter(({ filterChainMatch }) => filterChainMatch?.destinationPort === number);
  return own.length > 0 ? own : chains.filter(({ filterChainMatch }) => filterChainMatch?.destinationPort === undefined);
}

for (const protocol of PROTOCOLS) {
  test(`STRICT lets nothing through that is not mutual TLS: ${protocol ?? "undeclared"}`, () => {
    for (const others of MODES) {
      const ports = [port(8080, "STRICT", protocol), port(9999, others, "http")];
      const chains = chainsOf(build(others, ports).filterChains, 8080);
      assert.ok(chains.length > 0);
      for (const { transportSocket, filterChainMatch } of chains) {
        assert.equal(filterChainMatch?.transportProtocol, "tls");
        assert.ok(transportSocket, "TLS is ended here, or it would not be the mesh's");
      }
    }
  });

  test(`DISABLE ends no TLS: ${protocol ?? "undeclared"}`, () => {
    for (const { transportSocket } of chainsOf(build("STRICT", [port(8080, "DISABLE", protocol)]).filterChains, 8080))
      assert.equal(transportSocket, undefined);
  });

  test(`PERMISSIVE takes both: ${protocol ?? "undeclared"}`, () => {
    const chains = chainsOf(build("STRICT", [port(8080, "PERMISSIVE", protocol)]).filterChains, 8080);
    assert.ok(chains.some(({ transportSocket }) => transportSocket));
    assert.ok(
      chains.some(({ transportSocket, filterChainMatch }) => !transportSocket && filterChainMatch?.transportProtocol === "raw_buffer"),
    );
  });
}

test("STRICT cuts plaintext on ports that nobody declares", () => {
  const chains = build("STRICT", []).filterChains.filter(({ name }) => name !== "virtualInbound-blackhole");
  assert.ok(chains.length > 0);
  for (const { transportSocket, filterChainMatch } of chains) {
    assert.equal(filterChainMatch?.transportProtocol, "tls");
    assert.ok(transportSocket);
  }
});

test("no two chains take the same connections: Envoy would refuse the listener", () => {
  const ports = MODES.flatMap((mode, i) => PROTOCOLS.map((protocol, j) => port(1000 + 10 * i + j, mode, protocol)));
  for (const mode of MODES) {
    const matches = build(mode, ports).filterChains.map(({ filterChainMatch }) =>
      JSON.stringify([filterChainMatch?.destinationPort, filterChainMatch?.transportProtocol, filterChainMatch?.applicationProtocols]),
    );
    assert.equal(new Set(matches).size, matches.length);
  }
});

test("inspectors wait only where a chain asks for what they find", () => {
  const filters = (defaultMode: MtlsMode, ports: readonly InboundPort[]): string[] =>
    build(defaultMode, ports).listenerFilters.map(({ name, filterDisabled }) => `${name.split(".").at(-1)}${filterDisabled ? " but" : ""}`);
  assert.deepEqual(filters("DISABLE", [port(9000, "DISABLE", "tcp")]), ["original_dst", "http_inspector but"]);
  assert.deepEqual(filters("PERMISSIVE", []), ["original_dst", "tls_inspector", "http_inspector"]);
  assert.deepEqual(filters("PERMISSIVE", [port(9000, "DISABLE", "tcp")]), ["original_dst", "tls_inspector but", "http_inspector but"]);
  assert.deepEqual(filters("STRICT", [port(9000, "STRICT", "tcp")]), ["original_dst", "tls_inspector"]);
});
