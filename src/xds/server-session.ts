/**
 * One client's stream on the server: reads requests, answers subscriptions at once and pushes changes in order. A type has at
 * most one unanswered response; whatever changes meanwhile is part of the next one, so nothing queues up for a client that is slow.
 * Source: Envoy xDS protocol, "Eventual consistency considerations" (order of types), "ACK and NACK".
 */
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type GrpcCallContext, GrpcError, GrpcStatus, type GrpcStream } from "../net/grpc/types.ts";
import { decodeDeltaRequest, decodeSotwRequest, type XdsRequest } from "./request-codec.ts";
import { encodeDeltaResponse, encodeSotwResponse } from "./response-codec.ts";
import type { XdsServerLimits } from "./server-limits.ts";
import { HELD_TYPES, type Outgoing, ServerType } from "./server-type.ts";
import type { XdsNode, XdsSession, XdsSource, XdsTypeStatus } from "./server-types.ts";
import { CHILDREN_OF_HELD, HOLDS_ANSWER_FOR_CHILDREN, PUSH_ORDER, type Subscription } from "./types.ts";

/** What a session needs of its server. */
export interface SessionContext {
  readonly source: XdsSource;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: XdsServerLimits;
  /** ControlPlane.identifier of every response. */
  readonly identifier: string;
  /** Set for a service of one type: requests may leave the type out and may not name another. */
  readonly onlyType: string | undefined;
  readonly onOpen: (session: Session) => void;
  readonly onClosed: (session: Session) => void;
  /** A number that no other session of the server has. */
  readonly number: number;
}

interface Push {
  readonly label: string;
  /** Undefined: all. */
  readonly types: ReadonlySet<string> | undefined;
  /** Only removals whose time has come. */
  readonly isSweep: boolean;
}

interface PendingPush {
  push: Push;
  readonly done: Promise<void>;
  readonly resolve: () => void;
}

const NO_NODE: XdsNode = {
  id: "",
  cluster: "",
  metadata: {},
  userAgentName: "",
  userAgentVersion: "",
  locality: { region: "", zone: "", subZone: "" },
};

/** A stream with its protocol state. server.ts makes it and feeds it messages. */
export class Session implements XdsSession {
  readonly call: GrpcCallContext;
  readonly delta: boolean;
  readonly connectedAtMs: number;
  readonly #context: SessionContext;
  readonly #stream: GrpcStream;
  readonly #types = new Map<string, ServerType>();
  readonly #status = new Map<string, XdsTypeStatus>();
  #node = NO_NODE;
  #phase: "new" | "admitting" | "open" | "closed" = "new";
  #waiting: XdsRequest[] = [];
  #nonces = 0;
  #label = "";
  #tokens: number;
  #tokensAtMs: number;
  readonly #firstRequestTimer: Timer;

  #running: Push | undefined;
  #next: PendingPush | undefined;
  /** Types whose turn in the running push is still to come. */
  readonly #ahead = new Set<string>();
  /** Names that the client is expected to subscribe in the running push, by type. */
  readonly #expected = new Map<string, Set<string>>();
  /** Children of what was sent, of types that the client has not asked for yet: a client that resumes has them, and wants them anew all the same. */
  readonly #owed = new Map<string, Set<string>>();
  /** The stream's buffers are full. */
  #isBlocked = false;
  #sweepTimer: Timer | undefined;
  /** Woken on every change that a push may wait for. */
  #wake: (() => void) | undefined;

  constructor(call: GrpcCallContext, stream: GrpcStream, options: { readonly delta: boolean; readonly context: SessionContext }) {
    this.call = call;
    this.delta = options.delta;
    this.#stream = stream;
    this.#context = options.context;
    const { clock, limits } = options.context;
    this.connectedAtMs = clock.nowMs();
    this.#tokens = limits.requestsBurst;
    this.#tokensAtMs = clock.monotonicMs();
    this.#firstRequestTimer = clock.after(limits.firstRequestTimeoutMs, () => {
      if (this.#phase === "new") this.close(GrpcStatus.DEADLINE_EXCEEDED, "no request came");
    });
  }

  get id(): string {
    return `${this.#node.id || this.call.peer}-${this.#context.number}`;
  }

  get node(): XdsNode {
    return this.#node;
  }

  get subscriptions(): ReadonlyMap<string, Subscription> {
    return this.#types;
  }

  get status(): ReadonlyMap<string, XdsTypeStatus> {
    return this.#status;
  }

  /** One message of the client. */
  onMessage(bytes: Uint8Array): void {
    if (this.#phase === "closed") return;
    const { limits } = this.#context;
    if (bytes.length > limits.requestBytesMax) {
      this.close(GrpcStatus.RESOURCE_EXHAUSTED, `a request of ${bytes.length} bytes; at most ${limits.requestBytesMax} are taken`);
      return;
    }
    if (!this.#takeToken()) {
      this.close(GrpcStatus.RESOURCE_EXHAUSTED, `more than ${limits.requestsPerSecond} requests a second`);
      return;
    }
    let request: XdsRequest;
    try {
      request = this.delta ? decodeDeltaRequest(bytes) : decodeSotwRequest(bytes);
    } catch (error) {
      this.close(GrpcStatus.INVALID_ARGUMENT, `a request cannot be read: ${messageOf(error)}`);
      return;
    }
    if (this.#phase === "new") this.#admit(request);
    else if (this.#phase === "admitting") {
      if (this.#waiting.length >= limits.waitingRequestsMax) {
        this.close(GrpcStatus.RESOURCE_EXHAUSTED, "too many requests before the first was answered");
        return;
      }
      this.#waiting.push(request);
    } else this.#onRequest(request);
  }

  /** The stream takes more. */
  onDrain(): void {
    this.#isBlocked = false;
    for (const type of this.#types.values()) this.#flush(type);
  }

  /** The client half-closed, or the stream is gone. */
  onEnd(error: GrpcError | undefined): void {
    if (this.#phase === "closed") return;
    if (!error) this.#stream.end();
    this.#closed();
  }

  close(code: number, message: string): void {
    if (this.#phase === "closed") return;
    this.#context.log.debug("an xDS stream is ended", { session: this.id, code, why: message });
    this.#stream.end(code === GrpcStatus.OK ? undefined : new GrpcError(code, message));
    this.#closed();
  }

  #closed(): void {
    const wasOpen = this.#phase === "open";
    this.#phase = "closed";
    this.#firstRequestTimer.cancel();
    this.#sweepTimer?.cancel();
    this.#waiting = [];
    this.#wake?.();
    this.#next?.resolve();
    this.#next = undefined;
    this.#context.onClosed(this);
    if (wasOpen) this.#context.source.onDisconnect(this);
  }

  #takeToken(): boolean {
    const { clock, limits } = this.#context;
    const nowMs = clock.monotonicMs();
    this.#tokens = Math.min(limits.requestsBurst, this.#tokens + ((nowMs - this.#tokensAtMs) * limits.requestsPerSecond) / 1000);
    this.#tokensAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  #admit(request: XdsRequest): void {
    if (!request.node) {
      this.close(GrpcStatus.INVALID_ARGUMENT, "the first request of a stream must carry a node");
      return;
    }
    this.#firstRequestTimer.cancel();
    this.#node = request.node;
    this.#phase = "admitting";
    this.#waiting.push(request);
    this.#context.source.onConnect(this).then(
      () => {
        if (this.#phase !== "admitting") {
          this.#context.source.onDisconnect(this);
          return;
        }
        this.#phase = "open";
        this.#label = this.#context.source.label?.(this) ?? "";
        this.#context.onOpen(this);
        const waiting = this.#waiting;
        this.#waiting = [];
        for (const waited of waiting) if (this.#isOpen) this.#onRequest(waited);
      },
      (error: unknown) => {
        const refusal = error instanceof GrpcError ? error : undefined;
        if (!refusal) this.#context.log.error("a client could not be admitted", { session: this.id, why: messageOf(error) });
        this.close(refusal?.code ?? GrpcStatus.INTERNAL, refusal?.message ?? "the client could not be admitted");
      },
    );
  }

  get #isOpen(): boolean {
    return this.#phase === "open";
  }

  #onRequest(request: XdsRequest): void {
    const { onlyType, limits } = this.#context;
    const typeUrl = request.typeUrl || onlyType;
    if (!typeUrl) {
      this.close(GrpcStatus.INVALID_ARGUMENT, "a request names no type");
      return;
    }
    if (onlyType && typeUrl !== onlyType) {
      this.close(GrpcStatus.INVALID_ARGUMENT, `this service has ${onlyType} alone, not ${typeUrl}`);
      return;
    }
    const longest = longestName(request);
    if (longest > limits.nameBytesMax) {
      this.close(GrpcStatus.RESOURCE_EXHAUSTED, `a name of ${longest} characters; at most ${limits.nameBytesMax} are taken`);
      return;
    }
    let type = this.#types.get(typeUrl);
    const isFirst = type === undefined;
    if (!type) {
      // A late answer to a stream before this one: it asks for nothing.
      if (request.nonce !== "" && request.names.kind === "change" && request.names.subscribe.length === 0) return;
      if (this.#types.size >= limits.typesMax) {
        this.close(GrpcStatus.RESOURCE_EXHAUSTED, `more than ${limits.typesMax} types on one stream`);
        return;
      }
      type = new ServerType(typeUrl, { isDelta: this.delta });
      this.#types.set(typeUrl, type);
    }
    this.#onTypeRequest(type, request, isFirst);
    const owed = this.#owed.get(typeUrl);
    if (owed) {
      this.#owed.delete(typeUrl);
      type.force([...owed].filter((name) => type.names.has(name)));
    }
    if (type.names.size > limits.namesMax) {
      this.close(GrpcStatus.RESOURCE_EXHAUSTED, `more than ${limits.namesMax} names of ${typeUrl}`);
      return;
    }
    if (isFirst && isResumption(request)) this.#resume(type);
    else this.#flush(type);
    this.#wake?.();
  }

  /**
   * A client that comes back asks for all its types at once. What changed while it was away is given in the order of a push: routes that
   * came before the new clusters they name would lead nowhere.
   */
  #resume(type: ServerType): void {
    if (this.#ahead.has(type.typeUrl)) return; // Its turn comes.
    if (this.#running || !PUSH_ORDER.includes(type.typeUrl)) this.#flush(type);
    else void this.push(this.#label);
  }

  #onTypeRequest(type: ServerType, request: XdsRequest, isFirst: boolean): void {
    const { nonce, names } = request;
    const answers = type.inFlight !== undefined && nonce === type.inFlight.nonce;
    if (names.kind === "change") {
      // Subscriptions of a delta request count whatever its nonce: they are not repeated.
      type.subscribe(names, isFirst);
      if (answers) this.#onAnswer(type, request.error);
      return;
    }
    if (isFirst) {
      type.subscribe(names, true);
      return;
    }
    // Without a nonce: sent before the client saw the first response, whose answer is still to come.
    if (nonce !== "" && !answers && (type.inFlight || nonce !== type.lastNonce)) return; // Stale: the client has not seen the last response yet.
    const isSame = type.isSame(names.names);
    type.subscribe(names, false);
    if (answers) this.#onAnswer(type, request.error);
    // The same once more: something at the client waits for an answer that it had before. A push that comes to this type gives it anyway.
    else if (isSame && request.error === undefined && !type.inFlight && !this.#ahead.has(type.typeUrl)) type.force();
  }

  #onAnswer(type: ServerType, error: string | undefined): void {
    const { source, clock, limits } = this.#context;
    const out = type.inFlight;
    const status = this.#status.get(type.typeUrl);
    if (!out || !status) return;
    if (error === undefined) {
      type.onAck();
      // The rest of a refused response was taken: the refusal stands until what was refused changes.
      const { isRefusing } = type;
      const answer = isRefusing
        ? ({ state: "nacked" } as const)
        : ({ state: "acked", ackedLabel: out.label, nackMessage: undefined } as const);
      this.#setStatus(type, { ...status, ...answer, answeredAtMs: clock.nowMs() });
      source.onAck?.(this, type.typeUrl);
    } else {
      const message = error.length > limits.nackMessageMax ? `${error.slice(0, limits.nackMessageMax)}…` : error;
      type.onNack(message);
      this.#setStatus(type, { ...status, state: "nacked", nackMessage: message, answeredAtMs: clock.nowMs() });
      source.onNack?.(this, type.typeUrl, message);
    }
    if (type.hasHeld && !this.#running && !this.#next) this.#settleLater();
  }

  /** What the client is sent makes it want its children again, or for the first time. They come behind it on the same stream. */
  #wantChildren(type: ServerType, out: Outgoing): void {
    const { source } = this.#context;
    if (!source.children) return;
    for (const resource of out.changed) {
      for (const child of source.children(this, type.typeUrl, resource)) {
        const childType = this.#types.get(child.typeUrl);
        if (childType?.names.has(child.name)) childType.force([child.name]);
        else if (this.#ahead.has(child.typeUrl)) addTo(this.#expected, child.typeUrl, child.name);
        if (!childType) addTo(this.#owed, child.typeUrl, child.name);
      }
    }
    for (const other of this.#types.values()) if (other !== type && !this.#ahead.has(other.typeUrl)) this.#flush(other);
  }

  #setStatus(type: ServerType, status: XdsTypeStatus): void {
    this.#status.set(type.typeUrl, { ...status, resources: type.clientCount });
  }

  /**
   * Sends what the client lacks of a type. While an answer is awaited it waits for that, but not for ever: an Envoy with a cluster that does not
   * warm answers no clusters, and would never hear of its mending.
   */
  #flush(type: ServerType): void {
    if (!this.#isOpen || this.#isBlocked || !type.isWanting) return;
    if (type.inFlight && !this.#isOverdue(type)) return;
    const { source, clock, log } = this.#context;
    type.supersede();
    const scope = type.scope;
    let out: Outgoing | undefined;
    try {
      out = type.next(source.resources(this, type.typeUrl, scope), scope);
    } catch (error) {
      // The client keeps what it has. Removals wait, since the type is not at this label.
      type.giveUp();
      log.error("resources could not be made for a client", { session: this.id, type: type.typeUrl, why: messageOf(error) });
      return;
    }
    const status = this.#status.get(type.typeUrl);
    if (type.hasHeld && !this.#running && !this.#next) this.#settleLater();
    if (!out) {
      // Up to date with this label without a word; what was refused stays refused.
      if (!status) this.#setStatus(type, upToDate(this.#label, clock.nowMs()));
      else if (status.state === "acked" || !type.isRefusing)
        this.#setStatus(type, { ...status, state: "acked", nackMessage: undefined, sentLabel: this.#label, ackedLabel: this.#label });
      return;
    }
    this.#send(type, out, status);
  }

  #send(type: ServerType, out: Outgoing, status: XdsTypeStatus | undefined): void {
    const { source, clock, identifier } = this.#context;
    const nonce = `${++this.#nonces}`;
    type.inFlight = { ...out, nonce, label: this.#label, sentAtMs: clock.monotonicMs() };
    type.lastNonce = nonce;
    const response = { typeUrl: type.typeUrl, nonce, resources: out.resources, removed: out.removed, controlPlane: identifier };
    const bytes = this.delta
      ? encodeDeltaResponse({ ...response, version: this.#label })
      : encodeSotwResponse({ ...response, version: out.version });
    this.#setStatus(type, {
      sentLabel: this.#label,
      ackedLabel: status?.ackedLabel ?? "",
      state: "sent",
      nackMessage: status?.nackMessage,
      sentAtMs: clock.nowMs(),
      answeredAtMs: undefined,
      resources: 0,
    });
    if (!this.#stream.send(bytes)) this.#isBlocked = true;
    this.#wantChildren(type, out);
    source.onSend?.(this, type.typeUrl, { resources: out.resources.length, removed: out.removed.length, bytes: bytes.length });
  }

  push(label: string, typeUrls?: ReadonlySet<string>): Promise<void> {
    return this.#enqueue({ label, types: typeUrls, isSweep: false });
  }

  #enqueue(push: Push): Promise<void> {
    if (!this.#isOpen) return Promise.resolve();
    if (this.#next) {
      this.#next.push = merge(this.#next.push, push);
      return this.#next.done;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#next = { push, done: promise, resolve };
    if (!this.#running) void this.#run();
    return promise;
  }

  /** Pushes one after another while there is one; never rejects. */
  async #run(): Promise<void> {
    while (this.#next) {
      const { push, resolve } = this.#next;
      this.#next = undefined;
      this.#running = push;
      try {
        if (!push.isSweep) await this.#runPush(push);
        if (this.#isOpen) await this.#sweep(push);
      } catch (error) {
        this.#context.log.error("a push failed", { session: this.id, why: messageOf(error) });
      }
      this.#ahead.clear();
      this.#expected.clear();
      this.#running = undefined;
      resolve();
    }
  }

  async #runPush(push: Push): Promise<void> {
    this.#label = push.label;
    this.#context.source.onPush?.(this, push.label);
    for (const typeUrl of PUSH_ORDER) this.#ahead.add(typeUrl);
    const others = [...this.#types.keys()].filter((typeUrl) => !this.#ahead.has(typeUrl));
    for (const typeUrl of [...PUSH_ORDER, ...others]) {
      this.#ahead.delete(typeUrl);
      const type = this.#types.get(typeUrl);
      if (type && (push.types === undefined || push.types.has(typeUrl))) type.isDirty = true;
      if (type) this.#flush(type);
      // The answer may wait for the children, which are next: both are awaited then.
      if (typeUrl === HOLDS_ANSWER_FOR_CHILDREN) continue;
      if (typeUrl === CHILDREN_OF_HELD && !(await this.#isSettled(HOLDS_ANSWER_FOR_CHILDREN))) return;
      if (!(await this.#isSettled(typeUrl))) return;
    }
  }

  #isOverdue(type: ServerType): boolean {
    const sentAtMs = type.inFlight?.sentAtMs;
    return sentAtMs !== undefined && this.#context.clock.monotonicMs() - sentAtMs >= this.#context.limits.answerTimeoutMs;
  }

  /** Waits until a type is answered (or overdue) and its expected names are subscribed. False when the stream has ended. */
  async #isSettled(typeUrl: string): Promise<boolean> {
    const { clock, limits, log } = this.#context;
    const startMs = clock.monotonicMs();
    for (;;) {
      if (!this.#isOpen) return false;
      const type = this.#types.get(typeUrl);
      const waitedMs = clock.monotonicMs() - startMs;
      // Other types are not kept back for ever by one that is not answered. Removals are.
      const isAnswered = !type?.inFlight || type.isLate || this.#isOverdue(type);
      const hasChildren = waitedMs >= limits.childTimeoutMs || this.#hasExpected(typeUrl, type);
      if (isAnswered && hasChildren) {
        this.#expected.delete(typeUrl);
        if (type?.inFlight) log.warn("a client does not answer", { session: this.id, type: typeUrl, label: type.inFlight.label });
        return true;
      }
      const answerMs = type?.inFlight ? type.inFlight.sentAtMs + limits.answerTimeoutMs - startMs : Number.POSITIVE_INFINITY;
      const limitMs = Math.min(
        hasChildren ? Number.POSITIVE_INFINITY : limits.childTimeoutMs,
        isAnswered ? Number.POSITIVE_INFINITY : answerMs,
      );
      await new Promise<void>((resolve) => {
        const timer = clock.after(Math.max(1, limitMs - waitedMs), resolve);
        this.#wake = () => {
          timer.cancel();
          resolve();
        };
      });
      this.#wake = undefined;
    }
  }

  #hasExpected(typeUrl: string, type: ServerType | undefined): boolean {
    const names = this.#expected.get(typeUrl);
    if (!names) return true;
    for (const name of names) if (!type?.names.has(name)) return false;
    return true;
  }

  /** A client came with more than there is: a full push finds out that nothing refers to it, and then it can go. */
  #settleLater(): void {
    const { clock, limits } = this.#context;
    this.#sweepTimer ??= clock.after(Math.max(1000, limits.drainMs), () => {
      this.#sweepTimer = undefined;
      void this.push(this.#label);
    });
  }

  /** Removes what nothing refers to any more, when its drain time has passed and no type is refused. */
  async #sweep(push: Push): Promise<void> {
    const { clock, limits } = this.#context;
    this.#sweepTimer?.cancel();
    this.#sweepTimer = undefined;
    for (const typeUrl of this.#types.keys()) if (!(await this.#isSettled(typeUrl))) return;
    for (const status of this.#status.values()) if (status.state !== "acked") return; // A refusal freezes removals.
    let nextMs: number | undefined;
    for (const typeUrl of HELD_TYPES) {
      const type = this.#types.get(typeUrl);
      if (!type?.hasHeld) continue;
      const nowMs = clock.monotonicMs();
      if (push.types === undefined && !push.isSweep) type.markUnreferenced(nowMs);
      const dueMs = type.release(nowMs, limits.drainMs);
      if (dueMs !== undefined) nextMs = Math.min(nextMs ?? Number.POSITIVE_INFINITY, dueMs);
      this.#flush(type);
      if (!(await this.#isSettled(typeUrl))) return;
    }
    if (nextMs === undefined || !this.#isOpen) return;
    this.#sweepTimer = clock.after(Math.max(1, nextMs - clock.monotonicMs()), () => {
      this.#sweepTimer = undefined;
      void this.#enqueue({ label: this.#label, types: new Set(), isSweep: true });
    });
  }
}

function addTo(map: Map<string, Set<string>>, key: string, value: string): void {
  const values = map.get(key);
  if (values) values.add(value);
  else map.set(key, new Set([value]));
}

function isResumption({ names }: XdsRequest): boolean {
  return names.kind === "all" ? names.version !== "" : Object.keys(names.initialVersions).length > 0;
}

function longestName({ typeUrl, names }: XdsRequest): number {
  let longest = typeUrl.length;
  const lists = names.kind === "all" ? [names.names] : [names.subscribe, Object.keys(names.initialVersions)];
  for (const list of lists) for (const name of list) longest = Math.max(longest, name.length);
  return longest;
}

function upToDate(label: string, nowMs: number): XdsTypeStatus {
  return {
    sentLabel: label,
    ackedLabel: label,
    state: "acked",
    nackMessage: undefined,
    sentAtMs: nowMs,
    answeredAtMs: nowMs,
    resources: 0,
  };
}

function merge(before: Push, after: Push): Push {
  if (after.isSweep) return before;
  if (before.isSweep) return after;
  const types = before.types && after.types ? new Set([...before.types, ...after.types]) : undefined;
  return { label: after.label, types, isSweep: false };
}
