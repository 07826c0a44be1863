/**
 * The one record of a stream. It is born at accept, each layer fills its part, and at the end it gives the metrics, the access log
 * and the span, so that these cannot disagree.
 */
import type { Address, TlsInfo } from "../model/connection.ts";

/** Envoy's response flags by their short codes. Source: envoy.data.accesslog.v3.ResponseFlags. */
export type ResponseFlag =
  | "LH"
  | "UH"
  | "UT"
  | "LR"
  | "UR"
  | "UF"
  | "UC"
  | "UO"
  | "NR"
  | "DI"
  | "FI"
  | "RL"
  | "UAEX"
  | "RLSE"
  | "DC"
  | "URX"
  | "SI"
  | "IH"
  | "DPE"
  | "UMSDR"
  | "RFCF"
  | "NFCF"
  | "DT"
  | "UPE"
  | "NC"
  | "OM"
  | "DF"
  | "DR";

/** Who stands at the other end, as far as it is known. Source: Istio's peer metadata; unknown members are "unknown". */
export interface PeerInfo {
  readonly workload: string;
  readonly namespace: string;
  readonly app: string;
  readonly version: string;
  readonly cluster: string;
  readonly canonicalService: string;
  readonly canonicalRevision: string;
}

/** A request, an upgraded tunnel or a TCP connection. Times are the clock's monotonic ms; undefined: it did not come to that. */
export class StreamRecord {
  readonly kind: "http" | "tcp";
  readonly startMs: number;
  readonly startWallMs: number;
  // Downstream, set at accept.
  downstreamRemote: Address | undefined;
  downstreamLocal: Address | undefined;
  downstreamTls: TlsInfo | undefined;
  listenerName = "";
  /** From the TLS inspector, or the TLS that ended here. */
  requestedServerName: string | undefined;
  // The request as received, before filters changed it.
  protocol = "-";
  method = "";
  path = "";
  originalPath: string | undefined;
  authority = "";
  userAgent: string | undefined;
  forwardedFor: string | undefined;
  requestId: string | undefined;
  /** Lower-case; grpc when it begins with application/grpc. */
  contentType: string | undefined;
  requestHeaderBytes = 0;
  /** Names and values of the response's head as sent. */
  responseHeaderBytes = 0;
  bytesReceived = 0;
  bytesSent = 0;
  // Routing.
  routeName: string | undefined;
  /** Name of the cluster chosen. */
  upstreamCluster: string | undefined;
  upstreamHost: Address | undefined;
  upstreamLocal: Address | undefined;
  upstreamTls: TlsInfo | undefined;
  upstreamFailure: string | undefined;
  upstreamPeer: PeerInfo | undefined;
  /** Endpoint metadata and cluster metadata of Istio: destination service host, name, namespace. */
  destinationService: { readonly host: string; readonly name: string; readonly namespace: string } | undefined;
  attempts = 0;
  // The answer.
  /** 0: none was sent. */
  status = 0;
  grpcStatus: number | undefined;
  /** "via_upstream", "route_not_found" ... Source: Envoy response code details. */
  details: string | undefined;
  terminationDetails: string | undefined;
  /** Few streams have any: made when the first is set. */
  #flags: Set<ResponseFlag> | undefined;
  upstreamServiceTimeMs: number | undefined;
  firstUpstreamByteMs: number | undefined;
  lastDownstreamByteMs: number | undefined;
  endMs: number | undefined;

  constructor(kind: "http" | "tcp", startMs: number, startWallMs: number) {
    this.kind = kind;
    this.startMs = startMs;
    this.startWallMs = startWallMs;
  }

  /** The flags, to be added to. Ask `hasFlags` first where none is the rule. */
  get flags(): Set<ResponseFlag> {
    this.#flags ??= new Set();
    return this.#flags;
  }

  get hasFlags(): boolean {
    return this.#flags !== undefined && this.#flags.size > 0;
  }
}
