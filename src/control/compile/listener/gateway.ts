/** A listener of a gateway: a real port, for anybody. */
import { create } from "@bufbuild/protobuf";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.ts";
import { address, durationFromMs } from "../pack.ts";
import { buildListenerAccessLog } from "./access-log.ts";
import { buildHttpManager } from "./http-connection-manager.ts";
import type { ListenerMesh } from "./mesh-input.ts";

/** All that it depends on. */
export interface GatewayListenerInput {
  readonly bind: string;
  readonly port: number;
  /** The route configuration's name. */
  readonly routes: string;
  readonly mesh: ListenerMesh;
}

/** A client that does not finish its handshake is not waited for. */
const HANDSHAKE_TIMEOUT_MS = 15_000;

/** Builds "<bind>_<port>" for plaintext HTTP. */
export function buildGatewayListener({ bind, port, routes, mesh }: GatewayListenerInput): Listener {
  const name = `${bind}_${port}`;
  return create(ListenerSchema, {
    name,
    address: address(bind, port),
    trafficDirection: TrafficDirection.OUTBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    accessLog: buildListenerAccessLog(mesh.accessLog),
    filterChains: [
      {
        filters: [buildHttpManager({ place: "gateway", statPrefix: `outbound_${name};`, routes: { rds: routes }, mesh })],
        transportSocketConnectTimeout: durationFromMs(HANDSHAKE_TIMEOUT_MS),
      },
    ],
  });
}
