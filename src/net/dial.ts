/** Making and taking connections, as arguments: the product gives the system's sockets, the simulation a network in memory. */
import type { Address, Channel, CloseReason, Watermarks } from "./channel.ts";

/** Who waits for a connection. Exactly one of the two is called, never from inside `dial`. */
export interface DialHandler {
  /** The connection stands (TLS: handshake done and peer verified). Set `channel.handler` before returning. */
  onConnect(channel: Channel): void;
  /** `phase` tells where it failed: a refused connect may be tried elsewhere, a failed handshake too but says something else. */
  onFail(reason: CloseReason & { readonly phase: "connect" | "tls" | "timeout" }): void;
}

/** TLS of an outgoing connection. Made once a certificate version and used for all connections of a cluster. */
export interface ClientTls {
  /** An opaque handle of net/tls: trust, own certificate, versions, verification. */
  readonly context: unknown;
  readonly serverName: string | undefined;
  readonly alpn: readonly string[];
}

/** A connection to be made. */
export interface DialOptions {
  /** IP and port, or an absolute path and port 0 for a Unix socket. Names are resolved before. */
  readonly to: Address;
  /** Source address to bind to. */
  readonly from?: string | undefined;
  readonly tls?: ClientTls | undefined;
  /** SO_MARK, so that capture rules let the proxy's own connections through. */
  readonly mark?: number | undefined;
  /** For connect and handshake together. */
  readonly timeoutMs: number;
  readonly watermarks?: Watermarks | undefined;
}

/** Makes connections. */
export interface Dialer {
  dial(options: DialOptions, handler: DialHandler): { cancel(): void };
}

/** A listening socket. */
export interface ListenOptions {
  /** Address to bind; a path and port 0 for a Unix socket (made with mode 0600); or `fd` of an inherited, bound socket. */
  readonly at: Address;
  readonly fd?: number | undefined;
  readonly backlog?: number | undefined;
  /** Read SO_ORIGINAL_DST of each connection (capture by REDIRECT). */
  readonly originalDestination?: boolean | undefined;
  readonly transparent?: boolean | undefined;
  readonly watermarks?: Watermarks | undefined;
}

/**
 * A connection that was accepted and of which no byte has been read. Exactly one of its three methods takes it on; until then its
 * owner may peek.
 */
export interface Incoming {
  readonly local: Address;
  readonly remote: Address;
  /** Where the client meant to go before capture changed it; `local` where there was no capture. */
  readonly originalDestination: Address;
  /**
   * Calls back with the first bytes (at least `bytesMin`, unless the client ends or `timeoutMs` passes: then with what is there),
   * and leaves them to be read again. May be called several times with a growing `bytesMin`.
   */
  peek(options: { readonly bytesMin: number; readonly timeoutMs: number }, done: (bytes: Buffer, ended: boolean) => void): void;
  /** Takes it on as it is. */
  accept(): Channel;
  /** Does the server's side of a TLS handshake first; `context` is of net/tls. Refused peers go to onFail. */
  acceptTls(options: { readonly context: unknown; readonly timeoutMs: number }, handler: DialHandler): void;
  destroy(options?: { readonly reset?: boolean }): void;
}

/** A place that accepts connections. */
export interface ListeningSocket {
  readonly address: Address;
  /** Stops accepting; what was accepted lives on. */
  close(): void;
}

/** Opens listening sockets. */
export interface Acceptor {
  /** Rejects with a UserError that names address and cause (in use, not allowed). */
  listen(options: ListenOptions, onConnection: (incoming: Incoming) => void): Promise<ListeningSocket>;
}

/** Resolves names. Source: /etc/resolv.conf and /etc/hosts of the place where the proxy runs. */
export interface Resolver {
  /** IP addresses, IPv4 first, and for how long they hold. Rejects when the name cannot be resolved. */
  resolve(
    name: string,
    options: { readonly family: 4 | 6 | "any" },
  ): Promise<{ readonly addresses: readonly string[]; readonly ttlMs: number }>;
}

/** All that touches the network, in one argument. */
export interface Network {
  readonly dialer: Dialer;
  readonly acceptor: Acceptor;
  readonly resolver: Resolver;
}
