/**
 * Resources that are asked for by name when something refers to them: endpoints, routes, secrets. What was good last stays, whatever
 * the server sends or takes away. Source: Envoy xDS, EDS, RDS and SDS.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { XdsClient, XdsSubscriber, XdsSubscription, XdsUpdate } from "../../xds/client-types.ts";

/** A resource that was refused. */
export interface Refusal {
  readonly version: string;
  readonly atMs: number;
  readonly details: string;
}

/** What is known of a name. */
export interface NamedResource<T> {
  readonly name: string;
  readonly value: T;
  readonly bytes: Uint8Array;
  readonly version: string;
  readonly updatedAtMs: number;
}

/** What one kind of resource is. */
export interface NamedResourcesOptions<T> {
  readonly typeUrl: string;
  /** Throws with everything that is wrong. */
  readonly read: (bytes: Uint8Array, name: string, version: string) => T;
  readonly clock: Clock;
  /** A response was gone through, good or not. */
  readonly onApplied?: () => void;
}

interface Entry<T> {
  known: NamedResource<T> | undefined;
  readonly watchers: Set<(value: T) => void>;
}

/** One kind of resource over one client. */
export class NamedResources<T> implements XdsSubscriber {
  readonly #options: NamedResourcesOptions<T>;
  readonly #subscription: XdsSubscription;
  readonly #entries = new Map<string, Entry<T>>();
  readonly #refusals = new Map<string, Refusal>();

  constructor(client: XdsClient, options: NamedResourcesOptions<T>) {
    this.#options = options;
    this.#subscription = client.subscribe(options.typeUrl, { wildcard: false }, this);
  }

  /** Everything that is known. */
  get known(): readonly NamedResource<T>[] {
    return [...this.#entries.values()].flatMap(({ known }) => (known ? [known] : []));
  }

  get refusals(): ReadonlyMap<string, Refusal> {
    return this.#refusals;
  }

  /** Calls back at once when the resource is known, then at each new version, until closed. */
  watch(name: string, onValue: (value: T) => void): { close(): void } {
    let entry = this.#entries.get(name);
    if (!entry) {
      entry = { known: undefined, watchers: new Set() };
      this.#entries.set(name, entry);
      this.#subscription.update({ add: [name] });
    }
    const held = entry;
    const watcher = (value: T): void => onValue(value);
    held.watchers.add(watcher);
    if (held.known) watcher(held.known.value);
    return {
      close: () => {
        held.watchers.delete(watcher);
        if (held.watchers.size > 0 || this.#entries.get(name) !== held) return;
        this.#entries.delete(name);
        this.#refusals.delete(name);
        this.#subscription.update({ remove: [name] });
      },
    };
  }

  onUpdate(update: XdsUpdate): string | undefined {
    const { clock } = this.#options;
    const violations: string[] = [];
    const accepted: [Entry<T>, NamedResource<T>][] = [];
    for (const { name, version, bytes } of update.resources) {
      const entry = this.#entries.get(name);
      if (!entry) continue; // Nobody asks any more.
      const shown = version || update.version;
      try {
        if (entry.known && Buffer.compare(entry.known.bytes, bytes) === 0) continue;
        accepted.push([entry, { name, value: this.#options.read(bytes, name, shown), bytes, version: shown, updatedAtMs: clock.nowMs() }]);
        this.#refusals.delete(name);
      } catch (error) {
        const details = messageOf(error);
        violations.push(`${name}: ${details}`);
        this.#refusals.set(name, { version: shown, atMs: clock.nowMs(), details });
      }
    }
    for (const [entry, known] of accepted) {
      entry.known = known;
      for (const watcher of [...entry.watchers]) watcher(known.value);
    }
    this.#options.onApplied?.();
    if (violations.length === 0) return undefined;
    return violations.join("; ");
  }
}
