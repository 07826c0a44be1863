/** What a lost connection or stream means to a router. Source: Envoy response flags and stream reset reasons. */
import type { CloseReason } from "../../net/channel.ts";
import type { StreamReset } from "../../net/http/stream.ts";
import type { UpstreamFailure } from "../types.ts";

/** A circuit breaker is open. */
export const OVERFLOW: UpstreamFailure = { kind: "overflow", flag: "UO", detail: "overflow", isStaleConnection: false };

const SYSTEM_TEXT: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Connection refused",
  EHOSTUNREACH: "No route to host",
  ENETUNREACH: "Network is unreachable",
  ETIMEDOUT: "Connection timed out",
  ECONNRESET: "Connection reset by peer",
  EACCES: "Permission denied",
  EPERM: "Operation not permitted",
  ENOENT: "No such file or directory",
};

/** The failure of a connection that never stood. */
export function connectFailure(reason: CloseReason & { readonly phase: "connect" | "tls" | "timeout" }): UpstreamFailure {
  switch (reason.phase) {
    case "timeout":
      return { kind: "connect-timeout", flag: "UF", detail: "connection timeout", isStaleConnection: false };
    case "tls":
      return { kind: "tls-failure", flag: "UF", detail: `TLS_error: ${reason.message}`, isStaleConnection: false };
    case "connect": {
      const text = (reason.code && SYSTEM_TEXT[reason.code]) ?? reason.message;
      return { kind: "connect-failure", flag: "UF", detail: `delayed connect error: ${text}`, isStaleConnection: false };
    }
  }
}

/** The failure of a stream that was open. `isStale`: its connection had served before and died without a byte of an answer. */
export function streamFailure(reset: StreamReset, isStale: boolean): UpstreamFailure {
  switch (reset.kind) {
    case "refused":
      return { kind: "refused", flag: "UR", detail: reset.detail, isStaleConnection: false };
    case "remote-reset":
      return { kind: "reset", flag: "UR", detail: reset.detail, isStaleConnection: false };
    case "connection-closed":
      return { kind: "reset", flag: "UC", detail: reset.detail, isStaleConnection: isStale };
    case "protocol-error":
      return { kind: "protocol-error", flag: "UPE", detail: reset.detail, isStaleConnection: false };
    case "local-reset":
      return { kind: "reset", flag: "LR", detail: reset.detail, isStaleConnection: false };
  }
}
