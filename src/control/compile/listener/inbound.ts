/** The listener that captured connections to the workload arrive at: one filter chain a port, protocol and kind of TLS. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { TrafficDirection, type TransportSocket, TransportSocketSchema } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import type { FilterChainSchema, ListenerFilter } from "../../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { type Listener, ListenerSchema } from "../../../gen/envoy/config/listener/v3/listener_pb.ts";
import {
  SubjectAltNameMatcher_SanType as SanType,
  TlsParameters_TlsProtocol as TlsProtocol,
} from "../../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import { DownstreamTlsContextSchema } from "../../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import { clusterName, INBOUND_PASSTHROUGH_CLUSTER } from "../../../model/cluster-name.ts";
import { isHttp, type Protocol } from "../../../model/service.ts";
import type { MtlsMode } from "../../config/types.ts";
import { address, durationFromMs, typedConfig } from "../pack.ts";
import { buildMatch } from "../route/match.ts";
import { buildInboundRetryPolicy } from "../route/retry.ts";
import { ROOT_SECRET, sdsSecret, WORKLOAD_SECRET } from "../secret/sds.ts";
import { buildListenerAccessLog } from "./access-log.ts";
import { buildTcpProxy, httpInspector, originalDestination, PLAINTEXT_HTTP, Transport, tlsInspector } from "./filters.ts";
import { buildHttpManager } from "./http-connection-manager.ts";
import type { ListenerMesh } from "./mesh-input.ts";
import { blackHole, INBOUND_PORT } from "./virtual-outbound.ts";

/** A port of the workload. */
export interface InboundPort {
  readonly port: number;
  readonly mode: MtlsMode;
  /** Undefined: no service declares the port, its protocol is found from the first bytes. */
  readonly declared: { readonly protocol: Protocol; readonly hostname: string; readonly servicePort: number } | undefined;
}

/** All that the inbound listener depends on. */
export interface InboundListenerInput {
  /** "0.0.0.0" or "::". */
  readonly wildcard: string;
  readonly transparent: boolean;
  /** For ports of which nothing else is said. */
  readonly defaultMode: MtlsMode;
  /** Undeclared ports are those whose mode differs from the default; in the order of their numbers. */
  readonly ports: readonly InboundPort[];
  readonly mesh: ListenerMesh;
}

type FilterChainInit = MessageInitShape<typeof FilterChainSchema>;

/** Builds "virtualInbound". */
export function buildInboundListener(input: InboundListenerInput): Listener {
  const { ports, mesh, wildcard } = input;
  const targets: Target[] = [
    { port: undefined, mode: input.defaultMode, declared: undefined },
    ...ports.filter(({ declared }) => !declared),
    ...ports.filter(({ declared }) => declared),
  ];
  const chains = targets.flatMap((target) => chainKinds(target).map((kind) => ({ target, kind })));
  return create(ListenerSchema, {
    name: "virtualInbound",
    address: address(wildcard, INBOUND_PORT),
    transparent: input.transparent || undefined,
    trafficDirection: TrafficDirection.INBOUND,
    listenerFilters: listenerFilters(chains),
    listenerFiltersTimeout: durationFromMs(mesh.protocolDetectionTimeoutMs),
    continueOnListenerFiltersTimeout: true,
    accessLog: buildListenerAccessLog(mesh.accessLog),
    filterChains: [
      // Nobody may dial this port itself: the way on would be back to here, without end.
      { name: "virtualInbound-blackhole", filterChainMatch: { destinationPort: INBOUND_PORT }, filters: [blackHole()] },
      ...chains.map(({ target, kind }) => buildChain(target, kind, { ...input, matchesPort: true })),
    ],
  });
}

/** All that the listener of one port depends on, where nothing is captured. */
export interface OwnPortListenerInput {
  /** The workload's own address. */
  readonly bind: string;
  readonly port: InboundPort;
  readonly mesh: ListenerMesh;
}

/** Builds "<bind>_<port>": bound to the workload's address, with the same chains as a captured port has. */
export function buildOwnPortListener({ bind, port, mesh }: OwnPortListenerInput): Listener {
  const chains = chainKinds(port).map((kind) => ({ target: port, kind }));
  return create(ListenerSchema, {
    name: `${bind}_${port.port}`,
    address: address(bind, port.port),
    trafficDirection: TrafficDirection.INBOUND,
    maxConnectionsToAcceptPerSocketEvent: 1,
    // The original destination is this listener, so the first inspector, which asks for it, is not needed.
    listenerFilters: listenerFilters(chains.map(({ kind }) => ({ target: { ...port, port: undefined }, kind }))).slice(1),
    listenerFiltersTimeout: durationFromMs(mesh.protocolDetectionTimeoutMs),
    continueOnListenerFiltersTimeout: true,
    accessLog: buildListenerAccessLog(mesh.accessLog),
    filterChains: chains.map(({ target, kind }) => buildChain(target, kind, { mesh, wildcard: bind, matchesPort: false })),
  });
}

type Target = Omit<InboundPort, "port"> & { readonly port: number | undefined };

/** Which connections a chain takes, and what it does with them. */
interface ChainKind {
  readonly transport: (typeof Transport)[keyof typeof Transport];
  readonly protocols: readonly string[];
  readonly reads: "http" | "tcp";
  /** Whether it ends TLS, asking for a certificate of the mesh. */
  readonly mutualTls: boolean;
}

/** ALPN of mesh TLS: what a client's proxy offers beside or in place of the protocol inside. */
const MESH_HTTP = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
const MESH_TCP = ["istio-peer-exchange", "istio"];
const MESH_ANY = ["istio", "istio-peer-exchange", ...MESH_HTTP];

/** The chains of a port. In STRICT none takes plaintext, and none takes TLS without ending it. */
function chainKinds({ mode, declared }: Target): ChainKind[] {
  const reads = declared === undefined ? "unknown" : isHttp(declared.protocol) ? "http" : "tcp";
  const mesh = (protocols: readonly string[], as: "http" | "tcp"): ChainKind => ({
    transport: Transport.tls,
    protocols,
    reads: as,
    mutualTls: true,
  });
  const plain = (protocols: readonly string[], as: "http" | "tcp"): ChainKind => ({
    transport: Transport.plaintext,
    protocols,
    reads: as,
    mutualTls: false,
  });
  // TLS that is not the mesh's: the application's own, passed on as it is.
  const foreignTls: ChainKind = { transport: Transport.tls, protocols: [], reads: "tcp", mutualTls: false };
  if (reads === "unknown") {
    switch (mode) {
      case "STRICT":
        return [mesh(MESH_HTTP, "http"), mesh([], "tcp")];
      case "PERMISSIVE":
        return [mesh(MESH_HTTP, "http"), plain(PLAINTEXT_HTTP, "http"), mesh(MESH_TCP, "tcp"), plain([], "tcp"), foreignTls];
      case "DISABLE":
        return [plain(PLAINTEXT_HTTP, "http"), plain([], "tcp")];
    }
  }
  switch (mode) {
    case "STRICT":
      return [mesh([], reads)];
    case "PERMISSIVE":
      return reads === "http" ? [mesh(MESH_ANY, "http"), plain([], "http")] : [mesh(MESH_ANY, "tcp"), foreignTls, plain([], "tcp")];
    case "DISABLE":
      return [plain([], reads)];
  }
}

interface ChainPlace {
  readonly mesh: ListenerMesh;
  readonly wildcard: string;
  /** Whether the listener has connections to several ports. */
  readonly matchesPort: boolean;
}

function buildChain(target: Target, kind: ChainKind, { mesh, wildcard, matchesPort }: ChainPlace): FilterChainInit {
  const { port, declared } = target;
  const cluster = declared && port !== undefined ? clusterName({ direction: "inbound", port, hostname: "" }) : INBOUND_PASSTHROUGH_CLUSTER;
  const name = declared ? `${wildcard}_${port}` : kind.reads === "http" ? "virtualInbound-catchall-http" : "virtualInbound";
  const filter =
    kind.reads === "tcp"
      ? buildTcpProxy({ cluster, statPrefix: cluster, idleTimeoutMs: undefined, accessLog: mesh.accessLog })
      : buildHttpManager({
          place: "inbound",
          statPrefix: declared ? `inbound_${name};` : `${cluster};`,
          routes: { inline: inboundRoutes(cluster, declared) },
          mesh,
        });
  return {
    name,
    filterChainMatch: {
      destinationPort: matchesPort ? port : undefined,
      transportProtocol: kind.transport,
      applicationProtocols: [...kind.protocols],
    },
    filters: [filter],
    transportSocket: kind.mutualTls ? serverTls(mesh) : undefined,
  };
}

/** Every request of a port goes to its application, without a deadline: those are the client's. */
function inboundRoutes(cluster: string, declared: InboundPort["declared"]) {
  const servicePort = declared?.servicePort ?? 0;
  // Streams of gRPC are not tried again: "before the request" says nothing of a stream that goes on.
  const isGrpc = declared?.protocol === "grpc" || declared?.protocol === "grpc-web";
  return {
    name: cluster,
    validateClusters: false,
    virtualHosts: [
      {
        name: `inbound|http|${servicePort}`,
        domains: ["*"],
        routes: [
          {
            name: "default",
            match: buildMatch(undefined),
            decorator: { operation: `${declared?.hostname ?? ""}:${servicePort}/*` },
            action: {
              case: "route" as const,
              value: {
                clusterSpecifier: { case: "cluster" as const, value: cluster },
                timeout: durationFromMs(0),
                maxStreamDuration: { maxStreamDuration: durationFromMs(0), grpcTimeoutHeaderMax: durationFromMs(0) },
                retryPolicy: isGrpc ? undefined : buildInboundRetryPolicy(),
              },
            },
          },
        ],
      },
    ],
  };
}

/** Only suites with forward secrecy. TLS 1.3 has its own. */
const CIPHER_SUITES = [
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
];

/** Ends mesh TLS: a certificate is demanded, by the mesh's roots and with an identity of the mesh's trust domains. */
function serverTls(mesh: ListenerMesh): TransportSocket {
  return create(TransportSocketSchema, {
    name: "envoy.transport_sockets.tls",
    configType: typedConfig(DownstreamTlsContextSchema, {
      requireClientCertificate: true,
      commonTlsContext: {
        // Never "istio": a client offers it to be recognised, and what is selected names the protocol inside.
        alpnProtocols: ["h2", "http/1.1"],
        tlsParams: {
          cipherSuites: CIPHER_SUITES,
          tlsMinimumProtocolVersion: mesh.tlsMinProtocolVersion === "TLSV1_3" ? TlsProtocol.TLSv1_3 : TlsProtocol.TLSv1_2,
          tlsMaximumProtocolVersion: TlsProtocol.TLSv1_3,
        },
        tlsCertificateSdsSecretConfigs: [sdsSecret(WORKLOAD_SECRET)],
        validationContextType: {
          case: "combinedValidationContext",
          value: {
            defaultValidationContext: {
              matchTypedSubjectAltNames: mesh.trustDomains.map((domain) => ({
                sanType: SanType.URI,
                matcher: { matchPattern: { case: "prefix" as const, value: `spiffe://${domain}/` } },
              })),
            },
            validationContextSdsSecretConfig: sdsSecret(ROOT_SECRET),
          },
        },
      },
    }),
  });
}

/** Inspectors, only where a chain asks for what they find: each makes a server that speaks first wait for its client. */
function listenerFilters(chains: readonly { readonly target: Target; readonly kind: ChainKind }[]): ListenerFilter[] {
  const ports = [...new Set(chains.map(({ target }) => target.port))];
  const wants = (needed: (kind: ChainKind) => boolean, port: number | undefined): boolean =>
    chains.some(({ target, kind }) => target.port === port && needed(kind));
  const inspector = (build: typeof tlsInspector, needed: (kind: ChainKind) => boolean): ListenerFilter[] => {
    const named = ports.filter((port) => port !== undefined).sort((a, b) => a - b);
    const on = named.filter((port) => wants(needed, port));
    const off = named.filter((port) => !wants(needed, port));
    if (wants(needed, undefined)) return [off.length === 0 ? build() : build({ ports: off, except: false })];
    return on.length === 0 ? [] : [build({ ports: on, except: true })];
  };
  return [
    // First: the port by which all that follows is chosen is the one that the client dialled.
    originalDestination(),
    ...inspector(tlsInspector, (kind) => kind.transport === Transport.tls),
    // Behind the TLS inspector: what that one found to be TLS is left alone.
    ...inspector(httpInspector, (kind) => kind.protocols === PLAINTEXT_HTTP),
  ];
}
