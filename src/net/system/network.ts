/** The product's network: the system's sockets and names in one argument. */
import type { Clock } from "../../base/clock.ts";
import type { Address } from "../channel.ts";
import type { Network } from "../dial.ts";
import { createSystemAcceptor } from "./acceptor.ts";
import { createSystemDialer } from "./dialer.ts";
import { createSystemResolver } from "./resolver.ts";

/** What may be set. */
export interface SystemNetworkOptions {
  readonly clock: Clock;
  /** Idle time before TCP keep-alive probes (then ten, a second apart). Default 5 s: a silent peer is found out in 15 s. */
  readonly keepAliveMs?: number | undefined;
  /** Connections of one listener that are accepted and not taken yet (peeking, handshakes). Default 4096; more are reset. */
  readonly waitingMax?: number | undefined;
  /** Told of each connection that was reset for `waitingMax`. */
  readonly onShed?: ((address: Address) => void) | undefined;
  /** Default /etc/resolv.conf. */
  readonly resolvConfPath?: string | undefined;
  /** Default /etc/hosts. */
  readonly hostsPath?: string | undefined;
}

/** Makes the system's network. Opens nothing until it is used. */
export function createSystemNetwork(options: SystemNetworkOptions): Network {
  const { clock, keepAliveMs = 5000, waitingMax = 4096, onShed = () => {} } = options;
  return {
    dialer: createSystemDialer({ clock, keepAliveMs }),
    acceptor: createSystemAcceptor({ clock, waitingMax, keepAliveMs, onShed }),
    resolver: createSystemResolver({ clock, resolvConfPath: options.resolvConfPath, hostsPath: options.hostsPath }),
  };
}
