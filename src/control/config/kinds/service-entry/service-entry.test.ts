/** What a ServiceEntry may say, and what is said of one that may not. Source: Istio networking/v1 ServiceEntry. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "../../finding.ts";
import { createConfigReader } from "../../read.ts";
import type { ServiceEntrySpec } from "../../types.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function read(spec: string, metadata = "{name: x, namespace: shop}") {
  const lines = spec.split("\n").map((line) => `  ${line}`);
  return reader.read(
    "x.yaml",
    `apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: ${metadata}\nspec:\n${lines.join("\n")}\n`,
  );
}

/** The problems without file and object; the spec begins in line 5. */
function problems(spec: string): readonly string[] {
  const { errors, warnings } = read(spec);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }).replace("x.yaml:", ""));
}

const HTTP = "ports: [{number: 80, name: http, protocol: HTTP}]";

const taken: readonly { name: string; spec: string }[] = [
  {
    name: "a service of the mesh by selector",
    spec: `hosts: [a.shop.svc.cluster.local]\naddresses: [240.0.0.1, 10.0.0.1/32]\nlocation: MESH_INTERNAL\nresolution: STATIC\nports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}, {number: 90, name: tcp, protocol: TCP}]\nworkloadSelector: {labels: {app: a}}\nexportTo: [".", other]\nsubjectAltNames: [a.example.com]`,
  },
  {
    name: "endpoints with their own ports",
    spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nendpoints: [{address: 10.0.0.1, ports: {http: 8080}, labels: {app: a}, network: n, locality: r/z/s, weight: 2, serviceAccount: a}]`,
  },
  { name: "a name that is looked up", spec: `hosts: [a.com]\nresolution: DNS\n${HTTP}` },
  { name: "endpoints with names", spec: `hosts: ["*.a.com"]\nresolution: DNS\n${HTTP}\nendpoints: [{address: b.com}]` },
  { name: "a wildcard without resolution", spec: `hosts: ["*.a.com"]\nlocation: MESH_EXTERNAL\n${HTTP}` },
  { name: "several hosts on an HTTP port", spec: `hosts: [a.com, b.com]\nresolution: DNS\n${HTTP}` },
  { name: "several hosts on TCP without resolution", spec: "hosts: [a.com, b.com]\nports: [{number: 80, name: t, protocol: TCP}]" },
  { name: "a Unix socket", spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nendpoints: [{address: "unix:///run/a"}]` },
  { name: "an export to nobody", spec: `hosts: [a.com]\nexportTo: ["~"]\n${HTTP}` },
];

const refused: readonly { name: string; spec: string; want: readonly string[] }[] = [
  { name: "no host", spec: `hosts: []\n${HTTP}`, want: ["5:3: spec.hosts: at least one host is required"] },
  { name: "the host *", spec: `hosts: ["*"]\n${HTTP}`, want: ['5:11: spec.hosts[0]: "*" is no host of a ServiceEntry'] },
  {
    name: "a host twice",
    spec: `hosts: [a.com, a.com]\n${HTTP}`,
    want: ['5:18: spec.hosts[1]: host "a.com" stands twice; first at spec.hosts[0]'],
  },
  {
    name: "bad addresses",
    spec: `hosts: [a.com]\naddresses: [a.com, 10.0.0.0/8]\n${HTTP}`,
    want: [
      '6:15: spec.addresses[0]: "a.com" is neither an IP address nor a range such as 10.0.0.0/8',
      "6:22: spec.addresses[1]: a range of addresses (10.0.0.0/8) is not supported by this version of Lateen yet",
    ],
  },
  {
    name: "bad ports, all of them",
    spec: "hosts: [a.com]\nports:\n- {number: 0, name: h_1, protocol: HTTTP}\n- {number: 80, name: x, targetPort: 70000, protocol: TCP}\n- {number: 80, name: x, protocol: TCP}\n- {name: y}",
    want: ["10:5: spec.ports[3].number: is required"],
  },
  {
    name: "ports out of range, twice, of no protocol",
    spec: "hosts: [a.com]\nports:\n- {number: 0, name: h_1, protocol: HTTTP}\n- {number: 80, name: x, targetPort: 70000, protocol: TCP}\n- {number: 80, name: x, protocol: TCP}",
    want: [
      "7:6: spec.ports[0].number: port 0 is not in 1..65535",
      '7:17: spec.ports[0].name: "h_1" is no port name; letters, digits and dashes, at most 63',
      '7:28: spec.ports[0].protocol: "HTTTP" is no protocol; one of HTTP, HTTP2, GRPC, GRPC-WEB, HTTPS, TLS, TCP, UDP, MONGO, REDIS, MYSQL',
      "8:27: spec.ports[1].targetPort: port 70000 is not in 1..65535",
      '9:6: spec.ports[2].number: port "80" stands twice; first at spec.ports[1].number',
      '9:18: spec.ports[2].name: port name "x" stands twice; first at spec.ports[1].name',
    ],
  },
  {
    name: "a resolution that is not done yet, and one that is none",
    spec: `hosts: ["*.a.com"]\nresolution: DYNAMIC_DNS\nlocation: HERE\n${HTTP}`,
    want: [
      "6:3: spec.resolution: DYNAMIC_DNS is not supported by this version of Lateen yet",
      '7:3: spec.location: must be one of MESH_EXTERNAL, MESH_INTERNAL, not "HERE"',
    ],
  },
  {
    name: "a selector and endpoints",
    spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nworkloadSelector: {labels: {app: a}}\nendpoints: [{address: 10.0.0.1}]`,
    want: ["9:3: spec.endpoints: endpoints and workloadSelector exclude each other"],
  },
  {
    name: "endpoints without resolution",
    spec: `hosts: [a.com]\n${HTTP}\nendpoints: [{address: 10.0.0.1}]`,
    want: ["7:3: spec.endpoints: resolution NONE takes no endpoints; use resolution: STATIC"],
  },
  {
    name: "endpoints with names for STATIC",
    spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nendpoints: [{address: b.com}]`,
    want: ['8:16: spec.endpoints[0].address: "b.com" is no IP address; use resolution: DNS for endpoints with names'],
  },
  {
    name: "a wildcard that is looked up",
    spec: `hosts: ["*.a.com"]\nresolution: DNS\n${HTTP}`,
    want: ['5:11: spec.hosts[0]: resolution DNS without endpoints looks the host up, and "*.a.com" is no full name'],
  },
  {
    name: "two endpoints for DNS_ROUND_ROBIN",
    spec: `hosts: [a.com]\nresolution: DNS_ROUND_ROBIN\n${HTTP}\nendpoints: [{address: b.com}, {address: c.com}]`,
    want: ["8:3: spec.endpoints: resolution DNS_ROUND_ROBIN takes at most one endpoint"],
  },
  {
    name: "several hosts on a TCP port",
    spec: "hosts: [a.com, b.com]\nresolution: DNS\nports: [{number: 80, name: t, protocol: TCP}]",
    want: [
      "7:33: spec.ports[0].protocol: several hosts cannot share a port that is neither HTTP nor TLS: nothing in the bytes tells them apart; write a ServiceEntry for each host",
    ],
  },
  {
    name: "an endpoint's port that the service has not",
    spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nendpoints: [{address: 10.0.0.1, ports: {grpc: 1}}]`,
    want: ['8:43: spec.endpoints[0].ports.grpc: the ServiceEntry has no port "grpc"; it has http'],
  },
  {
    name: "an export to all and one",
    spec: `hosts: [a.com]\nexportTo: ["*", a]\n${HTTP}`,
    want: ['6:3: spec.exportTo: "*" is every namespace: list nothing beside it'],
  },
  {
    name: "a wildcard in the selector",
    spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nworkloadSelector: {labels: {app: "a*"}}`,
    want: ['8:31: spec.workloadSelector.labels.app: "app=a*": wildcards are not allowed in a selector'],
  },
];

const warned: readonly { name: string; spec: string; want: readonly string[] }[] = [
  {
    name: "a port without a protocol",
    spec: "hosts: [a.com]\nports: [{number: 80, name: x}]",
    want: [
      "6:11: spec.ports[0].protocol: no protocol is given, so the port is taken as TCP; protocols are not detected by this version of Lateen yet",
    ],
  },
  { name: "no ports", spec: "hosts: [a.com]", want: ["4:1: spec.ports: a service without ports takes no traffic"] },
  {
    name: "an empty selector",
    spec: `hosts: [a.com]\nresolution: STATIC\n${HTTP}\nworkloadSelector: {}`,
    want: ["8:3: spec.workloadSelector: selects every WorkloadEntry of the namespace; name labels"],
  },
  {
    name: "a selector without resolution",
    spec: `hosts: [a.com]\n${HTTP}\nworkloadSelector: {labels: {app: a}}`,
    want: ["7:3: spec.workloadSelector: is not used with resolution NONE; use resolution: STATIC"],
  },
];

for (const { name, spec } of taken) {
  test(`ServiceEntry: ${name} is taken`, () => assert.deepEqual(problems(spec), []));
}

for (const { name, spec, want } of refused) {
  test(`ServiceEntry: ${name} is refused`, () => {
    assert.deepEqual(problems(spec), want);
    assert.deepEqual(read(spec).objects, []);
  });
}

for (const { name, spec, want } of warned) {
  test(`ServiceEntry: ${name} is taken with a warning`, () => {
    assert.deepEqual(problems(spec), want);
    assert.equal(read(spec).objects.length, 1);
  });
}

test("ServiceEntry: the normal form has Istio's defaults", () => {
  const spec = read(`hosts: [A.Com]\naddresses: [10.0.0.1/32]\nports: [{number: 80, name: http, protocol: gRPC, targetPort: 0}]`).objects[0]
    ?.object.spec as ServiceEntrySpec;
  assert.deepEqual(spec, {
    hosts: ["a.com"],
    addresses: ["10.0.0.1"],
    ports: [{ name: "http", number: 80, protocol: "grpc", targetPort: undefined }],
    meshExternal: true,
    resolution: "none",
    endpoints: [],
    workloadSelector: undefined,
    exportTo: [],
    subjectAltNames: [],
  });
});
