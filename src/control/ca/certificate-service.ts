/** The gRPC service that workloads ask for certificates. Identity comes from authentication alone. Source: istio.v1.auth.IstioCertificateService. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { IstioCertificateRequestSchema, IstioCertificateResponseSchema } from "../../gen/istio/v1/auth/ca_pb.ts";
import { formatSpiffeId } from "../../model/identity.ts";
import { GrpcError, type GrpcService, GrpcStatus } from "../../net/grpc/types.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import type { Authenticator } from "./authenticate.ts";
import type { Authority } from "./authority.ts";

const CSR_BYTES_MAX = 16 * 1024;

/** The service over an authority. Refusals are counted and logged with the identity, never with the request's content. */
export function createCertificateService(options: {
  readonly authority: () => Authority;
  readonly authenticator: Authenticator;
  readonly metrics: MetricsRegistry;
  readonly log: Log;
}): GrpcService {
  const { log, metrics } = options;
  const count = (name: string, help: string) => metrics.counter({ name, help, labels: [] }).with([]);
  const asked = count("citadel_server_csr_count", "Certificate requests received.");
  const issued = count("citadel_server_success_cert_issuance_count", "Certificates issued.");
  const refused = count("citadel_server_authentication_failure_count", "Certificate requests whose caller was not authenticated.");
  const broken = count("citadel_server_csr_parsing_err_count", "Certificate requests that could not be signed as they were.");

  return {
    unary: {
      "/istio.v1.auth.IstioCertificateService/CreateCertificate": async (call, bytes) => {
        asked.add();
        const caller = await options.authenticator.authenticate(call).catch((error: unknown) => {
          refused.add();
          log.warn("a certificate request was refused", { peer: call.peer, why: messageOf(error) });
          throw error;
        });
        const identity = formatSpiffeId(caller);
        const request = fromBinary(IstioCertificateRequestSchema, bytes);
        try {
          if (request.csr.length > CSR_BYTES_MAX) throw new Error(`the certificate request is longer than ${CSR_BYTES_MAX} bytes`);
          const certChain = await options.authority().signWorkload(request.csr, identity, Number(request.validityDuration) * 1000);
          issued.add();
          log.info("certificate issued", { identity, peer: call.peer });
          return toBinary(IstioCertificateResponseSchema, create(IstioCertificateResponseSchema, { certChain: [...certChain] }));
        } catch (error) {
          broken.add();
          log.warn("a certificate request could not be signed", { identity, peer: call.peer, why: messageOf(error) });
          throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, messageOf(error));
        }
      },
    },
  };
}
