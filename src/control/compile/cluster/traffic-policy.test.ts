import assert from "node:assert/strict";
import { test } from "node:test";
import type { LoadBalancer, TrafficPolicy } from "../../config/types.ts";
import { effectivePolicy } from "./traffic-policy.ts";

const SIMPLE = { mode: "SIMPLE", sni: undefined, subjectAltNames: [], caCertificates: undefined, insecureSkipVerify: false } as const;
const policy = (loadBalancer?: LoadBalancer, more: Partial<TrafficPolicy> = {}): TrafficPolicy => ({
  loadBalancer,
  connectionPool: undefined,
  tls: undefined,
  portLevelSettings: [],
  ...more,
});
const port = (number: number, loadBalancer?: LoadBalancer) => ({ port: number, policy: policy(loadBalancer) });

/** What holds for port 80. Source: Istio DestinationRule. */
const rows: readonly { name: string; rule?: TrafficPolicy; subset?: TrafficPolicy; lb: LoadBalancer | undefined; tls?: "SIMPLE" }[] = [
  { name: "without a rule there is nothing", lb: undefined },
  { name: "the rule", rule: policy("RANDOM"), lb: "RANDOM" },
  { name: "the rule's port", rule: policy("RANDOM", { portLevelSettings: [port(80, "ROUND_ROBIN")] }), lb: "ROUND_ROBIN" },
  { name: "not another port", rule: policy("RANDOM", { portLevelSettings: [port(81, "ROUND_ROBIN")] }), lb: "RANDOM" },
  { name: "a port inherits nothing from its rule", rule: policy("RANDOM", { tls: SIMPLE, portLevelSettings: [port(80)] }), lb: undefined },
  {
    name: "a subset inherits from the rule, member by member",
    rule: policy("RANDOM", { tls: SIMPLE }),
    subset: policy("ROUND_ROBIN"),
    lb: "ROUND_ROBIN",
    tls: "SIMPLE",
  },
  {
    name: "a subset inherits from the rule's port",
    rule: policy("RANDOM", { portLevelSettings: [port(80, "LEAST_REQUEST")] }),
    subset: policy(),
    lb: "LEAST_REQUEST",
  },
  {
    name: "a subset's port inherits nothing",
    rule: policy("RANDOM", { tls: SIMPLE }),
    subset: policy("ROUND_ROBIN", { portLevelSettings: [port(80)] }),
    lb: undefined,
  },
];

for (const { name, rule, subset, lb, tls } of rows) {
  test(`effectivePolicy: ${name}`, () => {
    const got = effectivePolicy(rule && { trafficPolicy: rule }, subset && { name: "s", labels: {}, trafficPolicy: subset }, 80);
    assert.equal(got.loadBalancer, lb);
    assert.equal(got.tls?.mode, tls);
  });
}
