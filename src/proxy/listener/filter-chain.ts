/** A filter chain that runs: TLS of its certificate's newest version, its filters, and its way to end. */
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Random } from "../../base/random.ts";
import type { SecretStore } from "../config/secret-store.ts";
import { createDownstreamSlot, type TlsContextSlot, type TlsFactory } from "../config/tls-context.ts";
import { createFilters, type FilterSet, type FilterTypes } from "../network/filters.ts";
import type { DownstreamConnection } from "../types.ts";
import type { ChainConfig } from "./listener-config.ts";

/** How a chain or a listener ends. Source: Envoy --drain-time-s and --drain-strategy. */
export interface DrainOptions {
  readonly timeMs: number;
  readonly strategy: "gradual" | "immediate";
}

/** What chains take from outside. */
export interface ChainContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly secrets: SecretStore;
  readonly tls: TlsFactory;
  readonly filters: FilterTypes;
}

const CLOSED = { onData() {}, onEnd() {}, onDrain() {}, onClose() {} };

/** See the file's head. */
export class RunningChain {
  readonly config: ChainConfig;
  readonly #filters: FilterSet;
  readonly #slot: TlsContextSlot | undefined;
  readonly #context: ChainContext;
  #isEnding = false;

  constructor(
    config: ChainConfig,
    listener: { readonly name: string; readonly direction: DownstreamConnection["direction"] },
    context: ChainContext,
    onReady: () => void,
  ) {
    this.config = config;
    this.#context = context;
    this.#slot =
      config.tls &&
      createDownstreamSlot(config.tls, context.tls, {
        secrets: context.secrets,
        log: context.log,
        owner: `listener "${listener.name}" filter chain "${config.name}"`,
        onReady,
      });
    this.#filters = createFilters(config.filters, context.filters, {
      listenerName: listener.name,
      direction: listener.direction,
      chainName: config.name,
    });
  }

  /** Whether its secrets are there. */
  get isReady(): boolean {
    return this.#slot?.isReady ?? true;
  }

  get isTls(): boolean {
    return this.#slot !== undefined;
  }

  /** Undefined while there is no certificate. */
  get tlsContext(): unknown {
    return this.#slot?.context;
  }

  get activeConnections(): number {
    return this.#filters.terminal.activeConnections;
  }

  /** Takes a connection, unless a filter refuses it. */
  accept(connection: DownstreamConnection): void {
    for (const filter of this.#filters.network) {
      const refusal = filter.onConnection(connection);
      if (refusal === undefined) continue;
      this.#context.log.debug("connection refused", { listener: connection.listenerName, details: refusal });
      this.#filters.terminal.refused?.(connection, refusal);
      connection.channel.handler = CLOSED;
      connection.channel.destroy();
      return;
    }
    this.#filters.terminal.accept(connection);
  }

  /** Asks clients to go. */
  startDrain(): void {
    this.#filters.terminal.drain();
  }

  /** Drains, and ends what is left when the drain time is over. */
  end({ timeMs, strategy }: DrainOptions): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    const { clock, random } = this.#context;
    // Gradual: chains begin at different moments, so that not all clients come back at one.
    if (strategy === "immediate" || timeMs === 0) this.startDrain();
    else clock.after(random.next() * (timeMs / 2), () => this.startDrain());
    clock.after(timeMs, () => this.close());
  }

  /** Ends everything now. */
  close(): void {
    this.#filters.terminal.close();
    this.#slot?.close();
  }
}
