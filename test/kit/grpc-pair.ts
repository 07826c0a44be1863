/** gRPC streams in memory: a channel whose calls go to a service of the same process, and can be cut. */
import {
  type GrpcCallContext,
  type GrpcChannel,
  GrpcError,
  type GrpcService,
  GrpcStatus,
  type GrpcStream,
  type GrpcStreamHandler,
} from "../../src/net/grpc/types.ts";

/** One open stream. Messages arrive in a later turn, in order. */
class Pair {
  #isOpen = true;
  readonly #queue: (() => void)[] = [];
  client: GrpcStreamHandler | undefined;
  server: GrpcStreamHandler | undefined;

  later(run: () => void): void {
    this.#queue.push(run);
    if (this.#queue.length > 1) return;
    setImmediate(() => {
      // What is queued while this runs goes in the next turn.
      for (const queued of this.#queue.splice(0)) if (this.#isOpen) queued();
      const rest = this.#queue.splice(0);
      for (const run of rest) this.later(run);
    });
  }

  end(error: GrpcError | undefined): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.client?.onEnd(error);
    this.server?.onEnd(error ?? new GrpcError(GrpcStatus.CANCELLED, "the stream is gone"));
  }

  /** Ends the stream from one side; only the other side hears of it. */
  endFrom(side: "client" | "server", error: GrpcError | undefined): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    const other = side === "client" ? this.server : this.client;
    setImmediate(() => other?.onEnd(error));
  }

  clientStream(): GrpcStream {
    return {
      send: (message) => {
        this.later(() => this.server?.onMessage(message));
        return true;
      },
      end: () => this.endFrom("client", undefined),
      cancel: () => this.endFrom("client", new GrpcError(GrpcStatus.CANCELLED, "cancelled")),
    };
  }

  serverStream(): GrpcStream {
    return {
      send: (message) => {
        this.later(() => this.client?.onMessage(message));
        return true;
      },
      end: (error) => this.endFrom("server", error),
      cancel: () => this.endFrom("server", new GrpcError(GrpcStatus.CANCELLED, "cancelled")),
    };
  }
}

/** A network of in-memory gRPC streams to one service. */
export class MemoryGrpc {
  readonly #pairs = new Set<Pair>();
  /** What calls go to; undefined: nobody listens there. */
  service: GrpcService | undefined;
  context: Partial<GrpcCallContext> = {};

  constructor(service?: GrpcService) {
    this.service = service;
  }

  /** A channel to the service. */
  channel(): GrpcChannel {
    const own = new Set<Pair>();
    return {
      openStream: (method, metadata, handler) => {
        const pair = new Pair();
        pair.client = handler;
        const serve = this.service?.bidi?.[method];
        if (!serve) {
          setImmediate(() => pair.end(new GrpcError(GrpcStatus.UNAVAILABLE, "nobody listens")));
          return pair.clientStream();
        }
        own.add(pair);
        this.#pairs.add(pair);
        try {
          pair.server = serve({ method, metadata, tls: undefined, peer: "127.0.0.1:5000", ...this.context }, pair.serverStream());
        } catch (error) {
          setImmediate(() => pair.end(error instanceof GrpcError ? error : new GrpcError(GrpcStatus.INTERNAL, String(error))));
        }
        return pair.clientStream();
      },
      unary: async (method, request, options) => {
        const serve = this.service?.unary?.[method];
        if (!serve) throw new GrpcError(GrpcStatus.UNIMPLEMENTED, method);
        return serve({ method, metadata: options.metadata ?? {}, tls: undefined, peer: "127.0.0.1:5000", ...this.context }, request);
      },
      close: () => {
        for (const pair of own) pair.endFrom("client", new GrpcError(GrpcStatus.CANCELLED, "the channel is closed"));
      },
    };
  }

  /** Cuts every open stream: both sides see UNAVAILABLE. */
  cut(): void {
    for (const pair of this.#pairs) pair.end(new GrpcError(GrpcStatus.UNAVAILABLE, "the connection was cut"));
    this.#pairs.clear();
  }
}
