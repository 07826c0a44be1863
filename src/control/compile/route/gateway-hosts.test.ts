import assert from "node:assert/strict";
import { test } from "node:test";
import { compileAll, nodeOf, worldOf } from "../../../../test/golden/world.ts";
import { VirtualHost_TlsRequirementType as TlsRequirement } from "../../../gen/envoy/config/route/v3/route_components_pb.ts";

const gateway = (name: string, hosts: string, { port = 80, tls = "" } = {}) => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ${name}, namespace: default}
spec: {selector: {istio: ingress}, servers: [{port: {number: ${port}, name: http, protocol: HTTP}, hosts: ${hosts}${tls}}]}
`;
const virtualService = (name: string, hosts: string, { gateways = "[gw]", namespace = "default", match = "" } = {}) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: ${namespace}}
spec: {hosts: ${hosts}, gateways: ${gateways}, http: [{${match}directResponse: {status: 200, body: {string: ${name}}}}]}
`;

/** By route configuration and domain: the bodies of the routes in order, "tls" before them where plaintext is redirected. */
function served(documents: readonly string[]): Record<string, string> {
  const compiled = compileAll(
    worldOf(documents.join("---")),
    nodeOf({ kind: "router", namespace: "istio-system", labels: { istio: "ingress" } }),
  );
  const found: Record<string, string> = {};
  for (const [name, { virtualHosts }] of compiled.routes) {
    for (const { domains, routes, requireTls } of virtualHosts) {
      const bodies = routes.map(({ action }) =>
        action.case === "directResponse" && action.value.body?.specifier.case === "inlineString" ? action.value.body.specifier.value : "?",
      );
      for (const domain of domains) {
        assert.ok(!(`${name} ${domain}` in found), `${domain} stands in two virtual hosts`);
        found[`${name} ${domain}`] = [...(requireTls === TlsRequirement.ALL ? ["tls"] : []), ...bodies].join(" ");
      }
    }
  }
  return found;
}

const rows: readonly { name: string; documents: readonly string[]; want: Record<string, string> }[] = [
  {
    name: "hosts that both name",
    documents: [gateway("gw", "[a.example.com]"), virtualService("vs", "[a.example.com, b.example.com]")],
    want: { "http.80 a.example.com": "vs" },
  },
  {
    name: "the closer host of a pair, whoever names it",
    documents: [gateway("gw", '["*.example.com", one.test]'), virtualService("v1", "[a.example.com]"), virtualService("v2", '["*.test"]')],
    want: { "http.80 a.example.com": "v1", "http.80 one.test": "v2" },
  },
  { name: "nothing bound answers 404", documents: [gateway("gw", "[a.example.com]")], want: { "http.80 *": "" } },
  {
    name: "gateways on one port are one listener, each with its own rules",
    documents: [
      gateway("gw", "[a.example.com]"),
      gateway("gw2", "[b.example.com]"),
      virtualService("v1", "[a.example.com, b.example.com]"),
      virtualService("v2", "[b.example.com]", { gateways: "[gw2]" }),
    ],
    want: { "http.80 a.example.com": "v1", "http.80 b.example.com": "v2" },
  },
  {
    name: "rules for one host are joined, what takes everything last",
    documents: [
      gateway("gw", '["*"]'),
      virtualService("all", "[a.example.com]"),
      virtualService("some", "[a.example.com]", { match: "match: [{uri: {prefix: /x}}], " }),
    ],
    want: { "http.80 a.example.com": "some all" },
  },
  {
    name: "a server's host may be kept for a namespace",
    documents: [
      gateway("gw", '["other/a.example.com", "./b.example.com"]'),
      virtualService("v1", "[a.example.com, b.example.com]"),
      virtualService("v2", "[a.example.com, b.example.com]", { namespace: "other", gateways: "[default/gw]" }),
    ],
    want: { "http.80 a.example.com": "v2", "http.80 b.example.com": "v1" },
  },
  {
    name: "a redirect to https holds for hosts without rules, too",
    documents: [
      gateway("gw", "[a.example.com, b.example.com]", { tls: ", tls: {httpsRedirect: true}" }),
      virtualService("vs", "[a.example.com]"),
    ],
    want: { "http.80 a.example.com": "tls vs", "http.80 b.example.com": "tls" },
  },
];

for (const { name, documents, want } of rows) {
  test(`gatewayHosts: ${name}`, () => assert.deepEqual(served(documents), want));
}
