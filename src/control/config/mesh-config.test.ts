import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "./finding.ts";
import { defaultMeshConfig, parseMeshConfig } from "./mesh-config.ts";

const parse = (text: string) => parseMeshConfig(text, { file: "mesh.yaml" });
const shown = (text: string): readonly string[] => {
  const { errors, warnings } = parse(text);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }));
};

test("an empty mesh config is Istio's defaults", () => {
  for (const text of ["", "# nothing\n", "{}"]) assert.deepEqual(parse(text), { mesh: defaultMeshConfig(), errors: [], warnings: [] });
  assert.equal(parseMeshConfig("", { file: "m", domain: "mesh.local" }).mesh?.domain, "mesh.local");
});

test("all that Lateen acts on is taken", () => {
  const { mesh, errors, warnings } = parse(`trustDomain: td.example
trustDomainAliases: [old.example]
rootNamespace: root
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
enableAutoMtls: false
accessLogFile: /dev/stdout
accessLogEncoding: JSON
accessLogFormat: '{"a": "%RESPONSE_CODE%"}'
connectTimeout: 1s
defaultHttpRetryPolicy: {attempts: 1, retryOn: reset}
protocolDetectionTimeout: 5s
pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}
defaultServiceExportTo: ["."]
defaultVirtualServiceExportTo: ["."]
defaultDestinationRuleExportTo: ["."]
meshMTLS: {minProtocolVersion: TLSV1_3}
tcpKeepalive: {time: 60s}
`);
  assert.deepEqual([errors, warnings], [[], []]);
  assert.deepEqual(mesh, {
    trustDomain: "td.example",
    trustDomainAliases: ["old.example"],
    rootNamespace: "root",
    outboundTrafficPolicy: "REGISTRY_ONLY",
    enableAutoMtls: false,
    accessLogFile: "/dev/stdout",
    accessLogEncoding: "JSON",
    accessLogFormat: '{"a": "%RESPONSE_CODE%"}',
    connectTimeoutMs: 1000,
    defaultHttpRetryPolicy: {
      attempts: 1,
      perTryTimeoutMs: undefined,
      backoffMs: undefined,
      retryOn: "reset",
      retryRemoteLocalities: undefined,
      retryIgnorePreviousHosts: true,
    },
    protocolDetectionTimeoutMs: 5000,
    pathNormalization: "DECODE_AND_MERGE_SLASHES",
    defaultServiceExportTo: ["."],
    defaultVirtualServiceExportTo: ["."],
    defaultDestinationRuleExportTo: ["."],
    tlsMinProtocolVersion: "TLSV1_3",
    tcpKeepaliveMs: 60_000,
    domain: "cluster.local",
  });
});

test("the mesh config of an existing mesh loads; what is not acted on is warned of by name", () => {
  const text = `trustDomain: cluster.local
enableTracing: false
defaultProviders: {metrics: [prometheus]}
defaultConfig: {discoveryAddress: "istiod.istio-system.svc:15012", tracing: {zipkin: {address: "zipkin:9411"}}}
extensionProviders: [{name: authz, envoyExtAuthzHttp: {service: a.b, port: 8080}}]
configSources: [{address: "fs:///etc/config"}]
meshMTLS: {minProtocolVersion: TLS_AUTO, cipherSuites: [a]}
`;
  assert.equal(parse(text).mesh?.trustDomain, "cluster.local");
  assert.deepEqual(shown(text).toSorted(), [
    "mesh.yaml:2:1: enableTracing: this version of Lateen does not act on it",
    "mesh.yaml:3:1: defaultProviders: this version of Lateen does not act on it",
    "mesh.yaml:4:1: defaultConfig: this version of Lateen does not act on it",
    "mesh.yaml:5:1: extensionProviders: this version of Lateen does not act on it",
    "mesh.yaml:6:1: configSources: this version of Lateen does not act on it",
    "mesh.yaml:7:42: meshMTLS.cipherSuites: this version of Lateen does not act on it",
  ]);
});

const refused: readonly { name: string; text: string; want: readonly string[] }[] = [
  { name: "an unknown key", text: "trustdomain: a\n", want: ["mesh.yaml:1:1: trustdomain: unknown field; did you mean trustDomain?"] },
  {
    name: "a mode that is none",
    text: "outboundTrafficPolicy: {mode: DENY}",
    want: ['mesh.yaml:1:25: outboundTrafficPolicy.mode: must be one of ALLOW_ANY, REGISTRY_ONLY, not "DENY"'],
  },
  {
    name: "a mode that is not done yet",
    text: "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}",
    want: ["mesh.yaml:1:25: outboundTrafficPolicy.mode: ALLOW_ANY_DYNAMIC_DNS is not supported by this version of Lateen yet"],
  },
  {
    name: "a trust domain that is none",
    text: "trustDomain: a/b\ntrustDomainAliases: [A]",
    want: [
      'mesh.yaml:1:1: trustDomain: "a/b" is no trust domain; lower-case letters, digits, dots and dashes',
      'mesh.yaml:2:22: trustDomainAliases[0]: "A" is no trust domain; lower-case letters, digits, dots and dashes',
    ],
  },
  {
    name: "durations that are none",
    text: "connectTimeout: 0s\nprotocolDetectionTimeout: fast",
    want: [
      'mesh.yaml:1:1: connectTimeout: "0s" is shorter than 1ms; leave the field out for none',
      'mesh.yaml:2:1: protocolDetectionTimeout: "fast" is no duration; write for example "1.5s" or "100ms"',
    ],
  },
  { name: "a connect timeout of days", text: "connectTimeout: 48h", want: ["mesh.yaml:1:1: connectTimeout: must be at most 1h"] },
  {
    name: "a JSON format that is none",
    text: "accessLogEncoding: JSON\naccessLogFormat: '%START_TIME%'",
    want: ["mesh.yaml:2:1: accessLogFormat: must be a JSON object where accessLogEncoding is JSON"],
  },
  { name: "a list", text: "- a", want: ["mesh.yaml:1:1: must be a map, not a list"] },
  {
    name: "two documents",
    text: "trustDomain: a\n---\ntrustDomain: b\n",
    want: ["mesh.yaml:1:1: a mesh config is one document, and this file has more"],
  },
  {
    name: "text that is no YAML",
    text: "trustDomain: [",
    want: ["mesh.yaml:1:15: not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]"],
  },
];

for (const { name, text, want } of refused) {
  test(`a mesh config with ${name} is refused`, () => {
    assert.deepEqual(shown(text), want);
    assert.equal(parse(text).mesh, undefined);
  });
}
