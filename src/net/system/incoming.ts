/** A connection that was accepted and that nobody has taken yet: peeked at, then taken as it is or through TLS. */
import type net from "node:net";
import type { Clock } from "../../base/clock.ts";
import type { Address, Channel, Watermarks } from "../channel.ts";
import type { DialHandler, Incoming } from "../dial.ts";
import { createChannel } from "../sockets/channel.ts";
import { startAcceptTls } from "../tls/accept.ts";

/** Bytes that peeking holds at most; a peek that asks for more gets what is there by then. */
export const PEEK_BYTES_MAX = 128 * 1024;

/** The system's accepted connection. `onTaken` is called once, when it is taken, refused or gone. */
export class SystemIncoming implements Incoming {
  readonly local: Address;
  readonly remote: Address;
  readonly originalDestination: Address;
  readonly #socket: net.Socket;
  readonly #clock: Clock;
  readonly #watermarks: Watermarks;
  readonly #onTaken: () => void;
  #state: "waiting" | "handshake" | "taken" = "waiting";
  #isTold = false;
  #isEnded = false;
  #stopPeek: (() => void) | undefined;
  #handshake: { cancel(): void } | undefined;

  constructor(
    socket: net.Socket,
    options: {
      readonly local: Address;
      readonly remote: Address;
      readonly originalDestination: Address;
      readonly clock: Clock;
      readonly watermarks: Watermarks;
      readonly onTaken: () => void;
    },
  ) {
    this.#socket = socket;
    this.local = options.local;
    this.remote = options.remote;
    this.originalDestination = options.originalDestination;
    this.#clock = options.clock;
    this.#watermarks = options.watermarks;
    this.#onTaken = options.onTaken;
    // Errors show as a close; the listener stays, so that no socket is ever without one.
    socket.on("error", () => {});
    socket.once("close", () => this.#tellTaken());
  }

  peek(
    { bytesMin, timeoutMs }: { readonly bytesMin: number; readonly timeoutMs: number },
    done: (bytes: Buffer, ended: boolean) => void,
  ): void {
    this.#mustWait("peek");
    if (this.#stopPeek) throw new Error("a peek is under way already");
    const socket = this.#socket;
    const wanted = Math.min(Math.max(1, bytesMin), PEEK_BYTES_MAX);
    const stop = (): void => {
      this.#stopPeek = undefined;
      timer.cancel();
      socket.removeListener("readable", look);
      socket.removeListener("end", onEnd);
      socket.removeListener("close", onEnd);
    };
    const finish = (bytes: Buffer): void => {
      stop();
      if (bytes.length > 0) socket.unshift(bytes);
      done(bytes, this.#isEnded);
    };
    const look = (): void => {
      const first: Buffer | null = socket.read(wanted);
      if (!first) return;
      // Fewer than asked for are only given once the client has ended.
      if (first.length < wanted) this.#isEnded = true;
      const rest: Buffer | null = socket.readableLength > 0 ? socket.read() : null;
      finish(rest ? Buffer.concat([first, rest]) : first);
    };
    const onEnd = (): void => {
      this.#isEnded = true;
      finish(this.#readAll());
    };
    const timer = this.#clock.after(timeoutMs, () => finish(this.#readAll()));
    this.#stopPeek = stop;
    socket.on("readable", look);
    socket.once("end", onEnd);
    socket.once("close", onEnd);
    queueMicrotask(() => {
      if (this.#stopPeek !== stop) return;
      if (this.#isEnded || socket.readableEnded || socket.destroyed) onEnd();
      else look();
    });
  }

  accept(): Channel {
    this.#mustWait("accept");
    this.#take();
    const socket = this.#socket;
    // A stream tells its end once, and peeking heard it: whoever takes the socket must hear it too.
    if (socket.readableEnded && !socket.destroyed) process.nextTick(() => socket.emit("end"));
    return createChannel(socket, { tls: undefined, local: this.local, remote: this.remote, watermarks: this.#watermarks });
  }

  acceptTls({ context, timeoutMs }: { readonly context: unknown; readonly timeoutMs: number }, handler: DialHandler): void {
    this.#mustWait("acceptTls");
    const socket = this.#socket;
    const open = (): net.Socket | undefined => {
      if (socket.destroyed || socket.readableEnded || this.#state !== "waiting") return undefined;
      this.#state = "handshake";
      return socket;
    };
    this.#handshake = startAcceptTls(
      { incoming: this, context, timeoutMs, time: { clock: this.#clock }, open },
      {
        onSecure: (secure, tls) => {
          this.#take();
          handler.onConnect(createChannel(secure, { tls, local: this.local, remote: this.remote, watermarks: this.#watermarks }));
        },
        onFail: (reason) => {
          this.destroy();
          handler.onFail(reason);
        },
      },
    );
  }

  destroy(options: { readonly reset?: boolean } = {}): void {
    this.#stopPeek?.();
    this.#handshake?.cancel();
    this.#state = "taken";
    if (options.reset && !this.#socket.destroyed) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
    this.#tellTaken();
  }

  #readAll(): Buffer {
    const bytes: Buffer | null = this.#socket.readableLength > 0 ? this.#socket.read() : null;
    return bytes ?? Buffer.alloc(0);
  }

  #mustWait(what: string): void {
    if (this.#state !== "waiting") throw new Error(`${what} of a connection that was taken`);
  }

  #take(): void {
    this.#stopPeek?.();
    this.#handshake = undefined;
    this.#state = "taken";
    this.#tellTaken();
  }

  #tellTaken(): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#onTaken();
  }
}
