/**
 * Secrets by name: those of the bootstrap, those that SDS servers send, and those that a part of this process holds. Keys are kept
 * as buffers and zeroed when a newer version has taken their place. Source: Envoy SDS.
 */

import type { Clock } from "../../base/clock.ts";
import { digestOf } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import type { Secret as SecretMessage } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { Secret, SecretSource } from "../secrets.ts";
import { ConfigRefused, type DataSourceReader } from "./address.ts";
import { readKeyPair, readTrust } from "./tls-config.ts";

/** How long a replaced key stays: contexts that are being made of it are made in the same turn, so a moment is enough. */
const KEY_KEPT_MS = 1000;

/** Asks a server for a secret by name, until closed. */
export type FetchSecret = (name: string, source: ConfigSource | undefined) => { close(): void };

/** What the store takes from its surroundings. */
export interface SecretStoreOptions {
  readonly clock: Clock;
  readonly reader: DataSourceReader;
  /** Throws when a key and its chain make no TLS context. */
  readonly checkKeyPair: (secret: Extract<Secret, { kind: "key-pair" }>["keyPair"]) => void;
  /** Secrets that this process makes itself; names outside `names` are asked of SDS servers. */
  readonly local?: { readonly source: SecretSource; readonly names: ReadonlySet<string> } | undefined;
}

interface Entry {
  secret: Secret | undefined;
  readonly watchers: Set<(secret: Secret) => void>;
  subscription: { close(): void } | undefined;
  readonly isStatic: boolean;
  updatedAtMs: number;
}

/** See the file's head. */
export class SecretStore implements SecretSource {
  readonly #options: SecretStoreOptions;
  readonly #entries = new Map<string, Entry>();
  #fetch: FetchSecret | undefined;

  constructor(options: SecretStoreOptions) {
    this.#options = options;
  }

  /** Who asks SDS servers. Set once, before the first listener or cluster that names an SDS secret. */
  set fetcher(fetch: FetchSecret) {
    this.#fetch = fetch;
  }

  /** A secret of the bootstrap. Throws ConfigRefused. */
  addStatic(message: SecretMessage): void {
    const secret = this.read(message, "static");
    this.#entries.set(message.name, {
      secret,
      watchers: new Set(),
      subscription: undefined,
      isStatic: true,
      updatedAtMs: this.#options.clock.nowMs(),
    });
  }

  get known(): readonly Secret[] {
    return [...this.#entries.values()].flatMap(({ secret }) => (secret ? [secret] : []));
  }

  /** Names with what is known of each, for the admin. */
  get entries(): {
    readonly name: string;
    readonly secret: Secret | undefined;
    readonly isStatic: boolean;
    readonly updatedAtMs: number;
  }[] {
    return [...this.#entries].map(([name, { secret, isStatic, updatedAtMs }]) => ({ name, secret, isStatic, updatedAtMs }));
  }

  watch(name: string, onSecret: (secret: Secret) => void): { close(): void } {
    return this.watchFrom(name, undefined, onSecret);
  }

  /** As `watch`; `source` is asked at the first watch of a name. */
  watchFrom(name: string, source: ConfigSource | undefined, onSecret: (secret: Secret) => void): { close(): void } {
    let entry = this.#entries.get(name);
    if (!entry) {
      entry = { secret: undefined, watchers: new Set(), subscription: undefined, isStatic: false, updatedAtMs: 0 };
      this.#entries.set(name, entry);
    }
    const held = entry;
    // Each watch is a function of its own, so that one that comes twice can go once.
    const watcher = (secret: Secret): void => onSecret(secret);
    held.watchers.add(watcher);
    if (held.secret) watcher(held.secret);
    if (!held.subscription && !held.isStatic) held.subscription = this.#subscribe(name, source);
    return {
      close: () => {
        held.watchers.delete(watcher);
        if (held.watchers.size > 0 || held.isStatic || this.#entries.get(name) !== held) return;
        held.subscription?.close();
        this.#entries.delete(name);
        if (!this.#options.local?.names.has(name)) this.#forgetKey(held.secret);
      },
    };
  }

  /** What a message says. Throws ConfigRefused. */
  read(message: SecretMessage, version: string): Secret {
    const { reader } = this.#options;
    const ignore = (): void => undefined;
    switch (message.type.case) {
      case "tlsCertificate": {
        const keyPair = readKeyPair(message.type.value, reader, ignore);
        try {
          this.#options.checkKeyPair(keyPair);
        } catch (error) {
          throw new ConfigRefused(messageOf(error));
        }
        return { kind: "key-pair", name: message.name, version: version || digestOf(keyPair.chainPem), keyPair };
      }
      case "validationContext": {
        const trustPem = readTrust(message.type.value, reader, ignore);
        if (trustPem === undefined) throw new ConfigRefused("validation_context: trusted_ca is needed");
        return { kind: "trust", name: message.name, version: version || digestOf(trustPem), trustPem };
      }
      default:
        throw new ConfigRefused(`a secret of type ${message.type.case ?? "none"} is not supported`);
    }
  }

  /** A secret arrived. */
  apply(secret: Secret): void {
    const entry = this.#entries.get(secret.name);
    if (!entry) {
      this.#forgetKey(secret);
      return;
    }
    const before = entry.secret;
    entry.secret = secret;
    entry.updatedAtMs = this.#options.clock.nowMs();
    for (const watcher of [...entry.watchers]) watcher(secret);
    if (before && !this.#options.local?.names.has(secret.name)) this.#options.clock.after(KEY_KEPT_MS, () => this.#forgetKey(before));
  }

  #subscribe(name: string, source: ConfigSource | undefined): { close(): void } | undefined {
    const { local } = this.#options;
    if (local?.names.has(name)) return local.source.watch(name, (secret) => this.apply(secret));
    return this.#fetch?.(name, source);
  }

  #forgetKey(secret: Secret | undefined): void {
    if (secret?.kind === "key-pair") secret.keyPair.keyPem.fill(0);
  }
}
