/** The node of the bootstrap: who this proxy says it is. Source: envoy.config.core.v3.Node; Istio's node metadata. */
import { clone, create } from "@bufbuild/protobuf";
import { LocalitySchema, type Node, NodeSchema } from "../../gen/envoy/config/core/v3/base_pb.ts";
import { peerOf } from "../../telemetry/peer-metadata.ts";
import type { LocalNode } from "../types.ts";
import type { Flags } from "./flags.ts";

/** What the proxy tells of itself beside its bootstrap. */
export const USER_AGENT = "lateen";

/** The node to send: the bootstrap's, with the flags' values where they are given. */
export function buildNode(node: Node | undefined, flags: Flags, version: string): Node {
  const built = node ? clone(NodeSchema, node) : create(NodeSchema);
  if (flags.serviceNode !== "") built.id = flags.serviceNode;
  if (flags.serviceCluster !== "") built.cluster = flags.serviceCluster;
  if (flags.serviceZone !== "") {
    built.locality ??= create(LocalitySchema);
    built.locality.zone = flags.serviceZone;
  }
  built.userAgentName = USER_AGENT;
  built.userAgentVersionType = { case: "userAgentVersion", value: version };
  return built;
}

/** The node as the proxy's own parts see it. */
export function readLocalNode(node: Node): LocalNode {
  const metadata: Readonly<Record<string, unknown>> = node.metadata ?? {};
  const { region = "", zone = "", subZone = "" } = node.locality ?? {};
  return { id: node.id, cluster: node.cluster, metadata, peer: peerOf(metadata), locality: { region, zone, subZone } };
}
