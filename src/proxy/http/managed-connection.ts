/** One downstream connection of a connection manager: its codec, its requests, and how long it may live. */
import type { Address } from "../../model/connection.ts";
import type { RequestHead, ServerConnection, ServerHandler, ServerStream } from "../../net/http/stream.ts";
import type { Reporter } from "../../telemetry/istio-metrics.ts";
import { StreamRecord } from "../../telemetry/record.ts";
import type { DownstreamConnection, LoadBalancerContext } from "../types.ts";
import { ActiveStream, type StreamConnection } from "./active-stream.ts";
import type { ManagerCore } from "./manager-core.ts";
import type { AdmissionContext } from "./request-admission.ts";
import { Timeout } from "./timeout-lists.ts";
import { xfccElement } from "./xfcc.ts";

/** What its manager does for it. */
export interface ConnectionOwner {
  readonly core: ManagerCore;
  /** Headers that tell mesh peers who we are; undefined: switched off. */
  readonly peerHeaders: { readonly id: string; readonly metadata: string } | undefined;
  /** The connection is gone. */
  onGone(connection: ManagedConnection): void;
}

const NO_NAMES: readonly string[] = [];

/** See the file's head. */
export class ManagedConnection implements ServerHandler, StreamConnection {
  readonly #owner: ConnectionOwner;
  readonly #connection: DownstreamConnection;
  readonly admission: AdmissionContext;
  readonly loadBalancing: LoadBalancerContext;
  readonly reporter: Reporter;
  /** Clients of the mesh may tell who they are. */
  readonly learnsPeers: boolean;
  readonly peerHeaders: { readonly id: string; readonly metadata: string } | undefined;
  isHttp2 = false;
  #codec: ServerConnection | undefined;
  #active = 0;
  #requests = 0;
  #isDraining = false;
  #isGone = false;
  readonly #idle: Timeout;
  #duration: Timeout | undefined;

  constructor(owner: ConnectionOwner, connection: DownstreamConnection) {
    const { core } = owner;
    const { config } = core;
    const { channel } = connection;
    this.#owner = owner;
    this.#connection = connection;
    this.reporter = connection.direction === "inbound" ? "destination" : "source";
    this.learnsPeers = connection.direction === "inbound";
    this.peerHeaders = connection.direction === "inbound" ? undefined : owner.peerHeaders;
    this.loadBalancing = { originalDestination: connection.localAddress, triedHosts: undefined, hash: undefined, metadataMatch: undefined };
    this.admission = {
      config,
      random: core.random,
      tls: channel.tls,
      remoteAddress: connection.remoteAddress,
      localAddress: connection.localAddress,
      xfcc: xfccElement(channel.tls, config.clientCertMembers),
      get internalOnlyHeaders() {
        return core.routeTable?.internalOnlyHeaders ?? NO_NAMES;
      },
    };
    this.#idle = new Timeout(() => this.#onIdle());
    core.stats.cxTotal.add();
    core.stats.cxActive.add(1);
    if (channel.tls) core.stats.cxSslTotal.add();
    const nowMs = core.clock.monotonicMs();
    core.timeouts.start(this.#idle, config.connectionIdleMs, nowMs);
    if (config.connectionDurationMaxMs > 0) {
      this.#duration = new Timeout(() => {
        core.stats.cxDurationReached.add();
        this.drain();
      });
      core.timeouts.start(this.#duration, config.connectionDurationMaxMs, nowMs);
    }
  }

  get remoteAddress(): Address {
    return this.#connection.remoteAddress;
  }

  get localAddress(): Address {
    return this.#connection.localAddress;
  }

  /** The codec stands. */
  useCodec(codec: ServerConnection): void {
    const { stats } = this.#owner.core;
    this.#codec = codec;
    this.isHttp2 = codec.version === "HTTP/2";
    (this.isHttp2 ? stats.cxHttp2Total : stats.cxHttp1Total).add();
    if (this.#isDraining) codec.drain();
  }

  onRequest(stream: ServerStream, head: RequestHead, endStream: boolean): void {
    const { core } = this.#owner;
    const { config, stats, clock } = core;
    this.#active += 1;
    this.#requests += 1;
    this.#idle.stop();
    stats.rqTotal.add();
    stats.rqActive.add(1);
    const isHttp2 = stream.connection.version === "HTTP/2";
    (isHttp2 ? stats.rqHttp2Total : stats.rqHttp1Total).add();
    if (config.requestsPerConnectionMax > 0 && this.#requests >= config.requestsPerConnectionMax && !this.#isDraining) {
      stats.cxRequestsReached.add();
      this.#isDraining = true;
      stream.connection.drain();
    }
    const active = new ActiveStream(core, this, stream, head, this.#record(clock.monotonicMs(), clock.nowMs()));
    stream.handler = active;
    active.start(endStream);
  }

  onCodecError(error: { readonly status: number; readonly details: string; readonly message: string }): void {
    const { core } = this.#owner;
    const { clock, stats } = core;
    stats.cxProtocolError.add();
    stats.rqTotal.add();
    stats.rqActive.add(1);
    const record = this.#record(clock.monotonicMs(), clock.nowMs());
    record.status = error.status;
    record.details = error.details;
    record.flags.add("DPE");
    record.endMs = record.startMs;
    core.report(
      {
        record,
        request: undefined,
        responseHeaders: undefined,
        responseTrailers: undefined,
        directRemote: this.remoteAddress,
        filterState: undefined,
        clientPeer: undefined,
        requestMessages: undefined,
        responseMessages: undefined,
      },
      this,
    );
  }

  onClose(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    const { stats } = this.#owner.core;
    this.#idle.stop();
    this.#duration?.stop();
    stats.cxActive.add(-1);
    stats.cxDestroy.add();
    this.#owner.onGone(this);
  }

  /** A request of it ended. */
  onStreamEnd(): void {
    this.#active -= 1;
    if (this.#active > 0 || this.#isGone) return;
    const { core } = this.#owner;
    core.timeouts.start(this.#idle, core.config.connectionIdleMs, core.clock.monotonicMs());
  }

  /** Asks the client to go; it goes when its requests are served. */
  drain(): void {
    this.#isDraining = true;
    // Before the first byte there is no codec: useCodec drains it then.
    this.#codec?.drain();
  }

  /** Ends it now. */
  destroy(): void {
    if (this.#codec) this.#codec.destroy();
    else this.#connection.channel.destroy();
  }

  #onIdle(): void {
    this.#owner.core.stats.cxIdleTimeout.add();
    if (this.#codec) this.drain();
    else this.destroy();
  }

  #record(startMs: number, startWallMs: number): StreamRecord {
    const record = new StreamRecord("http", startMs, startWallMs);
    const connection = this.#connection;
    record.downstreamRemote = connection.remoteAddress;
    record.downstreamLocal = connection.localAddress;
    record.downstreamTls = connection.channel.tls;
    record.requestedServerName = connection.requestedServerName;
    record.listenerName = connection.listenerName;
    return record;
  }
}
