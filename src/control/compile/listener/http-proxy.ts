/** The listener that applications use as their HTTP proxy, where nothing is captured. Source: Istio, MeshConfig.proxyHttpPort. */
import { create } from "@bufbuild/protobuf";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.ts";
import { address } from "../pack.ts";
import { buildHttpManager } from "./http-connection-manager.ts";
import type { ListenerMesh } from "./mesh-input.ts";

/** Name of its route configuration. Source: Istio. */
export const HTTP_PROXY_ROUTES = "http_proxy";

/** All that it depends on. */
export interface HttpProxyListenerInput {
  readonly bind: string;
  readonly port: number;
  readonly mesh: ListenerMesh;
}

/** Builds "<bind>_<port>". */
export function buildHttpProxyListener({ bind, port, mesh }: HttpProxyListenerInput): Listener {
  const name = `${bind}_${port}`;
  return create(ListenerSchema, {
    name,
    address: address(bind, port),
    trafficDirection: TrafficDirection.OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    filterChains: [
      { filters: [buildHttpManager({ place: "outbound", statPrefix: `outbound_${name};`, routes: { rds: HTTP_PROXY_ROUTES }, mesh })] },
    ],
  });
}
