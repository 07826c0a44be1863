import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "./finding.ts";
import { createConfigReader } from "./read.ts";
import { FILE_BYTES_MAX } from "./yaml-text.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function problems(text: string | Uint8Array): readonly string[] {
  const { errors, warnings } = reader.read("a.yaml", text);
  return [...errors, ...warnings].map(formatProblem);
}

const TAKEN = "ServiceEntry, WorkloadEntry, VirtualService, DestinationRule, Gateway, PeerAuthentication";
const service = (name: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
`;

const rows: readonly { name: string; text: string | Uint8Array; want: readonly string[] }[] = [
  { name: "a document that is right", text: service("a"), want: [] },
  { name: "an empty file", text: "", want: [] },
  { name: "comments and empty documents", text: `# one\n---\n---\n# two\n---\n${service("a")}`, want: [] },
  {
    name: "an unknown kind, with what it may have been",
    text: "apiVersion: networking.istio.io/v1\nkind: VirtualServices\nmetadata: {name: a}\n",
    want: ['a.yaml:2:1: VirtualServices a: kind: unknown kind "VirtualServices"; did you mean VirtualService?'],
  },
  {
    name: "an unknown kind like none",
    text: "apiVersion: x/v1\nkind: Banana\nmetadata: {name: a}\n",
    want: [`a.yaml:2:1: Banana a: kind: unknown kind "Banana"; taken are ${TAKEN}`],
  },
  {
    name: "a kind of Kubernetes",
    text: "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: shop}\nspec: {}\n",
    want: ["a.yaml:2:1: Service shop/a: kind: Service is a kind of Kubernetes, not of Istio; files take a ServiceEntry"],
  },
  {
    name: "a kind of Istio that is not done yet",
    text: "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\n",
    want: [
      `a.yaml:2:1: AuthorizationPolicy a: kind: AuthorizationPolicy is not supported by this version of Lateen yet; taken are ${TAKEN}`,
    ],
  },
  {
    name: "a wrong apiVersion",
    text: service("a").replace("networking.istio.io/v1", "networking.istio.io/v2"),
    want: [
      'a.yaml:1:1: ServiceEntry shop/a: apiVersion: "networking.istio.io/v2" has no ServiceEntry; one of networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3',
    ],
  },
  {
    name: "no kind",
    text: "apiVersion: networking.istio.io/v1\nmetadata: {name: a}\n",
    want: [`a.yaml:1:1: kind: is required; taken are ${TAKEN}`],
  },
  {
    name: "a document that is no map",
    text: "- 1\n",
    want: ["a.yaml:1:1: a document must be a map with apiVersion, kind, metadata and spec"],
  },
  {
    name: "no metadata",
    text: "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n",
    want: ["a.yaml:1:1: PeerAuthentication: metadata: is required; write metadata.name and metadata.namespace"],
  },
  {
    name: "bad metadata, all of it",
    text: `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: Not_a_name
  namespace: a.b
  labels: {"bad key": x}
  creationTimestamp: yesterday
  nmae: x
`,
    want: [
      'a.yaml:4:3: PeerAuthentication a.b/Not_a_name: metadata.name: "Not_a_name" is no name; lower-case letters, digits, dashes and dots',
      'a.yaml:5:3: PeerAuthentication a.b/Not_a_name: metadata.namespace: "a.b" is no namespace; lower-case letters, digits and dashes',
      'a.yaml:6:12: PeerAuthentication a.b/Not_a_name: metadata.labels["bad key"]: "bad key" is no label key',
      'a.yaml:7:3: PeerAuthentication a.b/Not_a_name: metadata.creationTimestamp: "yesterday" is no time; write for example "2026-01-31T12:00:00Z"',
      "a.yaml:8:3: PeerAuthentication a.b/Not_a_name: metadata.nmae: unknown field; did you mean name?",
    ],
  },
  {
    name: "a spec's field beside spec",
    text: "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a}\nmtls: {mode: STRICT}\n",
    want: ["a.yaml:4:1: PeerAuthentication a: mtls: unknown field; it belongs under spec"],
  },
  {
    name: "a fault in the third document, with the line of the file",
    text: `${service("a")}---\n${service("b")}---\n${service("c").replace("hosts", "host")}`,
    want: ["a.yaml:19:3: ServiceEntry shop/c: spec.host: unknown field; did you mean hosts?"],
  },
  {
    name: "a key that stands twice",
    text: `${service("a")}  hosts: [b]\n`,
    want: ["a.yaml:7:3: the same key stands twice; join the two, or remove one"],
  },
  { name: "bytes that are no UTF-8", text: Uint8Array.of(0xff, 0xfe, 0x41), want: ["a.yaml:1:1: the file is not UTF-8 text"] },
  {
    name: "a file that is too large",
    text: `#${" ".repeat(FILE_BYTES_MAX)}`,
    want: ["a.yaml:1:1: the file has 4194305 bytes, more than 4194304; split it into several files"],
  },
];

for (const { name, text, want } of rows) {
  test(`read: ${name}`, () => assert.deepEqual(problems(text), want));
}

test("read: a List is read as its items, with their own paths", () => {
  const items = [service("a"), service("b").replace("number: 80", "number: 0")].map(
    (text) => `- ${text.trimEnd().replaceAll("\n", "\n  ")}\n`,
  );
  const { objects, errors } = reader.read("l.yaml", `apiVersion: v1\nkind: List\nitems:\n${items.join("")}`);
  assert.deepEqual(
    objects.map(({ object }) => object.meta.name),
    ["a"],
  );
  assert.deepEqual(errors.map(formatProblem), [
    "l.yaml:15:14: ServiceEntry shop/b: items[1].spec.ports[0].number: port 0 is not in 1..65535",
  ]);
});

test("read: what Kubernetes adds to an object is taken and left alone", () => {
  const text = `${service("a").replace(
    "metadata: {name: a, namespace: shop}",
    "metadata:\n  name: a\n  namespace: shop\n  creationTimestamp: '2026-01-02T03:04:05Z'\n  uid: u\n  resourceVersion: '7'\n  generation: 1\n  managedFields: [{manager: kubectl}]",
  )}status: {conditions: []}\n`;
  const { objects, errors } = reader.read("k.yaml", text);
  assert.deepEqual(errors, []);
  assert.equal(objects[0]?.object.meta.createdAt, Date.parse("2026-01-02T03:04:05Z"));
});

test("read: an object without a namespace is of the default one, and stands where its document begins", () => {
  const { objects } = reader.read("d.yaml", `# a\n---\n\n# b\n${service("a").replace(", namespace: shop", "")}`);
  assert.equal(objects[0]?.object.meta.namespace, "default");
  assert.deepEqual(objects[0]?.object.meta.position, { file: "d.yaml", line: 5, column: 1 });
  assert.deepEqual(objects[0]?.locate(["spec", "ports", 0, "name"]), { file: "d.yaml", line: 10, column: 24 });
});

test("read: a document that did not change gives the same spec, wherever it stands", () => {
  const before = reader.read("x.yaml", `${service("a")}---\n${service("b")}`);
  const after = reader.read("x.yaml", `${service("a").replace("80", "81")}---\n${service("b")}`);
  assert.notEqual(after.digest, before.digest);
  assert.equal(after.objects[1]?.object.spec, before.objects[1]?.object.spec);
  assert.notEqual(after.objects[0]?.object.spec, before.objects[0]?.object.spec);
});

test("read: an empty field is as if it were absent, an empty item is a fault", () => {
  assert.deepEqual(problems(`${service("a")}  exportTo:\n  endpoints: null\n`), []);
  assert.deepEqual(problems(service("a").replace("[a.example.com]", "[a.example.com, null]")), [
    "a.yaml:5:26: ServiceEntry shop/a: spec.hosts[1]: must be text, not nothing",
  ]);
});
