/** The client's end of xDS, as the proxy sees it. client.ts implements it over gRPC, delta and state of the world alike. */
import type { XdsResource } from "./types.ts";

/** What arrived in one response of one type. */
export interface XdsUpdate {
  /** State of the world: all resources of the type (clusters and listeners: those left out are removed). Delta: the changed ones. */
  readonly resources: readonly XdsResource[];
  readonly removed: readonly string[];
  /** True for a state-of-the-world response of a type whose absences mean removal (clusters, listeners). */
  readonly isFullState: boolean;
  /** The version of the response, for the admin's config dump. */
  readonly version: string;
}

/** Takes updates of one type. */
export interface XdsSubscriber {
  /**
   * Validates all and applies, or refuses: undefined is an ACK; a text is a NACK that names every violation. Called in the order of arrival.
   */
  onUpdate(update: XdsUpdate): string | undefined;
}

/** Interest in resources of one type: the union of names is what the server hears. */
export interface XdsSubscription {
  /** Adds or drops names. With none and no wildcard nothing is asked for. */
  update(change: { readonly add?: readonly string[]; readonly remove?: readonly string[] }): void;
  close(): void;
}

/** A stream to a management server that is kept up: reconnects with backoff and jitter and resumes with the versions it has. */
export interface XdsClient {
  /** `wildcard` asks for everything of the type (clusters, listeners). One subscriber a type. */
  subscribe(typeUrl: string, options: { readonly wildcard: boolean }, subscriber: XdsSubscriber): XdsSubscription;
  readonly isConnected: boolean;
  /** Begins to connect. */
  start(): void;
  close(): void;
}
