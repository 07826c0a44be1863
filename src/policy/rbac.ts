/**
 * Role-based access control: config compiled to closures, a decision a request. What is not known is refused when config arrives, so a
 * rule is never left out. Source: envoy.config.rbac.v3.RBAC.
 */
import {
  RBAC_Action as Action,
  RBAC_AuditLoggingOptions_AuditCondition as AuditCondition,
  type Permission,
  type Policy,
  type Principal,
  type RBAC,
} from "../gen/envoy/config/rbac/v3/rbac_pb.ts";
import type { MetadataMatcher } from "../gen/envoy/type/matcher/v3/metadata_pb.ts";
import type { PathMatcher } from "../gen/envoy/type/matcher/v3/path_pb.ts";
import type { PeerCertificate } from "../model/connection.ts";
import { compileCidr } from "./cidr.ts";
import { compileHeaderMatch, flip, type ManyValues, type MatchedHead } from "./header-match.ts";
import { pathWithoutQuery } from "./path-normalise.ts";
import { PolicyRefusal } from "./refusal.ts";
import { compileStringMatch } from "./string-match.ts";

/** What a decision looks at. A TCP connection has no head: what asks for one does not match. */
export interface RbacInput {
  readonly head: MatchedHead | undefined;
  /** Of the peer's verified certificate. */
  readonly peer: PeerCertificate | undefined;
  readonly isTls: boolean;
  readonly destinationIp: string;
  readonly destinationPort: number;
  /** The other end of the connection. */
  readonly directRemoteIp: string;
  /** Who sent the request, by x-forwarded-for where that is trusted. */
  readonly remoteIp: string;
  readonly requestedServerName: string | undefined;
  readonly filterState: ReadonlyMap<string, string> | undefined;
}

/** What was decided, and by which policy (undefined: none matched). */
export interface RbacVerdict {
  readonly allowed: boolean;
  readonly policy: string | undefined;
}

/** A compiled rule set. */
export type RbacEngine = (input: RbacInput) => RbacVerdict;

type Test = (input: RbacInput) => boolean;

const ALLOWED: RbacVerdict = { allowed: true, policy: undefined };
const DENIED: RbacVerdict = { allowed: false, policy: undefined };

/** Compiles a rule set. Policies are tried in the order of their names, as Envoy does. Throws PolicyRefusal. */
export function compileRbac(rules: RBAC): RbacEngine {
  // A header on two lines: what allows asks all its values, what denies any of them.
  const many: ManyValues = rules.action === Action.ALLOW ? "all" : "any";
  const options = rules.auditLoggingOptions;
  if (options && options.auditCondition !== AuditCondition.NONE) throw new PolicyRefusal("audit_logging_options is not supported");
  const policies = Object.keys(rules.policies)
    .sort()
    .map((name) => compilePolicy(name, rules.policies[name] as Policy, many, rules.action));
  switch (rules.action) {
    case Action.ALLOW:
      return (input) => {
        for (const policy of policies) if (policy.test(input)) return policy.allowed;
        return DENIED;
      };
    case Action.DENY:
      return (input) => {
        for (const policy of policies) if (policy.test(input)) return policy.denied;
        return ALLOWED;
      };
    case Action.LOG:
      return (input) => {
        for (const policy of policies) if (policy.test(input)) return policy.allowed;
        return ALLOWED;
      };
    default:
      throw new PolicyRefusal(`action ${rules.action} is not known`);
  }
}

function compilePolicy(
  name: string,
  policy: Policy,
  many: ManyValues,
  action: Action,
): { readonly test: Test; readonly allowed: RbacVerdict; readonly denied: RbacVerdict } {
  try {
    if (policy.condition || policy.checkedCondition) throw new PolicyRefusal("conditions (CEL) are not supported");
    if (policy.permissions.length === 0 || policy.principals.length === 0)
      throw new PolicyRefusal("permissions and principals are both needed");
    const permissions = anyOf(policy.permissions.map((one) => compilePermission(one, many)));
    const principals = anyOf(policy.principals.map((one) => compilePrincipal(one, many)));
    return {
      test: (input) => permissions(input) && principals(input),
      allowed: { allowed: true, policy: name },
      denied: { allowed: false, policy: name },
    };
  } catch (error) {
    throw new PolicyRefusal(
      `${action === Action.ALLOW ? "ALLOW" : action === Action.DENY ? "DENY" : "LOG"} policy "${name}": ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

const always: Test = () => true;

function anyOf(tests: readonly Test[]): Test {
  const [only, second] = tests;
  if (!only) return () => false;
  if (tests.includes(always)) return always;
  if (!second) return only;
  return (input) => {
    for (const test of tests) if (test(input)) return true;
    return false;
  };
}

function allOf(tests: readonly Test[]): Test {
  const telling = tests.filter((test) => test !== always);
  const [only, second] = telling;
  if (!only) return always;
  if (!second) return only;
  return (input) => {
    for (const test of telling) if (!test(input)) return false;
    return true;
  };
}

function compilePermission(permission: Permission, many: ManyValues): Test {
  const { rule } = permission;
  switch (rule.case) {
    case "any":
      if (!rule.value) throw new PolicyRefusal("permission any must be true");
      return always;
    case "andRules":
      return allOf(nonEmpty(rule.value.rules, "and_rules").map((one) => compilePermission(one, many)));
    case "orRules":
      return anyOf(nonEmpty(rule.value.rules, "or_rules").map((one) => compilePermission(one, many)));
    case "notRule": {
      const inner = compilePermission(rule.value, flip(many));
      return (input) => !inner(input);
    }
    case "header":
      return compileHead(compileHeaderMatch(rule.value, many));
    case "urlPath":
      return compilePath(rule.value);
    case "destinationIp": {
      const test = compileCidr(rule.value);
      return (input) => test(input.destinationIp);
    }
    case "destinationPort": {
      const port = rule.value;
      return (input) => input.destinationPort === port;
    }
    case "destinationPortRange": {
      const { start, end } = rule.value;
      return (input) => input.destinationPort >= start && input.destinationPort < end;
    }
    case "requestedServerName": {
      const test = compileStringMatch(rule.value);
      return (input) => test(input.requestedServerName ?? "");
    }
    case "metadata":
      return compileMetadata(rule.value);
    default:
      throw new PolicyRefusal(`permission ${rule.case ?? "of no or unknown kind"} is not supported`);
  }
}

function compilePrincipal(principal: Principal, many: ManyValues): Test {
  const { identifier } = principal;
  switch (identifier.case) {
    case "any":
      if (!identifier.value) throw new PolicyRefusal("principal any must be true");
      return always;
    case "andIds":
      return allOf(nonEmpty(identifier.value.ids, "and_ids").map((one) => compilePrincipal(one, many)));
    case "orIds":
      return anyOf(nonEmpty(identifier.value.ids, "or_ids").map((one) => compilePrincipal(one, many)));
    case "notId": {
      const inner = compilePrincipal(identifier.value, flip(many));
      return (input) => !inner(input);
    }
    case "authenticated": {
      const name = identifier.value.principalName;
      if (!name) return (input) => input.peer !== undefined;
      const test = compileStringMatch(name);
      return ({ peer }) => {
        if (!peer) return false;
        if (peer.uriSans.length > 0) return peer.uriSans.some(test);
        if (peer.dnsSans.length > 0) return peer.dnsSans.some(test);
        return test(peer.subject);
      };
    }
    case "sourceIp":
    case "directRemoteIp": {
      const test = compileCidr(identifier.value);
      return (input) => test(input.directRemoteIp);
    }
    case "remoteIp": {
      const test = compileCidr(identifier.value);
      return (input) => test(input.remoteIp);
    }
    case "header":
      return compileHead(compileHeaderMatch(identifier.value, many));
    case "urlPath":
      return compilePath(identifier.value);
    case "metadata":
      return compileMetadata(identifier.value);
    case "filterState": {
      const { key, matcher } = identifier.value;
      if (matcher.case !== "stringMatch") throw new PolicyRefusal(`filter_state "${key}": only string_match is supported`);
      const test = compileStringMatch(matcher.value);
      return ({ filterState }) => {
        const value = filterState?.get(key);
        return value !== undefined && test(value);
      };
    }
    default:
      throw new PolicyRefusal(`principal ${identifier.case ?? "of no or unknown kind"} is not supported`);
  }
}

function nonEmpty<T>(list: readonly T[], name: string): readonly T[] {
  if (list.length === 0) throw new PolicyRefusal(`${name} is empty`);
  return list;
}

function compileHead(test: (head: MatchedHead) => boolean): Test {
  return ({ head }) => head !== undefined && test(head);
}

function compilePath(matcher: PathMatcher): Test {
  if (matcher.rule.case !== "path") throw new PolicyRefusal("url_path has no path");
  const test = compileStringMatch(matcher.rule.value);
  return ({ head }) => head !== undefined && test(pathWithoutQuery(head.path));
}

/**
 * Nothing here writes dynamic metadata, so nothing is there to match. A rule that asks for it never matches; a rule that asks for its absence
 * (invert) would always match, and is refused.
 */
function compileMetadata(matcher: MetadataMatcher): Test {
  throw new PolicyRefusal(`metadata of "${matcher.filter}" is not supported: no filter here writes it`);
}
