import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { UserError } from "../base/errors.ts";
import { parseDescription } from "./description.ts";
import { DESCRIPTION_SCHEMA } from "./description-schema.ts";

const parse = (text: string) => parseDescription(text, "lateen.yaml", "My Shop");

test("a workload needs a command and nothing else", () => {
  const mesh = parse("workloads:\n  web:\n    command: node web.js\n    ports: { http: 8080 }\n");
  assert.equal(mesh.name, "my-shop");
  assert.deepEqual(mesh.workloads[0], {
    name: "web",
    namespace: "default",
    service: "web",
    labels: { app: "web" },
    serviceAccount: "web",
    replicas: 1,
    command: ["/bin/sh", "-c", "node web.js"],
    directory: undefined,
    environment: {},
    ports: [{ name: "http", protocol: "http", port: 8080, targetPort: 8080 }],
    readyPath: undefined,
    readyPort: undefined,
    readyTimeoutMs: 30_000,
    isJob: false,
    hasSidecar: true,
  });
});

test("a port's name tells its protocol; a name that tells none is tcp", () => {
  const names = {
    http: "http",
    "http-admin": "http",
    http2: "http2",
    grpc: "grpc",
    "grpc-web": "grpc-web",
    "tls-db": "tls",
    mysql: "tcp",
    httpx: "tcp",
  };
  const ports = Object.keys(names).map((name, i) => `${name}: ${1000 + i}`);
  const mesh = parse(`workloads:\n  w:\n    command: x\n    ports: { ${ports.join(", ")} }\n`);
  assert.deepEqual(Object.fromEntries((mesh.workloads[0]?.ports ?? []).map((port) => [port.name, port.protocol])), names);
});

test("a gateway's address is loopback unless it says otherwise", () => {
  const mesh = parse('workloads: { w: { command: x } }\ngateways:\n  in:\n    listen: { "8080": 80, "0.0.0.0:8443": 443, "[::1]:9": 9 }\n');
  const listen = mesh.gateways[0]?.listen.map(({ host, port, gatewayPort }) => `${host} ${port} ${gatewayPort}`);
  assert.deepEqual(listen?.sort(), ["0.0.0.0 8443 443", "127.0.0.1 8080 80", "::1 9 9"]);
});

const refused: readonly { name: string; text: string; want: RegExp }[] = [
  { name: "YAML that is none", text: "workloads: [", want: /^lateen\.yaml:1:\d+: / },
  {
    name: "an unknown field, with its place",
    text: "workloads:\n  web:\n    command: x\n    comand: y\n",
    want: /^lateen\.yaml:4:13: workloads\.web: unknown field "comand" \(known: command,/,
  },
  { name: "no command", text: "workloads:\n  web: {}\n", want: /^lateen\.yaml:2:8: workloads\.web: "command" is missing/ },
  { name: "no workloads", text: "name: x\n", want: /"workloads" is missing/ },
  { name: "a port out of range", text: "workloads: { w: { command: x, ports: { http: 99999 } } }\n", want: /must be <= 65535/ },
  { name: "a name that is no DNS label", text: "workloads: { My_App: { command: x } }\n", want: /"My_App" cannot be a name here/ },
  { name: "a key written twice", text: "workloads:\n  a: { command: x }\n  a: { command: y }\n", want: /^lateen\.yaml:3:3: .*unique/ },
  {
    name: "two names for one port of a service",
    text: "workloads:\n  a: { command: x, service: s, ports: { http: 80 } }\n  b: { command: x, service: s, ports: { tcp: 80 } }\n",
    want: /port 80 of service s is "http"/,
  },
  {
    name: "a ready path without a port to ask",
    text: "workloads: { a: { command: x, ports: { tcp: 80 }, ready: { http: / } } }\n",
    want: /say ready\.port/,
  },
  { name: "a ready time that is none", text: "workloads: { a: { command: x, ready: { timeout: soon } } }\n", want: /is no duration/ },
  {
    name: "one address for two gateways",
    text: 'workloads: { a: { command: x } }\ngateways: { g: { listen: { "80": 80 } }, h: { listen: { "127.0.0.1:80": 80 } } }\n',
    want: /taken by gateway g/,
  },
];
for (const { name, text, want } of refused) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => parse(text),
      (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, want);
        return true;
      },
    );
  });
}

test("all faults are named at once", () => {
  assert.throws(
    () => parse("workloads:\n  a: { comand: x }\n  b: { command: x, replicas: 99 }\n"),
    (error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, /comand/);
      assert.match(error.message, /must be <= 50/);
      return true;
    },
  );
});

test("the schema for editors is this one", () => {
  const published: unknown = JSON.parse(readFileSync(new URL("../../schemas/lateen.schema.json", import.meta.url), "utf8"));
  assert.deepEqual(published, JSON.parse(JSON.stringify(DESCRIPTION_SCHEMA)));
});

test("the shop's description is good", () => {
  const mesh = parseDescription(readFileSync(new URL("../../examples/shop/lateen.yaml", import.meta.url), "utf8"), "lateen.yaml", "shop");
  assert.equal(mesh.workloads.filter((workload) => workload.service === "payment").length, 2);
});
