/** References to nothing, and claims of two: warnings with their places. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../../test/kit/fake-clock.ts";
import { silentLog } from "../../base/log.ts";
import { formatProblem } from "./finding.ts";
import { defaultMeshConfig } from "./mesh-config.ts";
import { createConfigReader } from "./read.ts";
import { createMemorySource } from "./sources/memory.ts";
import { createConfigStore } from "./store.ts";

async function warnings(text: string): Promise<readonly string[]> {
  const source = createMemorySource(createConfigReader({ domain: "cluster.local" }), { "a.yaml": text });
  const store = createConfigStore({
    sources: [source],
    mesh: defaultMeshConfig(),
    log: silentLog,
    clock: new FakeClock(),
    onChange: () => {},
  });
  const { problems } = await store.open();
  assert.deepEqual(problems.map(formatProblem), []);
  return store.warnings.map(formatProblem);
}

const object = (kind: string, name: string, spec: string, namespace = "shop"): string => {
  const group = kind === "PeerAuthentication" ? "security.istio.io/v1" : "networking.istio.io/v1";
  return `apiVersion: ${group}\nkind: ${kind}\nmetadata: {name: ${name}, namespace: ${namespace}}\nspec: ${spec}\n`;
};
const payment = (namespace = "shop"): string =>
  object(
    "ServiceEntry",
    "payment",
    "{hosts: [payment.shop.svc.cluster.local], ports: [{number: 8080, name: http, protocol: HTTP}]}",
    namespace,
  );
const subsets = object("DestinationRule", "payment", "{host: payment, subsets: [{name: v1}, {name: v2}]}");
const route = (destination: string, more = ""): string =>
  object("VirtualService", "v", `{hosts: [payment]${more}, http: [{route: [{destination: {${destination}}}]}]}`);
const join = (...texts: readonly string[]): string => texts.join("---\n");

const V = "VirtualService shop/v: spec.http[0].route[0].destination";

const rows: readonly { name: string; text: string; want: readonly string[] }[] = [
  { name: "references that hold", text: join(payment(), subsets, route("host: payment, subset: v1, port: {number: 8080}")), want: [] },
  {
    name: "a host that nobody declared",
    text: join(payment(), route("host: paymnt")),
    want: [`a.yaml:9:57: ${V}.host: host paymnt.shop.svc.cluster.local: no such service; did you mean payment.shop.svc.cluster.local?`],
  },
  {
    name: "a subset that nobody declared",
    text: join(payment(), subsets, route("host: payment, subset: v3")),
    want: [
      `a.yaml:14:72: ${V}.subset: subset v3: no DestinationRule of payment.shop.svc.cluster.local has it, so requests get 503; it has v1, v2`,
    ],
  },
  {
    name: "a subset without any rule",
    text: join(payment(), route("host: payment, subset: v1")),
    want: [
      `a.yaml:9:72: ${V}.subset: subset v1: no DestinationRule of payment.shop.svc.cluster.local has it, so requests get 503; declare it in a DestinationRule`,
    ],
  },
  {
    name: "a port that the service has not",
    text: join(payment(), route("host: payment, port: {number: 80}")),
    want: [`a.yaml:9:79: ${V}.port.number: port 80: payment.shop.svc.cluster.local has no such port; it has 8080`],
  },
  {
    name: "a gateway that nobody declared",
    text: join(
      payment(),
      object("Gateway", "public", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}"),
      route("host: payment", ", gateways: [mesh, publik, public]"),
    ),
    want: ["a.yaml:14:43: VirtualService shop/v: spec.gateways[1]: gateway shop/publik: no such Gateway; did you mean shop/public?"],
  },
  {
    name: "a host that a wildcard service covers",
    text: join(
      object("ServiceEntry", "w", "{hosts: ['*.example.com'], ports: [{number: 80, name: h, protocol: HTTP}]}"),
      route("host: a.example.com"),
    ),
    want: [],
  },
  {
    name: "a rule for a host that nobody declared",
    text: join(payment(), object("DestinationRule", "r", "{host: catalog}"), object("DestinationRule", "w", "{host: '*.cluster.local'}")),
    want: ["a.yaml:9:8: DestinationRule shop/r: spec.host: host catalog.shop.svc.cluster.local: no such service"],
  },
  {
    name: "a subset that two rules declare",
    text: join(payment(), subsets, object("DestinationRule", "q", "{host: payment, subsets: [{name: v2}]}")),
    want: [
      "a.yaml:14:34: DestinationRule shop/q: spec.subsets[0].name: subset v2 of payment.shop.svc.cluster.local is declared by an older DestinationRule too; only the older one is used",
    ],
  },
  {
    name: "a host that two namespaces declare",
    text: join(payment(), payment("tenant")),
    want: [
      "a.yaml:9:16: ServiceEntry tenant/payment: spec.hosts[0]: host payment.shop.svc.cluster.local is declared by ServiceEntry shop/payment too; only one of them is used",
    ],
  },
  {
    name: "two routes for one host of the mesh",
    text: join(payment(), route("host: payment"), route("host: payment").replace("name: v", "name: w")),
    want: [
      "a.yaml:14:16: VirtualService shop/w: spec.hosts[0]: host payment.shop.svc.cluster.local has a VirtualService already: shop/v, which is the one that sidecars use; join the two",
    ],
  },
  {
    name: "two policies for one namespace, and a selector in the root namespace",
    text: join(
      object("PeerAuthentication", "a", "{mtls: {mode: STRICT}}"),
      object("PeerAuthentication", "b", "{mtls: {mode: DISABLE}}"),
      object("PeerAuthentication", "c", "{selector: {matchLabels: {app: a}}}", "istio-system"),
    ),
    want: [
      "a.yaml:9:1: PeerAuthentication shop/b: spec: namespace shop has a policy already: a, which is the one that holds; join the two",
      "a.yaml:14:8: PeerAuthentication istio-system/c: spec.selector: a policy of the root namespace with a selector has no effect; remove the selector, or move it to the workload's namespace",
    ],
  },
];

for (const { name, text, want } of rows) {
  test(`analyze: ${name}`, async () => assert.deepEqual(await warnings(text), want));
}
