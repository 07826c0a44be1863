/** Why a handshake failed, in the words that Envoy's users know from access logs. */
import type { CloseReason } from "../channel.ts";

/** BoringSSL's numbers of the reasons that are met most. Source: BoringSSL include/openssl/ssl.h; library 16 in the top byte. */
const SSL_REASONS: Readonly<Record<string, number>> = {
  CERTIFICATE_VERIFY_FAILED: 125,
  HTTP_REQUEST: 156,
  NO_SHARED_CIPHER: 184,
  PEER_DID_NOT_RETURN_A_CERTIFICATE: 192,
  UNSUPPORTED_PROTOCOL: 240,
  WRONG_VERSION_NUMBER: 247,
  NO_APPLICATION_PROTOCOL: 276,
  SSLV3_ALERT_HANDSHAKE_FAILURE: 1040,
  SSLV3_ALERT_BAD_CERTIFICATE: 1042,
  SSLV3_ALERT_CERTIFICATE_EXPIRED: 1045,
  SSLV3_ALERT_CERTIFICATE_UNKNOWN: 1046,
  TLSV1_ALERT_UNKNOWN_CA: 1048,
  TLSV1_ALERT_PROTOCOL_VERSION: 1070,
  TLSV1_CERTIFICATE_REQUIRED: 1116,
};
const SSL_LIBRARY = 16 * 2 ** 24;

/** The transport failure reason of a TLS error: `TLS_error:|268435581:SSL routines:OPENSSL_internal:REASON[:details]:TLS_error_end`. */
export function tlsErrorText(reason: string, details?: string): string {
  const number = SSL_REASONS[reason];
  const prefix = number === undefined ? "" : `${SSL_LIBRARY + number}:`;
  return `TLS_error:|${prefix}SSL routines:OPENSSL_internal:${reason}${details ? `:${details}` : ""}:TLS_error_end`;
}

/** A peer whose certificate was refused. `code` is OpenSSL's name of the fault, or ours. */
export function verifyFailure(code: string, details: string): CloseReason {
  return { code, message: tlsErrorText("CERTIFICATE_VERIFY_FAILED", `verify cert failed: ${details}`) };
}

/** The reason of an error that a TLS socket gave. Nothing of keys is ever in it: OpenSSL's reasons are fixed texts. */
export function failureOf(error: Error & { readonly code?: unknown; readonly reason?: unknown }): CloseReason {
  const code = typeof error.code === "string" ? error.code : undefined;
  // OpenSSL 3 names alerts otherwise than BoringSSL in a few places.
  const reason =
    typeof error.reason === "string" ? error.reason.toUpperCase().replaceAll(" ", "_").replace("TLSV13_ALERT_", "TLSV1_") : undefined;
  if (!code?.startsWith("ERR_SSL_") && !reason) return { code, message: error.message };
  return { code, message: tlsErrorText(reason ?? (code ?? "").slice("ERR_SSL_".length)) };
}
