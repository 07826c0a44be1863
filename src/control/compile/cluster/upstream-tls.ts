/** How a client's proxy speaks to the servers of a cluster: mesh TLS, TLS of outside, or plaintext. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Cluster_TransportSocketMatchSchema } from "../../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { type TransportSocket, TransportSocketSchema } from "../../../gen/envoy/config/core/v3/base_pb.ts";
import { RawBufferSchema } from "../../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts";
import {
  SubjectAltNameMatcher_SanType as SanType,
  type SubjectAltNameMatcherSchema,
  TlsParameters_TlsProtocol as TlsProtocol,
} from "../../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import { type CommonTlsContextSchema, UpstreamTlsContextSchema } from "../../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import type { ClientTlsSettings, MtlsMode } from "../../config/types.ts";
import { typedConfig } from "../pack.ts";
import { ROOT_SECRET, rootFileSecret, sdsSecret, WORKLOAD_SECRET } from "../secret/sds.ts";

type CommonTlsContextInit = MessageInitShape<typeof CommonTlsContextSchema>;

/** What is decided for a cluster. */
export type UpstreamTls =
  | { readonly kind: "plaintext" }
  /** Mutual TLS with those endpoints that can, plaintext with the others. `serverIds` sorted; empty takes any of the mesh's roots. */
  | { readonly kind: "auto-mutual"; readonly sni: string; readonly serverIds: readonly string[] }
  | { readonly kind: "mutual"; readonly sni: string; readonly serverIds: readonly string[] }
  /** `sni` undefined: the request's host. `serverNames` empty: what was asked for as SNI, when that is taken from the request. */
  | {
      readonly kind: "simple";
      readonly sni: string | undefined;
      readonly serverNames: readonly string[];
      readonly caFile: string | undefined;
      readonly skipVerify: boolean;
    };

/** All that the decision depends on. */
export interface UpstreamTlsOptions {
  /** Of the rule, if it says anything. */
  readonly settings: ClientTlsSettings | undefined;
  readonly meshExternal: boolean;
  readonly autoMtls: boolean;
  /** What the service's namespace demands of its servers: a hint, since single workloads may differ. */
  readonly serverMode: MtlsMode;
  /** False only where the proxy does not choose the endpoint and one of them has no mutual TLS. */
  readonly everyEndpointReady: boolean;
  /** SPIFFE ids and names that the servers may have. */
  readonly serverIds: readonly string[];
  /** "outbound_.80_._.host". */
  readonly sni: string;
}

/** Decides. What a rule says always holds; else servers in the mesh are spoken to in mutual TLS where they can. */
export function decideUpstreamTls(options: UpstreamTlsOptions): UpstreamTls {
  const { settings, serverIds, sni } = options;
  if (!settings) {
    const auto = options.autoMtls && !options.meshExternal && options.serverMode !== "DISABLE" && options.everyEndpointReady;
    return auto ? { kind: "auto-mutual", sni, serverIds } : { kind: "plaintext" };
  }
  if (settings.mode === "DISABLE") return { kind: "plaintext" };
  const names = settings.subjectAltNames.length > 0 ? settings.subjectAltNames : serverIds;
  if (settings.mode === "ISTIO_MUTUAL") return { kind: "mutual", sni: settings.sni || sni, serverIds: names };
  return {
    kind: "simple",
    sni: settings.sni || undefined,
    serverNames: names,
    caFile: settings.caCertificates || undefined,
    skipVerify: settings.insecureSkipVerify,
  };
}

/** Members of a cluster that carry the decision. `isHttp2`: the cluster always speaks HTTP/2. `isOriginalDst`: its endpoints have no metadata. */
export function buildUpstreamTls(
  tls: UpstreamTls,
  { isHttp2, isOriginalDst }: { readonly isHttp2: boolean; readonly isOriginalDst: boolean },
): {
  readonly transportSocket?: TransportSocket;
  readonly transportSocketMatches?: MessageInitShape<typeof Cluster_TransportSocketMatchSchema>[];
} {
  switch (tls.kind) {
    case "plaintext":
      return {};
    case "auto-mutual": {
      const socket = meshSocket(tls, isHttp2);
      if (isOriginalDst) return { transportSocket: socket };
      return {
        transportSocketMatches: [
          { name: "tlsMode-istio", match: { tlsMode: "istio" }, transportSocket: socket },
          // An empty match takes every endpoint that is left.
          { name: "tlsMode-disabled", match: {}, transportSocket: rawBuffer() },
        ],
      };
    }
    case "mutual":
      return { transportSocket: meshSocket(tls, isHttp2) };
    case "simple":
      return {
        transportSocket: tlsSocket(tls.sni ?? "", {
          ...TLS_RANGE,
          validationContextType: simpleValidation(tls),
          alpnProtocols: isHttp2 ? ["h2"] : [],
        }),
      };
  }
}

/** Whether the SNI, and the name that the certificate must have, come from each request. */
export function takesNamesFromRequest(tls: UpstreamTls): { readonly sni: boolean; readonly san: boolean } {
  if (tls.kind !== "simple") return { sni: false, san: false };
  const sni = tls.sni === undefined;
  return { sni, san: sni && tls.serverNames.length === 0 && !tls.skipVerify };
}

const TLS_RANGE = { tlsParams: { tlsMinimumProtocolVersion: TlsProtocol.TLSv1_2, tlsMaximumProtocolVersion: TlsProtocol.TLSv1_3 } };

/** ALPN "istio" tells a server in permissive mode that this is mesh TLS; the server itself never selects it. */
function meshSocket(
  { sni, serverIds }: { readonly sni: string; readonly serverIds: readonly string[] },
  isHttp2: boolean,
): TransportSocket {
  return tlsSocket(sni, {
    ...TLS_RANGE,
    alpnProtocols: isHttp2 ? ["istio", "h2"] : ["istio"],
    tlsCertificateSdsSecretConfigs: [sdsSecret(WORKLOAD_SECRET)],
    validationContextType: {
      case: "combinedValidationContext",
      value: {
        defaultValidationContext: { matchTypedSubjectAltNames: serverIds.flatMap(sanMatchers) },
        validationContextSdsSecretConfig: sdsSecret(ROOT_SECRET),
      },
    },
  });
}

function simpleValidation(tls: Extract<UpstreamTls, { kind: "simple" }>): CommonTlsContextInit["validationContextType"] {
  if (tls.skipVerify) return { case: "validationContext", value: {} };
  return {
    case: "combinedValidationContext",
    value: {
      defaultValidationContext: { matchTypedSubjectAltNames: tls.serverNames.flatMap(sanMatchers) },
      validationContextSdsSecretConfig: sdsSecret(rootFileSecret(tls.caFile ?? "system")),
    },
  };
}

/** A name may stand in a certificate as a URI, a DNS name or an address; only a SPIFFE id is a URI for certain. */
function sanMatchers(name: string): MessageInitShape<typeof SubjectAltNameMatcherSchema>[] {
  const types = name.includes("://") ? [SanType.URI] : [SanType.DNS, SanType.IP_ADDRESS];
  return types.map((sanType) => ({ sanType, matcher: { matchPattern: { case: "exact", value: name } } }));
}

function tlsSocket(sni: string, commonTlsContext: CommonTlsContextInit): TransportSocket {
  return create(TransportSocketSchema, {
    name: "envoy.transport_sockets.tls",
    configType: typedConfig(UpstreamTlsContextSchema, { sni, commonTlsContext }),
  });
}

function rawBuffer(): TransportSocket {
  return create(TransportSocketSchema, { name: "envoy.transport_sockets.raw_buffer", configType: typedConfig(RawBufferSchema) });
}
