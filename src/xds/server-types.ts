/** The server's end of xDS, as the control plane sees it. server.ts implements it over gRPC. */
import type { JsonObject } from "@bufbuild/protobuf";
import type { GrpcCallContext } from "../net/grpc/types.ts";
import type { Subscription, XdsResource } from "./types.ts";

/** The node of a client as its first request told. */
export interface XdsNode {
  readonly id: string;
  readonly cluster: string;
  readonly metadata: JsonObject;
  readonly userAgentName: string;
  readonly userAgentVersion: string;
  readonly locality: { readonly region: string; readonly zone: string; readonly subZone: string };
}

/** One connected client. */
export interface XdsSession {
  /** Unique in this process, for logs: "sidecar~10.0.0.1~...-3". */
  readonly id: string;
  readonly node: XdsNode;
  readonly call: GrpcCallContext;
  readonly delta: boolean;
  readonly connectedAtMs: number;
  /** What is subscribed now, by type URL. */
  readonly subscriptions: ReadonlyMap<string, Subscription>;
  /** What was sent and answered last, by type URL. */
  readonly status: ReadonlyMap<string, XdsTypeStatus>;
  /**
   * Brings the client up to the newest state: asks the source for each subscribed type in PUSH_ORDER, sends what differs from what the
   * client has, waits for a type's ACK before it sends the next one, and removes clusters and endpoints last, when the
   * listeners and routes that stopped using them were acknowledged (a NACK holds removals back). Calls while one push is under way are merged into one
   * that follows. Resolves when everything sent has been answered (or the stream ended): the answers are in `status`.
   */
  push(label: string, typeUrls?: ReadonlySet<string>): Promise<void>;
  /** Ends the stream with a status. */
  close(code: number, message: string): void;
}

/** The state of one type on one session. */
export interface XdsTypeStatus {
  /** Label of the push that was sent last, and of the one acknowledged last. */
  readonly sentLabel: string;
  readonly ackedLabel: string;
  readonly state: "sent" | "acked" | "nacked";
  /** The client's words when it refused. */
  readonly nackMessage: string | undefined;
  readonly sentAtMs: number;
  readonly answeredAtMs: number | undefined;
  readonly resources: number;
}

/** A resource that another one makes a client ask for. */
export interface XdsChild {
  readonly typeUrl: string;
  readonly name: string;
}

/** Where a session's resources come from: the control plane. */
export interface XdsSource {
  /**
   * A client connected and said who it is. Throw a GrpcError to refuse it (PERMISSION_DENIED ...). Resolves when resources
   * may be asked for.
   */
  onConnect(session: XdsSession): Promise<void>;
  /** All resources of a type that this client may see under its subscription. Names that do not exist are left out. */
  resources(session: XdsSession, typeUrl: string, subscription: Subscription): readonly XdsResource[];
  /**
   * What a client will want anew after it took this resource, new or changed: an Envoy that was sent a changed cluster waits for its endpoints, and
   * asks for them again over state of the world only. Those that the client has subscribed are sent again whatever it has; for
   * those that it has not, a push waits a moment before it goes on to the types that come after.
   */
  children?(session: XdsSession, typeUrl: string, resource: XdsResource): readonly XdsChild[];
  /** A push begins: until the next one, `resources` answers this session from one and the same state, so that types fit together. */
  onPush?(session: XdsSession, label: string): void;
  /** The label of the state that `resources` answers from when no push was made yet. */
  label?(session: XdsSession): string;
  onSend?(
    session: XdsSession,
    typeUrl: string,
    response: { readonly resources: number; readonly removed: number; readonly bytes: number },
  ): void;
  onAck?(session: XdsSession, typeUrl: string): void;
  onNack?(session: XdsSession, typeUrl: string, message: string): void;
  onDisconnect(session: XdsSession): void;
}
