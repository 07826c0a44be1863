/** Parts of a proxy for tests: a context with a fake clock, a seeded random source and a client codec that answers when told. */

import { type Log, silentLog } from "../../src/base/log.ts";
import { createSeededRandom } from "../../src/base/random.ts";
import type { Channel } from "../../src/net/channel.ts";
import type { DialHandler, DialOptions, Network } from "../../src/net/dial.ts";
import { HeaderList } from "../../src/net/http/headers.ts";
import type {
  ClientConnection,
  ClientConnectionHandler,
  ClientStreamHandler,
  HttpLimits,
  RequestHead,
  StreamReset,
} from "../../src/net/http/stream.ts";
import type { ClusterContext } from "../../src/proxy/cluster/cluster.ts";
import { SecretStore } from "../../src/proxy/config/secret-store.ts";
import type { UpstreamFailure, UpstreamStreamHandler } from "../../src/proxy/types.ts";
import { createMetricsRegistry } from "../../src/telemetry/registry.ts";
import type { FakeClock } from "./fake-clock.ts";

/** A log that keeps its lines. */
export function recordingLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const add = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  return { lines, debug: add("debug"), info: add("info"), warn: add("warn"), error: add("error") };
}

/** A dial that waits for the test to say how it ends. */
export interface PendingDial {
  readonly options: DialOptions;
  connect(): void;
  fail(phase: "connect" | "tls" | "timeout", code?: string): void;
  isCancelled: boolean;
}

/** A dialer that connects nothing by itself. */
export function createFakeDialer(): Network["dialer"] & { readonly dials: PendingDial[] } {
  const dials: PendingDial[] = [];
  return {
    dials,
    dial(options, handler: DialHandler) {
      const pending: PendingDial = {
        options,
        isCancelled: false,
        connect: () => handler.onConnect(fakeChannel(options)),
        fail: (phase, code) => handler.onFail({ phase, code, message: code ?? phase }),
      };
      dials.push(pending);
      return {
        cancel() {
          pending.isCancelled = true;
        },
      };
    },
  };
}

function fakeChannel(options: DialOptions): Channel {
  return {
    handler: { onData() {}, onEnd() {}, onDrain() {}, onClose() {} },
    local: { host: "10.0.0.1", port: 40000 },
    remote: options.to,
    tls: options.tls ? { protocol: "TLSv1.3", alpn: options.tls.alpn[0], serverName: options.tls.serverName, peer: undefined } : undefined,
    isOpen: true,
    bufferedBytes: 0,
    writeLatin1: () => true,
    writeBytes: () => true,
    forward: () => true,
    pause() {},
    resume() {},
    end() {},
    destroy() {},
  };
}

/** A connection whose streams the test answers. */
export class FakeClientConnection implements ClientConnection {
  readonly channel: Channel;
  readonly version: "HTTP/1.1" | "HTTP/2";
  readonly streams: { readonly head: RequestHead; readonly handler: ClientStreamHandler; readonly written: string[]; isReset: boolean }[] =
    [];
  readonly #streamsMax: number;
  readonly #handler: ClientConnectionHandler;
  #active = 0;
  #isDraining = false;
  isReused = false;
  isClosed = false;

  constructor(channel: Channel, handler: ClientConnectionHandler, version: "HTTP/1.1" | "HTTP/2", streamsMax: number) {
    this.channel = channel;
    this.#handler = handler;
    this.version = version;
    this.#streamsMax = streamsMax;
  }

  get activeStreams(): number {
    return this.#active;
  }

  get availableStreams(): number {
    return this.#isDraining || this.isClosed ? 0 : this.#streamsMax - this.#active;
  }

  openStream(head: RequestHead, _endStream: boolean, handler: ClientStreamHandler): ReturnType<ClientConnection["openStream"]> {
    this.#active += 1;
    const stream = { head, handler, written: [] as string[], isReset: false };
    this.streams.push(stream);
    return {
      writeData(buffer, start, end) {
        stream.written.push(buffer.toString("latin1", start, end));
        return true;
      },
      writeTrailers() {},
      pauseReading() {},
      resumeReading() {},
      reset: () => {
        stream.isReset = true;
        if (this.version === "HTTP/1.1") this.close();
        else this.#release();
      },
    };
  }

  /** Answers the stream that was opened last (or the given one) and frees its place. */
  answer(at = this.streams.length - 1, status = 200): void {
    this.streams[at]?.handler.onResponse({ status, headers: new HeaderList(), version: "HTTP/1.1" }, true);
    this.isReused = true;
    this.#release();
  }

  resetStream(reset: StreamReset, at = this.streams.length - 1): void {
    this.streams[at]?.handler.onReset(reset);
    this.#release();
  }

  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    if (this.#active === 0) this.close();
    else this.#handler.onDraining();
  }

  destroy(): void {
    this.close();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#handler.onClose({ detail: "closed" });
  }

  #release(): void {
    this.#active -= 1;
    if (this.isClosed) return;
    if (this.#isDraining && this.#active === 0) this.close();
    else this.#handler.onAvailable();
  }
}

/** Codecs that make FakeClientConnections and keep them. */
export function createFakeCodecs(): ClusterContext["codecs"] & { readonly made: FakeClientConnection[] } {
  const made: FakeClientConnection[] = [];
  const create = (version: "HTTP/1.1" | "HTTP/2") => (channel: Channel, handler: ClientConnectionHandler, limits: HttpLimits) => {
    const connection = new FakeClientConnection(channel, handler, version, version === "HTTP/1.1" ? 1 : limits.concurrentStreamsMax);
    made.push(connection);
    return connection;
  };
  return { made, http1: create("HTTP/1.1"), http2: create("HTTP/2") };
}

/** What a stream's owner heard, in order. */
export function recordingHandler(): UpstreamStreamHandler & { readonly heard: string[]; failure: UpstreamFailure | undefined } {
  const heard: string[] = [];
  const handler = {
    heard,
    failure: undefined as UpstreamFailure | undefined,
    onConnected: () => void heard.push("connected"),
    onInformational: () => void heard.push("informational"),
    onResponse: (head: { status: number }) => void heard.push(`response ${head.status}`),
    onData: () => void heard.push("data"),
    onTrailers: () => void heard.push("trailers"),
    onReset: () => void heard.push("reset"),
    onDrain: () => void heard.push("drain"),
    onFailure(failure: UpstreamFailure) {
      handler.failure = failure;
      heard.push(`failure ${failure.kind} ${failure.flag}`);
    },
  };
  return handler;
}

/** A GET of "/". */
export function requestHead(path = "/"): RequestHead {
  return { method: "GET", path, authority: "a.test", scheme: "http", headers: new HeaderList(), version: "HTTP/1.1", upgrade: undefined };
}

/** What clusters take from outside, all fake. */
export function createClusterContext(
  clock: FakeClock,
  options: { readonly log?: Log; readonly seed?: number } = {},
): ClusterContext & {
  readonly dials: PendingDial[];
  readonly connections: FakeClientConnection[];
} {
  const dialer = createFakeDialer();
  const codecs = createFakeCodecs();
  const refuse = (): Promise<never> => Promise.reject(new Error("nothing is resolved here"));
  return {
    clock,
    random: createSeededRandom(options.seed ?? 1),
    log: options.log ?? silentLog,
    network: { dialer, acceptor: { listen: refuse }, resolver: { resolve: refuse } },
    metrics: createMetricsRegistry(),
    secrets: new SecretStore({ clock, reader: { environment: {} }, checkKeyPair() {} }),
    tls: { server: (tls) => ({ server: tls }), client: (tls) => ({ client: tls }) },
    codecs,
    dials: dialer.dials,
    connections: codecs.made,
  };
}
