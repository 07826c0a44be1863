/** Makes gRPC calls over one HTTP/2 connection, which is made when first needed and again after it was lost. Source: gRPC over HTTP/2, PROTOCOL-HTTP2. */
import { isIP } from "node:net";
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Address, Channel } from "../channel.ts";
import type { ClientTls, Network } from "../dial.ts";
import { HeaderList } from "../http/headers.ts";
import {
  type ClientConnection,
  type ClientStream,
  type ClientStreamHandler,
  type HttpLimits,
  MESH_HTTP_LIMITS,
  type RequestHead,
  type ResponseHead,
  type StreamReset,
} from "../http/stream.ts";
import { createHttp2ClientConnection } from "../http2/client-connection.ts";
import type { Http2Keepalive } from "../http2/keepalive.ts";
import { MESSAGE_BYTES_MAX, MessageReader, writeMessage } from "./framing.ts";
import { errorOfHttpStatus, errorOfReset, findMetadataFlaw, formatTimeout, isGrpcContentType, readStatus } from "./metadata.ts";
import { DEFAULT_KEEPALIVE } from "./server.ts";
import { type GrpcChannel, GrpcError, type GrpcMetadata, GrpcStatus, type GrpcStream, type GrpcStreamHandler } from "./types.ts";

/** Whom to call, and how. */
export interface GrpcChannelOptions {
  readonly network: Pick<Network, "dialer" | "resolver">;
  /** IP address or name and port, or the absolute path of a Unix socket and port 0. A name is resolved for each connection. */
  readonly target: Address;
  /** Undefined: plaintext. */
  readonly tls?: ClientTls | undefined;
  /** The :authority of calls. */
  readonly authority: string;
  readonly clock: Clock;
  /** SO_MARK. */
  readonly mark?: number | undefined;
  readonly limits?: HttpLimits | undefined;
  /** Default 16 MiB. */
  readonly messageBytesMax?: number | undefined;
  /** Default after 30 s without a byte, for 10 s; false for none. */
  readonly keepalive?: Http2Keepalive | false | undefined;
  /** For connect and handshake together. Default 10 s. */
  readonly connectTimeoutMs?: number | undefined;
}

/** Calls that wait for a connection or for a place on it; more are RESOURCE_EXHAUSTED. */
const WAITING_MAX = 1000;
/** Bytes of messages that a call may send before it is on the wire, until it is told to stop. */
const UNSENT_BYTES_HIGH = 64 * 1024;

/** A channel to one address. */
export function createGrpcChannel(options: GrpcChannelOptions): GrpcChannel {
  return new Http2GrpcChannel(options);
}

class Http2GrpcChannel implements GrpcChannel {
  readonly #options: GrpcChannelOptions;
  readonly #waiting = new Set<ClientCall>();
  readonly #connections = new Set<ClientConnection>();
  /** The one that takes new calls. */
  #connection: ClientConnection | undefined;
  #dialing: { cancel(): void } | undefined;
  #isClosed = false;

  constructor(options: GrpcChannelOptions) {
    this.#options = options;
  }

  openStream(method: string, metadata: GrpcMetadata, handler: GrpcStreamHandler): GrpcStream {
    return this.#call(method, metadata, handler, undefined);
  }

  unary(
    method: string,
    request: Uint8Array,
    options: { readonly metadata?: GrpcMetadata; readonly timeoutMs: number },
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      let answer: Uint8Array | undefined;
      const call = this.#call(
        method,
        options.metadata ?? {},
        {
          onMessage(message) {
            if (answer) call.fail(new GrpcError(GrpcStatus.INTERNAL, "two messages in the answer to a unary call"));
            answer = message;
          },
          onEnd(error) {
            if (error) reject(error);
            else if (answer) resolve(answer);
            else reject(new GrpcError(GrpcStatus.INTERNAL, "no message in the answer to a unary call"));
          },
        },
        options.timeoutMs,
      );
      call.send(request);
      call.end();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#dialing?.cancel();
    this.#dialing = undefined;
    this.#failWaiting("the channel was closed");
    for (const connection of [...this.#connections]) connection.destroy();
  }

  #call(method: string, metadata: GrpcMetadata, handler: GrpcStreamHandler, timeoutMs: number | undefined): ClientCall {
    const { clock, authority, messageBytesMax = MESSAGE_BYTES_MAX, tls } = this.#options;
    const headers = ["te", "trailers", "content-type", "application/grpc", "user-agent", "lateen"];
    if (timeoutMs !== undefined) headers.push("grpc-timeout", formatTimeout(timeoutMs));
    for (const [name, value] of Object.entries(metadata)) if (name !== "user-agent") headers.push(name, value);
    const head: RequestHead = {
      method: "POST",
      path: method,
      authority,
      scheme: tls ? "https" : "http",
      headers: new HeaderList(headers),
      version: "HTTP/2",
      upgrade: undefined,
    };
    const call = new ClientCall(head, handler, messageBytesMax, (gone) => this.#waiting.delete(gone));
    const flaw = findMetadataFlaw(metadata);
    // Never from inside this call.
    if (this.#isClosed) queueMicrotask(() => call.fail(new GrpcError(GrpcStatus.UNAVAILABLE, "the channel is closed")));
    else if (flaw) queueMicrotask(() => call.fail(new GrpcError(GrpcStatus.INTERNAL, flaw)));
    else if (this.#waiting.size >= WAITING_MAX) {
      queueMicrotask(() => call.fail(new GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, "too many calls wait for a connection")));
    } else {
      if (timeoutMs !== undefined) call.startDeadline(clock, timeoutMs);
      this.#waiting.add(call);
      this.#openWaiting();
    }
    return call;
  }

  /** Puts waiting calls on the connection; connects if there is none. */
  #openWaiting(): void {
    if (this.#isClosed || this.#waiting.size === 0) return;
    const connection = this.#connection;
    if (!connection) {
      if (!this.#dialing) this.#connect();
      return;
    }
    for (const call of this.#waiting) {
      if (connection.availableStreams === 0) return;
      this.#waiting.delete(call);
      call.open(connection);
    }
  }

  #connect() {
    const { network, target } = this.#options;
    let isCancelled = false;
    this.#dialing = {
      cancel: () => {
        isCancelled = true;
      },
    };
    if (target.port === 0 || isIP(target.host) !== 0) return this.#dial(target);
    network.resolver.resolve(target.host, { family: "any" }).then(
      ({ addresses: [first] }) => {
        if (isCancelled) return;
        if (first === undefined) this.#onConnectFail(`${target.host} has no address`);
        else this.#dial({ host: first, port: target.port });
      },
      (error: unknown) => {
        if (!isCancelled) this.#onConnectFail(messageOf(error));
      },
    );
  }

  #dial(to: Address): void {
    const { network, tls, mark, connectTimeoutMs = 10_000 } = this.#options;
    this.#dialing = network.dialer.dial(
      { to, tls, mark, timeoutMs: connectTimeoutMs },
      {
        onConnect: (channel) => this.#onConnect(channel),
        onFail: (reason) => {
          const at = to.port === 0 ? to.host : `${to.host}:${to.port}`;
          this.#onConnectFail(`cannot connect to ${at} (${reason.phase}): ${reason.code ?? reason.message}`);
        },
      },
    );
  }

  #onConnect(channel: Channel) {
    this.#dialing = undefined;
    const { limits = MESH_HTTP_LIMITS, clock } = this.#options;
    const keepalive = this.#options.keepalive === false ? undefined : (this.#options.keepalive ?? DEFAULT_KEEPALIVE);
    const leave = (): void => {
      if (this.#connection === connection) this.#connection = undefined;
    };
    const connection = createHttp2ClientConnection(
      channel,
      { limits, clock, keepalive },
      {
        onAvailable: () => this.#openWaiting(),
        onDraining: () => {
          leave();
          this.#openWaiting();
        },
        onClose: ({ detail }) => {
          const wasCurrent = this.#connection === connection;
          leave();
          this.#connections.delete(connection);
          // Calls that waited for a place share the fate of those that had one.
          if (wasCurrent) this.#failWaiting(detail);
        },
      },
    );
    this.#connections.add(connection);
    if (this.#isClosed) return connection.destroy();
    this.#connection = connection;
    this.#openWaiting();
  }

  #onConnectFail(message: string): void {
    this.#dialing = undefined;
    this.#failWaiting(message);
  }

  #failWaiting(message: string): void {
    const error = new GrpcError(GrpcStatus.UNAVAILABLE, message);
    for (const call of [...this.#waiting]) call.fail(error);
  }
}

/** One call: it waits for a place, is open, or is done. */
class ClientCall implements ClientStreamHandler, GrpcStream {
  readonly #head: RequestHead;
  readonly #handler: GrpcStreamHandler;
  readonly #reader: MessageReader;
  readonly #leaveQueue: (call: ClientCall) => void;
  #stream: ClientStream | undefined;
  #unsent: Uint8Array[] = [];
  #unsentBytes = 0;
  #wasStopped = false;
  #isEnded = false;
  #isDone = false;
  #httpStatus = 200;
  #deadline: Timer | undefined;

  constructor(head: RequestHead, handler: GrpcStreamHandler, messageBytesMax: number, leaveQueue: (call: ClientCall) => void) {
    this.#head = head;
    this.#handler = handler;
    this.#leaveQueue = leaveQueue;
    this.#reader = new MessageReader(messageBytesMax, (message) => {
      if (!this.#isDone) this.#handler.onMessage(message);
    });
  }

  startDeadline(clock: Clock, timeoutMs: number): void {
    this.#deadline = clock.after(timeoutMs, () => {
      this.fail(new GrpcError(GrpcStatus.DEADLINE_EXCEEDED, `no answer within ${timeoutMs} ms`));
    });
  }

  /** Takes a place on a connection and sends what has waited. */
  open(connection: ClientConnection): void {
    const stream = connection.openStream(this.#head, false, this);
    this.#stream = stream;
    let mayGoOn = true;
    for (const message of this.#unsent) mayGoOn = writeMessage(stream, message);
    this.#unsent = [];
    this.#unsentBytes = 0;
    if (this.#isEnded) stream.writeData(NO_BYTES, 0, 0, true);
    else if (this.#wasStopped && mayGoOn) queueMicrotask(() => this.onDrain());
  }

  send(message: Uint8Array): boolean {
    if (this.#isDone || this.#isEnded) return true;
    if (this.#stream) return writeMessage(this.#stream, message);
    this.#unsent.push(message);
    this.#unsentBytes += message.length;
    if (this.#unsentBytes < UNSENT_BYTES_HIGH) return true;
    this.#wasStopped = true;
    return false;
  }

  end(error?: GrpcError) {
    if (this.#isDone || this.#isEnded) return;
    // A client has no status to send: to give up with an error is to cancel.
    if (error) return this.cancel();
    this.#isEnded = true;
    this.#stream?.writeData(NO_BYTES, 0, 0, true);
  }

  cancel(): void {
    if (this.#finish()) this.#stream?.reset("cancel");
  }

  /** Ends the call for a reason of this side. */
  fail(error: GrpcError): void {
    if (!this.#finish()) return;
    this.#stream?.reset("cancel");
    this.#handler.onEnd(error);
  }

  onInformational(): void {}

  onResponse(head: ResponseHead, endStream: boolean) {
    this.#httpStatus = head.status;
    if (endStream) return this.#settle(readStatus(head.headers, head.status));
    const contentType = head.headers.get("content-type");
    if (head.status !== 200) return this.fail(errorOfHttpStatus(head.status, "the answer is no gRPC"));
    if (!isGrpcContentType(contentType)) return this.fail(new GrpcError(GrpcStatus.UNKNOWN, `an answer of type ${contentType}`));
    const encoding = head.headers.get("grpc-encoding");
    if (encoding !== undefined && encoding !== "identity") {
      this.fail(new GrpcError(GrpcStatus.INTERNAL, `an answer with grpc-encoding ${encoding}, which was not offered`));
    }
  }

  onData(buffer: Buffer, start: number, end: number, endStream: boolean) {
    if (this.#isDone) return;
    const error = this.#reader.push(buffer, start, end);
    if (error) return this.fail(error);
    if (endStream) this.#settle(errorOfHttpStatus(this.#httpStatus, "the answer ends without trailers"));
  }

  onTrailers(trailers: HeaderList): void {
    const error = readStatus(trailers, this.#httpStatus);
    if (!error && !this.#reader.isBetweenMessages) this.fail(new GrpcError(GrpcStatus.INTERNAL, "the answer ends within a message"));
    else this.#settle(error);
  }

  onReset(reset: StreamReset): void {
    this.#settle(errorOfReset(reset));
  }

  onDrain(): void {
    if (!this.#isDone && !this.#isEnded) this.#handler.onDrain?.();
  }

  /** The server has answered for good: what we did not send is not wanted any more. */
  #settle(error: GrpcError | undefined): void {
    if (!this.#finish()) return;
    if (!this.#isEnded) this.#stream?.reset("cancel");
    this.#handler.onEnd(error);
  }

  #finish(): boolean {
    if (this.#isDone) return false;
    this.#isDone = true;
    this.#deadline?.cancel();
    this.#unsent = [];
    this.#leaveQueue(this);
    return true;
  }
}

const NO_BYTES = Buffer.alloc(0);
