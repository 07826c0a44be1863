/** The authenticated port: TLS with a certificate of the mesh's own authority, renewed at half its life. */
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Address, Channel } from "../net/channel.ts";
import type { Acceptor } from "../net/dial.ts";
import { createServerTls, type ServerTls } from "../net/tls/contexts.ts";
import type { Authority } from "./ca/authority.ts";

/** What the port is made of. */
export interface SecurePortOptions {
  readonly at: Address;
  readonly acceptor: Acceptor;
  readonly authority: Authority;
  readonly serverNames: readonly string[];
  /** Takes a connection whose handshake is done and on which HTTP/2 is agreed. */
  readonly serve: (channel: Channel) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** An open port. */
export interface SecurePort {
  readonly address: Address;
  close(): void;
}

const HANDSHAKE_TIMEOUT_MS = 10_000;
const RETRY_MS = 60_000;

/** Opens it. Clients need show no certificate (a token may prove them); one that is shown must be of the mesh. */
export async function openSecurePort(options: SecurePortOptions): Promise<SecurePort> {
  const { clock, log, authority } = options;
  let timer: Timer | undefined;
  let isClosed = false;
  let context = await renew();

  async function renew(): Promise<ServerTls> {
    const { keyPem, chainPem, notAfterMs } = await authority.issueServer(options.serverNames);
    const made = createServerTls({
      keyPair: { chainPem, keyPem },
      trustPem: authority.rootPem,
      alpn: ["h2"],
      requireClientCertificate: false,
    });
    keyPem.fill(0);
    schedule((notAfterMs - clock.nowMs()) / 2);
    return made;
  }

  function schedule(delayMs: number): void {
    if (isClosed) return;
    timer = clock.after(Math.max(RETRY_MS, delayMs), () => {
      renew().then(
        (made) => {
          context = made;
          log.info("the secure port's certificate was renewed");
        },
        (error: unknown) => {
          log.error("the secure port's certificate could not be renewed", { why: messageOf(error) });
          schedule(RETRY_MS);
        },
      );
    });
  }

  const close = (): void => {
    isClosed = true;
    timer?.cancel();
  };
  try {
    const listening = await options.acceptor.listen({ at: options.at }, (incoming) => {
      const peer = incoming.remote.host;
      incoming.acceptTls(
        { context, timeoutMs: HANDSHAKE_TIMEOUT_MS },
        {
          onConnect(channel) {
            if (channel.tls?.alpn === "h2") options.serve(channel);
            else refuse(channel);
          },
          onFail: (reason) => log.debug("a handshake on the secure port failed", { peer, why: reason.message }),
        },
      );
    });
    return {
      address: listening.address,
      close() {
        close();
        listening.close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

function refuse(channel: Channel): void {
  channel.handler = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };
  channel.destroy();
}
