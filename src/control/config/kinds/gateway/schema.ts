/** The shape of a Gateway. Source: Istio networking/v1 Gateway. */
import { fields, flagSchema, type JsonSchema, listOf, mapOf, portSchema, textSchema } from "../../schema.ts";

/** A Gateway's spec as written. */
export interface RawGateway {
  readonly selector?: Readonly<Record<string, string>>;
  readonly servers?: readonly RawGatewayServer[];
}

/** One server of it. */
export interface RawGatewayServer {
  readonly port: { readonly number: number; readonly name: string; readonly protocol: string };
  readonly bind?: string;
  readonly hosts?: readonly string[];
  readonly tls?: { readonly httpsRedirect?: boolean };
}

const tlsSchema = fields(
  { httpsRedirect: flagSchema },
  {
    notYet: [
      "mode",
      "serverCertificate",
      "privateKey",
      "caCertificates",
      "caCrl",
      "credentialName",
      "credentialNames",
      "caCertCredentialName",
      "tlsCertificates",
      "subjectAltNames",
      "verifyCertificateSpki",
      "verifyCertificateHash",
      "minProtocolVersion",
      "maxProtocolVersion",
      "cipherSuites",
      "insecureSkipVerify",
    ],
  },
);

/** The schema of the spec. */
export const gatewaySchema: JsonSchema = fields({
  selector: mapOf(textSchema),
  servers: listOf(
    fields(
      {
        port: fields(
          { number: portSchema, name: textSchema, protocol: textSchema },
          { required: ["number", "name", "protocol"], notYet: ["targetPort"] },
        ),
        bind: textSchema,
        hosts: listOf(textSchema),
        tls: tlsSchema,
      },
      { required: ["port", "hosts"], notYet: ["defaultEndpoint", "name"] },
    ),
  ),
});
