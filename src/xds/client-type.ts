/**
 * One type on the client's side: what is asked for, what was accepted, what is to be said next. Sends nothing itself.
 * Source: Envoy xDS protocol, "Incremental xDS", "How the client specifies what resources to return".
 */
import type { XdsSubscriber, XdsUpdate } from "./client-types.ts";
import { encodeDeltaRequest, encodeSotwRequest } from "./request-codec.ts";
import type { XdsResponse } from "./response-codec.ts";
import { TypeUrl } from "./types.ts";

const WILDCARD = "*";

/** Protocol state of one type; it outlives streams. */
export class ClientType {
  readonly typeUrl: string;
  readonly #isDelta: boolean;
  subscriber: XdsSubscriber | undefined;
  wildcard = false;
  readonly #names = new Set<string>();
  /** Delta: what is not yet said on this stream. */
  readonly #toSubscribe = new Set<string>();
  readonly #toUnsubscribe = new Set<string>();
  /** Anything to be said on this stream. */
  isDirty = false;
  /** Whether a request of this type was sent on this stream. */
  isOnStream = false;
  /** Delta: versions that were accepted, by name. */
  readonly #versions = new Map<string, string>();
  /** State of the world: version_info that was accepted last. */
  #acceptedVersion = "";
  /** State of the world: nonce of the last response on this stream. */
  #nonce = "";

  constructor(typeUrl: string, options: { readonly isDelta: boolean }) {
    this.typeUrl = typeUrl;
    this.#isDelta = options.isDelta;
  }

  /** Whether there is interest in anything. */
  get isWanted(): boolean {
    return this.subscriber !== undefined && (this.wildcard || this.#names.size > 0);
  }

  get namesCount(): number {
    return this.#names.size;
  }

  /** Adds a name. One that is there already is asked for again: its subscriber needs it anew. */
  add(name: string): void {
    this.#names.add(name);
    this.#toUnsubscribe.delete(name);
    this.#toSubscribe.add(name);
    this.isDirty = true;
  }

  remove(name: string): void {
    if (!this.#names.delete(name)) return;
    this.#toSubscribe.delete(name);
    this.#toUnsubscribe.add(name);
    if (!this.wildcard) this.#versions.delete(name);
    this.isDirty = true;
  }

  /** Takes a subscriber. */
  open(subscriber: XdsSubscriber, wildcard: boolean): void {
    this.subscriber = subscriber;
    this.wildcard = wildcard;
    if (wildcard) {
      this.#toUnsubscribe.delete(WILDCARD);
      if (this.isOnStream) this.#toSubscribe.add(WILDCARD);
      this.isDirty = true;
    }
  }

  /** Drops all interest. */
  closeInterest(): void {
    for (const name of [...this.#names]) this.remove(name);
    if (this.wildcard) {
      this.wildcard = false;
      this.#toUnsubscribe.add(WILDCARD);
      this.isDirty = true;
    }
    this.#versions.clear();
    this.#acceptedVersion = "";
    this.subscriber = undefined;
  }

  /** A new stream begins: nothing was said on it. */
  onStream(): void {
    this.isOnStream = false;
    this.#nonce = "";
    this.#toUnsubscribe.clear();
    this.#toSubscribe.clear();
    this.isDirty = this.isWanted;
  }

  /** The request that says what is to be said, or undefined when there is nothing. `node` goes with it. */
  request(node: Uint8Array | undefined): Uint8Array | undefined {
    if (!this.isDirty || (!this.isOnStream && !this.isWanted)) return undefined;
    const isFirst = !this.isOnStream;
    this.isOnStream = true;
    this.isDirty = false;
    const common = { node, typeUrl: this.typeUrl, error: undefined };
    if (!this.#isDelta)
      return encodeSotwRequest({ ...common, nonce: this.#nonce, version: this.#acceptedVersion, names: this.#sotwNames() });
    const subscribe = isFirst ? this.#firstNames() : [...this.#toSubscribe];
    const unsubscribe = isFirst ? [] : [...this.#toUnsubscribe];
    this.#toSubscribe.clear();
    this.#toUnsubscribe.clear();
    return encodeDeltaRequest({ ...common, nonce: "", subscribe, unsubscribe, initialVersions: isFirst ? this.#versions : [] });
  }

  /** A wildcard alone is asked for without names, which older servers know too. */
  #firstNames(): string[] {
    if (this.wildcard && this.#names.size === 0) return [];
    return this.wildcard ? [WILDCARD, ...this.#names] : [...this.#names];
  }

  #sotwNames(): string[] {
    return this.#firstNames();
  }

  /** What a response means for the subscriber. */
  update(response: XdsResponse): XdsUpdate {
    const isFullState = !this.#isDelta && (this.typeUrl === TypeUrl.cluster || this.typeUrl === TypeUrl.listener);
    return { resources: response.resources, removed: response.removed, isFullState, version: response.version };
  }

  /** The answer to a response: an ACK, or a NACK with `error`. Carries what else is to be said. */
  answer(response: XdsResponse, error: string | undefined, node: Uint8Array | undefined): Uint8Array {
    const common = { node, typeUrl: this.typeUrl, nonce: response.nonce, error };
    if (!this.#isDelta) {
      if (error === undefined) this.#acceptedVersion = response.version;
      this.#nonce = response.nonce;
      this.isDirty = false;
      return encodeSotwRequest({ ...common, version: this.#acceptedVersion, names: this.#sotwNames() });
    }
    if (error === undefined) {
      for (const { name, version } of response.resources) if (this.wildcard || this.#names.has(name)) this.#versions.set(name, version);
      for (const name of response.removed) this.#versions.delete(name);
    }
    const subscribe = [...this.#toSubscribe];
    const unsubscribe = [...this.#toUnsubscribe];
    this.#toSubscribe.clear();
    this.#toUnsubscribe.clear();
    this.isDirty = false;
    return encodeDeltaRequest({ ...common, subscribe, unsubscribe, initialVersions: [] });
  }
}
