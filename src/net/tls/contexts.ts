/**
 * TLS contexts over node:tls: one OpenSSL context for each version of a certificate, used by all its connections. A context
 * holds its sessions: a new certificate or trust bundle means a new context, and no session of the old one is resumed.
 */
import { constants, randomBytes, X509Certificate } from "node:crypto";
import type tls from "node:tls";
import { messageOf } from "../../base/errors.ts";
import { Lru } from "../../base/lru.ts";
import type { PeerCertificate } from "../channel.ts";
import { type ParsedCertificate, parseCertificate } from "./certificate.ts";
import { nodeTls } from "./node-tls.ts";
import type { ServerTlsOptions, TlsOptions } from "./types.ts";

/** X25519MLKEM768, Node's default, costs 14 % of a handshake and 23 KB a connection: only where it is asked for. */
const CURVES = ["X25519", "P-256"];
const TLS13_SUITES = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
/** Forward secrecy and AEAD alone: no static RSA, no CBC. */
const TLS12_SUITES = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
];

/** How long a session may be resumed. */
export const SESSION_LIFETIME_S = 3600;
/** Peers whose last session a client context keeps. */
export const SESSIONS_MAX = 1024;

/** What both kinds of context hold. `secureContext` has the key inside OpenSSL; nothing here keeps it. */
interface ContextParts {
  readonly secureContext: tls.SecureContext;
  readonly alpn: readonly string[];
  /** URI names of our own certificate. */
  readonly localUriSans: readonly string[] | undefined;
  /** The authorities' certificates; undefined: the peer is not verified. */
  readonly trustPem: string | undefined;
  readonly verifyPeer: ((peer: PeerCertificate) => string | undefined) | undefined;
}

/** A server's context: give it to `Incoming.acceptTls`. */
export interface ServerTls extends ContextParts {
  readonly kind: "server";
  readonly requireClientCertificate: boolean;
}

/** A client's context: give it to a dial as `tls.context`. */
export interface ClientTlsContext extends ContextParts {
  readonly kind: "client";
  readonly sessions: Lru<string, KnownSession>;
}

/** A session that may be resumed. */
export interface KnownSession {
  readonly session: Buffer;
  /** On the monotonic clock. */
  readonly untilMs: number;
  /** Whom the session was made with, verified then: OpenSSL gives a client no certificate of a resumed session. */
  readonly peer: ParsedCertificate | undefined;
}

/** Makes a server's context. Throws, naming what is wrong, when certificate, key, trust or an option makes none. */
export function createServerTls(options: ServerTlsOptions): ServerTls {
  if (!options.keyPair) throw new Error("a TLS server needs a certificate and its key");
  if (options.requireClientCertificate && options.trustPem === undefined) {
    throw new Error("client certificates are required but there is no trusted authority to verify them by");
  }
  return { kind: "server", ...contextParts(options), requireClientCertificate: options.requireClientCertificate };
}

/** Makes a client's context. Throws, naming what is wrong, when certificate, key, trust or an option makes none. */
export function createClientTls(options: TlsOptions): ClientTlsContext {
  return { kind: "client", ...contextParts(options), sessions: new Lru(SESSIONS_MAX) };
}

/** The context behind an opaque handle of dial.ts. Throws for anything that was not made here. */
export function asServerTls(context: unknown): ServerTls {
  if (isContext(context) && context.kind === "server") return context;
  throw new Error("this is no server's TLS context");
}

/** The context behind an opaque handle of dial.ts. Throws for anything that was not made here. */
export function asClientTls(context: unknown): ClientTlsContext {
  if (isContext(context) && context.kind === "client") return context;
  throw new Error("this is no client's TLS context");
}

const made = new WeakSet<tls.SecureContext>();

function isContext(context: unknown): context is ServerTls | ClientTlsContext {
  if (typeof context !== "object" || context === null || !("secureContext" in context)) return false;
  const { secureContext } = context;
  return typeof secureContext === "object" && secureContext !== null && made.has(secureContext as tls.SecureContext);
}

function contextParts(options: TlsOptions): ContextParts {
  if (options.verifyPeer && options.trustPem === undefined)
    throw new Error("names of a peer can be checked only where its chain is: there is no trusted authority");
  if (options.trustPem !== undefined && !options.trustPem.includes("-----BEGIN CERTIFICATE-----"))
    throw new Error("the trust bundle holds no certificate");
  let secureContext: tls.SecureContext;
  try {
    secureContext = nodeTls().createSecureContext({
      // Without a list Node would parse and trust the public web's authorities: a mesh never means those.
      ca: options.trustPem ?? [],
      allowPartialTrustChain: true, // An intermediate in the bundle is an anchor, as Envoy has it.
      cert: options.keyPair?.chainPem,
      key: options.keyPair?.keyPem,
      minVersion: options.minVersion ?? "TLSv1.2",
      maxVersion: options.maxVersion ?? "TLSv1.3",
      ciphers: [...TLS13_SUITES, ...tls12Suites(options.ciphers)].join(":"),
      ecdhCurve: (options.ecdhCurves?.length ? options.ecdhCurves : CURVES).join(":"),
      honorCipherOrder: true,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | constants.SSL_OP_NO_COMPRESSION,
      // Sessions are bound to this context: without it OpenSSL refuses to resume where client certificates are asked for.
      sessionIdContext: randomBytes(16).toString("hex"),
      sessionTimeout: SESSION_LIFETIME_S,
    });
  } catch (error) {
    // OpenSSL's texts name the fault ("key values mismatch") and never the key.
    throw new Error(`certificate, key, trust and options make no TLS context: ${messageOf(error)}`);
  }
  made.add(secureContext);
  const localUriSans = options.keyPair && uriSansOf(options.keyPair.chainPem);
  return { secureContext, alpn: options.alpn, localUriSans, trustPem: options.trustPem, verifyPeer: options.verifyPeer };
}

/** Undefined for a certificate of our own that OpenSSL takes and that we cannot read: nothing is claimed then. */
function uriSansOf(chainPem: string): readonly string[] | undefined {
  try {
    return parseCertificate(new X509Certificate(chainPem).raw).uriSans;
  } catch {
    return undefined;
  }
}

/** OpenSSL skips suites that it does not know; here each must be known. Source: Envoy TlsParameters.cipher_suites. */
function tls12Suites(asked: readonly string[] | undefined): readonly string[] {
  if (!asked?.length) return TLS12_SUITES;
  const known = new Set(nodeTls().getCiphers());
  // "[A|B]" is a group of equal preference; OpenSSL knows no such groups, so they stand one after another.
  const names = asked.flatMap((name) => name.replace(/^\[(.*)\]$/, "$1").split("|"));
  for (const name of names) if (!known.has(name.toLowerCase())) throw new Error(`cipher suite "${name}" is not known`);
  return names.filter((name) => !name.startsWith("TLS_"));
}
