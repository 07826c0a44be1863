/** Istio's YAML as people write it, block and flow: all of it loads without a word. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "./finding.ts";
import { createConfigReader } from "./read.ts";

const mesh = `# The services of a mesh without Kubernetes.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  addresses: [240.0.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: 8080}
  - {number: 9090, name: grpc, protocol: GRPC, targetPort: 9090}
  - {number: 9000, name: tcp, protocol: TCP, targetPort: 9000}
  - {number: 443, name: https, protocol: HTTPS, targetPort: 8443}
  - {number: 9443, name: tls, protocol: TLS, targetPort: 9443}
  workloadSelector:
    labels: {app: reviews}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reviews-v1, namespace: default}
spec:
  address: 198.18.0.21
  serviceAccount: reviews
  labels:
    app: "reviews"
    version: "v1"
    security.istio.io/tlsMode: "istio"
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: marker, namespace: edge}
spec:
  hosts: [marker.internal]
  addresses: [240.0.255.1]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 198.18.0.51}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: marker-ingress, namespace: istio-system}
spec:
  selector: {app: istio-ingressgateway}
  servers:
  - port: {number: 15999, name: http-marker, protocol: HTTP}
    hosts: ["edge/marker.internal"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: marker, namespace: edge}
spec:
  hosts: [marker.internal]
  gateways: [mesh, istio-system/marker-ingress]
  http:
  - directResponse: {status: 200, body: {string: "17"}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec:
  mtls: {mode: STRICT}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: reviews
  namespace: default
spec:
  host: reviews
  trafficPolicy:
    loadBalancer:
      simple: RANDOM
  subsets:
  - name: v1
    labels:
      version: v1
  - {name: both, labels: {app: reviews, version: v2}}
`;

const to = (subset: string, weight = ""): string => `{destination: {host: reviews, subset: ${subset}}${weight}}`;
const routes: readonly { name: string; http: string }[] = [
  { name: "a path", http: `- match:\n  - uri: {exact: /catalog}\n  route: [${to("v1")}]\n- route: [${to("both")}]` },
  { name: "an expression", http: `- match: [{uri: {regex: "/items/[0-9]+"}}]\n  route: [${to("v1")}]` },
  { name: "a path in any case", http: `- match:\n  - uri: {prefix: /Catalog}\n    ignoreUriCase: true\n  route: [${to("v1")}]` },
  { name: "the presence of a header", http: `- match:\n  - headers: {x-token: {}}\n  route: [${to("v1")}]` },
  {
    name: "the absence of headers",
    http: `- match:\n  - withoutHeaders:\n      x-kind: {exact: bad}\n      x-block: {}\n  route: [${to("v1")}]`,
  },
  {
    name: "the authority",
    http: `- match:\n  - authority: {exact: reviews}\n  - authority: {regex: "reviews\\\\.default"}\n  route: [${to("v1")}]`,
  },
  {
    name: "the query",
    http:
      '- match:\n  - queryParams: {ver: {exact: "2"}}\n  - queryParams: {id: {regex: "[0-9]+"}}\n  - queryParams: {tag: {prefix: v1}}\n  - queryParams: {debug: {}}\n  route: [' +
      to("v1") +
      "]",
  },
  { name: "the scheme", http: `- match:\n  - scheme: {exact: http}\n  route: [${to("v1")}]` },
  {
    name: "the source",
    http:
      "- match: [{sourceLabels: {app: client}}]\n  route: [" +
      to("v1") +
      "]\n- match: [{sourceNamespace: other}]\n  route: [" +
      to("both") +
      "]",
  },
  { name: "weights", http: `- route:\n  - ${to("v1", ", weight: 90")}\n  - ${to("both", ", weight: 10")}` },
  { name: "weights that are not of 100", http: `- route:\n  - ${to("v1", ", weight: 3")}\n  - ${to("both", ", weight: 1")}` },
  {
    name: "a teapot",
    http: "- match: [{uri: {prefix: /old}}]\n  directResponse: {status: 418, body: {string: teapot}}\n- route: [{destination: {host: ratings}}]",
  },
  {
    name: "another host, which may not be there",
    http: "- match: [{uri: {prefix: /no}}]\n  route: [{destination: {host: nowhere.example.com}}]",
  },
];

const reader = createConfigReader({ domain: "cluster.local" });

test("the services, workloads, gateways and policies of a mesh load", () => {
  const { objects, errors, warnings } = reader.read("mesh.yaml", mesh);
  assert.deepEqual([...errors, ...warnings].map(formatProblem), []);
  assert.deepEqual(
    objects.map(({ object }) => object.meta.kind),
    ["ServiceEntry", "WorkloadEntry", "ServiceEntry", "Gateway", "VirtualService", "PeerAuthentication", "DestinationRule"],
  );
});

for (const { name, http } of routes) {
  test(`a route by ${name} loads`, () => {
    const text = `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews, namespace: default}\nspec:\n  hosts: [reviews]\n  http:\n${http.replaceAll(/^/gm, "  ")}\n`;
    const { objects, errors, warnings } = reader.read("route.yaml", text);
    assert.deepEqual([...errors, ...warnings].map(formatProblem), []);
    assert.equal(objects.length, 1);
  });
}
