/** Finds out by PING whether a silent peer is still there. Source: RFC 9113, section 6.7. */
import type { Clock, Timer } from "../../base/clock.ts";

/** When to ask and how long to wait. */
export interface Http2Keepalive {
  /** After this long without a byte from the peer one PING is sent. */
  readonly intervalMs: number;
  /** The connection is closed when then nothing comes for this long. */
  readonly timeoutMs: number;
}

/** Watches one connection. */
export class KeepaliveWatch {
  readonly #keepalive: Http2Keepalive;
  readonly #clock: Clock;
  readonly #onSilence: (stage: "ask" | "lost") => void;
  #hasHeard = false;
  #timer: Timer | undefined;

  constructor(keepalive: Http2Keepalive, clock: Clock, onSilence: (stage: "ask" | "lost") => void) {
    this.#keepalive = keepalive;
    this.#clock = clock;
    this.#onSilence = onSilence;
    this.#wait();
  }

  /** Bytes arrived. */
  heard(): void {
    this.#hasHeard = true;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #wait(): void {
    this.#hasHeard = false;
    this.#timer = this.#clock.after(this.#keepalive.intervalMs, () => {
      if (this.#hasHeard) return this.#wait();
      this.#onSilence("ask");
      this.#timer = this.#clock.after(this.#keepalive.timeoutMs, () => {
        if (this.#hasHeard) this.#wait();
        else this.#onSilence("lost");
      });
    });
  }
}
