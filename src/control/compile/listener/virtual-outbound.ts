/** The listener that captured connections of the application arrive at. */
import { create } from "@bufbuild/protobuf";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import type { Filter } from "../../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.ts";
import { BLACK_HOLE_CLUSTER, PASSTHROUGH_CLUSTER } from "../../../model/cluster-name.ts";
import { address } from "../pack.ts";
import { buildListenerAccessLog } from "./access-log.ts";
import { buildTcpProxy } from "./filters.ts";
import type { ListenerMesh } from "./mesh-input.ts";

/** Where capture sends outgoing connections. */
export const OUTBOUND_PORT = 15001;
/** Where capture sends incoming connections. */
export const INBOUND_PORT = 15006;

/** All that it depends on. */
export interface VirtualOutboundInput {
  /** "0.0.0.0" or "::". */
  readonly wildcard: string;
  readonly transparent: boolean;
  readonly mesh: ListenerMesh;
}

/** Builds it: hands a connection to the listener of its original destination; what none has, goes by the mesh's policy. */
export function buildVirtualOutbound({ wildcard, transparent, mesh }: VirtualOutboundInput): Listener {
  return create(ListenerSchema, {
    name: "virtualOutbound",
    address: address(wildcard, OUTBOUND_PORT),
    transparent: transparent || undefined,
    useOriginalDst: true,
    trafficDirection: TrafficDirection.OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildListenerAccessLog(mesh.accessLog),
    filterChains: [
      // Nobody may dial this port itself: the way on would be back to here, without end.
      {
        name: "virtualOutbound-blackhole",
        filterChainMatch: { destinationPort: OUTBOUND_PORT },
        filters: [blackHole()],
      },
      { name: "virtualOutbound-catchall-tcp", filters: [buildFallthrough(mesh)] },
    ],
  });
}

/** For what no chain knows: on to where it was going, or nowhere. */
export function buildFallthrough(mesh: ListenerMesh): Filter {
  const cluster = mesh.outboundTrafficPolicy === "ALLOW_ANY" ? PASSTHROUGH_CLUSTER : BLACK_HOLE_CLUSTER;
  return buildTcpProxy({ cluster, statPrefix: cluster, idleTimeoutMs: undefined, accessLog: mesh.accessLog });
}

/** Takes a connection nowhere. */
export function blackHole(): Filter {
  return buildTcpProxy({ cluster: BLACK_HOLE_CLUSTER, statPrefix: BLACK_HOLE_CLUSTER, idleTimeoutMs: undefined, accessLog: undefined });
}
