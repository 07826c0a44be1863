/**
 * A TLS context that follows its secrets: made when first used, made anew when a certificate or trust bundle changes. One context
 * serves all connections of its owner, so that sessions resume and memory is held once.
 */
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { KeyPair, ServerTlsOptions, TlsOptions } from "../../net/tls/types.ts";
import type { Secret } from "../secrets.ts";
import type { SecretStore } from "./secret-store.ts";
import type { DownstreamTlsConfig, TlsConfig, UpstreamTlsConfig } from "./tls-config.ts";

/** Makes contexts: net/tls in life, the in-memory network's in simulation. */
export interface TlsFactory {
  server(options: ServerTlsOptions): unknown;
  /** `sessionsMax` 0 resumes nothing. */
  client(options: TlsOptions, sessionsMax: number | undefined): unknown;
}

/** What a slot is made of. */
export interface TlsSlotOptions {
  readonly secrets: SecretStore;
  readonly log: Log;
  /** For messages: 'cluster "x"'. */
  readonly owner: string;
  /** All secrets are there for the first time. */
  readonly onReady: () => void;
}

/** See the file's head. */
export class TlsContextSlot {
  readonly #config: TlsConfig;
  readonly #make: (parts: TlsOptions) => unknown;
  readonly #options: TlsSlotOptions;
  readonly #watches: { close(): void }[] = [];
  #keyPair: KeyPair | undefined;
  #trustPem: string | undefined;
  #context: unknown;
  /** The context is of older secrets than are here. */
  #isStale = true;
  /** onReady was called, or is not to be: never from inside the constructor. */
  #wasReady = true;

  constructor(config: TlsConfig, make: (parts: TlsOptions) => unknown, options: TlsSlotOptions) {
    this.#config = config;
    this.#make = make;
    this.#options = options;
    const { certificate, trust } = config;
    if (certificate?.kind === "static") this.#keyPair = certificate.value;
    if (trust?.kind === "static") this.#trustPem = trust.value;
    if (certificate?.kind === "sds")
      this.#watches.push(options.secrets.watchFrom(certificate.name, certificate.source, (secret) => this.#onSecret(secret, "key-pair")));
    if (trust?.kind === "sds")
      this.#watches.push(options.secrets.watchFrom(trust.name, trust.source, (secret) => this.#onSecret(secret, "trust")));
    this.#wasReady = this.isReady;
  }

  /** Whether every secret has arrived. */
  get isReady(): boolean {
    return (!this.#config.certificate || this.#keyPair !== undefined) && (!this.#config.trust || this.#trustPem !== undefined);
  }

  /** The newest context that could be made; undefined until there is one. */
  get context(): unknown {
    if (this.#isStale && this.isReady) this.#build();
    return this.#context;
  }

  close(): void {
    for (const watch of this.#watches) watch.close();
  }

  #onSecret(secret: Secret, want: Secret["kind"]): void {
    const { log, owner, onReady } = this.#options;
    if (secret.kind !== want) {
      log.error(`secret rejected: ${owner}: secret "${secret.name}" is a ${secret.kind}, not a ${want}`);
      return;
    }
    if (secret.kind === "key-pair") this.#keyPair = secret.keyPair;
    else this.#trustPem = secret.trustPem;
    this.#isStale = true;
    // One that is in use is made anew now, while the key is here; one that never was waits for its first use.
    if (this.#context !== undefined && this.isReady) this.#build();
    if (this.#wasReady || !this.isReady) return;
    this.#wasReady = true;
    onReady();
  }

  #build(): void {
    const { alpn, minVersion, maxVersion, ciphers, ecdhCurves, verifyPeer } = this.#config;
    this.#isStale = false;
    try {
      this.#context = this.#make({
        keyPair: this.#keyPair,
        trustPem: this.#trustPem,
        alpn,
        minVersion,
        maxVersion,
        ciphers,
        ecdhCurves,
        verifyPeer,
      });
    } catch (error) {
      this.#options.log.error(`TLS context rejected: ${this.#options.owner}: ${messageOf(error)}`);
    }
  }
}

/** A slot for a cluster's connections. */
export function createUpstreamSlot(config: UpstreamTlsConfig, factory: TlsFactory, options: TlsSlotOptions): TlsContextSlot {
  return new TlsContextSlot(config, (parts) => factory.client(parts, config.sessionsMax), options);
}

/** A slot for a filter chain's connections. */
export function createDownstreamSlot(config: DownstreamTlsConfig, factory: TlsFactory, options: TlsSlotOptions): TlsContextSlot {
  return new TlsContextSlot(
    config,
    (parts) => factory.server({ ...parts, requireClientCertificate: config.requireClientCertificate }),
    options,
  );
}
