/** Decides over connections by who the peer is and where it goes. Source: envoy.extensions.filters.network.rbac.v3.RBAC. */
import type { Any } from "@bufbuild/protobuf/wkt";
import { type RBAC, RBACSchema } from "../../gen/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts";
import { compileRbac, type RbacEngine, type RbacInput } from "../../policy/rbac.ts";
import type { Counter, MetricsRegistry } from "../../telemetry/metrics.ts";
import { ConfigRefused } from "../config/address.ts";
import { unpackAny } from "../config/any.ts";
import { unsupportedFields } from "../config/fields.ts";
import type { DownstreamConnection, NetworkFilter } from "../types.ts";
import type { NetworkFilterType } from "./filters.ts";

const SUPPORTED: ReadonlySet<string> = new Set(["rules", "shadowRules", "shadowRulesStatPrefix", "statPrefix", "enforcementType"]);

/** The type for filter chains. The verdict holds for the connection: it is given when the connection is accepted. */
export function createRbacFilterType(metrics: MetricsRegistry): NetworkFilterType {
  return {
    typeName: RBACSchema.typeName,
    validate(config) {
      const message = decode(config);
      const unknown = unsupportedFields(RBACSchema, message, SUPPORTED);
      if (unknown.length > 0) return [`${unknown.join(", ")} not supported`];
      if (message.rules) compileRbac(message.rules);
      if (message.shadowRules) compileRbac(message.shadowRules);
      return [];
    },
    create: (config) => new RbacFilter(decode(config), metrics),
  };
}

function decode(config: Any): RBAC {
  const message = unpackAny(config, RBACSchema);
  if (!message) throw new ConfigRefused(`${config.typeUrl} is no network RBAC`);
  return message;
}

class RbacFilter implements NetworkFilter {
  readonly #rules: RbacEngine | undefined;
  readonly #shadow: RbacEngine | undefined;
  readonly #allowed: Counter;
  readonly #denied: Counter;
  readonly #shadowAllowed: Counter;
  readonly #shadowDenied: Counter;

  constructor(message: RBAC, metrics: MetricsRegistry) {
    this.#rules = message.rules && compileRbac(message.rules);
    this.#shadow = message.shadowRules && compileRbac(message.shadowRules);
    const prefix = `${message.statPrefix}rbac.`;
    this.#allowed = metrics.envoyCounter(`${prefix}allowed`);
    this.#denied = metrics.envoyCounter(`${prefix}denied`);
    this.#shadowAllowed = metrics.envoyCounter(`${prefix}${message.shadowRulesStatPrefix}shadow_allowed`);
    this.#shadowDenied = metrics.envoyCounter(`${prefix}${message.shadowRulesStatPrefix}shadow_denied`);
  }

  onConnection(connection: DownstreamConnection): string | undefined {
    const input = inputOf(connection);
    if (this.#shadow) (this.#shadow(input).allowed ? this.#shadowAllowed : this.#shadowDenied).add();
    if (!this.#rules) return undefined;
    const { allowed, policy } = this.#rules(input);
    (allowed ? this.#allowed : this.#denied).add();
    // The text is Envoy's, with blanks as underscores: it stands in access logs.
    return allowed ? undefined : `rbac_access_denied_matched_policy[${(policy ?? "none").replaceAll(/\s/g, "_")}]`;
  }
}

function inputOf(connection: DownstreamConnection): RbacInput {
  const { channel, localAddress, remoteAddress, requestedServerName } = connection;
  return {
    head: undefined,
    peer: channel.tls?.peer,
    isTls: channel.tls !== undefined,
    destinationIp: localAddress.host,
    destinationPort: localAddress.port,
    directRemoteIp: channel.remote.host,
    remoteIp: remoteAddress.host,
    requestedServerName,
    filterState: undefined,
  };
}
