/** What a Gateway may say, and what is said of one that may not. Source: Istio networking/v1 Gateway. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "../../finding.ts";
import { createConfigReader } from "../../read.ts";
import type { GatewaySpec } from "../../types.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function read(spec: string, metadata = "{name: x, namespace: shop}") {
  const lines = spec.split("\n").map((line) => `  ${line}`);
  return reader.read("x.yaml", `apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: ${metadata}\nspec:\n${lines.join("\n")}\n`);
}

/** The problems without file and object; the spec begins in line 5. */
function problems(spec: string): readonly string[] {
  const { errors, warnings } = read(spec);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }).replace("x.yaml:", ""));
}

const SERVER = "port: {number: 80, name: http, protocol: HTTP}";

const taken: readonly { name: string; spec: string }[] = [
  { name: "an HTTP server", spec: `selector: {istio: ingressgateway}\nservers: [{${SERVER}, hosts: ["*"], bind: 10.0.0.1}]` },
  { name: "hosts of namespaces", spec: `servers: [{${SERVER}, hosts: [./a.com, "*/b.com", other/*.c.com, 10.0.0.1]}]` },
  { name: "a redirect to https", spec: `servers: [{${SERVER}, hosts: [a.com], tls: {httpsRedirect: true}}]` },
];

const refused: readonly { name: string; spec: string; want: readonly string[] }[] = [
  { name: "no server", spec: "selector: {a: b}", want: ["4:1: spec.servers: at least one server is required"] },
  {
    name: "no host",
    spec: `servers: [{${SERVER}, hosts: []}]`,
    want: ['5:62: spec.servers[0].hosts: at least one host is required; write "*" for all'],
  },
  {
    name: "a port's name twice",
    spec: `servers: [{${SERVER}, hosts: [a.com]}, {${SERVER}, hosts: [b.com]}]`,
    want: ['5:99: spec.servers[1].port.name: port name "http" stands twice; first at spec.servers[0].port.name'],
  },
  {
    name: "a server of TLS",
    spec: "servers:\n- port: {number: 443, name: https, protocol: HTTPS}\n  hosts: [a.com]\n  tls: {mode: SIMPLE}",
    want: [
      "6:38: spec.servers[0].port.protocol: a gateway's server of protocol HTTPS is not supported by this version of Lateen yet; HTTP, HTTP2, GRPC and GRPC-WEB are",
      "8:11: spec.servers[0].tls.mode: not supported by this version of Lateen yet",
    ],
  },
  {
    name: "TLS settings that say nothing",
    spec: `servers: [{${SERVER}, hosts: [a.com], tls: {}}]`,
    want: ["5:78: spec.servers[0].tls: a server of plain HTTP takes httpsRedirect only"],
  },
  {
    name: "bad members, all of them",
    spec: 'servers: [{port: {number: 0, name: "", protocol: X}, hosts: [a b, x_y/a.com, short], bind: here}]',
    want: [
      "5:21: spec.servers[0].port.number: port 0 is not in 1..65535",
      "5:32: spec.servers[0].port.name: is required",
      '5:42: spec.servers[0].port.protocol: "X" is no protocol; one of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, UDP, MONGO, REDIS, MYSQL',
      '5:64: spec.servers[0].hosts[0]: "a b" is no host name (label "a b")',
      '5:69: spec.servers[0].hosts[1]: "x_y" is neither "*", "." nor a namespace',
      '5:80: spec.servers[0].hosts[2]: short names such as "short" are not taken here; write the full name that clients ask for',
      '5:88: spec.servers[0].bind: "here" is no IP address',
    ],
  },
  {
    name: "a Unix socket",
    spec: `servers: [{${SERVER}, hosts: [a.com], bind: "unix:///a", name: n}]`,
    want: [
      "5:78: spec.servers[0].bind: a gateway on a Unix socket is not supported by this version of Lateen yet",
      "5:97: spec.servers[0].name: not supported by this version of Lateen yet",
    ],
  },
];

const warned: readonly { name: string; spec: string; want: readonly string[] }[] = [];

for (const { name, spec } of taken) {
  test(`Gateway: ${name} is taken`, () => assert.deepEqual(problems(spec), []));
}

for (const { name, spec, want } of refused) {
  test(`Gateway: ${name} is refused`, () => {
    assert.deepEqual(problems(spec), want);
    assert.deepEqual(read(spec).objects, []);
  });
}

for (const { name, spec, want } of warned) {
  test(`Gateway: ${name} is taken with a warning`, () => {
    assert.deepEqual(problems(spec), want);
    assert.equal(read(spec).objects.length, 1);
  });
}

test("Gateway: a name with dots is refused", () => {
  const { errors } = read(`servers: [{${SERVER}, hosts: [a.com]}]`, "{name: a.b, namespace: shop}");
  assert.deepEqual(errors.map(formatProblem), [
    'x.yaml:3:12: Gateway shop/a.b: metadata.name: "a.b" cannot name a Gateway: no dots, at most 63 characters',
  ]);
});

test("Gateway: the normal form keeps hosts and their namespaces apart", () => {
  const spec = read(`servers: [{${SERVER}, hosts: [./A.com, "*"], tls: {httpsRedirect: true}}]`).objects[0]?.object.spec as GatewaySpec;
  assert.deepEqual(spec, {
    selector: {},
    servers: [
      {
        port: { number: 80, name: "http", protocol: "http" },
        bind: undefined,
        hosts: ["a.com", "*"],
        hostNamespaces: [".", "*"],
        httpsRedirect: true,
      },
    ],
  });
});
