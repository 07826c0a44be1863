/** What a VirtualService may say, and what is said of one that may not. Source: Istio networking/v1 VirtualService. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "../../finding.ts";
import { createConfigReader } from "../../read.ts";
import type { VirtualServiceSpec } from "../../types.ts";

const reader = createConfigReader({ domain: "cluster.local" });

function read(spec: string) {
  const lines = spec.split("\n").map((line) => `  ${line}`);
  return reader.read(
    "v.yaml",
    `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec:\n${lines.join("\n")}\n`,
  );
}

/** The problems without file and object; the spec begins in line 5. */
function problems(spec: string): readonly string[] {
  const { errors, warnings } = read(spec);
  return [...errors, ...warnings].map((problem) => formatProblem({ ...problem, object: "" }).replace("v.yaml:", ""));
}

const TO = "route: [{destination: {host: a}}]";

const taken: readonly { name: string; spec: string }[] = [
  {
    name: "all kinds of matches",
    spec:
      'hosts: [a]\nhttp:\n- match:\n  - uri: {prefix: ""}\n    scheme: {exact: http}\n    method: {regex: GET|PUT}\n    authority: {prefix: a}\n    headers: {x-a: {}, ":path": {prefix: /a}}\n    withoutHeaders: {x-b: {regex: "*"}, x-c:}\n    queryParams: {q: {exact: "1"}}\n    port: 80\n    sourceLabels: {app: b}\n    sourceNamespace: other\n    gateways: [mesh]\n    name: m\n    ignoreUriCase: true\n  ' +
      TO,
  },
  {
    name: "weights that do not sum to 100",
    spec: "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 3}, {destination: {host: b}, weight: 1}, {destination: {host: c}}]}]",
  },
  { name: "a single destination of weight 0", spec: "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: 0}]}]" },
  {
    name: "a redirect",
    spec: "hosts: [a]\nhttp: [{redirect: {uri: /b, authority: b, scheme: https, derivePort: FROM_REQUEST_PORT, redirectCode: 308}}]",
  },
  {
    name: "a direct response",
    spec: "hosts: [a]\nhttp: [{directResponse: {status: 418, body: {string: teapot}}, headers: {response: {add: {x-a: b}}}}]",
  },
  {
    name: "a rewrite by expression",
    spec: `hosts: [a]\nhttp: [{rewrite: {uriRegexRewrite: {match: "^/a/(.*)", rewrite: "/b/\\\\1"}, authority: b}, ${TO}}]`,
  },
  {
    name: "retries and a timeout",
    spec: `hosts: [a]\nhttp: [{timeout: 1ms, retries: {attempts: 3, perTryTimeout: 2s, backoff: 25ms, retryOn: "5xx,503,unavailable", retryRemoteLocalities: false, retryIgnorePreviousHosts: false}, ${TO}}]`,
  },
  { name: "no retries", spec: `hosts: [a]\nhttp: [{retries: {attempts: 0}, ${TO}}]` },
  {
    name: "faults",
    spec: `hosts: [a]\nhttp: [{fault: {delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}, ${TO}}]`,
  },
  {
    name: "header operations, also on the authority",
    spec: `hosts: [a]\nhttp: [{headers: {request: {set: {Host: b}, add: {x-a: "%HOSTNAME%"}, remove: [x-b]}, response: {set: {x-c: d}}}, ${TO}}]`,
  },
  { name: "the host * on a gateway", spec: `hosts: ["*"]\ngateways: [gw]\nhttp: [{${TO}}]` },
  { name: "an address as a host", spec: `hosts: [10.0.0.1, "fd00::1"]\nhttp: [{${TO}}]` },
  { name: "hosts that differ", spec: `hosts: [a, "*.b.com", a.c.com]\nexportTo: [".", other]\nhttp: [{${TO}}]` },
];

for (const { name, spec } of taken) {
  test(`VirtualService: ${name} is taken`, () => assert.deepEqual(problems(spec), []));
}

const refused: readonly { name: string; spec: string; want: readonly string[] }[] = [
  {
    name: "a misspelt field",
    spec: "hosts: [a]\nhttp:\n- rout: [{destination: {host: a}}]",
    want: ["7:5: spec.http[0].rout: unknown field; did you mean route?"],
  },
  {
    name: "a field far from all",
    spec: `hosts: [a]\nhttp: [{${TO}}]\nzebra: 1`,
    want: ["7:3: spec.zebra: unknown field; known here: hosts, gateways, http, exportTo"],
  },
  {
    name: "what Istio has and Lateen not yet",
    spec: `hosts: [a]\ntls: []\nhttp:\n- ${TO}\n  mirror: {host: b}\n  corsPolicy: {}\n  match: [{uri: {exact: /}, statPrefix: s}]`,
    want: [
      "6:3: spec.tls: not supported by this version of Lateen yet",
      "9:5: spec.http[0].mirror: not supported by this version of Lateen yet",
      "10:5: spec.http[0].corsPolicy: not supported by this version of Lateen yet",
      "11:31: spec.http[0].match[0].statPrefix: not supported by this version of Lateen yet",
    ],
  },
  {
    name: "a delegate",
    spec: "http:\n- delegate: {name: b}",
    want: [
      "4:1: spec.hosts: at least one host is required: delegates are not supported by this version of Lateen yet",
      "6:5: spec.http[0].delegate: not supported by this version of Lateen yet",
    ],
  },
  { name: "no route", spec: "hosts: [a]", want: ["4:1: spec.http: at least one route is required"] },
  {
    name: "a route that does nothing",
    spec: "hosts: [a]\nhttp:\n- match: [{uri: {exact: /}}]",
    want: ["7:5: spec.http[0]: one of route, redirect and directResponse is required"],
  },
  {
    name: "a wrong type",
    spec: `hosts: a\nhttp: [{timeout: 5, ${TO}}]`,
    want: ['5:3: spec.hosts: must be a list, not "a"', "6:11: spec.http[0].timeout: must be text, not 5; put it in quotes"],
  },
  {
    name: "hosts that contain each other",
    spec: `hosts: [a.example.com, "*.example.com"]\nhttp: [{${TO}}]`,
    want: [
      '5:26: spec.hosts[1]: "*.example.com" and "a.example.com" are duplicates: one is part of the other; write a VirtualService for each',
    ],
  },
  {
    name: "a wildcard in a wildcard",
    spec: `hosts: ["*.b.com", "*.com"]\nhttp: [{${TO}}]`,
    want: ['5:22: spec.hosts[1]: "*.com" and "*.b.com" are duplicates: one is part of the other; write a VirtualService for each'],
  },
  {
    name: "the host * in the mesh",
    spec: `hosts: ["*"]\nhttp: [{${TO}}]`,
    want: ['5:11: spec.hosts[0]: the host "*" is for gateways only; name gateways other than "mesh"'],
  },
  {
    name: "a host that is none",
    spec: `hosts: ["a b"]\nhttp: [{${TO}}]`,
    want: ['5:11: spec.hosts[0]: "a b" is no host name (label "a b")'],
  },
  {
    name: "a gateway that is no name",
    spec: `hosts: [a]\ngateways: [a/b/c]\nhttp: [{${TO}}]`,
    want: ['6:14: spec.gateways[0]: "b/c" is no gateway\'s name'],
  },
  {
    name: "an export to nobody",
    spec: `hosts: [a]\nexportTo: ["~"]\nhttp: [{${TO}}]`,
    want: ['6:14: spec.exportTo[0]: "~" (nobody) is allowed in a ServiceEntry only'],
  },
  {
    name: "a route, a redirect and an answer at once",
    spec: `hosts: [a]\nhttp:\n- ${TO}\n  redirect: {uri: /b}\n  directResponse: {status: 200}\n  rewrite: {uri: /}`,
    want: [
      "7:5: spec.http[0].route: route and redirect exclude each other",
      "9:5: spec.http[0].directResponse: redirect and directResponse exclude each other",
      "10:5: spec.http[0].rewrite: rewrite and redirect exclude each other",
    ],
  },
  {
    name: "a negative weight",
    spec: "hosts: [a]\nhttp: [{route: [{destination: {host: a}, weight: -1}]}]",
    want: ["6:44: spec.http[0].route[0].weight: a weight must not be negative (-1)"],
  },
  {
    name: "weights that are all 0",
    spec: "hosts: [a]\nhttp: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]",
    want: ["6:11: spec.http[0].route: the weights of all destinations are 0; give at least one a weight"],
  },
  {
    name: "no destination",
    spec: "hosts: [a]\nhttp: [{route: [{weight: 1}]}]",
    want: ["6:19: spec.http[0].route[0].destination: is required"],
  },
  {
    name: "a bad destination, all of it",
    spec: 'hosts: [a]\nhttp: [{route: [{destination: {host: "*", subset: v_1, port: {number: 70000}}}]}]',
    want: [
      '6:34: spec.http[0].route[0].destination.host: "*" is no destination',
      '6:45: spec.http[0].route[0].destination.subset: "v_1" is no subset\'s name',
      "6:65: spec.http[0].route[0].destination.port.number: port 70000 is not in 1..65535",
    ],
  },
  {
    name: "a timeout of 0",
    spec: `hosts: [a]\nhttp: [{timeout: 0s, ${TO}}]`,
    want: ['6:11: spec.http[0].timeout: "0s" is shorter than 1ms; leave the field out for none'],
  },
  {
    name: "retries without attempts",
    spec: `hosts: [a]\nhttp: [{retries: {retryOn: 5xx}, ${TO}}]`,
    want: ["6:11: spec.http[0].retries.attempts: 0 attempts means no retries, and yet they are configured; set attempts to 1 or more"],
  },
  {
    name: "an unknown retry condition",
    spec: `hosts: [a]\nhttp: [{retries: {attempts: 1, retryOn: "5xx, reset"}, ${TO}}]`,
    want: ['6:34: spec.http[0].retries.retryOn: " reset" is no retry condition; write the list without spaces'],
  },
  {
    name: "negative attempts",
    spec: `hosts: [a]\nhttp: [{retries: {attempts: -1}, ${TO}}]`,
    want: ["6:21: spec.http[0].retries.attempts: must not be negative (-1)"],
  },
  {
    name: "bad matches, all of them",
    spec: `hosts: [a]\nhttp:\n- match:\n  - uri: {exact: /a, prefix: /b}\n  - method: {prefix: ""}\n  - uri: {regex: "(?=a)"}\n  - headers: {"bad name": {exact: a}}\n  - headers: {"@request.auth.claims.sub": {exact: a}}\n  - port: 99999\n  - sourceNamespace: a.b\n  - sourceLabels: {"a b": c}\n  ${TO}`,
    want: [
      "8:7: spec.http[0].match[0].uri: exact and prefix exclude each other",
      "9:16: spec.http[0].match[1].method.prefix: a prefix must not be empty",
      "10:13: spec.http[0].match[2].uri.regex: not a regular expression of RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`; RE2 has no look-around and no back-references",
      '11:17: spec.http[0].match[3].headers["bad name"]: "bad name" is no header name',
      '12:17: spec.http[0].match[4].headers["@request.auth.claims.sub"]: matching claims of a token is not supported by this version of Lateen yet',
      "13:7: spec.http[0].match[5].port: port 99999 is not in 1..65535",
      '14:7: spec.http[0].match[6].sourceNamespace: "a.b" is no namespace',
      '15:22: spec.http[0].match[7].sourceLabels["a b"]: "a b" is no label key',
    ],
  },
  {
    name: "a bad redirect, all of it",
    spec: "hosts: [a]\nhttp: [{redirect: {port: 80, derivePort: FROM_REQUEST_PORT, scheme: ftp, redirectCode: 304, prefixRewrite: /}}]",
    want: [
      "6:11: spec.http[0].redirect: port and derivePort exclude each other",
      '6:63: spec.http[0].redirect.scheme: "ftp" is neither http nor https',
      "6:76: spec.http[0].redirect.redirectCode: 304 is none of 301, 302, 303, 307, 308",
      "6:95: spec.http[0].redirect.prefixRewrite: not supported by this version of Lateen yet",
    ],
  },
  {
    name: "a redirect to nowhere",
    spec: "hosts: [a]\nhttp: [{redirect: {}}]",
    want: ["6:11: spec.http[0].redirect: must change at least one of uri, authority, scheme and port"],
  },
  {
    name: "a status that is none",
    spec: "hosts: [a]\nhttp: [{directResponse: {status: 99, body: {bytes: aGk=}}}]",
    want: [
      "6:28: spec.http[0].directResponse.status: status 99 is not in 200..599",
      "6:47: spec.http[0].directResponse.body.bytes: not supported by this version of Lateen yet",
    ],
  },
  {
    name: "an empty rewrite",
    spec: `hosts: [a]\nhttp: [{rewrite: {}, ${TO}}]`,
    want: ["6:11: spec.http[0].rewrite: must change at least one of uri, uriRegexRewrite and authority"],
  },
  {
    name: "half a rewrite by expression, and a whole one",
    spec: `hosts: [a]\nhttp: [{rewrite: {uri: /, uriRegexRewrite: {match: "["}}, ${TO}}]`,
    want: [
      "6:11: spec.http[0].rewrite: uri and uriRegexRewrite exclude each other",
      "6:29: spec.http[0].rewrite.uriRegexRewrite: both match and rewrite are required",
      "6:47: spec.http[0].rewrite.uriRegexRewrite.match: not a regular expression of RE2: error parsing regexp: missing closing ]: `[`; RE2 has no look-around and no back-references",
    ],
  },
  {
    name: "an authority that is set twice",
    spec: `hosts: [a]\nhttp: [{rewrite: {authority: b}, headers: {request: {set: {host: c}}}, ${TO}}]`,
    want: ["6:10: spec.http[0]: the authority is set more than once: host, rewrite.authority"],
  },
  {
    name: "bad header operations, all of them",
    spec: `hosts: [a]\nhttp:\n- headers:\n    request: {set: {":path": a, "x y": a, x-z: "50%"}, remove: [host]}\n    response: {add: {Host: a}}\n  ${TO}`,
    want: [
      '8:23: spec.http[0].headers.request.set[":path"]: ":path": pseudo-headers cannot be changed',
      '8:35: spec.http[0].headers.request.set["x y"]: "x y" is no header name',
      '8:45: spec.http[0].headers.request.set["x-z"]: "50%": a "%" begins a variable such as %REQ(x-id)% or is written %%',
      '8:67: spec.http[0].headers.request.remove[0]: "host" cannot be changed here; set it with rewrite.authority',
      '9:24: spec.http[0].headers.response.add.Host: "Host" cannot be changed here; set it with rewrite.authority',
    ],
  },
  {
    name: "bad faults, all of them",
    spec: `hosts: [a]\nhttp: [{fault: {delay: {fixedDelay: 0s, percentage: {value: 101}}, abort: {httpStatus: 42, grpcStatus: UNAVAILBLE, percentage: {value: -1}}}, ${TO}}]`,
    want: [
      '6:27: spec.http[0].fault.delay.fixedDelay: "0s" is shorter than 1ms; leave the field out for none',
      "6:56: spec.http[0].fault.delay.percentage.value: 101 is not in 0..100",
      "6:70: spec.http[0].fault.abort: httpStatus and grpcStatus exclude each other",
      "6:78: spec.http[0].fault.abort.httpStatus: status 42 is not in 200..599",
      '6:94: spec.http[0].fault.abort.grpcStatus: "UNAVAILBLE" is no gRPC status; did you mean UNAVAILABLE?',
      "6:131: spec.http[0].fault.abort.percentage.value: -1 is not in 0..100",
    ],
  },
  {
    name: "a fault of nothing",
    spec: `hosts: [a]\nhttp: [{fault: {}, ${TO}}]`,
    want: ["6:11: spec.http[0].fault: one of delay and abort is required"],
  },
];

for (const { name, spec, want } of refused) {
  test(`VirtualService: ${name} is refused`, () => {
    const { objects, errors } = read(spec);
    assert.deepEqual(problems(spec), want);
    assert.ok(errors.length > 0);
    assert.deepEqual(objects, []);
  });
}

const warned: readonly { name: string; spec: string; want: readonly string[] }[] = [
  {
    name: "a route behind one that matches everything",
    spec: `hosts: [a]\nhttp:\n- ${TO}\n- match: [{uri: {exact: /}}]\n  ${TO}`,
    want: ["8:5: spec.http[1]: no request gets here: http[0] matches everything; put the route without match last"],
  },
  {
    name: "a fault without a percentage",
    spec: `hosts: [a]\nhttp: [{fault: {abort: {httpStatus: 503}}, ${TO}}]`,
    want: ["6:19: spec.http[0].fault.abort: without a percentage no request is aborted; set percentage.value"],
  },
  {
    name: "retries elsewhere, while there is one priority",
    spec: `hosts: [a]\nhttp: [{retries: {attempts: 2, retryRemoteLocalities: true}, ${TO}}]`,
    want: ["6:34: spec.http[0].retries.retryRemoteLocalities: has no effect yet: all localities have one priority"],
  },
  {
    name: "ignoreUriCase with an expression",
    spec: `hosts: [a]\nhttp: [{match: [{uri: {regex: /a}, ignoreUriCase: true}], ${TO}}]`,
    want: ["6:38: spec.http[0].match[0].ignoreUriCase: has no effect on a regular expression; begin the expression with (?i)"],
  },
];

for (const { name, spec, want } of warned) {
  test(`VirtualService: ${name} is taken with a warning`, () => {
    assert.deepEqual(problems(spec), want);
    assert.equal(read(spec).objects.length, 1);
  });
}

test("VirtualService: the normal form has full names, milliseconds and defaults", () => {
  const { objects, errors } = read(`hosts: [Payment]
gateways: [gw, mesh, ./other, infra/gw]
http:
- match:
  - uri: {prefix: /a}
    headers: {x-a: {}}
    withoutHeaders: {x-b: {regex: "*"}, x-c:}
    gateways: [gw]
  - uri: {}
    method: {}
  route:
  - destination: {host: payment, subset: v1, port: {number: 8080}}
    weight: 90
  - destination: {host: payment.other}
    weight: 10
  timeout: 1.5s
  retries: {attempts: 2, perTryTimeout: 100ms}
- fault: {delay: {fixedDelay: 1s, percent: 5}, abort: {grpcStatus: NOT_FOUND, percentage: {}}}
  route: [{destination: {host: payment}}]
- redirect: {uri: /b}`);
  assert.deepEqual(errors, []);
  const spec = objects[0]?.object.spec as VirtualServiceSpec;
  assert.deepEqual(spec.hosts, ["payment.shop.svc.cluster.local"]);
  assert.deepEqual(spec.gateways, ["shop/gw", "mesh", "shop/other", "infra/gw"]);
  const [first, second, third] = spec.http;
  assert.deepEqual(first?.match[0]?.headers, { "x-a": { present: true } });
  assert.deepEqual(first?.match[0]?.withoutHeaders, { "x-b": { present: true }, "x-c": { present: true } });
  assert.deepEqual(first?.match[0]?.gateways, ["shop/gw"]);
  assert.equal(first?.match[1]?.uri, undefined);
  assert.deepEqual(first?.match[1]?.method, { present: true });
  assert.deepEqual(
    first?.route.map(({ destination, weight }) => [destination.host, destination.subset, destination.port, weight]),
    [
      ["payment.shop.svc.cluster.local", "v1", 8080, 90],
      ["payment.other", undefined, undefined, 10],
    ],
  );
  assert.equal(first?.timeoutMs, 1500);
  assert.deepEqual(first?.retries, {
    attempts: 2,
    perTryTimeoutMs: 100,
    backoffMs: undefined,
    retryOn: "",
    retryRemoteLocalities: undefined,
    retryIgnorePreviousHosts: true,
  });
  assert.deepEqual(second?.fault, {
    delay: { fixedDelayMs: 1000, percentage: 5 },
    abort: { httpStatus: undefined, grpcStatus: 5, percentage: 0 },
  });
  assert.equal(second?.route[0]?.weight, 100);
  assert.equal(second?.timeoutMs, undefined);
  assert.equal(third?.redirect?.redirectCode, 301);
});

test("VirtualService: without gateways it is bound to the mesh", () => {
  const spec = read(`hosts: [a]\nhttp: [{${TO}}]`).objects[0]?.object.spec as VirtualServiceSpec;
  assert.deepEqual(spec.gateways, ["mesh"]);
});
