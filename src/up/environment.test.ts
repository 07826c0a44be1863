import assert from "node:assert/strict";
import { test } from "node:test";
import { expandVariables, portVariables, serviceVariables } from "./environment.ts";

test("services are told as Kubernetes tells them; the own namespace's keep their names", () => {
  const variables = serviceVariables("shop", [
    {
      name: "pay-desk",
      namespace: "shop",
      host: "127.64.128.1",
      ports: [
        { name: "http", port: 8080 },
        { name: "http-admin", port: 8081 },
      ],
    },
    { name: "pay", namespace: "desk", host: "127.64.128.2", ports: [{ name: "tcp", port: 9000 }] },
    { name: "stock", namespace: "depot", host: "127.64.128.3", ports: [] },
  ]);
  assert.deepEqual(variables, {
    // "pay" of namespace "desk" would have the same name.
    PAY_DESK_SERVICE_HOST: "127.64.128.1",
    PAY_DESK_SERVICE_PORT: "8080",
    PAY_DESK_SERVICE_PORT_HTTP: "8080",
    PAY_DESK_SERVICE_PORT_HTTP_ADMIN: "8081",
    PAY_DESK_SERVICE_PORT_TCP: "9000",
    STOCK_DEPOT_SERVICE_HOST: "127.64.128.3",
  });
});

test("PORT is the first port, and each has its own variable", () => {
  assert.deepEqual(
    portVariables([
      { name: "http", port: 10001 },
      { name: "grpc-x", port: 10002 },
    ]),
    { PORT: "10001", PORT_HTTP: "10001", PORT_GRPC_X: "10002" },
  );
  assert.deepEqual(portVariables([]), {});
});

// biome-ignore-start lint/suspicious/noTemplateCurlyInString: the mesh fills these in.
for (const [text, expected] of [
  ["http://$A_SERVICE_HOST:${A_SERVICE_PORT}/x", "http://a:8080/x"],
  ["$$A_SERVICE_HOST costs $$5", "$A_SERVICE_HOST costs $5"],
  ["5$, $ and ${}", "5$, $ and ${}"],
  ["plain", "plain"],
] as const) {
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: the mesh fills these in.
  test(`"${text}" becomes "${expected}"`, () => {
    assert.deepEqual(expandVariables("web", { X: text }, { A_SERVICE_HOST: "a", A_SERVICE_PORT: "8080" }), { X: expected });
  });
}

test("a variable that the mesh does not set is refused by its field, not filled with nothing", () => {
  assert.throws(() => expandVariables("web", { URL: "http://$PAYMNT_SERVICE_HOST" }, { PAYMENT_SERVICE_HOST: "x" }), {
    name: "UserError",
    message: 'workloads.web.environment.URL: the mesh sets no variable "PAYMNT_SERVICE_HOST" (it sets PAYMENT_SERVICE_HOST)',
  });
});
