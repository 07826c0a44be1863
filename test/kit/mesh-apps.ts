/** Small applications for simulations, which know nothing of a mesh: an HTTP server, a gRPC server, a TCP echo. */
import type { Clock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Channel } from "../../src/net/channel.ts";
import { createGrpcServer } from "../../src/net/grpc/server.ts";
import type { GrpcMetadata } from "../../src/net/grpc/types.ts";
import { HeaderList } from "../../src/net/http/headers.ts";
import { MESH_HTTP_LIMITS, type RequestHead, type ServerHandler, type ServerStream } from "../../src/net/http/stream.ts";
import { createHttp1ServerConnection } from "../../src/net/http1/server-connection.ts";
import { createHttp2ServerConnection } from "../../src/net/http2/server-connection.ts";

/** A request as an application had it. */
export interface AppRequest {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly version: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly port: number;
  /** Who connected, as the application's socket tells. */
  readonly peer: string;
}

/** What to answer. "hang": nothing, ever; "cut": the connection goes. */
export type AppAnswer =
  | "hang"
  | "cut"
  | { readonly status?: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string; readonly afterMs?: number };

const REQUESTS_MAX = 10_000;

/** The application of one instance. */
export class App {
  readonly name: string;
  readonly #clock: Clock;
  /** All that came, oldest first. */
  readonly requests: AppRequest[] = [];
  /** Bytes that came over TCP. */
  tcpText = "";
  /** Metadata of the last gRPC call. */
  grpcMetadata: GrpcMetadata = {};
  connections = 0;
  answer: (request: AppRequest) => AppAnswer = () => ({});

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.#clock = clock;
  }

  /** HTTP/1.1, or HTTP/2 without TLS. Answers 200 with "NAME path", and takes WebSocket upgrades, whose bytes it sends back. */
  serveHttp(channel: Channel, port: number, version: 1 | 2): void {
    this.connections += 1;
    const options = { limits: MESH_HTTP_LIMITS, clock: this.#clock };
    const handler: ServerHandler = {
      onRequest: (stream, head, endStream) => this.#onRequest(stream, head, endStream, port),
      onCodecError() {},
      onClose() {},
    };
    if (version === 1) createHttp1ServerConnection(channel, options, handler);
    else createHttp2ServerConnection(channel, options, handler);
  }

  /** gRPC: /echo.Echo/Say sends the request back, with the app's name in front; /echo.Echo/Chat does so for each message. */
  serveGrpc(channel: Channel): void {
    this.connections += 1;
    const reply = (message: Uint8Array): Uint8Array => Buffer.concat([Buffer.from(`${this.name} `), message]);
    createGrpcServer({ clock: this.#clock, log: silentLog, keepalive: false }, [
      {
        unary: {
          "/echo.Echo/Say": async ({ metadata }, request) => {
            this.grpcMetadata = metadata;
            return reply(request);
          },
        },
        bidi: {
          "/echo.Echo/Chat": ({ metadata }, stream) => {
            this.grpcMetadata = metadata;
            return { onMessage: (message) => void stream.send(reply(message)), onEnd: (error) => (error ? undefined : stream.end()) };
          },
        },
      },
    ]).serve(channel);
  }

  /** Sends back what comes, with the app's name before the first bytes. */
  serveTcp(channel: Channel): void {
    this.connections += 1;
    let isGreeted = false;
    channel.handler = {
      onData: (buffer, start, end) => {
        this.tcpText += buffer.toString("latin1", start, end);
        channel.writeLatin1(isGreeted ? "" : `${this.name} `);
        isGreeted = true;
        channel.forward(buffer, start, end);
      },
      onEnd: () => channel.end(),
      onDrain() {},
      onClose() {},
    };
  }

  #onRequest(stream: ServerStream, head: RequestHead, endStream: boolean, port: number): void {
    if (head.upgrade === "websocket") {
      this.#note(head, "", port, stream);
      stream.handler = {
        onData(buffer, start, end, isLast) {
          stream.writeData(Buffer.from(buffer.subarray(start, end)), 0, end - start, isLast);
        },
        onTrailers() {},
        onReset() {},
        onDrain() {},
      };
      stream.writeHead({ status: 101, headers: HeaderList.of({ "x-app": this.name }), version: "HTTP/1.1" }, false);
      return;
    }
    let body = "";
    let isOver = false;
    const done = (): void => this.#reply(stream, this.#note(head, body, port, stream), () => isOver);
    stream.handler = {
      onData(buffer, start, end, isLast) {
        body += buffer.toString("latin1", start, end);
        if (isLast) done();
      },
      onTrailers: done,
      onReset: () => {
        isOver = true;
      },
      onDrain() {},
    };
    if (endStream) done();
  }

  #note(head: RequestHead, body: string, port: number, stream: ServerStream): AppRequest {
    const request: AppRequest = {
      method: head.method,
      path: head.path,
      authority: head.authority,
      version: head.version,
      headers: Object.fromEntries(head.headers),
      body,
      port,
      peer: stream.connection.channel.remote.host,
    };
    if (this.requests.length < REQUESTS_MAX) this.requests.push(request);
    return request;
  }

  #reply(stream: ServerStream, request: AppRequest, isOver: () => boolean): void {
    const answer = this.answer(request);
    if (answer === "hang") return;
    if (answer === "cut") {
      stream.connection.destroy();
      return;
    }
    const { status = 200, headers = {}, body = `${this.name} ${request.path}`, afterMs = 0 } = answer;
    const send = (): void => {
      if (isOver()) return;
      const bytes = Buffer.from(body);
      const fields = HeaderList.of({ "content-length": String(bytes.length), "x-app": this.name, ...headers });
      stream.writeHead({ status, headers: fields, version: "HTTP/1.1" }, bytes.length === 0);
      if (bytes.length > 0) stream.writeData(bytes, 0, bytes.length, true);
    };
    if (afterMs === 0) send();
    else this.#clock.after(afterMs, send);
  }
}
