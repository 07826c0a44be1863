/** An xDS source out of a map that a test changes, and a client's side that writes and reads messages by hand. */
import { create, toBinary } from "@bufbuild/protobuf";
import { NodeSchema } from "../../src/gen/envoy/config/core/v3/base_pb.ts";
import { DeltaDiscoveryRequestSchema, DiscoveryRequestSchema } from "../../src/gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { GrpcError, GrpcStream } from "../../src/net/grpc/types.ts";
import { decodeDeltaResponse, decodeSotwResponse, type XdsResponse } from "../../src/xds/response-codec.ts";
import type { XdsServer } from "../../src/xds/server.ts";
import type { XdsChild, XdsSession, XdsSource } from "../../src/xds/server-types.ts";
import { ADS } from "../../src/xds/services.ts";
import { type Subscription, TypeUrl, type XdsResource } from "../../src/xds/types.ts";

/** A resource whose encoded form has nothing but its name (field 1) and, for the eye, its version (field 15). */
export function fakeResource(name: string, version: string): XdsResource {
  const text = (field: number, value: string): number[] => [(field << 3) | 2, value.length, ...Buffer.from(value)];
  return { name, version, bytes: Uint8Array.from([...text(1, name), ...text(15, version)]) };
}

/** Resources by type and name, the same for all clients. */
export class FakeSource implements XdsSource {
  readonly types = new Map<string, Map<string, XdsResource>>();
  readonly events: string[] = [];
  refusal: GrpcError | undefined;
  childrenOf: ((typeUrl: string, name: string) => readonly XdsChild[]) | undefined;
  connected = 0;

  /** Replaces the resources of a type: name -> version. */
  set(typeUrl: string, versions: Readonly<Record<string, string>>): void {
    const before = this.types.get(typeUrl);
    const next = new Map<string, XdsResource>();
    for (const [name, version] of Object.entries(versions)) {
      const old = before?.get(name);
      next.set(name, old?.version === version ? old : fakeResource(name, version));
    }
    this.types.set(typeUrl, next);
  }

  async onConnect(_session: XdsSession): Promise<void> {
    if (this.refusal) throw this.refusal;
    this.connected += 1;
  }

  resources(_session: XdsSession, typeUrl: string, { wildcard, names }: Subscription): readonly XdsResource[] {
    return [...(this.types.get(typeUrl)?.values() ?? [])].filter((resource) => wildcard || names.has(resource.name));
  }

  children(_session: XdsSession, typeUrl: string, resource: XdsResource): readonly XdsChild[] {
    return this.childrenOf?.(typeUrl, resource.name) ?? [];
  }

  label(): string {
    return "start";
  }

  onAck(_session: XdsSession, typeUrl: string): void {
    this.events.push(`ack ${shortType(typeUrl)}`);
  }

  onNack(_session: XdsSession, typeUrl: string, message: string): void {
    this.events.push(`nack ${shortType(typeUrl)} ${message}`);
  }

  onDisconnect(): void {
    this.connected -= 1;
  }
}

/** "Cluster" of a type URL. */
export function shortType(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf(".") + 1);
}

/** What a hand-written client says in one message. */
export interface Said {
  readonly type?: string;
  readonly nonce?: string;
  readonly error?: string;
  readonly node?: boolean;
  /** Delta. */
  readonly subscribe?: readonly string[];
  readonly unsubscribe?: readonly string[];
  readonly initial?: Readonly<Record<string, string>>;
  /** State of the world. */
  readonly names?: readonly string[];
  readonly version?: string;
}

/** A client whose every message is written by the test. */
export class HandClient {
  readonly received: XdsResponse[] = [];
  ended: GrpcError | "ok" | undefined;
  readonly #onMessage: (bytes: Uint8Array) => void;
  readonly #onEnd: (error: GrpcError | undefined) => void;
  readonly #isDelta: boolean;
  #isFirst = true;
  /** Answers every response at once: undefined acknowledges. */
  auto: ((response: XdsResponse) => string | undefined) | undefined;

  readonly #node: string;

  constructor(server: XdsServer, mode: "delta" | "sotw", node = "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local") {
    this.#node = node;
    this.#isDelta = mode === "delta";
    const method = this.#isDelta ? ADS.deltaMethod : ADS.sotwMethod;
    const serve = server.service.bidi?.[method];
    if (!serve) throw new Error(`no method ${method}`);
    const stream: GrpcStream = {
      send: (message) => {
        const response = this.#isDelta ? decodeDeltaResponse(message) : decodeSotwResponse(message);
        this.received.push(response);
        this.nonces.set(response.typeUrl, response.nonce);
        this.#last.set(response.typeUrl, response);
        const { auto } = this;
        const answer = auto?.(response);
        if (auto && (answer === undefined || answer !== this.silent)) queueMicrotask(() => this.answer(response, answer));
        return true;
      },
      end: (error) => {
        this.ended = error ?? "ok";
      },
      cancel: () => {
        this.ended = "ok";
      },
    };
    const handler = serve({ method, metadata: {}, tls: undefined, peer: "127.0.0.1:5000" }, stream);
    this.#onMessage = (bytes) => handler.onMessage(bytes);
    this.#onEnd = (error) => handler.onEnd(error);
  }

  /** Names of the subscriptions that automatic answers repeat (state of the world). */
  readonly names = new Map<string, readonly string[]>();

  /** An automatic answer of this text is not given at all. */
  silent: string | undefined;
  readonly #last = new Map<string, XdsResponse>();

  /** The last response of a type. */
  last(typeUrl: string): XdsResponse | undefined {
    return this.#last.get(typeUrl);
  }

  /** The last nonce of each type. */
  readonly nonces = new Map<string, string>();

  raw(bytes: Uint8Array): void {
    this.#onMessage(bytes);
  }

  say(said: Said): void {
    const withNode = said.node ?? this.#isFirst;
    this.#isFirst = false;
    const node = withNode ? create(NodeSchema, { id: this.#node, cluster: "a" }) : undefined;
    const errorDetail = said.error === undefined ? undefined : { code: 3, message: said.error };
    const common = { node, typeUrl: said.type ?? TypeUrl.cluster, responseNonce: said.nonce ?? "", errorDetail };
    if (said.names) this.names.set(common.typeUrl, said.names);
    const bytes = this.#isDelta
      ? toBinary(
          DeltaDiscoveryRequestSchema,
          create(DeltaDiscoveryRequestSchema, {
            ...common,
            resourceNamesSubscribe: [...(said.subscribe ?? [])],
            resourceNamesUnsubscribe: [...(said.unsubscribe ?? [])],
            initialResourceVersions: { ...said.initial },
          }),
        )
      : toBinary(
          DiscoveryRequestSchema,
          create(DiscoveryRequestSchema, { ...common, resourceNames: [...(said.names ?? [])], versionInfo: said.version ?? "" }),
        );
    this.#onMessage(bytes);
  }

  /** Acknowledges, or refuses with `error`. */
  answer(response: XdsResponse, error?: string): void {
    if (this.ended) return;
    this.say({
      type: response.typeUrl,
      nonce: response.nonce,
      ...(error === undefined ? { version: response.version } : { error }),
      ...(this.names.has(response.typeUrl) ? { names: this.names.get(response.typeUrl) ?? [] } : {}),
    });
  }

  hangUp(): void {
    this.#onEnd(undefined);
  }

  /** What arrived since the last call, as text: "Cluster a@1 b@1 -c". */
  take(): string[] {
    return this.received.splice(0).map(describe);
  }
}

/** A response as text. */
export function describe(response: XdsResponse): string {
  const parts = response.resources.map((resource) => `${resource.name}@${versionIn(resource)}`);
  return [shortType(response.typeUrl), ...parts, ...response.removed.map((name) => `-${name}`)].join(" ");
}

/** The version that fakeResource wrote into the bytes. */
export function versionIn({ name, bytes }: XdsResource): string {
  return Buffer.from(bytes.subarray(name.length + 4)).toString();
}
