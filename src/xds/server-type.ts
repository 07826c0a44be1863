/**
 * One type on one server stream: what the client subscribed to, what it has, what is on its way. Decides what the next response
 * holds; sends nothing itself. Source: Envoy xDS protocol, "Variants", "How the client specifies what resources to return", "Deleting resources".
 */
import { digestOf } from "../base/digest.ts";
import type { XdsRequestNames } from "./request-codec.ts";
import { type Subscription, TypeUrl, type XdsResource } from "./types.ts";

/** State of the world: absence from a response of these types means removal, so each response holds them all. */
const FULL_TYPES: ReadonlySet<string> = new Set([TypeUrl.cluster, TypeUrl.listener]);
/** Others refer to these: one that is gone is taken from the client only after what referred to it. In the order of their removal. */
export const HELD_TYPES: readonly string[] = [TypeUrl.cluster, TypeUrl.endpoint];

const WILDCARD = "*";
/** No resource has it: the client may have any version, or none. */
const UNKNOWN = "";

/** A response that is to be sent, or was and is unanswered. */
export interface Outgoing {
  readonly resources: readonly XdsResource[];
  readonly removed: readonly string[];
  /** State of the world: version_info. Empty for delta. */
  readonly version: string;
  /** Those of `resources` that are new to the client or differ from what it has. */
  readonly changed: readonly XdsResource[];
}

/** Protocol state of one type. */
export class ServerType implements Subscription {
  readonly typeUrl: string;
  readonly #isDelta: boolean;
  readonly #isFull: boolean;
  readonly #holdsRemovals: boolean;

  wildcard = false;
  readonly names = new Set<string>();
  #namedOnce = false;

  /** Versions that the client has, by name. */
  readonly #client = new Map<string, string>();
  /** Names to be answered whatever the client has. */
  readonly #due = new Set<string>();
  /** Those of them that a client which resumes is sent although it has them. */
  readonly #forced = new Set<string>();
  /** The client awaits a response, be it empty. */
  #answerDue = false;
  /** Anything may have changed since the last look at the source. */
  isDirty = false;
  inFlight: (Outgoing & { readonly nonce: string; readonly label: string; readonly sentAtMs: number }) | undefined;
  /** The response before the one in flight was never answered: nobody waits for this one. */
  isLate = false;
  lastNonce = "";

  /** Versions that the client refused by name: not sent again until they change. */
  readonly #refused = new Map<string, string>();
  /** The response that was refused whole: the same is not sent again. */
  #refusedKey: string | undefined;
  /** Gone at the source, kept at the client until nothing refers to them. The time says since when that is so. */
  readonly #held = new Map<string, number | undefined>();
  readonly #released = new Set<string>();
  /** State of the world, full types: the resources that the client has, to keep held ones in each response. */
  #kept = new Map<string, XdsResource>();
  #ackedVersion = "";

  constructor(typeUrl: string, options: { readonly isDelta: boolean }) {
    this.typeUrl = typeUrl;
    this.#isDelta = options.isDelta;
    this.#isFull = !options.isDelta && FULL_TYPES.has(typeUrl);
    // Partial responses of state of the world know no removals, so there is nothing to hold.
    this.#holdsRemovals = HELD_TYPES.includes(typeUrl) && (this.#isDelta || this.#isFull);
  }

  /** How many resources the client has. */
  get clientCount(): number {
    return this.#client.size;
  }

  /** Whether the client refused something that is still as it was. */
  get isRefusing(): boolean {
    return this.#refused.size > 0 || this.#refusedKey !== undefined;
  }

  /** Whether removals wait for what may refer to them. */
  get hasHeld(): boolean {
    return this.#held.size > 0;
  }

  /** Takes what a request says of names. `isFirst`: the first of this type on this stream. */
  subscribe(names: XdsRequestNames, isFirst: boolean): void {
    if (names.kind === "change") this.#subscribeDelta(names, isFirst);
    else this.#subscribeSotw(names, isFirst);
  }

  #subscribeDelta(change: XdsRequestNames & { kind: "change" }, isFirst: boolean): void {
    const { subscribe, unsubscribe, initialVersions } = change;
    if (isFirst) {
      // Legacy wildcard: a first request without names asks for everything, until "*" is unsubscribed.
      this.wildcard = subscribe.length === 0 && unsubscribe.length === 0;
      this.#answerDue = true;
      for (const [name, version] of Object.entries(initialVersions)) this.#client.set(name, version);
    }
    for (const name of subscribe) {
      if (name === WILDCARD) {
        this.wildcard = true;
        this.#answerDue = true;
        this.isDirty = true;
        continue;
      }
      this.names.add(name);
      // A name asked for anew is answered even if the client should have it; what it says it has at a resumption is not.
      if (!isFirst || !this.#client.has(name)) this.#due.add(name);
    }
    for (const name of unsubscribe) {
      if (name === WILDCARD) {
        this.wildcard = false;
        for (const known of [...this.#client.keys()]) if (!this.names.has(known)) this.#forget(known);
      } else if (this.names.delete(name)) {
        // Under a wildcard the client cannot know whether the name is part of "everything": it is told.
        if (this.wildcard) this.#due.add(name);
        else this.#forget(name);
      }
    }
    if (isFirst) {
      if (!this.wildcard) for (const name of [...this.#client.keys()]) if (!this.names.has(name)) this.#client.delete(name);
      this.isDirty = true;
    }
  }

  #subscribeSotw(all: XdsRequestNames & { kind: "all" }, isFirst: boolean): void {
    if (all.names.length > 0) this.#namedOnce = true;
    const wanted = new Set(all.names);
    const wildcard = !this.#namedOnce || wanted.delete(WILDCARD);
    if (isFirst || (wildcard && !this.wildcard)) {
      this.#answerDue = true;
      this.isDirty = true;
    }
    if (isFirst) this.#ackedVersion = all.version;
    this.wildcard = wildcard;
    for (const name of [...this.names]) {
      if (wanted.has(name)) continue;
      this.names.delete(name);
      if (!wildcard) this.#forget(name);
    }
    for (const name of wanted) {
      if (this.names.has(name)) continue;
      this.names.add(name);
      this.#due.add(name);
      this.isDirty = true;
    }
  }

  /** Whether a state-of-the-world request asks for what is subscribed already. */
  isSame(names: readonly string[]): boolean {
    const count = this.names.size + (this.wildcard && this.#namedOnce ? 1 : 0);
    return names.length === count && names.every((name) => (name === WILDCARD ? this.wildcard : this.names.has(name)));
  }

  #forget(name: string): void {
    this.#client.delete(name);
    this.#due.delete(name);
    this.#held.delete(name);
    this.#released.delete(name);
  }

  /** Answers these names (all subscribed ones by default) again, whatever the client has. */
  force(names: Iterable<string> = this.names): void {
    for (const name of names) {
      this.#due.add(name);
      this.#forced.add(name);
    }
  }

  /** Whether there may be something to send. */
  get isWanting(): boolean {
    return this.isDirty || this.#due.size > 0 || this.#answerDue;
  }

  /** What to ask the source for: less than the whole subscription where only a few names are due. */
  get scope(): Subscription {
    if (!this.#isDelta || this.isDirty || this.#answerDue || this.wildcard) return this;
    return { wildcard: false, names: new Set(this.#due) };
  }

  /** The next response out of what the source has for `scope`, or undefined when the client is up to date. */
  next(resources: readonly XdsResource[], scope: Subscription): Outgoing | undefined {
    const out = this.#isDelta
      ? this.#nextDelta(resources, scope === this)
      : this.#isFull
        ? this.#nextFull(resources)
        : this.#nextPartial(resources);
    if (out) {
      this.#due.clear();
      this.#forced.clear();
      this.#answerDue = false;
    }
    this.isDirty = false;
    return out;
  }

  /** The source failed: nothing is tried again until something changes. */
  giveUp(): void {
    this.#forced.clear();
    this.isDirty = false;
    this.#answerDue = false;
    this.#due.clear();
  }

  /** Forgets refusals of what is no longer so. */
  #pruneRefused(resources: readonly XdsResource[]): void {
    if (this.#refused.size === 0) return;
    const versions = new Map(resources.map((resource) => [resource.name, resource.version]));
    for (const [name, version] of this.#refused) if (versions.get(name) !== version) this.#refused.delete(name);
  }

  #nextDelta(resources: readonly XdsResource[], isWhole: boolean): Outgoing | undefined {
    if (isWhole) this.#pruneRefused(resources);
    const current = new Set<string>();
    const send: XdsResource[] = [];
    const changed: XdsResource[] = [];
    for (const resource of resources) {
      current.add(resource.name);
      const differs = this.#differs(resource);
      if (!this.#due.has(resource.name) && (!differs || this.#isRefused(resource))) continue;
      send.push(resource);
      if (differs) changed.push(resource);
    }
    const removed: string[] = [];
    for (const name of this.#due) if (!current.has(name)) removed.push(name);
    if (isWhole) for (const name of this.#gone(current)) removed.push(name);
    const isForced = this.#due.size > 0 || this.#answerDue;
    const out = { resources: send, removed, version: "", changed };
    if (!isForced && send.length === 0 && removed.length === 0) {
      this.#refusedKey = undefined;
      return undefined;
    }
    if (!isForced && this.#refusedKey !== undefined && this.#refusedKey === keyOf(out)) return undefined;
    return out;
  }

  /** Names that the client has and that are gone; those that are held back are noted and left out. */
  #gone(current: ReadonlySet<string>): string[] {
    for (const name of [...this.#held.keys()]) {
      if (!current.has(name)) continue;
      this.#held.delete(name); // It is back.
      this.#released.delete(name);
    }
    const gone: string[] = [];
    for (const name of this.#client.keys()) {
      if (current.has(name) || this.#due.has(name)) continue;
      if (!this.#holdsRemovals || this.#released.has(name)) gone.push(name);
      else if (!this.#held.has(name)) this.#held.set(name, undefined);
    }
    return gone;
  }

  #nextFull(resources: readonly XdsResource[]): Outgoing | undefined {
    this.#pruneRefused(resources);
    const current = new Set(resources.map((resource) => resource.name));
    const send: XdsResource[] = [];
    for (const resource of resources) {
      // What was refused is left as the client has it: leaving it out would remove it.
      const taken = this.#isRefused(resource) && !this.#due.has(resource.name) ? this.#kept.get(resource.name) : resource;
      if (taken) send.push(taken);
    }
    const gone = new Set(this.#gone(current));
    for (const [name, resource] of this.#kept) {
      if (current.has(name) || gone.has(name) || !this.#held.has(name)) continue;
      send.push(resource);
    }
    const version = versionOf(send);
    if (version === this.#ackedVersion && this.#due.size === 0) {
      // Up to date, or resumed with what there still is.
      if (this.#kept.size === 0 && this.#client.size === 0) this.#take(send);
      this.#answerDue = false;
      this.#refusedKey = undefined;
      return undefined;
    }
    if (version === this.#refusedKey && this.#due.size === 0 && !this.#answerDue) return undefined;
    return { resources: send, removed: [], version, changed: send.filter((resource) => this.#differs(resource)) };
  }

  #nextPartial(resources: readonly XdsResource[]): Outgoing | undefined {
    this.#pruneRefused(resources);
    const current = new Set(resources.map((resource) => resource.name));
    const version = versionOf(resources);
    if (this.#answerDue && version === this.#ackedVersion && resources.length > 0 && this.#client.size === 0) {
      this.#take(resources); // Resumed with what there still is.
      for (const name of this.#due) if (!this.#forced.has(name)) this.#due.delete(name);
      this.#answerDue = false;
    }
    for (const name of this.#gone(current)) this.#forget(name); // Nothing can be said of them: such a response knows no removals.
    const send = resources.filter((resource) => this.#due.has(resource.name) || (this.#differs(resource) && !this.#isRefused(resource)));
    const out = { resources: send, removed: [], version, changed: send.filter((resource) => this.#differs(resource)) };
    if (send.length === 0 && !this.#answerDue) {
      this.#due.clear();
      this.#refusedKey = undefined;
      return undefined;
    }
    if (this.#due.size === 0 && !this.#answerDue && this.#refusedKey === keyOf(out)) return undefined;
    return out;
  }

  #take(resources: readonly XdsResource[]): void {
    for (const resource of resources) this.#client.set(resource.name, resource.version);
    if (this.#isFull) this.#kept = new Map(resources.map((resource) => [resource.name, resource]));
  }

  #differs(resource: XdsResource): boolean {
    return this.#client.get(resource.name) !== resource.version;
  }

  #isRefused(resource: XdsResource): boolean {
    return this.#refused.get(resource.name) === resource.version;
  }

  /** A newer response goes out before the last one was answered: what the client has of that one is not known. */
  supersede(): void {
    const out = this.inFlight;
    if (!out) return;
    this.inFlight = undefined;
    this.isLate = true;
    for (const { name } of out.resources) if (this.wildcard || this.names.has(name)) this.#client.set(name, UNKNOWN);
    for (const name of out.removed) if (this.#client.has(name)) this.#client.set(name, UNKNOWN);
    this.#ackedVersion = "";
  }

  /** The client took what was in flight. */
  onAck(): void {
    const out = this.inFlight;
    if (!out) return;
    this.inFlight = undefined;
    this.isLate = false;
    this.#refusedKey = undefined;
    if (this.#isFull) {
      this.#client.clear();
      this.#take(out.resources);
      for (const name of [...this.#held.keys()]) if (!this.#client.has(name)) this.#drop(name);
    }
    this.#ackedVersion = out.version;
    for (const resource of out.changed) this.#refused.delete(resource.name);
    for (const resource of out.resources) {
      if (this.wildcard || this.names.has(resource.name)) this.#client.set(resource.name, resource.version);
    }
    for (const name of out.removed) {
      this.#client.delete(name);
      this.#refused.delete(name);
      this.#drop(name);
    }
  }

  #drop(name: string): void {
    this.#held.delete(name);
    this.#released.delete(name);
  }

  /**
   * The client refused what was in flight. Those resources that its words name are to blame and not sent again; when it names some and
   * not all, the others go out once more by themselves. True when there is such a second try.
   */
  onNack(error: string): boolean {
    const out = this.inFlight;
    if (!out) return false;
    this.inFlight = undefined;
    this.isLate = false;
    this.#refusedKey = this.#isFull ? out.version : keyOf(out);
    const named = out.changed.length === 1 ? out.changed : out.changed.filter((resource) => names(error, resource.name));
    for (const resource of named) this.#refused.set(resource.name, resource.version);
    const hasSecondTry = named.length > 0 && named.length < out.changed.length;
    if (hasSecondTry) this.isDirty = true;
    return hasSecondTry;
  }

  /** Everything that may refer to held resources was acknowledged at `nowMs`: their drain time begins. */
  markUnreferenced(nowMs: number): void {
    for (const [name, sinceMs] of this.#held) if (sinceMs === undefined) this.#held.set(name, nowMs);
  }

  /** Lets those go that were unreferenced for `drainMs`. Gives the time at which the next may go; undefined when none waits. */
  release(nowMs: number, drainMs: number): number | undefined {
    let nextMs: number | undefined;
    for (const [name, sinceMs] of this.#held) {
      if (sinceMs === undefined || this.#released.has(name)) continue;
      if (sinceMs + drainMs <= nowMs) {
        this.#released.add(name);
        this.isDirty = true;
      } else nextMs = Math.min(nextMs ?? Number.POSITIVE_INFINITY, sinceMs + drainMs);
    }
    return nextMs;
  }
}

/** State of the world: the version of a set is the digest of its names and versions. */
function versionOf(resources: readonly XdsResource[]): string {
  return digestOf(
    resources
      .map((resource) => `${resource.name}\0${resource.version}`)
      .sort()
      .join("\n"),
  );
}

function keyOf(out: Outgoing): string {
  return `${versionOf(out.resources)}-${out.removed.join("\n")}`;
}

/** Whether a text names something as a whole word: "80" is not named by "8080". */
function names(text: string, name: string): boolean {
  for (let at = text.indexOf(name); at !== -1; at = text.indexOf(name, at + 1)) {
    if (!isNamePart(text, at - 1) && !isNamePart(text, at + name.length)) return true;
  }
  return false;
}

function isNamePart(text: string, at: number): boolean {
  const char = text[at];
  if (char === undefined) return false;
  // A full stop or colon after a name ends a sentence or begins the reason; inside a name something follows it.
  if (char === "." || char === ":") return /[\w|]/.test(text[at + 1] ?? "");
  return /[\w|-]/.test(char);
}
