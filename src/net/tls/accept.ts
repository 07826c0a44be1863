/** The server's side of a handshake for a connection that may be peeked at: the same over the system's sockets and in memory. */
import type { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { codeOf, messageOf } from "../../base/errors.ts";
import type { CloseReason, TlsInfo } from "../channel.ts";
import type { Incoming } from "../dial.ts";
import { peekClientHello } from "./client-hello.ts";
import { asServerTls } from "./contexts.ts";
import { type HandshakeTime, startServerHandshake } from "./handshake.ts";

/** Who waits. Exactly one of the two is called, never from inside the start, unless it is cancelled. */
export interface AcceptTlsHandler {
  onSecure(socket: TLSSocket, info: TlsInfo): void;
  /** The connection is to be destroyed. */
  onFail(reason: CloseReason & { readonly phase: "tls" | "timeout" }): void;
}

/** Looks at the ClientHello where that matters, then shakes hands over what `open` gives. */
export function startAcceptTls(
  options: {
    readonly incoming: Pick<Incoming, "peek" | "remote">;
    readonly context: unknown;
    readonly timeoutMs: number;
    readonly time: HandshakeTime;
    /** The connection's socket with the peeked bytes still in it; undefined when it is gone. */
    readonly open: () => Duplex | undefined;
  },
  handler: AcceptTlsHandler,
): { cancel(): void } {
  const { incoming, timeoutMs, time, open } = options;
  const context = asServerTls(options.context);
  let handshake: { cancel(): void } | undefined;
  let isDone = false;
  const finish = (): void => {
    isDone = true;
    timer.cancel();
  };
  const fail = (phase: "tls" | "timeout", reason: CloseReason): void => {
    if (isDone) return;
    finish();
    handshake?.cancel();
    handler.onFail({ ...reason, phase });
  };
  const timer = time.clock.after(timeoutMs, () =>
    fail("timeout", { code: "ETIMEDOUT", message: `the TLS handshake with ${incoming.remote.host} took longer than ${timeoutMs} ms` }),
  );
  const start = (clientAlpn: readonly string[] | undefined): void => {
    if (isDone) return;
    const socket = open();
    if (!socket) {
      fail("tls", { code: "ECONNRESET", message: "the peer closed the connection during the TLS handshake" });
      return;
    }
    try {
      handshake = startServerHandshake(
        { socket, context, clientAlpn, time },
        {
          onSecure(secure, info) {
            if (isDone) return;
            finish();
            handler.onSecure(secure, info);
          },
          onFail: (reason) => fail("tls", reason),
        },
      );
    } catch (error) {
      fail("tls", { code: codeOf(error), message: messageOf(error) });
    }
  };
  if (context.alpn.length === 0) queueMicrotask(() => start(undefined));
  // What the client offers decides whether to answer with ALPN at all. What is no ClientHello goes on too: OpenSSL sends the alert.
  else peekClientHello(incoming, { timeoutMs, clock: time.clock }, (hello) => start(hello.kind === "hello" ? hello.alpn : undefined));
  return {
    cancel() {
      finish();
      handshake?.cancel();
    },
  };
}
