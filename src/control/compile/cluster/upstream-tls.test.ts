import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientTlsSettings } from "../../config/types.ts";
import { decideUpstreamTls, takesNamesFromRequest, type UpstreamTls, type UpstreamTlsOptions } from "./upstream-tls.ts";

const ID = "spiffe://cluster.local/ns/shop/sa/web";
const IN_MESH: UpstreamTlsOptions = {
  settings: undefined,
  meshExternal: false,
  autoMtls: true,
  serverMode: "PERMISSIVE",
  everyEndpointReady: true,
  serverIds: [ID],
  sni: "outbound_.80_._.web",
};
const settings = (mode: ClientTlsSettings["mode"], more: Partial<ClientTlsSettings> = {}): ClientTlsSettings => ({
  mode,
  sni: undefined,
  subjectAltNames: [],
  caCertificates: undefined,
  insecureSkipVerify: false,
  ...more,
});

const rows: readonly { name: string; options: Partial<UpstreamTlsOptions>; want: UpstreamTls }[] = [
  { name: "in the mesh, mutual TLS with who can", options: {}, want: { kind: "auto-mutual", sni: IN_MESH.sni, serverIds: [ID] } },
  {
    name: "also where servers demand it",
    options: { serverMode: "STRICT" },
    want: { kind: "auto-mutual", sni: IN_MESH.sni, serverIds: [ID] },
  },
  { name: "not where servers take none", options: { serverMode: "DISABLE" }, want: { kind: "plaintext" } },
  { name: "not with servers of outside", options: { meshExternal: true }, want: { kind: "plaintext" } },
  { name: "not when the mesh switches it off", options: { autoMtls: false }, want: { kind: "plaintext" } },
  { name: "not where an endpoint that may be met cannot", options: { everyEndpointReady: false }, want: { kind: "plaintext" } },
  { name: "a rule can switch it off", options: { settings: settings("DISABLE") }, want: { kind: "plaintext" } },
  {
    name: "a rule can demand it of everybody",
    options: { settings: settings("ISTIO_MUTUAL"), serverMode: "DISABLE", meshExternal: true },
    want: { kind: "mutual", sni: IN_MESH.sni, serverIds: [ID] },
  },
  {
    name: "a rule's own names hold",
    options: { settings: settings("ISTIO_MUTUAL", { sni: "x.example", subjectAltNames: ["spiffe://a/b"] }) },
    want: { kind: "mutual", sni: "x.example", serverIds: ["spiffe://a/b"] },
  },
  {
    name: "TLS of outside verifies by the machine's roots",
    options: { settings: settings("SIMPLE"), serverIds: [] },
    want: { kind: "simple", sni: undefined, serverNames: [], caFile: undefined, skipVerify: false },
  },
];

for (const { name, options, want } of rows) {
  test(`decideUpstreamTls: ${name}`, () => assert.deepEqual(decideUpstreamTls({ ...IN_MESH, ...options }), want));
}

const simple = (more: Partial<Extract<UpstreamTls, { kind: "simple" }>>): UpstreamTls => ({
  kind: "simple",
  sni: undefined,
  serverNames: [],
  caFile: undefined,
  skipVerify: false,
  ...more,
});

for (const { name, tls, want } of [
  { name: "mesh TLS never", tls: { kind: "auto-mutual", sni: "s", serverIds: [] } as UpstreamTls, want: { sni: false, san: false } },
  { name: "TLS of outside asks for the request's host and checks it", tls: simple({}), want: { sni: true, san: true } },
  {
    name: "a given SNI stays; its certificate is then not checked by request",
    tls: simple({ sni: "a" }),
    want: { sni: false, san: false },
  },
  { name: "given names are checked in its place", tls: simple({ serverNames: ["a"] }), want: { sni: true, san: false } },
  { name: "without verification nothing is checked", tls: simple({ skipVerify: true }), want: { sni: true, san: false } },
]) {
  test(`takesNamesFromRequest: ${name}`, () => assert.deepEqual(takesNamesFromRequest(tls), want));
}
