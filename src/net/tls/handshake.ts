/**
 * Handshakes over a socket that stands, either side. A TLSSocket made by hand is used, since tls.connect builds the peer's whole
 * chain as JavaScript objects for each connection; but such a socket lets any certificate through, so the chain, the validity and
 * the names are judged here, before a byte of the application is given to anybody. Source: RFC 8446; Node's lib/internal/tls/wrap.js.
 */
import { isIP } from "node:net";
import type { Duplex } from "node:stream";
import type tls from "node:tls";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { CloseReason, PeerCertificate, TlsInfo } from "../channel.ts";
import { type ParsedCertificate, parseCertificate } from "./certificate.ts";
import { verifyChainAt } from "./chain.ts";
import { type ClientTlsContext, SESSION_LIFETIME_S, type ServerTls } from "./contexts.ts";
import { failureOf, verifyFailure } from "./failure.ts";
import { nodeTls } from "./node-tls.ts";

/** Who waits for a handshake. Exactly one of the two is called, never from inside the start. */
export interface HandshakeHandler {
  /** The peer is verified; nothing was read of the application's bytes. Take the socket over before returning. */
  onSecure(socket: tls.TLSSocket, info: TlsInfo): void;
  /** The socket is destroyed. */
  onFail(reason: CloseReason): void;
}

/** What judges a peer beside the context. */
export interface HandshakeTime {
  readonly clock: Clock;
  /** For simulations: validity is judged by `clock` alone and not by the machine's time as well; nothing is resumed. */
  readonly isSimulated?: boolean | undefined;
}

/** Does the client's side over a connected socket. `peerKey` tells peers apart whose sessions are not each other's ("ip:port"). */
export function startClientHandshake(
  options: {
    readonly socket: Duplex;
    readonly context: ClientTlsContext;
    readonly serverName: string | undefined;
    readonly alpn: readonly string[];
    readonly peerKey: string;
    readonly time: HandshakeTime;
  },
  handler: HandshakeHandler,
): { cancel(): void } {
  const { context, serverName, time } = options;
  const sessionKey = `${serverName ?? ""}|${options.peerKey}|${options.alpn.join(",")}`;
  const known = time.isSimulated ? undefined : context.sessions.get(sessionKey);
  const socket = new (nodeTls().TLSSocket)(options.socket, {
    isServer: false,
    secureContext: context.secureContext,
    requestCert: true,
    ALPNProtocols: options.alpn.length > 0 ? [...options.alpn] : undefined,
    session: known && known.untilMs > time.clock.monotonicMs() ? known.session : undefined,
  });
  const internals = internalsOf(socket);
  // An address is no server name. Source: RFC 6066 section 3.
  if (serverName !== undefined && isIP(serverName) === 0) internals.setServername(serverName);
  const keep = time.isSimulated ? undefined : keepSessions(internals, context, sessionKey, time.clock);
  const handshake = watch(socket, {
    ...handler,
    judge: () => judgePeer(socket, internals, context, time, known?.peer),
    onJudged: (certificate) => keep?.verified(certificate),
    onSecure(secure, info) {
      // A TLS client knows what it asked for; Node tells it to servers only.
      handler.onSecure(secure, { ...info, serverName, localUriSans: context.localUriSans });
    },
    onRefused: () => context.sessions.delete(sessionKey),
  });
  internals._start();
  return handshake;
}

/** Does the server's side. `clientAlpn` is what the client offers (from its ClientHello), undefined where that is not known. */
export function startServerHandshake(
  options: {
    readonly socket: Duplex;
    readonly context: ServerTls;
    readonly clientAlpn: readonly string[] | undefined;
    readonly time: HandshakeTime;
  },
  handler: HandshakeHandler,
): { cancel(): void } {
  const { context, clientAlpn } = options;
  // Nothing in common means going on without ALPN, as Envoy does; Node would end the handshake with an alert.
  const isShared = clientAlpn === undefined || clientAlpn.some((protocol) => context.alpn.includes(protocol));
  const verifies = context.trustPem !== undefined;
  const socket = new (nodeTls().TLSSocket)(options.socket, {
    isServer: true,
    secureContext: context.secureContext,
    requestCert: verifies,
    // Carried out by OpenSSL for a missing certificate only (the client then gets an alert); all others are judged below.
    rejectUnauthorized: verifies && context.requireClientCertificate,
    ALPNProtocols: isShared && context.alpn.length > 0 ? [...context.alpn] : undefined,
  });
  const internals = internalsOf(socket);
  return watch(socket, {
    ...handler,
    judge: () => judgePeer(socket, internals, context, options.time, undefined),
    onSecure: (secure, info) => handler.onSecure(secure, { ...info, localUriSans: context.localUriSans }),
    onJudged() {},
    onRefused() {},
  });
}

/** Methods of a TLSSocket that Node does not document; their absence fails each handshake, never lets one through. */
interface TlsInternals {
  _start(): void;
  _releaseControl(): void;
  setServername(name: string): void;
  readonly _handle:
    | {
        verifyError(): (Error & { readonly code?: string }) | null;
        enableSessionCallbacks?(): void;
        onnewsession?: (id: Buffer, session: Buffer) => void;
      }
    | null
    | undefined;
}

function internalsOf(socket: tls.TLSSocket): TlsInternals {
  const internals = socket as unknown as TlsInternals;
  // Until then Node swallows the socket's errors, waiting for a tls.Server to have them.
  internals._releaseControl();
  socket.disableRenegotiation();
  return internals;
}

function watch(
  socket: tls.TLSSocket,
  options: HandshakeHandler & { judge(): Verdict; onJudged(certificate: ParsedCertificate | undefined): void; onRefused(): void },
): { cancel(): void } {
  let isDone = false;
  const fail = (reason: CloseReason): void => {
    if (isDone) return;
    isDone = true;
    socket.destroy();
    options.onRefused();
    options.onFail(reason);
  };
  const onError = (error: Error): void => fail(failureOf(error));
  const onGone = (): void => fail({ code: "ECONNRESET", message: "the peer closed the connection during the TLS handshake" });
  socket.on("error", onError); // Stays, so that the socket always has a listener.
  socket.once("end", onGone);
  socket.once("close", onGone);
  socket.once("secure", () => {
    if (isDone) return;
    const verdict = options.judge();
    if (verdict.refused) {
      fail(verdict.refused);
      return;
    }
    isDone = true;
    socket.removeListener("end", onGone);
    socket.removeListener("close", onGone);
    options.onJudged(verdict.certificate);
    options.onSecure(socket, {
      protocol: socket.getProtocol() ?? "",
      alpn: socket.alpnProtocol || undefined,
      serverName: typeof socket.servername === "string" ? socket.servername.toLowerCase() : undefined,
      peer: verdict.certificate && peerOf(verdict.certificate),
    });
  });
  return {
    cancel() {
      isDone = true;
      socket.destroy();
    },
  };
}

const NO_BYTES = new Uint8Array(0);

interface Verdict {
  readonly refused?: CloseReason | undefined;
  readonly certificate?: ParsedCertificate | undefined;
}

function peerOf({ notBeforeMs: _, ...peer }: ParsedCertificate): PeerCertificate {
  return peer;
}

/**
 * Judges the peer, also of a resumed session, since time and policy may have changed: a server finds the certificate in the
 * session, a client takes `resumed`, which it kept with the session.
 */
function judgePeer(
  socket: tls.TLSSocket,
  internals: TlsInternals,
  context: ServerTls | ClientTlsContext,
  time: HandshakeTime,
  resumed: ParsedCertificate | undefined,
): Verdict {
  if (context.trustPem === undefined) return {};
  const shown = socket.getPeerX509Certificate();
  const kept = !shown && socket.isSessionReused() ? resumed : undefined;
  // Asked for by its presence: OpenSSL calls a resumed session without a certificate verified.
  if (!shown && !kept) {
    const isNeeded = context.kind === "client" || context.requireClientCertificate;
    return isNeeded ? { refused: verifyFailure("PEER_DID_NOT_RETURN_A_CERTIFICATE", "peer did not return a certificate") } : {};
  }
  const handle = internals._handle;
  if (typeof handle?.verifyError !== "function")
    return { refused: verifyFailure("UNVERIFIABLE", "this Node does not tell the result of the verification") };
  const error = handle.verifyError();
  const nowMs = time.clock.nowMs();
  if (error) {
    const isTime = error.code === "CERT_HAS_EXPIRED" || error.code === "CERT_NOT_YET_VALID";
    const purpose = context.kind === "client" ? "server" : "client";
    const fault =
      isTime && time.isSimulated && shown ? verifyChainAt(shown, { trustPem: context.trustPem, nowMs, purpose }) : error.message;
    if (fault !== undefined) return { refused: verifyFailure(error.code ?? "UNSPECIFIED", fault) };
  }
  try {
    const certificate = kept ?? parseCertificate(shown ? shown.raw : NO_BYTES);
    if (nowMs < certificate.notBeforeMs) return { refused: verifyFailure("CERT_NOT_YET_VALID", "certificate is not yet valid") };
    if (nowMs > certificate.notAfterMs) return { refused: verifyFailure("CERT_HAS_EXPIRED", "certificate has expired") };
    const objection = context.verifyPeer?.(peerOf(certificate));
    if (objection !== undefined) return { refused: verifyFailure("PEER_REFUSED", objection) };
    return { certificate };
  } catch (error) {
    // A peer's odd certificate, or a check that threw over it: either way it does not come in.
    return { refused: verifyFailure("CERT_MALFORMED", messageOf(error)) };
  }
}

/**
 * Keeps the peer's sessions for the next connection. Node gives the "session" event to tls.connect's sockets alone, so the
 * native callback is set. A session that comes before the peer is verified (TLS 1.2) waits.
 */
function keepSessions(
  internals: TlsInternals,
  context: ClientTlsContext,
  key: string,
  clock: Clock,
): { verified(peer: ParsedCertificate | undefined): void } | undefined {
  const handle = internals._handle;
  if (typeof handle?.enableSessionCallbacks !== "function") return undefined;
  let verified: { readonly peer: ParsedCertificate | undefined } | undefined;
  let early: Buffer | undefined;
  const keep = (session: Buffer, peer: ParsedCertificate | undefined): void =>
    context.sessions.set(key, { session, untilMs: clock.monotonicMs() + SESSION_LIFETIME_S * 1000, peer });
  handle.onnewsession = (_id, session) => {
    if (verified) keep(session, verified.peer);
    else early = session;
  };
  handle.enableSessionCallbacks();
  return {
    verified(peer) {
      verified = { peer };
      if (early) keep(early, peer);
    },
  };
}
