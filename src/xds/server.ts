/**
 * An xDS server as gRPC methods: the aggregated service, and services of one type (SDS) where they are asked for.
 * Source: Envoy api v3, envoy.service.discovery.v3.AggregatedDiscoveryService and its sisters.
 */
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { type GrpcBidiMethod, GrpcError, type GrpcService, GrpcStatus } from "../net/grpc/types.ts";
import { DEFAULT_XDS_LIMITS, type XdsServerLimits } from "./server-limits.ts";
import { Session, type SessionContext } from "./server-session.ts";
import type { XdsSession, XdsSource } from "./server-types.ts";
import { ADS, type DiscoveryService } from "./services.ts";

/** A running server. */
export interface XdsServer {
  readonly service: GrpcService;
  /** Admitted clients. */
  readonly sessions: ReadonlySet<XdsSession>;
  /** Ends all streams (UNAVAILABLE: clients come again, elsewhere or later) and takes no more. */
  close(): void;
}

/** Makes a server over `source`. It opens nothing by itself: `service` goes to a gRPC server. */
export function createXdsServer(options: {
  readonly source: XdsSource;
  readonly clock: Clock;
  readonly log: Log;
  /** Default: ADS alone. */
  readonly services?: readonly DiscoveryService[];
  readonly limits?: Partial<XdsServerLimits>;
  /** Told to clients as ControlPlane.identifier. */
  readonly identifier?: string;
}): XdsServer {
  const { source, clock, log, services = [ADS], identifier = "lateen" } = options;
  const limits = { ...DEFAULT_XDS_LIMITS, ...options.limits };
  const admitted = new Set<XdsSession>();
  const streams = new Set<Session>();
  let made = 0;
  let isClosed = false;

  const method = (onlyType: string | undefined, delta: boolean): GrpcBidiMethod => {
    return (call, stream) => {
      if (isClosed) throw new GrpcError(GrpcStatus.UNAVAILABLE, "the server is going down");
      if (streams.size >= limits.sessionsMax)
        throw new GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, `${limits.sessionsMax} streams are open; no more are taken`);
      const context: SessionContext = {
        source,
        clock,
        log,
        limits,
        identifier,
        onlyType,
        number: ++made,
        onOpen: (session) => admitted.add(session),
        onClosed: (session) => {
          streams.delete(session);
          admitted.delete(session);
        },
      };
      const session = new Session(call, stream, { delta, context });
      streams.add(session);
      return { onMessage: (bytes) => session.onMessage(bytes), onEnd: (error) => session.onEnd(error), onDrain: () => session.onDrain() };
    };
  };

  const bidi: Record<string, GrpcBidiMethod> = {};
  for (const { sotwMethod, deltaMethod, onlyType } of services) {
    bidi[sotwMethod] = method(onlyType, false);
    bidi[deltaMethod] = method(onlyType, true);
  }
  return {
    service: { bidi },
    sessions: admitted,
    close() {
      isClosed = true;
      for (const session of [...streams]) session.close(GrpcStatus.UNAVAILABLE, "the server is going down");
    },
  };
}
