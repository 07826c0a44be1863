/** A route configuration: the virtual hosts of a listener. Source: envoy.config.route.v3.RouteConfiguration. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import {
  VirtualHost_TlsRequirementType as TlsRequirement,
  VirtualHostSchema,
} from "../../../gen/envoy/config/route/v3/route_components_pb.ts";
import { RouteConfigurationSchema } from "../../../gen/envoy/config/route/v3/route_pb.ts";
import { PASSTHROUGH_CLUSTER } from "../../../model/cluster-name.ts";
import type { RoutePlan } from "./plan.ts";
import { buildRoute, noTimeout } from "./route.ts";

type VirtualHostInit = MessageInitShape<typeof VirtualHostSchema>;

/** One virtual host. */
export interface VirtualHostInput {
  readonly name: string;
  readonly domains: readonly string[];
  readonly routes: readonly RoutePlan[];
  /** Requests over plaintext are sent to https. */
  readonly requireTls: boolean;
}

/** All that a route configuration depends on. */
export interface RouteConfigurationInput {
  readonly name: string;
  /** No domain stands in two of them: one duplicate and Envoy refuses all. */
  readonly virtualHosts: readonly VirtualHostInput[];
  /** What becomes of other hosts: sent on to where they were going, refused with 502, or 404 where undefined. */
  readonly otherHosts: "passthrough" | "refuse" | undefined;
  /** Whether domains say the port, as those of an HTTP proxy do, which serves all ports. */
  readonly hasPorts?: boolean;
}

/** Istio's limit of a direct response's body; Envoy's own would be 4 KiB. */
const DIRECT_RESPONSE_BYTES_MAX = 1024 * 1024;

/** Encodes it. Virtual hosts in the order of their names, then the one for all other hosts. */
export function encodeRouteConfiguration({ name, virtualHosts, otherHosts, hasPorts = false }: RouteConfigurationInput): Uint8Array {
  const head = create(RouteConfigurationSchema, {
    name,
    // A route to a cluster that does not exist (yet) answers 503; it must not make the proxy refuse all routes.
    validateClusters: false,
    maxDirectResponseBodySizeBytes: DIRECT_RESPONSE_BYTES_MAX,
    ignorePortInHostMatching: !hasPorts,
  });
  const writer = new BinaryWriter().raw(toBinary(RouteConfigurationSchema, head));
  for (const host of [...virtualHosts].sort(byName)) writer.tag(VIRTUAL_HOSTS, WireType.LengthDelimited).bytes(encodeVirtualHost(host));
  for (const host of catchAll(otherHosts)) {
    writer.tag(VIRTUAL_HOSTS, WireType.LengthDelimited).bytes(toBinary(VirtualHostSchema, create(VirtualHostSchema, host)));
  }
  return writer.finish();
}

const VIRTUAL_HOSTS = RouteConfigurationSchema.field.virtualHosts.number;

/** A configuration of thousands of hosts changes by one of them at a time, and namespaces share most: each is encoded once. */
const encoded = new WeakMap<VirtualHostInput, Uint8Array>();

function encodeVirtualHost(input: VirtualHostInput): Uint8Array {
  const known = encoded.get(input);
  if (known) return known;
  const bytes = toBinary(VirtualHostSchema, create(VirtualHostSchema, buildVirtualHost(input)));
  encoded.set(input, bytes);
  return bytes;
}

function byName(a: VirtualHostInput, b: VirtualHostInput): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function buildVirtualHost({ name, domains, routes, requireTls }: VirtualHostInput): VirtualHostInit {
  return {
    name,
    domains: [...domains],
    routes: routes.map(buildRoute),
    includeRequestAttemptCount: true,
    requireTls: requireTls ? TlsRequirement.ALL : TlsRequirement.NONE,
  };
}

function catchAll(otherHosts: RouteConfigurationInput["otherHosts"]): VirtualHostInit[] {
  if (otherHosts === undefined) return [];
  const name = otherHosts === "passthrough" ? "allow_any" : "block_all";
  const action =
    otherHosts === "passthrough"
      ? { case: "route" as const, value: { clusterSpecifier: { case: "cluster" as const, value: PASSTHROUGH_CLUSTER }, ...noTimeout() } }
      : { case: "directResponse" as const, value: { status: 502 } };
  return [
    {
      name,
      domains: ["*"],
      routes: [{ name, match: { pathSpecifier: { case: "prefix", value: "/" } }, action }],
      includeRequestAttemptCount: true,
    },
  ];
}
