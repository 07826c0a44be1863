/** An accepted connection in memory. */
import type { Clock } from "../../base/clock.ts";
import { type Address, type Channel, MESH_WATERMARKS, type Watermarks } from "../channel.ts";
import type { DialHandler, Incoming } from "../dial.ts";
import { startAcceptTls } from "../tls/accept.ts";
import { MemoryChannel } from "./channel.ts";
import type { MemoryEnd } from "./pair.ts";
import { MemoryDuplex, MemoryTlsChannel } from "./tls.ts";
import type { Turns } from "./turns.ts";

/** As the system's: peeked at, then taken. */
export class MemoryIncoming implements Incoming {
  readonly local: Address;
  readonly remote: Address;
  readonly originalDestination: Address;
  readonly #end: MemoryEnd;
  readonly #clock: Clock;
  readonly #turns: Turns;
  readonly #watermarks: Watermarks;
  #isTaken = false;
  #stopPeek: (() => void) | undefined;
  #handshake: { cancel(): void } | undefined;

  constructor(
    end: MemoryEnd,
    options: {
      readonly local: Address;
      readonly remote: Address;
      readonly originalDestination: Address;
      readonly clock: Clock;
      readonly turns: Turns;
      readonly watermarks: Watermarks | undefined;
    },
  ) {
    this.#end = end;
    this.local = options.local;
    this.remote = options.remote;
    this.originalDestination = options.originalDestination;
    this.#clock = options.clock;
    this.#turns = options.turns;
    this.#watermarks = options.watermarks ?? MESH_WATERMARKS;
  }

  peek(
    { bytesMin, timeoutMs }: { readonly bytesMin: number; readonly timeoutMs: number },
    done: (bytes: Buffer, ended: boolean) => void,
  ): void {
    this.#mustWait("peek");
    if (this.#stopPeek) throw new Error("a peek is under way already");
    const end = this.#end;
    const stop = (): void => {
      timer.cancel();
      end.onArrival = undefined;
      this.#stopPeek = undefined;
    };
    const finish = (): void => {
      if (this.#stopPeek !== stop) return;
      stop();
      done(end.peekAll(), end.isEnded || end.isClosed);
    };
    const look = (): void => {
      if (end.waitingBytes >= bytesMin || end.isEnded || end.isClosed) this.#turns.add(finish);
    };
    const timer = this.#clock.after(timeoutMs, finish);
    this.#stopPeek = stop;
    end.onArrival = look;
    look();
  }

  accept(): Channel {
    this.#mustWait("accept");
    this.#take();
    return new MemoryChannel(this.#end, { local: this.local, remote: this.remote, watermarks: this.#watermarks });
  }

  acceptTls({ context, timeoutMs }: { readonly context: unknown; readonly timeoutMs: number }, handler: DialHandler): void {
    this.#mustWait("acceptTls");
    let below: MemoryDuplex | undefined;
    this.#handshake = startAcceptTls(
      {
        incoming: this,
        context,
        timeoutMs,
        time: { clock: this.#clock, isSimulated: true },
        open: () => {
          if (this.#end.isClosed) return undefined;
          this.#take();
          below = new MemoryDuplex(this.#end);
          return below;
        },
      },
      {
        onSecure: (secure, tls) => {
          if (below)
            handler.onConnect(
              new MemoryTlsChannel(secure, below, { tls, local: this.local, remote: this.remote, watermarks: this.#watermarks }),
            );
        },
        onFail: (reason) => {
          this.destroy();
          handler.onFail(reason);
        },
      },
    );
  }

  destroy(options?: { readonly reset?: boolean }): void {
    this.#handshake?.cancel();
    this.#take();
    this.#end.destroy(options);
  }

  #mustWait(what: string): void {
    if (this.#isTaken) throw new Error(`${what} of a connection that was taken`);
  }

  #take(): void {
    this.#stopPeek?.();
    this.#isTaken = true;
  }
}
