/** What a WorkloadEntry may say, and what is said of one that may not. Source: Istio networking/v1 WorkloadEntry. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "../../finding.ts";
import { createConfigReader } from "../../read.ts";
import type { WorkloadEntrySpec } from "../../types.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function read(spec: string, metadata = "{name: x, namespace: shop}") {
  const lines = spec.split("\n").map((line) => `  ${line}`);
  return reader.read(
    "x.yaml",
    `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: ${metadata}\nspec:\n${lines.join("\n")}\n`,
  );
}

/** The problems without file and object; the spec begins in line 5. */
function problems(spec: string): readonly string[] {
  const { errors, warnings } = read(spec);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }).replace("x.yaml:", ""));
}

const taken: readonly { name: string; spec: string }[] = [
  { name: "an address alone", spec: "address: 10.0.0.1" },
  {
    name: "everything",
    spec: "address: fd00::1\nports: {http: 8080}\nlabels: {app: a}\nnetwork: n\nlocality: r/z/s\nweight: 3\nserviceAccount: a",
  },
  { name: "a name", spec: "address: a.example.com" },
  { name: "a Unix socket", spec: "address: unix:///run/a" },
];

const refused: readonly { name: string; spec: string; want: readonly string[] }[] = [
  { name: "no address", spec: "labels: {app: a}", want: ["4:1: spec.address: is required"] },
  {
    name: "an address left to a network",
    spec: "network: n",
    want: ['4:1: spec.address: an address left to a gateway of network "n" is not supported by this version of Lateen yet'],
  },
  {
    name: "an address that is none",
    spec: "address: 10.0.0.300",
    want: ['5:3: spec.address: "10.0.0.300" is neither an IP address nor a host name'],
  },
  {
    name: "a Unix socket of a relative path, with ports",
    spec: "address: unix://run/a\nports: {http: 1}",
    want: ['5:3: spec.address: "unix://run/a": the path of a Unix socket must be absolute', "6:3: spec.ports: a Unix socket has no ports"],
  },
  {
    name: "bad ports",
    spec: "address: 10.0.0.1\nports: {h_1: 0}",
    want: ['6:11: spec.ports.h_1: "h_1" is no port name', "6:11: spec.ports.h_1: port 0 is not in 1..65535"],
  },
  {
    name: "a bad account",
    spec: "address: 10.0.0.1\nserviceAccount: ns/a",
    want: ['6:3: spec.serviceAccount: "ns/a" is no service account'],
  },
  { name: "a misspelt field", spec: "adress: 10.0.0.1", want: ["5:3: spec.adress: unknown field; did you mean address?"] },
  {
    name: "a port in quotes",
    spec: 'address: 10.0.0.1\nports: {http: "8080"}',
    want: ['6:11: spec.ports.http: must be a whole number, not "8080"; write it without quotes'],
  },
];

const warned: readonly { name: string; spec: string; want: readonly string[] }[] = [];

for (const { name, spec } of taken) {
  test(`WorkloadEntry: ${name} is taken`, () => assert.deepEqual(problems(spec), []));
}

for (const { name, spec, want } of refused) {
  test(`WorkloadEntry: ${name} is refused`, () => {
    assert.deepEqual(problems(spec), want);
    assert.deepEqual(read(spec).objects, []);
  });
}

for (const { name, spec, want } of warned) {
  test(`WorkloadEntry: ${name} is taken with a warning`, () => {
    assert.deepEqual(problems(spec), want);
    assert.equal(read(spec).objects.length, 1);
  });
}

test("WorkloadEntry: metadata's labels win, and the locality may be a label", () => {
  const { objects } = read(
    "address: 10.0.0.1\nlabels: {app: a, version: v1, istio-locality: r.z.s}",
    "{name: x, namespace: shop, labels: {version: v2}}",
  );
  const spec = objects[0]?.object.spec as WorkloadEntrySpec;
  assert.deepEqual(spec.labels, { app: "a", version: "v2", "istio-locality": "r.z.s" });
  assert.equal(spec.locality, "r/z/s");
  assert.equal(spec.weight, 1);
  assert.equal(spec.serviceAccount, undefined);
});
