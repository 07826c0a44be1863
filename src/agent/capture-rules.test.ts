import assert from "node:assert/strict";
import { test } from "node:test";
import { buildCaptureRules } from "./capture-rules.ts";

test("by owner: the rules that Istio writes", () => {
  const rules = buildCaptureRules({ exemptBy: "owner", family: 4 });
  assert.ok(
    rules.includes("-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT"),
  );
  assert.ok(rules.includes("-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN"));
  assert.ok(rules.includes("-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN"));
  assert.ok(rules.includes("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001"));
  assert.ok(!rules.includes("mark"));
});

test("by mark: no owner is named, since uid 1337 does not exist in a user namespace", () => {
  const rules = buildCaptureRules({ exemptBy: "mark", family: 4 });
  assert.ok(!rules.includes("owner"));
  assert.ok(rules.includes("-A ISTIO_OUTPUT -o lo -m mark ! --mark 1337 -j RETURN"));
  assert.ok(rules.includes("-A ISTIO_OUTPUT -m mark --mark 1337 -j RETURN"));
});

test("exclusions come before the redirect", () => {
  const rules = buildCaptureRules({
    exemptBy: "owner",
    family: 4,
    excludeInboundPorts: [22],
    excludeOutboundPorts: [3306],
    excludeOutboundRanges: ["10.1.0.0/16"],
  }).split("\n");
  const at = (text: string): number => rules.findIndex((rule) => rule.includes(text));
  assert.ok(at("--dport 22 -j RETURN") > 0 && at("--dport 22 -j RETURN") < at("-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT"));
  assert.ok(at("--dport 3306 -j RETURN") > 0 && at("--dport 3306 -j RETURN") < at("-A ISTIO_OUTPUT -j ISTIO_REDIRECT"));
  assert.ok(at("-d 10.1.0.0/16 -j RETURN") > 0 && at("-d 10.1.0.0/16 -j RETURN") < at("-A ISTIO_OUTPUT -j ISTIO_REDIRECT"));
});
