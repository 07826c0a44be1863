/**
 * An xDS client: one stream to a management server, kept up, with one subscriber a type. What was accepted stays when the server goes
 * or talks nonsense. Source: Envoy xDS protocol, aggregated discovery service, delta and state of the world.
 */
import { Backoff } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import type { GrpcChannel, GrpcError, GrpcMetadata, GrpcStream } from "../net/grpc/types.ts";
import type { MetricsRegistry } from "../telemetry/metrics.ts";
import { ClientType } from "./client-type.ts";
import type { XdsClient, XdsSubscriber, XdsSubscription } from "./client-types.ts";
import { decodeDeltaResponse, decodeSotwResponse, type XdsResponse } from "./response-codec.ts";
import { ADS, type DiscoveryService } from "./services.ts";
import { PUSH_ORDER } from "./types.ts";

/** What a client is made of. */
export interface XdsClientOptions {
  /** Asked for once a connection: it is closed when its stream ends. */
  readonly openChannel: () => GrpcChannel;
  /** The encoded envoy.config.core.v3.Node. */
  readonly node: Uint8Array;
  readonly mode: "delta" | "sotw";
  /** Later requests of a stream leave the node out. Source: ApiConfigSource.set_node_on_first_message_only. */
  readonly setNodeOnFirstMessageOnly: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics?: MetricsRegistry;
  /** Default: the aggregated service. */
  readonly service?: DiscoveryService;
  /** Metadata of each stream, such as a bearer token that is read anew. */
  readonly metadata?: () => GrpcMetadata;
}

const BACKOFF = { baseMs: 500, maxMs: 30_000 };
const RESPONSE_BYTES_MAX = 64 * 1024 * 1024;
const NACK_MESSAGE_MAX = 8192;
const NAMES_MAX = 50_000;
/** Requests that a server may leave unread while it goes on to send. */
const UNDRAINED_MAX = 1000;

/** Makes a client. Nothing is connected before `start`. */
export function createXdsClient(options: XdsClientOptions): XdsClient {
  return new Client(options);
}

class Client implements XdsClient {
  readonly #options: XdsClientOptions;
  readonly #isDelta: boolean;
  readonly #types = new Map<string, ClientType>();
  readonly #backoff: Backoff;
  readonly #counters: Counters;
  #phase: "idle" | "running" | "closed" = "idle";
  #channel: GrpcChannel | undefined;
  #stream: GrpcStream | undefined;
  /** Distinguishes a stream's late calls from those of the stream that is open now. */
  #epoch = 0;
  #isNodeSent = false;
  #hasHeard = false;
  #isFlushQueued = false;
  #isBlocked = false;
  #undrained = 0;
  #retryTimer: Timer | undefined;

  constructor(options: XdsClientOptions) {
    this.#options = options;
    this.#isDelta = options.mode === "delta";
    this.#backoff = new Backoff(BACKOFF, options.random);
    this.#counters = createCounters(options.metrics);
  }

  get isConnected(): boolean {
    return this.#stream !== undefined && this.#hasHeard;
  }

  subscribe(typeUrl: string, options: { readonly wildcard: boolean }, subscriber: XdsSubscriber): XdsSubscription {
    let type = this.#types.get(typeUrl);
    if (!type) {
      type = new ClientType(typeUrl, { isDelta: this.#isDelta });
      this.#types.set(typeUrl, type);
    }
    if (type.subscriber) throw new Error(`${typeUrl} has a subscriber already`);
    const taken = type;
    taken.open(subscriber, options.wildcard);
    this.#queueFlush();
    return {
      update: ({ add = [], remove = [] }) => {
        if (taken.subscriber !== subscriber) return;
        for (const name of remove) taken.remove(name);
        for (const name of add) {
          if (taken.namesCount >= NAMES_MAX) {
            this.#options.log.error("no more names are subscribed: the limit is reached", { type: typeUrl, limit: NAMES_MAX });
            break;
          }
          taken.add(name);
        }
        this.#queueFlush();
      },
      close: () => {
        if (taken.subscriber !== subscriber) return;
        taken.closeInterest();
        this.#queueFlush();
      },
    };
  }

  start(): void {
    if (this.#phase !== "idle") return;
    this.#phase = "running";
    this.#connect();
  }

  close(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#retryTimer?.cancel();
    this.#stream?.end();
    this.#dropStream();
  }

  #connect(): void {
    const epoch = ++this.#epoch;
    const { sotwMethod, deltaMethod } = this.#options.service ?? ADS;
    this.#isNodeSent = false;
    this.#hasHeard = false;
    this.#isBlocked = false;
    this.#undrained = 0;
    this.#counters.attempts.add();
    let stream: GrpcStream;
    try {
      this.#channel = this.#options.openChannel();
      stream = this.#channel.openStream(this.#isDelta ? deltaMethod : sotwMethod, this.#options.metadata?.() ?? {}, {
        onMessage: (message) => {
          if (epoch === this.#epoch) this.#onMessage(message);
        },
        onEnd: (error) => {
          if (epoch === this.#epoch) this.#onEnd(error);
        },
        onDrain: () => {
          if (epoch !== this.#epoch) return;
          this.#isBlocked = false;
          this.#undrained = 0;
          this.#queueFlush();
        },
      });
    } catch (error) {
      this.#lost(messageOf(error));
      return;
    }
    if (epoch !== this.#epoch) return; // It ended while it was opened.
    this.#stream = stream;
    for (const type of this.#types.values()) type.onStream();
    this.#flush();
  }

  #queueFlush(): void {
    if (this.#isFlushQueued) return;
    this.#isFlushQueued = true;
    // Changes of one turn are one request a type.
    queueMicrotask(() => {
      this.#isFlushQueued = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#stream || this.#isBlocked) return;
    for (const type of this.#inOrder()) {
      if (!this.#stream) return;
      const request = type.request(this.#nodeToSend());
      if (request) this.#send(request);
    }
  }

  /** Parents before children, as a server sends them. */
  #inOrder(): ClientType[] {
    const rank = (type: ClientType): number => {
      const at = PUSH_ORDER.indexOf(type.typeUrl);
      return at === -1 ? PUSH_ORDER.length : at;
    };
    return [...this.#types.values()].sort((a, b) => rank(a) - rank(b));
  }

  #nodeToSend(): Uint8Array | undefined {
    return this.#isNodeSent && this.#options.setNodeOnFirstMessageOnly ? undefined : this.#options.node;
  }

  #send(request: Uint8Array): void {
    if (!this.#stream) return;
    this.#isNodeSent = true;
    this.#counters.sent.add();
    if (this.#stream.send(request)) return;
    this.#isBlocked = true;
    if (++this.#undrained > UNDRAINED_MAX) this.#abandon("the server sends and does not read");
  }

  #onMessage(message: Uint8Array): void {
    this.#counters.received.add();
    let response: XdsResponse;
    try {
      if (message.length > RESPONSE_BYTES_MAX)
        throw new Error(`a response of ${message.length} bytes; at most ${RESPONSE_BYTES_MAX} are taken`);
      response = this.#isDelta ? decodeDeltaResponse(message) : decodeSotwResponse(message);
    } catch (error) {
      this.#abandon(`a response cannot be read: ${messageOf(error)}`);
      return;
    }
    if (!this.#hasHeard) {
      this.#hasHeard = true;
      this.#backoff.reset();
      this.#counters.connected.set(1);
      this.#options.log.info("connected to the management server", { server: response.controlPlane, mode: this.#options.mode });
    }
    const type = this.#types.get(response.typeUrl);
    if (!type?.isOnStream) {
      this.#options.log.warn("a response of a type that was not asked for is ignored", { type: response.typeUrl });
      return;
    }
    const error = this.#apply(type, response);
    if (!this.#stream) return; // The subscriber closed the client.
    this.#send(type.answer(response, error, this.#nodeToSend()));
  }

  /** Hands a response to its subscriber. Gives what is wrong with it. */
  #apply(type: ClientType, response: XdsResponse): string | undefined {
    const { log } = this.#options;
    // Closed meanwhile: acknowledged, so that the server does not wait.
    if (!type.subscriber) return undefined;
    let refusal: string | undefined;
    try {
      refusal = type.subscriber.onUpdate(type.update(response));
    } catch (error) {
      refusal = `the update could not be applied: ${messageOf(error)}`;
    }
    if (refusal === undefined) {
      this.#counters.accepted.add();
      return undefined;
    }
    this.#counters.rejected.add();
    log.warn("an update of the management server is rejected", { type: response.typeUrl, version: response.version, why: refusal });
    return refusal.length > NACK_MESSAGE_MAX ? `${refusal.slice(0, NACK_MESSAGE_MAX)}…` : refusal;
  }

  /** Gives up a stream that cannot be trusted any more. */
  #abandon(why: string): void {
    this.#stream?.cancel();
    this.#lost(why);
  }

  #onEnd(error: GrpcError | undefined): void {
    this.#lost(error ? `${error.message} (code ${error.code})` : "the server ended the stream");
  }

  #lost(why: string): void {
    this.#dropStream();
    if (this.#phase !== "running") return;
    const delayMs = this.#backoff.nextMs();
    this.#options.log.warn("the management server is away: what was accepted last stays", { why, retryInMs: delayMs });
    this.#retryTimer = this.#options.clock.after(delayMs, () => this.#connect());
  }

  #dropStream(): void {
    this.#epoch += 1;
    this.#stream = undefined;
    this.#hasHeard = false;
    this.#counters.connected.set(0);
    this.#channel?.close();
    this.#channel = undefined;
  }
}

interface Count {
  add(): void;
}

interface Counters {
  readonly attempts: Count;
  readonly sent: Count;
  readonly received: Count;
  readonly accepted: Count;
  readonly rejected: Count;
  readonly connected: { set(value: number): void };
}

/** Names of Envoy where it has them: control_plane.connected_state. */
function createCounters(metrics: MetricsRegistry | undefined): Counters {
  const none = { add() {}, set() {} };
  if (!metrics) return { attempts: none, sent: none, received: none, accepted: none, rejected: none, connected: none };
  return {
    attempts: metrics.envoyCounter("control_plane.connect_attempts"),
    sent: metrics.envoyCounter("control_plane.requests_sent"),
    received: metrics.envoyCounter("control_plane.responses_received"),
    accepted: metrics.envoyCounter("control_plane.update_success"),
    rejected: metrics.envoyCounter("control_plane.update_rejected"),
    connected: metrics.envoyGauge("control_plane.connected_state"),
  };
}
