/** What a PeerAuthentication may say, and what is said of one that may not. Source: Istio security/v1 PeerAuthentication. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "../../finding.ts";
import { createConfigReader } from "../../read.ts";
import type { PeerAuthenticationSpec } from "../../types.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function read(spec: string, metadata = "{name: x, namespace: shop}") {
  const lines = spec.split("\n").map((line) => `  ${line}`);
  return reader.read(
    "x.yaml",
    `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: ${metadata}\nspec:\n${lines.join("\n")}\n`,
  );
}

/** The problems without file and object; the spec begins in line 5. */
function problems(spec: string): readonly string[] {
  const { errors, warnings } = read(spec);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }).replace("x.yaml:", ""));
}

const taken: readonly { name: string; spec: string }[] = [
  { name: "a mode", spec: "mtls: {mode: STRICT}" },
  { name: "nothing", spec: "mtls: {}" },
  {
    name: "ports of a workload",
    spec: "selector: {matchLabels: {app: a}}\nmtls: {mode: UNSET}\nportLevelMtls: {8080: {mode: DISABLE}, 9090: {}}",
  },
];

const refused: readonly { name: string; spec: string; want: readonly string[] }[] = [
  {
    name: "a mode that is none",
    spec: "mtls: {mode: strict}",
    want: ['5:10: spec.mtls.mode: must be one of UNSET, DISABLE, PERMISSIVE, STRICT, not "strict"'],
  },
  {
    name: "ports without a selector",
    spec: "portLevelMtls: {8080: {mode: DISABLE}}",
    want: ["5:3: spec.portLevelMtls: a policy for a namespace or the mesh cannot have ports; add selector.matchLabels"],
  },
  {
    name: "no ports where they are meant",
    spec: "selector: {matchLabels: {app: a}}\nportLevelMtls: {}",
    want: ["6:3: spec.portLevelMtls: names no port; leave the field out"],
  },
  {
    name: "ports out of range",
    spec: "selector: {matchLabels: {app: a}}\nportLevelMtls: {0: {}, http: {}, 65536: {}}",
    want: [
      '6:19: spec.portLevelMtls["0"]: port 0 is not in 1..65535',
      "6:26: spec.portLevelMtls.http: port http is not in 1..65535",
      '6:36: spec.portLevelMtls["65536"]: port 65536 is not in 1..65535',
    ],
  },
  {
    name: "a wildcard in the selector",
    spec: "selector: {matchLabels: {app: 'a*'}}",
    want: ['5:28: spec.selector.matchLabels.app: "app=a*": wildcards are not allowed in a selector'],
  },
  { name: "a misspelt field", spec: "mtsl: {mode: STRICT}", want: ["5:3: spec.mtsl: unknown field; did you mean mtls?"] },
];

const warned: readonly { name: string; spec: string; want: readonly string[] }[] = [
  {
    name: "an empty selector",
    spec: "selector: {}\nmtls: {mode: STRICT}",
    want: ["5:3: spec.selector: selects nothing in particular: the policy holds for the whole namespace"],
  },
];

for (const { name, spec } of taken) {
  test(`PeerAuthentication: ${name} is taken`, () => assert.deepEqual(problems(spec), []));
}

for (const { name, spec, want } of refused) {
  test(`PeerAuthentication: ${name} is refused`, () => {
    assert.deepEqual(problems(spec), want);
    assert.deepEqual(read(spec).objects, []);
  });
}

for (const { name, spec, want } of warned) {
  test(`PeerAuthentication: ${name} is taken with a warning`, () => {
    assert.deepEqual(problems(spec), want);
    assert.equal(read(spec).objects.length, 1);
  });
}

test("PeerAuthentication: the normal form has UNSET for what is not said", () => {
  const spec = read("selector: {matchLabels: {app: a}}\nportLevelMtls: {8080: {mode: DISABLE}, 9090: {}}").objects[0]?.object
    .spec as PeerAuthenticationSpec;
  assert.deepEqual(spec, {
    selector: { app: "a" },
    mode: "UNSET",
    portLevel: new Map([
      [8080, "DISABLE"],
      [9090, "UNSET"],
    ]),
  });
});
