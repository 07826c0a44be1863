/**
 * Envoy's TLS contexts as plain config: which secrets, which peers. What would weaken verification if it were ignored is refused.
 * Source: envoy.extensions.transport_sockets.tls.v3.
 */

import type { TransportSocket } from "../../gen/envoy/config/core/v3/base_pb.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import { RawBufferSchema } from "../../gen/envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer_pb.ts";
import {
  type CertificateValidationContext,
  CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType as SanType,
  type SubjectAltNameMatcher,
  type TlsCertificate,
  TlsCertificateSchema,
  TlsParameters_TlsProtocol as TlsProtocol,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/common_pb.ts";
import type { SdsSecretConfig } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import {
  type CommonTlsContext,
  CommonTlsContextSchema,
  DownstreamTlsContextSchema,
  UpstreamTlsContextSchema,
} from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.ts";
import type { PeerCertificate } from "../../net/channel.ts";
import type { KeyPair } from "../../net/tls/types.ts";
import { compileStringMatch } from "../../policy/string-match.ts";
import { ConfigRefused, type DataSourceReader, readDataSource } from "./address.ts";
import { unpackAny } from "./any.ts";
import { unsupportedFields } from "./fields.ts";

/** A secret that is to be fetched, or one that stands in the config. */
export type SecretRef<Value> =
  | { readonly kind: "sds"; readonly name: string; readonly source: ConfigSource | undefined }
  | { readonly kind: "static"; readonly value: Value };

/** What both sides have. */
export interface TlsConfig {
  readonly certificate: SecretRef<KeyPair> | undefined;
  readonly trust: SecretRef<string> | undefined;
  /** Undefined lets any peer in whose chain is good. */
  readonly verifyPeer: ((peer: PeerCertificate) => string | undefined) | undefined;
  readonly alpn: readonly string[];
  readonly minVersion: "TLSv1.2" | "TLSv1.3" | undefined;
  readonly maxVersion: "TLSv1.2" | "TLSv1.3" | undefined;
  readonly ciphers: readonly string[];
  readonly ecdhCurves: readonly string[];
}

/** A client's. */
export interface UpstreamTlsConfig extends TlsConfig {
  readonly serverName: string | undefined;
  /** 0: no session is resumed. */
  readonly sessionsMax: number | undefined;
}

/** A server's. */
export interface DownstreamTlsConfig extends TlsConfig {
  readonly requireClientCertificate: boolean;
  readonly requireServerName: boolean;
}

/** Reads an upstream's transport socket: undefined is plaintext. Throws ConfigRefused. `warn` hears of fields that do nothing here. */
export function readUpstreamSocket(
  socket: TransportSocket | undefined,
  reader: DataSourceReader,
  warn: (field: string) => void,
): UpstreamTlsConfig | undefined {
  if (isRawBuffer(socket)) return undefined;
  const context = unpackAny(socket?.configType.value, UpstreamTlsContextSchema);
  if (!context) throw new ConfigRefused(describeSocket(socket));
  for (const field of unsupportedFields(UpstreamTlsContextSchema, context, UPSTREAM)) warn(`transport_socket.${field}`);
  return {
    ...readCommon(context.commonTlsContext, reader, warn),
    serverName: context.sni || undefined,
    sessionsMax: context.maxSessionKeys,
  };
}

/** Reads a filter chain's transport socket: undefined is plaintext. Throws ConfigRefused. */
export function readDownstreamSocket(
  socket: TransportSocket | undefined,
  reader: DataSourceReader,
  warn: (field: string) => void,
): DownstreamTlsConfig | undefined {
  if (isRawBuffer(socket)) return undefined;
  const context = unpackAny(socket?.configType.value, DownstreamTlsContextSchema);
  if (!context) throw new ConfigRefused(describeSocket(socket));
  for (const field of unsupportedFields(DownstreamTlsContextSchema, context, DOWNSTREAM)) warn(`transport_socket.${field}`);
  const common = readCommon(context.commonTlsContext, reader, warn);
  if (!common.certificate)
    throw new ConfigRefused("transport_socket: a server needs tls_certificates or tls_certificate_sds_secret_configs");
  const requireClientCertificate = context.requireClientCertificate ?? false;
  if (requireClientCertificate && !common.trust)
    throw new ConfigRefused("transport_socket: require_client_certificate needs a trusted_ca: any certificate would pass");
  return { ...common, requireClientCertificate, requireServerName: context.requireSni ?? false };
}

/** The key pair of a TlsCertificate message. Throws ConfigRefused. */
export function readKeyPair(certificate: TlsCertificate, reader: DataSourceReader, warn: (field: string) => void): KeyPair {
  const refused = unsupportedFields(TlsCertificateSchema, certificate, new Set(["certificateChain", "privateKey", "watchedDirectory"]));
  if (refused.length > 0) throw new ConfigRefused(`tls_certificate: ${refused.join(", ")} not supported`);
  if (certificate.watchedDirectory) warn("tls_certificate.watched_directory");
  const chain = readDataSource(certificate.certificateChain, reader);
  const key = readDataSource(certificate.privateKey, reader);
  if (!chain?.length || !key?.length) throw new ConfigRefused("tls_certificate: certificate_chain and private_key are both needed");
  return { chainPem: chain.toString("latin1"), keyPem: key };
}

/** The trust bundle of a validation context; undefined when it names none. Throws ConfigRefused. */
export function readTrust(
  context: CertificateValidationContext,
  reader: DataSourceReader,
  warn: (field: string) => void,
): string | undefined {
  const refused = unsupportedFields(CertificateValidationContextSchema, context, VALIDATION);
  if (refused.length > 0)
    throw new ConfigRefused(`validation_context: ${refused.join(", ")} not supported, and peers may not pass unchecked`);
  if (context.trustChainVerification !== 0)
    throw new ConfigRefused("validation_context: trust_chain_verification ACCEPT_UNTRUSTED is not supported");
  if (context.watchedDirectory) warn("validation_context.watched_directory");
  return readDataSource(context.trustedCa, reader)?.toString("latin1");
}

const UPSTREAM: ReadonlySet<string> = new Set(["commonTlsContext", "sni", "maxSessionKeys", "enforceRsaKeyUsage"]);
const DOWNSTREAM: ReadonlySet<string> = new Set([
  "commonTlsContext",
  "requireClientCertificate",
  "requireSni",
  "fullScanCertsOnSniMismatch",
  "ocspStaplePolicy",
]);
const VALIDATION: ReadonlySet<string> = new Set([
  "trustedCa",
  "watchedDirectory",
  "matchTypedSubjectAltNames",
  "matchSubjectAltNames",
  "trustChainVerification",
]);
const COMMON: ReadonlySet<string> = new Set([
  "tlsParams",
  "tlsCertificates",
  "tlsCertificateSdsSecretConfigs",
  "validationContext",
  "validationContextSdsSecretConfig",
  "combinedValidationContext",
  "alpnProtocols",
]);

function isRawBuffer(socket: TransportSocket | undefined): boolean {
  if (!socket) return true;
  const any = socket.configType.value;
  return any ? any.typeUrl === `type.googleapis.com/${RawBufferSchema.typeName}` : socket.name === "envoy.transport_sockets.raw_buffer";
}

function describeSocket(socket: TransportSocket | undefined): string {
  return `transport_socket "${socket?.name}" (${socket?.configType.value?.typeUrl ?? "without config"}) is not supported here`;
}

function readCommon(common: CommonTlsContext | undefined, reader: DataSourceReader, warn: (field: string) => void): TlsConfig {
  if (!common)
    return {
      certificate: undefined,
      trust: undefined,
      verifyPeer: undefined,
      alpn: [],
      minVersion: undefined,
      maxVersion: undefined,
      ciphers: [],
      ecdhCurves: [],
    };
  const refused = unsupportedFields(CommonTlsContextSchema, common, COMMON);
  if (refused.length > 0) throw new ConfigRefused(`common_tls_context: ${refused.join(", ")} not supported`);
  const { trust, validation } = readValidation(common, reader, warn);
  const verifyPeer = compilePeerNames(validation);
  if (verifyPeer && !trust) throw new ConfigRefused("validation_context: names of a peer without trusted_ca check nothing");
  const params = common.tlsParams;
  return {
    certificate: readCertificate(common, reader, warn),
    trust,
    verifyPeer,
    alpn: common.alpnProtocols,
    minVersion: readVersion(params?.tlsMinimumProtocolVersion),
    maxVersion: readVersion(params?.tlsMaximumProtocolVersion),
    ciphers: params?.cipherSuites ?? [],
    ecdhCurves: params?.ecdhCurves ?? [],
  };
}

function readCertificate(
  common: CommonTlsContext,
  reader: DataSourceReader,
  warn: (field: string) => void,
): SecretRef<KeyPair> | undefined {
  const [fixed, ...more] = common.tlsCertificates;
  const [sds, ...moreSds] = common.tlsCertificateSdsSecretConfigs;
  if (more.length > 0 || moreSds.length > 0) throw new ConfigRefused("common_tls_context: more than one certificate is not supported");
  if (sds) return sdsRef(sds);
  return fixed && { kind: "static", value: readKeyPair(fixed, reader, warn) };
}

function readValidation(
  common: CommonTlsContext,
  reader: DataSourceReader,
  warn: (field: string) => void,
): { trust: SecretRef<string> | undefined; validation: CertificateValidationContext | undefined } {
  const type = common.validationContextType;
  switch (type.case) {
    case undefined:
      return { trust: undefined, validation: undefined };
    case "validationContext": {
      const pem = readTrust(type.value, reader, warn);
      return { trust: pem === undefined ? undefined : { kind: "static", value: pem }, validation: type.value };
    }
    case "validationContextSdsSecretConfig":
      return { trust: sdsRef(type.value), validation: undefined };
    case "combinedValidationContext": {
      const { defaultValidationContext: validation, validationContextSdsSecretConfig: sds } = type.value;
      if (!sds) throw new ConfigRefused("combined_validation_context: validation_context_sds_secret_config is needed");
      if (validation) readTrust(validation, reader, warn);
      return { trust: sdsRef(sds), validation };
    }
    default:
      throw new ConfigRefused(`common_tls_context: ${type.case} is not supported`);
  }
}

function sdsRef(config: SdsSecretConfig): { readonly kind: "sds"; readonly name: string; readonly source: ConfigSource | undefined } {
  if (config.name === "") throw new ConfigRefused("an SDS secret needs a name");
  return { kind: "sds", name: config.name, source: config.sdsConfig };
}

/** TLS 1.0 and 1.1 are not spoken: a lower minimum means 1.2. */
function readVersion(version: TlsProtocol | undefined): "TLSv1.2" | "TLSv1.3" | undefined {
  switch (version) {
    case undefined:
    case TlsProtocol.TLS_AUTO:
      return undefined;
    case TlsProtocol.TLSv1_3:
      return "TLSv1.3";
    default:
      return "TLSv1.2";
  }
}

/** One of the names must match. Source: CertificateValidationContext.match_typed_subject_alt_names. */
function compilePeerNames(context: CertificateValidationContext | undefined): ((peer: PeerCertificate) => string | undefined) | undefined {
  if (!context) return undefined;
  const matchers = [
    ...context.matchTypedSubjectAltNames.map(compileTyped),
    ...context.matchSubjectAltNames.map((matcher) => {
      const matches = compileStringMatch(matcher);
      return (peer: PeerCertificate): boolean => peer.uriSans.some(matches) || peer.dnsSans.some(matches);
    }),
  ];
  if (matchers.length === 0) return undefined;
  return (peer) =>
    matchers.some((matches) => matches(peer))
      ? undefined
      : `none of the peer's names (${[...peer.uriSans, ...peer.dnsSans].join(", ") || "it has none"}) is one that is let in`;
}

function compileTyped({ sanType, matcher }: SubjectAltNameMatcher): (peer: PeerCertificate) => boolean {
  const matches = compileStringMatch(matcher);
  switch (sanType) {
    case SanType.URI:
      return (peer) => peer.uriSans.some(matches);
    case SanType.DNS: {
      const pattern = matcher?.matchPattern;
      if (pattern?.case !== "exact") return (peer) => peer.dnsSans.some(matches);
      const wanted = pattern.value.toLowerCase();
      return (peer) => peer.dnsSans.some((name) => isDnsMatch(name.toLowerCase(), wanted));
    }
    case SanType.IP_ADDRESS:
      return (peer) => peer.ipSans?.some(matches) ?? false;
    default:
      throw new ConfigRefused(`match_typed_subject_alt_names: san_type ${sanType} is not supported: URI, DNS and IP_ADDRESS are`);
  }
}

/** "*" in a certificate stands for one whole first label. Source: RFC 9525 section 6.3. */
function isDnsMatch(presented: string, wanted: string): boolean {
  if (presented === wanted) return true;
  if (!presented.startsWith("*.")) return false;
  const dot = wanted.indexOf(".");
  return dot > 0 && wanted.slice(dot) === presented.slice(1) && presented.indexOf(".", 2) > 0;
}
