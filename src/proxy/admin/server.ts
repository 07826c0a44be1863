/** The admin's HTTP server: the proxy's own codec on a listening socket of its own. */
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Address, Channel } from "../../net/channel.ts";
import type { Acceptor, ListeningSocket } from "../../net/dial.ts";
import { HeaderList } from "../../net/http/headers.ts";
import type { RequestHead, ServerConnection, ServerHandler, ServerStream } from "../../net/http/stream.ts";
import type { AdminSource } from "./admin-source.ts";
import { type AdminAnswer, answer } from "./handlers.ts";

/** Connections at once; more are closed. */
const CONNECTIONS_MAX = 256;
/** What is written at once. */
const PART_BYTES = 64 * 1024;

/** Puts the server's codec on a connection. */
export type CreateServerConnection = (channel: Channel, handler: ServerHandler) => ServerConnection;

/** Listens and answers until closed. */
export async function openAdminServer(
  at: Address,
  source: AdminSource,
  options: {
    readonly acceptor: Acceptor;
    readonly fd: number | undefined;
    readonly createConnection: CreateServerConnection;
    readonly log: Log;
  },
): Promise<ListeningSocket> {
  const connections = new Set<ServerConnection>();
  const socket = await options.acceptor.listen({ at, fd: options.fd }, (incoming) => {
    if (connections.size >= CONNECTIONS_MAX) {
      incoming.destroy();
      return;
    }
    let connection: ServerConnection | undefined;
    connection = options.createConnection(incoming.accept(), {
      onRequest: (stream, head, endStream) => new Exchange(stream, head, endStream, source, options.log),
      onCodecError: ({ message }) => options.log.debug("admin: request refused", { message }),
      onClose: () => {
        if (connection) connections.delete(connection);
      },
    });
    connections.add(connection);
  });
  return {
    address: socket.address,
    close() {
      socket.close();
      for (const connection of connections) connection.destroy();
    },
  };
}

/** One request and its answer. Bodies of requests are read and dropped: no path takes one. */
class Exchange {
  readonly #stream: ServerStream;
  readonly #isHead: boolean;
  #isGone = false;
  #onDrain: (() => void) | undefined;

  constructor(stream: ServerStream, head: RequestHead, endStream: boolean, source: AdminSource, log: Log) {
    this.#stream = stream;
    this.#isHead = head.method === "HEAD";
    const run = (): void => {
      this.#write(answer(source, readRequest(head))).catch((error: unknown) => {
        log.warn(`admin: ${head.path}: ${messageOf(error)}`);
        if (!this.#isGone) stream.reset("internal-error");
      });
    };
    stream.handler = {
      onData: (_buffer, _start, _end, isLast) => {
        if (isLast) run();
      },
      onTrailers: run,
      onReset: () => {
        this.#isGone = true;
        this.#onDrain?.();
      },
      onDrain: () => this.#onDrain?.(),
    };
    if (endStream) run();
  }

  async #write({ status, contentType, body, after }: AdminAnswer): Promise<void> {
    const headers = new HeaderList([
      "content-type",
      contentType,
      "cache-control",
      "no-cache, max-age=0",
      "x-content-type-options",
      "nosniff",
    ]);
    if (typeof body === "string") {
      const bytes = Buffer.from(body, "utf8");
      headers.add("content-length", String(bytes.length));
      this.#stream.writeHead({ status, headers, version: "HTTP/1.1" }, this.#isHead || bytes.length === 0);
      if (!this.#isHead)
        for (let at = 0; at < bytes.length && !this.#isGone; at += PART_BYTES)
          await this.#part(bytes, at, Math.min(bytes.length, at + PART_BYTES), at + PART_BYTES >= bytes.length);
    } else {
      this.#stream.writeHead({ status, headers, version: "HTTP/1.1" }, this.#isHead);
      if (!this.#isHead) {
        for await (const part of body) {
          if (this.#isGone) return;
          await this.#part(part, 0, part.length, false);
        }
        this.#stream.writeData(Buffer.alloc(0), 0, 0, true);
      }
    }
    if (after) setImmediate(after);
  }

  /** Resolves when more may be written. */
  #part(bytes: Buffer, start: number, end: number, isLast: boolean): Promise<void> {
    if (this.#stream.writeData(bytes, start, end, isLast) || isLast) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onDrain = () => {
        this.#onDrain = undefined;
        resolve();
      };
    });
  }
}

function readRequest(head: RequestHead): { method: string; path: string; query: URLSearchParams } {
  const mark = head.path.indexOf("?");
  const path = mark < 0 ? head.path : head.path.slice(0, mark);
  return { method: head.method, path, query: new URLSearchParams(mark < 0 ? "" : head.path.slice(mark + 1)) };
}
