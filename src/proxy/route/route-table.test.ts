/** Which route a request takes, what it becomes, and which configurations are refused. Source: envoy.config.route.v3. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { type RouteMatchSchema, type RouteSchema, VirtualHostSchema } from "../../gen/envoy/config/route/v3/route_components_pb.ts";
import { RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.ts";
import { RouterSchema } from "../../gen/envoy/extensions/filters/http/router/v3/router_pb.ts";
import { HeaderList } from "../../net/http/headers.ts";
import type { MatchedHead } from "../../policy/header-match.ts";
import { buildRouteTable, validateRouteConfiguration } from "./route-table.ts";

type Match = MessageInitShape<typeof RouteMatchSchema>;
type Route = MessageInitShape<typeof RouteSchema>;
type Config = MessageInitShape<typeof RouteConfigurationSchema>;

const toCluster = (cluster: string, name = cluster): Pick<Route, "action" | "name"> => ({
  name,
  action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: cluster } } },
});
const exact = (value: string) => ({ case: "stringMatch" as const, value: { matchPattern: { case: "exact" as const, value } } });
const head = (
  change: Partial<Omit<MatchedHead, "headers">> & { readonly headers?: Readonly<Record<string, string>> } = {},
): MatchedHead => ({
  method: "GET",
  path: "/",
  authority: "svc",
  scheme: "http",
  ...change,
  headers: HeaderList.of(change.headers ?? {}),
});

function tableOf(config: Config) {
  const message = create(RouteConfigurationSchema, { name: "80", ...config });
  assert.deepEqual(validateRouteConfiguration(message), []);
  return buildRouteTable(message);
}

const hostRows: readonly (readonly [string, string, string | undefined])[] = [
  ["an exact name", "a.shop.example", "exact"],
  ["case is ignored", "A.SHOP.Example", "exact"],
  ["a port is part of the name", "a.shop.example:80", "port"],
  ["a port that no domain has", "a.shop.example:81", "star"],
  ["the longest suffix", "b.shop.example", "suffix-long"],
  ["a shorter suffix", "b.example", "suffix-short"],
  ["a star needs at least one character", ".shop.example", "suffix-short"],
  ["a suffix without a dot", "xyz", "suffix-plain"],
  ["the longest prefix", "www.shop.test", "prefix-long"],
  ["a shorter prefix", "www.other", "prefix-short"],
  ["a suffix beats a prefix", "www.example", "suffix-short"],
  ["what is left", "nobody", "star"],
  ["no authority", "", "star"],
];
const table = tableOf({
  virtualHosts: [
    { name: "exact", domains: ["a.shop.example"] },
    { name: "port", domains: ["A.shop.example:80"] },
    { name: "suffix-short", domains: ["*.example"] },
    { name: "suffix-long", domains: ["*.shop.example"] },
    { name: "suffix-plain", domains: ["*yz"] },
    { name: "prefix-short", domains: ["www.*"] },
    { name: "prefix-long", domains: ["www.shop.*"] },
    { name: "star", domains: ["*"] },
  ],
});
for (const [name, authority, want] of hostRows)
  test(`virtual host: ${name}`, () => assert.equal(table.virtualHostOf(authority)?.name, want));

test("virtual host: without a star nothing is left for the rest", () => {
  assert.equal(tableOf({ virtualHosts: [{ name: "a", domains: ["a"] }] }).virtualHostOf("b"), undefined);
});

test("virtual host: ports can be ignored", () => {
  assert.equal(
    tableOf({ ignorePortInHostMatching: true, virtualHosts: [{ name: "a", domains: ["a"] }] }).virtualHostOf("a:8080")?.name,
    "a",
  );
});

/** [rule, match, request, whether the route takes it]. */
const matchRows: readonly (readonly [string, Match, MatchedHead, boolean])[] = [
  ["prefix", { pathSpecifier: { case: "prefix", value: "/api" } }, head({ path: "/apix" }), true],
  ["prefix, other", { pathSpecifier: { case: "prefix", value: "/api" } }, head({ path: "/ap" }), false],
  ["prefix looks at the path, not the query", { pathSpecifier: { case: "prefix", value: "/api?x" } }, head({ path: "/api?x" }), false],
  ["prefix, case", { pathSpecifier: { case: "prefix", value: "/api" } }, head({ path: "/API" }), false],
  ["prefix, case ignored", { pathSpecifier: { case: "prefix", value: "/aPi" }, caseSensitive: false }, head({ path: "/API/x" }), true],
  ["path", { pathSpecifier: { case: "path", value: "/a" } }, head({ path: "/a?q=1" }), true],
  ["path, longer", { pathSpecifier: { case: "path", value: "/a" } }, head({ path: "/a/" }), false],
  ["path, case ignored", { pathSpecifier: { case: "path", value: "/a" }, caseSensitive: false }, head({ path: "/A" }), true],
  [
    "regex matches the whole path without query",
    { pathSpecifier: { case: "safeRegex", value: { regex: "/a[0-9]+" } } },
    head({ path: "/a12?b" }),
    true,
  ],
  ["regex, part of it", { pathSpecifier: { case: "safeRegex", value: { regex: "/a[0-9]" } } }, head({ path: "/a12" }), false],
  ["separated prefix, equal", { pathSpecifier: { case: "pathSeparatedPrefix", value: "/api" } }, head({ path: "/api" }), true],
  ["separated prefix, below", { pathSpecifier: { case: "pathSeparatedPrefix", value: "/api" } }, head({ path: "/api/x?y" }), true],
  ["separated prefix, beside", { pathSpecifier: { case: "pathSeparatedPrefix", value: "/api" } }, head({ path: "/apix" }), false],
  [
    "separated prefix, case ignored",
    { pathSpecifier: { case: "pathSeparatedPrefix", value: "/api" }, caseSensitive: false },
    head({ path: "/API/x" }),
    true,
  ],
  ["CONNECT", { pathSpecifier: { case: "connectMatcher", value: {} } }, head({ method: "CONNECT", path: "" }), true],
  ["CONNECT takes nothing else", { pathSpecifier: { case: "connectMatcher", value: {} } }, head(), false],
  [
    "header",
    { pathSpecifier: { case: "prefix", value: "/" }, headers: [{ name: "x-a", headerMatchSpecifier: exact("1") }] },
    head({ headers: { "x-a": "1" } }),
    true,
  ],
  [
    "every header",
    { pathSpecifier: { case: "prefix", value: "/" }, headers: [{ name: "x-a", headerMatchSpecifier: exact("1") }, { name: "x-b" }] },
    head({ headers: { "x-a": "1" } }),
    false,
  ],
  [
    "method",
    { pathSpecifier: { case: "prefix", value: "/" }, headers: [{ name: ":method", headerMatchSpecifier: exact("POST") }] },
    head(),
    false,
  ],
  [
    "query",
    { pathSpecifier: { case: "prefix", value: "/" }, queryParameters: [{ name: "k", queryParameterMatchSpecifier: exact("v%20w") }] },
    head({ path: "/?a=1&k=v%20w" }),
    true,
  ],
  [
    "query, first value counts",
    { pathSpecifier: { case: "prefix", value: "/" }, queryParameters: [{ name: "k", queryParameterMatchSpecifier: exact("2") }] },
    head({ path: "/?k=1&k=2" }),
    false,
  ],
  [
    "query, part of a name",
    { pathSpecifier: { case: "prefix", value: "/" }, queryParameters: [{ name: "k" }] },
    head({ path: "/?kk=1&ak=2" }),
    false,
  ],
  [
    "query, present without value",
    { pathSpecifier: { case: "prefix", value: "/" }, queryParameters: [{ name: "k" }] },
    head({ path: "/?a&k" }),
    true,
  ],
  [
    "query, absent is wanted",
    {
      pathSpecifier: { case: "prefix", value: "/" },
      queryParameters: [{ name: "k", queryParameterMatchSpecifier: { case: "presentMatch", value: false } }],
    },
    head({ path: "/?a" }),
    true,
  ],
  [
    "gRPC",
    { pathSpecifier: { case: "prefix", value: "/" }, grpc: {} },
    head({ headers: { "content-type": "application/grpc+proto" } }),
    true,
  ],
  [
    "gRPC-Web is not gRPC",
    { pathSpecifier: { case: "prefix", value: "/" }, grpc: {} },
    head({ headers: { "content-type": "application/grpc-web" } }),
    false,
  ],
];
for (const [name, match, request, want] of matchRows) {
  test(`route: ${name}`, () => {
    const routes = tableOf({ virtualHosts: [{ name: "v", domains: ["*"], routes: [{ match, ...toCluster("a") }] }] });
    const host = routes.virtualHostOf("svc");
    assert.ok(host);
    assert.equal(routes.routeOf(host, request, () => 0) !== undefined, want);
  });
}

test("route: the first that matches, not the best", () => {
  const routes = tableOf({
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        routes: [
          { match: { pathSpecifier: { case: "prefix", value: "/" } }, ...toCluster("a") },
          { match: { pathSpecifier: { case: "path", value: "/x" } }, ...toCluster("b") },
        ],
      },
    ],
  });
  const host = routes.virtualHostOf("svc");
  assert.ok(host);
  assert.equal(routes.routeOf(host, head({ path: "/x" }), () => 0)?.name, "a");
});

test("route: a share of the requests, the rest go on to the next route", () => {
  const routes = tableOf({
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        routes: [
          {
            match: { pathSpecifier: { case: "prefix", value: "/" }, runtimeFraction: { defaultValue: { numerator: 25 } } },
            ...toCluster("a"),
          },
          { match: { pathSpecifier: { case: "prefix", value: "/" } }, ...toCluster("b") },
        ],
      },
    ],
  });
  const host = routes.virtualHostOf("svc");
  assert.ok(host);
  assert.deepEqual(
    [0, 0.249, 0.25, 0.9].map((draw) => routes.routeOf(host, head(), () => draw)?.name),
    ["a", "a", "b", "b"],
  );
});

test("route: parameters of a path can be ignored", () => {
  const routes = tableOf({
    ignorePathParametersInPathMatching: true,
    virtualHosts: [
      { name: "v", domains: ["*"], routes: [{ match: { pathSpecifier: { case: "path", value: "/admin" } }, ...toCluster("a") }] },
    ],
  });
  const host = routes.virtualHostOf("svc");
  assert.ok(host);
  assert.ok(routes.routeOf(host, head({ path: "/admin;x=1?y" }), () => 0));
});

/** [rule, redirect, request, location]. */
const redirectRows: readonly (readonly [
  string,
  Extract<NonNullable<Route["action"]>, { case: "redirect" }>["value"],
  MatchedHead,
  string,
])[] = [
  [
    "path and host",
    { hostRedirect: "new.example.com", pathRewriteSpecifier: { case: "pathRedirect", value: "/v1/new" } },
    head({ path: "/old?a=b" }),
    "http://new.example.com/v1/new?a=b",
  ],
  ["host alone keeps the path", { hostRedirect: "o.example" }, head({ path: "/x?y=z" }), "http://o.example/x?y=z"],
  [
    "scheme and port",
    { schemeRewriteSpecifier: { case: "schemeRedirect", value: "https" }, portRedirect: 8443 },
    head({ path: "/t" }),
    "https://svc:8443/t",
  ],
  ["a new port takes the old one's place", { portRedirect: 81 }, head({ authority: "svc:80" }), "http://svc:81/"],
  [
    "https drops the port of http",
    { schemeRewriteSpecifier: { case: "httpsRedirect", value: true } },
    head({ authority: "svc:80" }),
    "https://svc/",
  ],
  [
    "another port stays",
    { schemeRewriteSpecifier: { case: "httpsRedirect", value: true } },
    head({ authority: "svc:8080" }),
    "https://svc:8080/",
  ],
  ["the query can go", { stripQuery: true }, head({ path: "/a?b" }), "http://svc/a"],
  [
    "a query of its own",
    { pathRewriteSpecifier: { case: "pathRedirect", value: "/n?own=1" } },
    head({ path: "/a?b" }),
    "http://svc/n?own=1",
  ],
  ["prefix", { pathRewriteSpecifier: { case: "prefixRewrite", value: "/new" } }, head({ path: "/pfx/rest?q" }), "http://svc/new/rest?q"],
  ["x-forwarded-proto is the scheme", {}, head({ headers: { "x-forwarded-proto": "https" } }), "https://svc/"],
];
for (const [name, value, request, want] of redirectRows) {
  test(`redirect: ${name}`, () => {
    const prefix = request.path.startsWith("/pfx") ? "/pfx" : "/";
    const routes = tableOf({
      virtualHosts: [
        {
          name: "v",
          domains: ["*"],
          routes: [{ match: { pathSpecifier: { case: "prefix", value: prefix } }, action: { case: "redirect", value } }],
        },
      ],
    });
    const action = routes.virtualHosts[0]?.routes[0]?.action;
    assert.equal(action?.kind === "redirect" ? action.location(request) : undefined, want);
  });
}

const host = (change: MessageInitShape<typeof VirtualHostSchema>): Config => ({ virtualHosts: [{ name: "v", domains: ["*"], ...change }] });
const route = (change: object): Config =>
  host({ routes: [{ name: "r", match: { pathSpecifier: { case: "prefix", value: "/" } }, ...toCluster("a", "r"), ...change }] });
const action = (change: object): Config =>
  route({ action: { case: "route", value: { clusterSpecifier: { case: "cluster", value: "a" }, ...change } } });
/** [what, configuration, texts of the violations]. */
const refusedRows: readonly (readonly [string, Config, readonly RegExp[]])[] = [
  [
    "one domain twice",
    {
      virtualHosts: [
        { name: "a", domains: ["x", "y"] },
        { name: "b", domains: ["X"] },
      ],
    },
    [/"b": domain "X" belongs to virtual host "a" already/],
  ],
  [
    "one name twice",
    {
      virtualHosts: [
        { name: "a", domains: ["x"] },
        { name: "a", domains: ["y"] },
      ],
    },
    [/another one of this name/],
  ],
  ["a star in the middle", host({ domains: ["a.*.b"] }), [/"a.\*.b" is no domain/]],
  ["no domains", host({ domains: [] }), [/no domains/]],
  [
    "a bad regex, and a bad header, both told",
    host({
      routes: [
        { name: "r1", match: { pathSpecifier: { case: "safeRegex", value: { regex: "(" } } }, ...toCluster("a") },
        { name: "r2", match: { pathSpecifier: { case: "prefix", value: "/" }, headers: [{ name: "" }] }, ...toCluster("a") },
      ],
    }),
    [/route "a": regex "\(" is not valid RE2/, /route "a": a header matcher has no name/],
  ],
  ["no match", host({ routes: [{ name: "r", ...toCluster("a") }] }), [/a route has no match/]],
  ["no path specifier", route({ match: {} }), [/path specifier of no or unknown kind/]],
  [
    "a template path",
    route({ match: { pathSpecifier: { case: "pathMatchPolicy", value: { name: "t" } } } }),
    [/pathMatchPolicy is not supported/],
  ],
  [
    "dynamic metadata",
    route({ match: { pathSpecifier: { case: "prefix", value: "/" }, dynamicMetadata: [{ filter: "f" }] } }),
    [/dynamic_metadata is not supported/],
  ],
  [
    "no action",
    host({ routes: [{ name: "r", match: { pathSpecifier: { case: "prefix", value: "/" } } }] }),
    [/action of no or unknown kind/],
  ],
  [
    "weights of nothing",
    action({ clusterSpecifier: { case: "weightedClusters", value: { clusters: [{ name: "a", weight: 0 }] } } }),
    [/add up to 0/],
  ],
  ["mirroring", action({ requestMirrorPolicies: [{ cluster: "b" }] }), [/request_mirror_policies not supported/]],
  ["hedging", action({ hedgePolicy: {} }), [/hedge_policy not supported/]],
  ["rate limits", action({ rateLimits: [{}] }), [/rate_limits not supported/]],
  ["internal redirects", action({ internalRedirectPolicy: {} }), [/internal_redirect_policy not supported/]],
  ["a retry condition that nobody knows", action({ retryPolicy: { retryOn: "5xx,sometimes" } }), [/retry_on: sometimes not known/]],
  [
    "an unknown filter config",
    route({ typedPerFilterConfig: { x: anyPack(RouterSchema, create(RouterSchema)) } }),
    [/typed_per_filter_config "x": type envoy\.extensions\.filters\.http\.router\.v3\.Router is not known/],
  ],
  [
    "bytes that are no message",
    route({
      typedPerFilterConfig: {
        x: { typeUrl: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault", value: new Uint8Array([0xff]) },
      },
    }),
    [/typed_per_filter_config "x"/],
  ],
  [
    "host in header operations",
    route({ requestHeadersToAdd: [{ header: { key: "Host", value: "x" } }] }),
    [/header "Host" may not be added/],
  ],
  [
    "an unknown operator in a header",
    route({ requestHeadersToAdd: [{ header: { key: "x", value: "%NOPE%" } }] }),
    [/%NOPE%: is not known/],
  ],
  ["a line break in a header", route({ responseHeadersToAdd: [{ header: { key: "x", value: "a\r\nb: c" } }] }), [/line break/]],
  ["a header name with a space", host({ requestHeadersToRemove: ["a b"] }), [/"a b" is no header name/]],
  ["a direct response beyond HTTP", route({ action: { case: "directResponse", value: { status: 99 } } }), [/status 99/]],
  [
    "a body from a file",
    route({ action: { case: "directResponse", value: { status: 200, body: { specifier: { case: "filename", value: "/etc/passwd" } } } } }),
    [/must be inline/],
  ],
  [
    "a body that is too long",
    route({
      action: { case: "directResponse", value: { status: 200, body: { specifier: { case: "inlineString", value: "x".repeat(4097) } } } },
    }),
    [/at most 4096/],
  ],
  ["a matcher tree", host({ matcher: {} }), [/matcher is not supported/]],
  ["cluster plugins", { clusterSpecifierPlugins: [{}] }, [/cluster_specifier_plugins is not supported/]],
  ["two rewrites", action({ prefixRewrite: "/a", regexRewrite: { pattern: { regex: "a" }, substitution: "b" } }), [/exclude each other/]],
];
for (const [name, config, want] of refusedRows) {
  test(`refused: ${name}`, () => {
    const violations = validateRouteConfiguration(create(RouteConfigurationSchema, { name: "80", ...config }));
    assert.equal(violations.length, want.length, violations.join("\n"));
    for (const [i, pattern] of want.entries()) assert.match(violations[i] ?? "", pattern);
    for (const violation of violations) assert.match(violation, /^route configuration "80": /);
  });
}

test("an update that keeps a virtual host's message keeps its routes", () => {
  const kept = create(VirtualHostSchema, { name: "v", domains: ["v"] });
  const first = buildRouteTable(create(RouteConfigurationSchema, { virtualHosts: [kept] }));
  const second = buildRouteTable(
    create(RouteConfigurationSchema, { virtualHosts: [kept, create(VirtualHostSchema, { name: "w", domains: ["w"] })] }),
  );
  assert.equal(first.virtualHostOf("v"), second.virtualHostOf("v"));
});

for (const name of ["constructor", "toString", "__proto__", "hasOwnProperty"]) {
  test(`names of JavaScript are names like others: ${name}`, () => {
    const routes = tableOf({
      virtualHosts: [
        {
          name,
          domains: [name],
          routes: [{ match: { pathSpecifier: { case: "prefix", value: "/" }, headers: [{ name }] }, ...toCluster(name) }],
        },
      ],
    });
    assert.equal(routes.virtualHostOf("other"), undefined);
    const found = routes.virtualHostOf(name);
    assert.equal(found?.name, name);
    assert.ok(found);
    assert.equal(
      routes.routeOf(found, head(), () => 0),
      undefined,
    );
  });
}
