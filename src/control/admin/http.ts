/** A read-only HTTP server for people and scrapers: GET alone, small requests, whole answers. Which codec is on its connections is an argument. */
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Address, Channel } from "../../net/channel.ts";
import type { Acceptor, ListeningSocket } from "../../net/dial.ts";
import { HeaderList } from "../../net/http/headers.ts";
import type { RequestHead, ServerConnection, ServerHandler, ServerStream } from "../../net/http/stream.ts";

/** What was asked. */
export interface AdminRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  /** The caller's IP address. */
  readonly remote: string;
  /** The token of "authorization: Bearer ...". */
  readonly token: string | undefined;
}

/** An answer. */
export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** An answer in JSON. */
export function jsonAnswer(value: unknown): AdminAnswer {
  return { status: 200, contentType: "application/json", body: `${JSON.stringify(value, undefined, 2)}\n` };
}

/** An answer in words. */
export function textAnswer(status: number, text: string): AdminAnswer {
  return { status, contentType: "text/plain; charset=utf-8", body: text.endsWith("\n") ? text : `${text}\n` };
}

/** What the server is made of. */
export interface AdminServerOptions {
  readonly acceptor: Acceptor;
  readonly at: Address;
  /** Puts HTTP/1.1 on a connection. */
  readonly serve: (channel: Channel, handler: ServerHandler) => ServerConnection;
  readonly answer: (request: AdminRequest) => AdminAnswer | Promise<AdminAnswer>;
  readonly log: Log;
}

/** A running server. */
export interface AdminServer {
  readonly address: Address;
  /** Stops listening and closes all connections. */
  close(): void;
}

const CONNECTIONS_MAX = 256;

/** Listens. Rejects with a UserError when the address cannot be had. */
export async function openAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const { log } = options;
  const connections = new Set<ServerConnection>();
  const listening: ListeningSocket = await options.acceptor.listen({ at: options.at }, (incoming) => {
    if (connections.size >= CONNECTIONS_MAX) {
      incoming.destroy({ reset: true });
      return;
    }
    const connection = options.serve(incoming.accept(), {
      onRequest: (stream, head) => onRequest(stream, head),
      onCodecError: (error) => log.debug("a request to the monitoring port was refused", { details: error.details }),
      onClose: () => connections.delete(connection),
    });
    connections.add(connection);
  });

  const onRequest = (stream: ServerStream, head: RequestHead): void => {
    let isGone = false;
    stream.handler = {
      onData() {}, // A body has no meaning here.
      onTrailers() {},
      onDrain() {}, // An answer is one write; what the peer does not read waits in its connection's buffer.
      onReset() {
        isGone = true;
      },
    };
    const write = (answer: AdminAnswer): void => {
      if (!isGone) writeAnswer(stream, answer, head);
    };
    answerTo(options, stream, head).then(write, (error: unknown) => {
      log.error("a request to the monitoring port failed", { path: head.path, why: messageOf(error) });
      write(textAnswer(500, "internal error"));
    });
  };

  return {
    address: listening.address,
    close() {
      listening.close();
      for (const connection of [...connections]) connection.destroy();
    },
  };
}

async function answerTo(options: AdminServerOptions, stream: ServerStream, head: RequestHead): Promise<AdminAnswer> {
  if (head.method !== "GET" && head.method !== "HEAD") return textAnswer(405, "only GET is taken here");
  const url = URL.parse(head.path, "http://monitoring");
  if (!url) return textAnswer(400, "this is no path");
  const authorization = head.headers.get("authorization");
  return options.answer({
    path: url.pathname,
    query: url.searchParams,
    remote: stream.connection.channel.remote.host,
    token: authorization?.startsWith("Bearer ") ? authorization.slice("Bearer ".length) : undefined,
  });
}

function writeAnswer(stream: ServerStream, { status, contentType, body }: AdminAnswer, head: RequestHead): void {
  const bytes = Buffer.from(body);
  const headers = HeaderList.of({
    "content-type": contentType,
    "content-length": String(bytes.length),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    server: "lateen",
    ...(status === 405 ? { allow: "GET, HEAD" } : {}),
  });
  const isHead = head.method === "HEAD";
  stream.writeHead({ status, headers, version: "HTTP/1.1" }, isHead);
  if (!isHead) stream.writeData(bytes, 0, bytes.length, true);
}
