/** A listener for connections of the application to one address and port. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { TrafficDirection } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import { FilterChainMatchSchema, type FilterChainSchema } from "../../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.ts";
import { clusterName } from "../../../model/cluster-name.ts";
import { address, durationFromMs } from "../pack.ts";
import { buildTcpProxy, httpInspector, PLAINTEXT_HTTP, Transport, tlsInspector } from "./filters.ts";
import { buildHttpManager } from "./http-connection-manager.ts";
import type { ListenerMesh } from "./mesh-input.ts";
import { buildFallthrough } from "./virtual-outbound.ts";

/** What a listener does with some of its connections. */
export type OutboundChain =
  /** Reads requests. `routes` is the route configuration's name. Sniffed: only what looks like HTTP, the rest falls through. */
  | { readonly kind: "http"; readonly routes: string; readonly sniffed: boolean }
  /** Passes bytes on. `serverNames` empty takes every connection. */
  | {
      readonly kind: "tcp";
      readonly hostname: string;
      readonly port: number;
      readonly serverNames: readonly string[];
      readonly idleTimeoutMs: number | undefined;
    };

/** All that an outbound listener depends on. */
export interface OutboundListenerInput {
  readonly bind: string;
  readonly port: number;
  /** False where capture hands connections over. */
  readonly bindToPort: boolean;
  /** No two take the same connections. */
  readonly chains: readonly OutboundChain[];
  readonly mesh: ListenerMesh;
}

type FilterChainInit = MessageInitShape<typeof FilterChainSchema>;

/** A slow handshake may not hold a connection for ever. */
const HANDSHAKE_TIMEOUT_MS = 15_000;

/** Builds "<bind>_<port>". */
export function buildOutboundListener(input: OutboundListenerInput): Listener {
  const { chains, mesh } = input;
  const name = outboundListenerName(input);
  const needsHttp = chains.some((chain) => chain.kind === "http" && chain.sniffed);
  const needsTls = chains.some((chain) => chain.kind === "tcp" && chain.serverNames.length > 0);
  const all = chains.map((chain) => ({ takesAll: takesAll(chain), chain: buildChain(chain, name, mesh) }));
  const others = all.filter(({ takesAll }) => !takesAll).map(({ chain }) => chain);
  const rest = all.find(({ takesAll }) => takesAll)?.chain;
  return create(ListenerSchema, {
    name,
    address: address(input.bind, input.port),
    trafficDirection: TrafficDirection.OUTBOUND,
    ...(input.bindToPort ? { maxConnectionsToAcceptPerSocketEvent: 1 } : { bindToPort: false }),
    // The TLS inspector first: the HTTP inspector leaves alone what was found to be TLS.
    listenerFilters: [...(needsTls ? [tlsInspector()] : []), ...(needsHttp ? [httpInspector()] : [])],
    listenerFiltersTimeout: durationFromMs(needsHttp ? mesh.protocolDetectionTimeoutMs : 0),
    continueOnListenerFiltersTimeout: true,
    // A chain that takes everything stands as the default one, where it is found even when a closer match begins and then fails.
    filterChains: others.length === 0 && rest ? [rest] : others,
    defaultFilterChain:
      others.length > 0 && rest
        ? rest
        : { name: "PassthroughFilterChain", filterChainMatch: create(FilterChainMatchSchema), filters: [buildFallthrough(mesh)] },
  });
}

/** The listener's name. */
export function outboundListenerName({ bind, port }: Pick<OutboundListenerInput, "bind" | "port">): string {
  return `${bind}_${port}`;
}

/** Whether nothing is left for a chain behind this one. */
export function takesAll(chain: OutboundChain): boolean {
  return chain.kind === "http" ? !chain.sniffed : chain.serverNames.length === 0;
}

function buildChain(chain: OutboundChain, listener: string, mesh: ListenerMesh): FilterChainInit {
  const transportSocketConnectTimeout = durationFromMs(HANDSHAKE_TIMEOUT_MS);
  if (chain.kind === "http") {
    const filters = [buildHttpManager({ place: "outbound", statPrefix: `outbound_${listener};`, routes: { rds: chain.routes }, mesh })];
    const filterChainMatch = chain.sniffed ? { applicationProtocols: PLAINTEXT_HTTP, transportProtocol: Transport.plaintext } : undefined;
    return { filterChainMatch, filters, transportSocketConnectTimeout };
  }
  const cluster = clusterName({ direction: "outbound", port: chain.port, hostname: chain.hostname });
  return {
    filterChainMatch: chain.serverNames.length > 0 ? { serverNames: [...chain.serverNames] } : undefined,
    filters: [buildTcpProxy({ cluster, statPrefix: cluster, idleTimeoutMs: chain.idleTimeoutMs, accessLog: mesh.accessLog })],
    transportSocketConnectTimeout,
  };
}
