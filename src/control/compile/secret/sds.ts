/** Secrets by reference: the proxy asks for them over SDS on the local socket of its agent. Source: envoy SdsSecretConfig. */
import { create } from "@bufbuild/protobuf";
import { ApiConfigSource_ApiType, ApiVersion } from "../../../gen/envoy/config/core/v3/config_source_pb.ts";
import { type SdsSecretConfig, SdsSecretConfigSchema } from "../../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { durationFromMs } from "../pack.ts";

/** The workload's own certificate and key. */
export const WORKLOAD_SECRET = "default";
/** The roots that the mesh trusts. */
export const ROOT_SECRET = "ROOTCA";
/** The bootstrap's cluster of the SDS server. */
export const SDS_CLUSTER = "sds-grpc";

/** The name under which an agent serves the roots of a file; "system" are those of the machine. */
export function rootFileSecret(path: string): string {
  return `file-root:${path}`;
}

/** A reference to a secret of the local SDS server. A listener or cluster warms until it is there, however long. */
export function sdsSecret(name: string): SdsSecretConfig {
  return create(SdsSecretConfigSchema, {
    name,
    sdsConfig: {
      configSourceSpecifier: {
        case: "apiConfigSource",
        value: {
          apiType: ApiConfigSource_ApiType.GRPC,
          setNodeOnFirstMessageOnly: true,
          transportApiVersion: ApiVersion.V3,
          grpcServices: [{ targetSpecifier: { case: "envoyGrpc", value: { clusterName: SDS_CLUSTER } } }],
        },
      },
      initialFetchTimeout: durationFromMs(0),
      resourceApiVersion: ApiVersion.V3,
    },
  });
}
