/** Makes connections with the system's sockets: TCP, Unix sockets and TLS over either. */
import net from "node:net";
import type { Clock } from "../../base/clock.ts";
import { codeOf, messageOf } from "../../base/errors.ts";
import { type Channel, type CloseReason, MESH_WATERMARKS, type TlsInfo } from "../channel.ts";
import type { Dialer, DialHandler, DialOptions } from "../dial.ts";
import { createChannel } from "../sockets/channel.ts";
import { asClientTls } from "../tls/contexts.ts";
import { startClientHandshake } from "../tls/handshake.ts";
import { familyOf, formatAddress, isUnixPath, localAddressOf, remoteAddressOf } from "./address.ts";
import { markedSocket } from "./libc.ts";

/** Makes a dialer. `keepAliveMs` is the idle time before TCP keep-alive probes of connections that ask for none themselves. */
export function createSystemDialer({ clock, keepAliveMs }: { readonly clock: Clock; readonly keepAliveMs: number }): Dialer {
  return { dial: (options, handler) => new Dial(options, handler, { clock, keepAliveMs }) };
}

/** One connection in the making. Ends once: connected, failed or cancelled. */
class Dial {
  readonly #options: DialOptions;
  readonly #handler: DialHandler;
  readonly #clock: Clock;
  readonly #timer: { cancel(): void };
  #socket: net.Socket | undefined;
  #handshake: { cancel(): void } | undefined;
  #isDone = false;

  constructor(options: DialOptions, handler: DialHandler, { clock, keepAliveMs }: { clock: Clock; keepAliveMs: number }) {
    this.#options = options;
    this.#handler = handler;
    this.#clock = clock;
    this.#timer = clock.after(options.timeoutMs, () => {
      const what = this.#handshake ? "TLS handshake" : "connect";
      this.#fail("timeout", {
        code: "ETIMEDOUT",
        message: `${what} to ${formatAddress(options.to)} took longer than ${options.timeoutMs} ms`,
      });
    });
    try {
      this.#start(keepAliveMs);
    } catch (error) {
      // No descriptor, no right to the mark, an address that is none: never told from inside dial.
      queueMicrotask(() => this.#fail("connect", { code: codeOf(error), message: messageOf(error) }));
    }
  }

  cancel(): void {
    if (this.#isDone) return;
    this.#finish();
    this.#handshake?.cancel();
    this.#socket?.destroy();
  }

  #start(keepAliveMs: number): void {
    const { to, from } = this.#options;
    const socket = openSocket(this.#options, keepAliveMs);
    this.#socket = socket;
    socket.on("error", (error) => this.#fail("connect", { code: codeOf(error), message: error.message }));
    socket.once("close", () =>
      this.#fail("connect", { code: "ECONNRESET", message: `the connection to ${formatAddress(to)} closed before it stood` }),
    );
    socket.once("connect", () => this.#onConnect());
    if (isUnixPath(to)) {
      socket.connect({ path: to.host });
    } else {
      const family = familyOf(to.host);
      if (!family) throw new Error(`"${to.host}" is no IP address`);
      // A descriptor that was given is read from in the next turn, so connect in this one.
      socket.connect({ host: to.host, port: to.port, family, localAddress: from, autoSelectFamily: false });
    }
    socket.pause(); // What the server says first waits until there is somebody to hear it.
  }

  #onConnect(): void {
    const socket = this.#socket;
    if (this.#isDone || !socket) return;
    const { tls, to } = this.#options;
    if (!tls) {
      this.#connected(socket, undefined);
      return;
    }
    try {
      this.#handshake = startClientHandshake(
        {
          socket,
          context: asClientTls(tls.context),
          serverName: tls.serverName,
          alpn: tls.alpn,
          peerKey: formatAddress(to),
          time: { clock: this.#clock },
        },
        { onSecure: (secure, info) => this.#connected(secure, info), onFail: (reason) => this.#fail("tls", reason) },
      );
    } catch (error) {
      this.#fail("tls", { code: codeOf(error), message: messageOf(error) });
    }
  }

  #connected(socket: net.Socket, tls: TlsInfo | undefined): void {
    const tcp = this.#socket;
    if (this.#isDone || !tcp) return;
    this.#finish();
    const path = isUnixPath(this.#options.to) ? this.#options.to.host : undefined;
    const channel: Channel = createChannel(socket, {
      tls,
      local: path === undefined ? localAddressOf(tcp) : { host: "", port: 0 },
      remote: remoteAddressOf(tcp, path),
      watermarks: this.#options.watermarks ?? MESH_WATERMARKS,
    });
    this.#handler.onConnect(channel);
  }

  #fail(phase: "connect" | "tls" | "timeout", reason: CloseReason): void {
    if (this.#isDone) return;
    this.#finish();
    this.#handshake?.cancel();
    this.#socket?.destroy();
    this.#handler.onFail({ ...reason, phase });
  }

  #finish(): void {
    this.#isDone = true;
    this.#timer.cancel();
  }
}

/** A socket that is not connected; with the mark on it before its first packet, where one is asked for. */
function openSocket({ to, mark }: DialOptions, keepAliveMs: number): net.Socket {
  const options: net.SocketConstructorOpts = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs };
  if (mark === undefined || isUnixPath(to)) return new net.Socket(options);
  const family = familyOf(to.host);
  if (!family) throw new Error(`"${to.host}" is no IP address`);
  return new net.Socket({ ...options, fd: markedSocket(family, mark) });
}
