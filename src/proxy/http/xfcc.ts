/** x-forwarded-client-cert: who the peer of the connection is, for servers behind. Source: Envoy, x-forwarded-client-cert. */
import { HttpConnectionManager_ForwardClientCertDetails as Details } from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { TlsInfo } from "../../model/connection.ts";
import type { HeaderList } from "../../net/http/headers.ts";

/** The header. */
export const XFCC = "x-forwarded-client-cert";

/** Which members our own element has beside By and Hash. */
export interface XfccMembers {
  readonly subject: boolean;
  readonly cert: boolean;
  readonly dns: boolean;
  readonly uri: boolean;
}

/** Our element for a connection; undefined where the peer showed no certificate. Made once a connection. */
export function xfccElement(tls: TlsInfo | undefined, members: XfccMembers): string | undefined {
  const peer = tls?.peer;
  if (!peer) return undefined;
  const parts: string[] = [];
  for (const uri of tls.localUriSans ?? []) parts.push(`By=${quoted(uri)}`);
  parts.push(`Hash=${peer.sha256}`);
  if (members.cert && peer.der) parts.push(`Cert="${encodeURIComponent(pemOf(peer.der))}"`);
  if (members.subject) parts.push(`Subject="${peer.subject.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);
  if (members.uri) {
    if (peer.uriSans.length === 0) parts.push("URI=");
    for (const uri of peer.uriSans) parts.push(`URI=${quoted(uri)}`);
  }
  if (members.dns) for (const dns of peer.dnsSans) parts.push(`DNS=${quoted(dns)}`);
  return parts.join(";");
}

/** Changes the header as the listener wants it. What the client sent stays only where the listener says so. */
export function forwardXfcc(headers: HeaderList, how: Details, element: string | undefined): void {
  switch (how) {
    case Details.ALWAYS_FORWARD_ONLY:
      return;
    case Details.FORWARD_ONLY:
      // Only a client with a certificate may hand on who was before it.
      if (element === undefined) headers.remove(XFCC);
      return;
    case Details.APPEND_FORWARD: {
      if (element === undefined) headers.remove(XFCC);
      else {
        const before = headers.getJoined(XFCC);
        headers.set(XFCC, before ? `${before},${element}` : element);
      }
      return;
    }
    case Details.SANITIZE_SET:
      if (element === undefined) headers.remove(XFCC);
      else headers.set(XFCC, element);
      return;
    default:
      headers.remove(XFCC);
  }
}

/** A value that could end its member early is quoted: a certificate's name must not add members of its own. */
function quoted(value: string): string {
  return /[,;="]/.test(value) ? `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"` : value;
}

function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}
