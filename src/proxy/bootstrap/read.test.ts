import assert from "node:assert/strict";
import { test } from "node:test";
import { readEnvironment } from "./environment.ts";
import { readBootstrap } from "./read.ts";

const read = (text: string, allowUnknownFields = false) => readBootstrap({ path: undefined, text, allowUnknownFields });

test("YAML and JSON, snake_case and camelCase say the same", () => {
  const yaml = read(
    "node: {id: n, user_agent_name: x}\nstatic_resources:\n  clusters:\n  - {name: a, connect_timeout: 1.5s, type: STATIC}\n",
  ).bootstrap;
  const json = read(
    '{"node":{"id":"n","userAgentName":"x"},"staticResources":{"clusters":[{"name":"a","connectTimeout":"1.5s","type":"STATIC"}]}}',
  ).bootstrap;
  assert.deepEqual(yaml, json);
  assert.equal(yaml.staticResources?.clusters[0]?.connectTimeout?.nanos, 500_000_000);
});

const TCP = '{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"a","no_such":1}';
const rows: readonly { name: string; text: string; allow?: boolean; warns?: RegExp; fails?: RegExp }[] = [
  {
    name: "an unknown field is refused by its path",
    text: "static_resources: {clusters: [{name: a, no_such: 1}]}",
    fails: /static_resources\.clusters\[0\]\.no_such: this field is not known/,
  },
  { name: "all unknown fields are told at once", text: "nope: 1\nnode: {also: 2}", fails: /nope: .*; node\.also: / },
  {
    name: "an unknown field is warned of where that is allowed",
    text: "node: {id: a, also: 2}",
    allow: true,
    warns: /^node\.also: this field is not known and left out$/,
  },
  {
    name: "an unknown field inside an Any is refused",
    text: `{"static_resources":{"listeners":[{"name":"l","filter_chains":[{"filters":[{"name":"t","typed_config":${TCP}}]}]}]}}`,
    fails: /listeners\[0\]\.filter_chains\[0\]\.filters\[0\]\.typed_config\.no_such/,
  },
  {
    name: "an unknown type in a listener is refused, whatever is allowed",
    text: '{"static_resources":{"listeners":[{"filter_chains":[{"filters":[{"typed_config":{"@type":"type.googleapis.com/x.Y"}}]}]}]}}',
    allow: true,
    fails: /type type\.googleapis\.com\/x\.Y is not supported/,
  },
  {
    name: "an unknown bootstrap extension is left out with a warning",
    text: '{"bootstrap_extensions":[{"name":"e","typed_config":{"@type":"type.googleapis.com/x.Y"}}]}',
    warns: /bootstrap_extensions\[0\]\.typed_config: type .* left out/,
  },
  { name: "a value of the wrong type is refused by name", text: "node: {id: [1]}", fails: /rejected: .*id/ },
  { name: "broken YAML is refused with its line", text: "node:\n  id: [1\n", fails: /line 2|line 3/ },
  { name: "a key that is there twice is refused", text: "node: {id: a}\nnode: {id: b}", fails: /unique/ },
  { name: "a list is no bootstrap", text: "- a", fails: /it is no object/ },
  {
    name: "an alias bomb is refused",
    text: `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]`,
    fails: /alias/i,
  },
];
for (const { name, text, allow, warns, fails } of rows) {
  test(`bootstrap: ${name}`, () => {
    if (fails) {
      assert.throws(() => read(text, allow), fails);
      return;
    }
    const { warnings } = read(text, allow);
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? "", warns ?? /^$/);
  });
}

test("what the environment says is read, and refused by the variable's name", () => {
  const environment = readEnvironment({ LATEEN_SOCKET_MARK: "0x539", LATEEN_LISTEN_FDS: "0.0.0.0:80=5,[::1]:81=6" });
  assert.equal(environment.socketMark, 1337);
  assert.deepEqual(
    [...environment.listenFds],
    [
      ["0.0.0.0:80", 5],
      ["[::1]:81", 6],
    ],
  );
  assert.throws(() => readEnvironment({ LATEEN_SOCKET_MARK: "-1" }), /LATEEN_SOCKET_MARK="-1" is no mark/);
  assert.throws(() => readEnvironment({ LATEEN_LISTEN_FDS: "80" }), /LATEEN_LISTEN_FDS: "80"/);
});
