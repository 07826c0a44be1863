/** What a DestinationRule may say, and what is said of one that may not. Source: Istio networking/v1 DestinationRule. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "../../finding.ts";
import { createConfigReader } from "../../read.ts";
import type { DestinationRuleSpec } from "../../types.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function read(spec: string, metadata = "{name: x, namespace: shop}") {
  const lines = spec.split("\n").map((line) => `  ${line}`);
  return reader.read(
    "x.yaml",
    `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: ${metadata}\nspec:\n${lines.join("\n")}\n`,
  );
}

/** The problems without file and object; the spec begins in line 5. */
function problems(spec: string): readonly string[] {
  const { errors, warnings } = read(spec);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }).replace("x.yaml:", ""));
}

const taken: readonly { name: string; spec: string }[] = [
  { name: "subsets", spec: "host: a\nsubsets: [{name: v1, labels: {version: v1}}, {name: all}]" },
  {
    name: "every policy",
    spec: "host: '*.com'\nexportTo: [other]\ntrafficPolicy:\n  loadBalancer: {simple: RANDOM}\n  connectionPool:\n    tcp: {maxConnections: 1, connectTimeout: 1s, idleTimeout: 0s}\n    http: {http1MaxPendingRequests: 1, http2MaxRequests: 1, maxRequestsPerConnection: 1, maxRetries: 1, idleTimeout: 1s, h2UpgradePolicy: UPGRADE, useClientProtocol: false, maxConcurrentStreams: 1}\n  tls: {mode: SIMPLE, sni: a.com, subjectAltNames: [a.com], caCertificates: /a.pem}\n  portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]",
  },
  { name: "a selector", spec: "host: a\nworkloadSelector: {matchLabels: {app: b}}\nexportTo: ['.']" },
];

const refused: readonly { name: string; spec: string; want: readonly string[] }[] = [
  { name: "no host", spec: "subsets: []", want: ["4:1: spec.host: is required"] },
  { name: "a host that is none", spec: "host: a_b", want: ['5:3: spec.host: "a_b" is no host name (label "a_b")'] },
  {
    name: "bad subsets, all of them",
    spec: "host: a\nsubsets:\n- {name: v1}\n- {name: v1, labels: {a: b c}}\n- {name: v_2, trafficPolicy: {}}",
    want: [
      '8:6: spec.subsets[1].name: subset "v1" stands twice; first at spec.subsets[0].name',
      '8:25: spec.subsets[1].labels.a: "b c" is no label value',
      '9:6: spec.subsets[2].name: "v_2" is no subset\'s name; letters, digits and dashes, at most 63',
      "9:17: spec.subsets[2].trafficPolicy: says nothing; leave it out",
    ],
  },
  {
    name: "what Istio has and Lateen not yet",
    spec: "host: a\ntrafficPolicy:\n  outlierDetection: {}\n  loadBalancer: {consistentHash: {useSourceIp: true}}\n  tls: {mode: MUTUAL, credentialName: a}",
    want: [
      "7:5: spec.trafficPolicy.outlierDetection: not supported by this version of Lateen yet",
      "8:20: spec.trafficPolicy.loadBalancer.consistentHash: not supported by this version of Lateen yet",
      "9:11: spec.trafficPolicy.tls.mode: MUTUAL is not supported by this version of Lateen yet",
      "9:25: spec.trafficPolicy.tls.credentialName: not supported by this version of Lateen yet",
    ],
  },
  {
    name: "bad pools, all of them",
    spec: "host: a\ntrafficPolicy:\n  connectionPool:\n    tcp: {connectTimeout: 0s}\n    http: {idleTimeout: 0s, h2UpgradePolicy: UPGRADE, useClientProtocol: true}\n  portLevelSettings: [{port: {number: 0}, connectionPool: {}}, {port: {number: 1}}, {port: {number: 1}, tls: {}}]",
    want: [
      '8:13: spec.trafficPolicy.connectionPool.tcp.connectTimeout: "0s" is shorter than 1ms; leave the field out for none',
      '9:14: spec.trafficPolicy.connectionPool.http.idleTimeout: "0s" is shorter than 1ms; leave the field out for none',
      "9:57: spec.trafficPolicy.connectionPool.http.useClientProtocol: useClientProtocol and h2UpgradePolicy UPGRADE exclude each other",
      "10:33: spec.trafficPolicy.portLevelSettings[0].port.number: port 0 is not in 1..65535",
      "10:45: spec.trafficPolicy.portLevelSettings[0].connectionPool: says nothing; set tcp or http, or leave it out",
      "10:66: spec.trafficPolicy.portLevelSettings[1]: says nothing of its port",
      '10:95: spec.trafficPolicy.portLevelSettings[2].port.number: port "1" stands twice; first at spec.trafficPolicy.portLevelSettings[1].port.number',
    ],
  },
  {
    name: "a negative limit",
    spec: "host: a\ntrafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}",
    want: ["6:42: spec.trafficPolicy.connectionPool.tcp.maxConnections: must be at least 0, not -1"],
  },
  {
    name: "TLS that verifies nothing and something",
    spec: "host: a\ntrafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a}}",
    want: [
      "6:39: spec.trafficPolicy.tls.insecureSkipVerify: caCertificates and subjectAltNames are not looked at with insecureSkipVerify; remove one or the other",
    ],
  },
  {
    name: "a selector that is exported",
    spec: "host: a\nworkloadSelector: {matchLabels: {app: b}}\nexportTo: ['*']",
    want: ["7:3: spec.exportTo: a rule with a workloadSelector holds in its own namespace only"],
  },
];

const warned: readonly { name: string; spec: string; want: readonly string[] }[] = [
  {
    name: "TLS that verifies nothing",
    spec: "host: a\ntrafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}",
    want: ["6:39: spec.trafficPolicy.tls.insecureSkipVerify: the server's certificate is not verified"],
  },
  {
    name: "a root for the mesh's own TLS",
    spec: "host: a\ntrafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: /a}}",
    want: ["6:45: spec.trafficPolicy.tls.caCertificates: has no effect with mode ISTIO_MUTUAL"],
  },
];

for (const { name, spec } of taken) {
  test(`DestinationRule: ${name} is taken`, () => assert.deepEqual(problems(spec), []));
}

for (const { name, spec, want } of refused) {
  test(`DestinationRule: ${name} is refused`, () => {
    assert.deepEqual(problems(spec), want);
    assert.deepEqual(read(spec).objects, []);
  });
}

for (const { name, spec, want } of warned) {
  test(`DestinationRule: ${name} is taken with a warning`, () => {
    assert.deepEqual(problems(spec), want);
    assert.equal(read(spec).objects.length, 1);
  });
}

test("DestinationRule: the normal form has full names, and nothing for what is not said", () => {
  const spec = read(
    "host: a\ntrafficPolicy: {loadBalancer: {simple: LEAST_CONN}, connectionPool: {tcp: {maxConnections: 0, connectTimeout: 1s}}}\nsubsets: [{name: v1}]",
  ).objects[0]?.object.spec as DestinationRuleSpec;
  assert.equal(spec.host, "a.shop.svc.cluster.local");
  assert.equal(spec.trafficPolicy.loadBalancer, "LEAST_REQUEST");
  assert.equal(spec.trafficPolicy.connectionPool?.maxConnections, undefined);
  assert.equal(spec.trafficPolicy.connectionPool?.connectTimeoutMs, 1000);
  assert.equal(spec.trafficPolicy.tls, undefined);
  assert.deepEqual(spec.subsets, [
    {
      name: "v1",
      labels: {},
      trafficPolicy: { loadBalancer: undefined, connectionPool: undefined, tls: undefined, portLevelSettings: [] },
    },
  ]);
  assert.equal(spec.workloadSelector, undefined);
});
