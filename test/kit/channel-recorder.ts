/** A channel's handler for tests: keeps what came and lets a test wait for it. */
import type { Channel, ChannelHandler, CloseReason } from "../../src/net/channel.ts";
import type { Dialer, DialHandler, DialOptions } from "../../src/net/dial.ts";

/** Everything that a channel told. */
export class ChannelRecorder implements ChannelHandler {
  readonly channel: Channel;
  bytes: Buffer = Buffer.alloc(0);
  drains = 0;
  isEnded = false;
  closed: CloseReason | undefined;
  closes = 0;
  #waiting: { readonly what: string; readonly isSo: () => boolean; readonly wake: () => void }[] = [];

  constructor(channel: Channel) {
    this.channel = channel;
    channel.handler = this;
  }

  get text(): string {
    return this.bytes.toString("latin1");
  }

  onData(buffer: Buffer, start: number, end: number): void {
    this.bytes = Buffer.concat([this.bytes, buffer.subarray(start, end)]);
    this.#wake();
  }

  onEnd(): void {
    this.isEnded = true;
    this.#wake();
  }

  onDrain(): void {
    this.drains += 1;
    this.#wake();
  }

  onClose(reason: CloseReason): void {
    this.closes += 1;
    this.closed = reason;
    this.#wake();
  }

  /** Resolves once `isSo`; rejects after 5 s, saying `what` was waited for. */
  until(what: string, isSo: (recorder: this) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      if (isSo(this)) return resolve();
      const timer = setTimeout(
        () =>
          reject(
            new Error(
              `waited in vain for: ${what}; have "${this.text.slice(0, 100)}", ended ${this.isEnded}, closed ${JSON.stringify(this.closed)}`,
            ),
          ),
        5000,
      );
      this.#waiting.push({
        what,
        isSo: () => isSo(this),
        wake: () => {
          clearTimeout(timer);
          resolve();
        },
      });
    });
  }

  #wake(): void {
    const ready = this.#waiting.filter((one) => one.isSo());
    this.#waiting = this.#waiting.filter((one) => !ready.includes(one));
    for (const one of ready) one.wake();
  }
}

/** How a dial ended. */
export type Dialled =
  | { readonly recorder: ChannelRecorder; readonly failure?: undefined }
  | { readonly recorder?: undefined; readonly failure: Parameters<DialHandler["onFail"]>[0] };

/** Dials and waits for the end of it. */
export function dial(dialer: Dialer, options: Omit<DialOptions, "timeoutMs"> & { readonly timeoutMs?: number }): Promise<Dialled> {
  return new Promise((resolve, reject) => {
    let isInside = true;
    const settle = (how: Dialled): void => (isInside ? reject(new Error("called from inside dial")) : resolve(how));
    dialer.dial(
      { timeoutMs: 5000, ...options },
      { onConnect: (channel) => settle({ recorder: new ChannelRecorder(channel) }), onFail: (failure) => settle({ failure }) },
    );
    isInside = false;
  });
}

/** Dials what must work. */
export async function dialOk(
  dialer: Dialer,
  options: Omit<DialOptions, "timeoutMs"> & { readonly timeoutMs?: number },
): Promise<ChannelRecorder> {
  const { recorder, failure } = await dial(dialer, options);
  if (!recorder) throw new Error(`the dial failed: ${JSON.stringify(failure)}`);
  return recorder;
}
