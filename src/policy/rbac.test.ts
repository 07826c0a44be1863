/** RBAC decisions over the rules that Istio writes, and refusal of what is not carried out. Source: envoy.config.rbac.v3. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { HeaderList } from "../../test/kit/header-fields.ts";
import { RBAC_Action as Action, type PermissionSchema, type PrincipalSchema, RBACSchema } from "../gen/envoy/config/rbac/v3/rbac_pb.ts";
import { compileRbac, type RbacInput } from "./rbac.ts";

type Permission = MessageInitShape<typeof PermissionSchema>;
type Principal = MessageInitShape<typeof PrincipalSchema>;
const anyPermission: Permission = { rule: { case: "any", value: true } };
const anyPrincipal: Principal = { identifier: { case: "any", value: true } };
const exact = (value: string) => ({ matchPattern: { case: "exact" as const, value } });
const prefix = (value: string) => ({ matchPattern: { case: "prefix" as const, value } });
const header = (name: string, value: string): Permission => ({
  rule: { case: "header", value: { name, headerMatchSpecifier: { case: "stringMatch", value: exact(value) } } },
});

const INPUT: RbacInput = {
  head: { method: "GET", path: "/admin?x=1", authority: "svc:80", scheme: "http", headers: new HeaderList(["x-a", "1", "x-a", "2"]) },
  peer: {
    uriSans: ["spiffe://cluster.local/ns/default/sa/client"],
    dnsSans: ["client.example"],
    subject: "CN=client",
    sha256: "",
    notAfterMs: 0,
  },
  isTls: true,
  destinationIp: "10.0.0.1",
  destinationPort: 8080,
  directRemoteIp: "10.0.0.9",
  remoteIp: "9.9.9.9",
  requestedServerName: "svc.example",
  filterState: new Map([["io.istio.peer_principal", "spiffe://cluster.local/ns/default/sa/client"]]),
};
const TCP: RbacInput = { ...INPUT, head: undefined };
const PLAIN: RbacInput = { ...INPUT, peer: undefined, isTls: false, filterState: undefined };

const permissions: readonly (readonly [string, Permission, RbacInput, boolean])[] = [
  ["any", anyPermission, INPUT, true],
  [
    "url_path looks at the path without its query",
    { rule: { case: "urlPath", value: { rule: { case: "path", value: exact("/admin") } } } },
    INPUT,
    true,
  ],
  ["url_path does not match TCP", { rule: { case: "urlPath", value: { rule: { case: "path", value: prefix("/") } } } }, TCP, false],
  ["header :method", header(":method", "GET"), INPUT, true],
  ["header does not match TCP", header(":method", "GET"), TCP, false],
  ["hosts compare the authority as sent", header(":authority", "svc"), INPUT, false],
  ["destination_port", { rule: { case: "destinationPort", value: 8080 } }, INPUT, true],
  ["another port", { rule: { case: "destinationPort", value: 80 } }, TCP, false],
  ["a port range ends before its end", { rule: { case: "destinationPortRange", value: { start: 8000, end: 8080 } } }, INPUT, false],
  ["destination_ip", { rule: { case: "destinationIp", value: { addressPrefix: "10.0.0.0", prefixLen: 24 } } }, TCP, true],
  ["requested_server_name", { rule: { case: "requestedServerName", value: exact("svc.example") } }, INPUT, true],
  ["not", { rule: { case: "notRule", value: header(":method", "GET") } }, INPUT, false],
  ["and", { rule: { case: "andRules", value: { rules: [anyPermission, header(":method", "POST")] } } }, INPUT, false],
  ["or", { rule: { case: "orRules", value: { rules: [header(":method", "POST"), anyPermission] } } }, INPUT, true],
];
const principals: readonly (readonly [string, Principal, RbacInput, boolean])[] = [
  [
    "authenticated by URI",
    { identifier: { case: "authenticated", value: { principalName: exact("spiffe://cluster.local/ns/default/sa/client") } } },
    INPUT,
    true,
  ],
  ["a URI hides the DNS names", { identifier: { case: "authenticated", value: { principalName: exact("client.example") } } }, INPUT, false],
  ["authenticated as anybody", { identifier: { case: "authenticated", value: {} } }, INPUT, true],
  ["plaintext is nobody", { identifier: { case: "authenticated", value: {} } }, PLAIN, false],
  [
    "plaintext passes a rule that excludes names",
    { identifier: { case: "notId", value: { identifier: { case: "authenticated", value: { principalName: prefix("spiffe://") } } } } },
    PLAIN,
    true,
  ],
  [
    "remote_ip is whom x-forwarded-for names",
    { identifier: { case: "remoteIp", value: { addressPrefix: "9.0.0.0", prefixLen: 8 } } },
    INPUT,
    true,
  ],
  [
    "direct_remote_ip is the connection's",
    { identifier: { case: "directRemoteIp", value: { addressPrefix: "9.0.0.0", prefixLen: 8 } } },
    INPUT,
    false,
  ],
  ["source_ip is the connection's", { identifier: { case: "sourceIp", value: { addressPrefix: "10.0.0.9", prefixLen: 32 } } }, INPUT, true],
  [
    "filter_state",
    {
      identifier: {
        case: "filterState",
        value: { key: "io.istio.peer_principal", matcher: { case: "stringMatch", value: prefix("spiffe://cluster.local/ns/default/") } },
      },
    },
    INPUT,
    true,
  ],
  [
    "filter_state that nobody set",
    { identifier: { case: "filterState", value: { key: "io.istio.peer_principal", matcher: { case: "stringMatch", value: prefix("") } } } },
    PLAIN,
    false,
  ],
  [
    "a header",
    { identifier: { case: "header", value: { name: ":path", headerMatchSpecifier: { case: "stringMatch", value: exact("/admin?x=1") } } } },
    INPUT,
    true,
  ],
  [
    "and, or",
    { identifier: { case: "andIds", value: { ids: [anyPrincipal, { identifier: { case: "orIds", value: { ids: [anyPrincipal] } } }] } } },
    INPUT,
    true,
  ],
];

const engineOf = (action: Action, permission: Permission, principal: Principal) =>
  compileRbac(create(RBACSchema, { action, policies: { p: { permissions: [permission], principals: [principal] } } }));
const cases = [
  ...permissions.map(([name, one, input, want]) => ({ name, permission: one, principal: anyPrincipal, input, want })),
  ...principals.map(([name, one, input, want]) => ({ name, permission: anyPermission, principal: one, input, want })),
];
for (const { name, permission, principal, input, want } of cases) {
  test(`rbac: ${name}`, () => {
    assert.deepEqual(engineOf(Action.ALLOW, permission, principal)(input), { allowed: want, policy: want ? "p" : undefined });
    assert.deepEqual(engineOf(Action.DENY, permission, principal)(input), { allowed: !want, policy: want ? "p" : undefined });
    assert.equal(engineOf(Action.LOG, permission, principal)(input).allowed, true);
  });
}

test("rbac: no policies allow nothing, and deny nothing", () => {
  assert.equal(compileRbac(create(RBACSchema, { action: Action.ALLOW }))(INPUT).allowed, false);
  assert.equal(compileRbac(create(RBACSchema, { action: Action.DENY }))(INPUT).allowed, true);
});

test("rbac: a header on two lines allows when all values are allowed, and is denied when any is", () => {
  assert.equal(engineOf(Action.ALLOW, header("x-a", "1"), anyPrincipal)(INPUT).allowed, false);
  assert.equal(engineOf(Action.DENY, header("x-a", "2"), anyPrincipal)(INPUT).allowed, false);
  const not: Permission = { rule: { case: "notRule", value: header("x-a", "2") } };
  assert.equal(engineOf(Action.ALLOW, not, anyPrincipal)(INPUT).allowed, false, "one value that is excluded excludes");
  assert.equal(engineOf(Action.DENY, not, anyPrincipal)(INPUT).allowed, false, "one value that is not excepted is denied");
});

test("rbac: the verdict names the first policy, in the order of names", () => {
  const policy = { permissions: [anyPermission], principals: [anyPrincipal] };
  assert.equal(compileRbac(create(RBACSchema, { policies: { b: policy, a: policy } }))(INPUT).policy, "a");
});

const refused: readonly (readonly [string, MessageInitShape<typeof RBACSchema>, RegExp])[] = [
  [
    "a permission of no kind",
    { policies: { p: { permissions: [{}], principals: [anyPrincipal] } } },
    /policy "p": permission of no or unknown kind/,
  ],
  [
    "metadata",
    { policies: { p: { permissions: [{ rule: { case: "metadata", value: { filter: "x" } } }], principals: [anyPrincipal] } } },
    /metadata of "x"/,
  ],
  ["a principal of no kind", { policies: { p: { permissions: [anyPermission], principals: [{}] } } }, /principal of no or unknown kind/],
  [
    "an extension",
    { policies: { p: { permissions: [{ rule: { case: "matcher", value: { name: "x" } } }], principals: [anyPrincipal] } } },
    /permission matcher/,
  ],
  ["a condition", { policies: { p: { permissions: [anyPermission], principals: [anyPrincipal], condition: {} } } }, /CEL/],
  ["no principals", { policies: { p: { permissions: [anyPermission] } } }, /both needed/],
  [
    "an empty or",
    { policies: { p: { permissions: [{ rule: { case: "orRules", value: {} } }], principals: [anyPrincipal] } } },
    /or_rules is empty/,
  ],
  [
    "a bad regex",
    {
      policies: {
        p: {
          permissions: [
            {
              rule: {
                case: "urlPath",
                value: { rule: { case: "path", value: { matchPattern: { case: "safeRegex", value: { regex: "(" } } } } },
              },
            },
          ],
          principals: [anyPrincipal],
        },
      },
    },
    /not valid RE2/,
  ],
  ["an unknown action", { action: 9 as Action }, /action 9/],
];
for (const [name, rules, message] of refused) {
  test(`rbac: ${name} is refused`, () => assert.throws(() => compileRbac(create(RBACSchema, rules)), message));
}
