/** An application's HTTP client for simulations: resolves a name, keeps connections alive, knows nothing of a mesh. */
import type { Address, Channel } from "../../src/net/channel.ts";
import type { DialOptions, Network } from "../../src/net/dial.ts";
import { HeaderList } from "../../src/net/http/headers.ts";
import {
  type ClientConnection,
  type ClientStream,
  MESH_HTTP_LIMITS,
  type RequestHead,
  type ResponseHead,
} from "../../src/net/http/stream.ts";
import { createHttp1ClientConnection } from "../../src/net/http1/client-connection.ts";

/** How a request ended. `status` is 0 where there was no answer; then `error` tells why, else it is empty. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly error: string;
  /** Who answered, where it was one of the simulation's applications. */
  readonly app: string | undefined;
}

/** What to ask. */
export interface Ask {
  readonly method?: string;
  /** "http://payment:80/pay?x=1". */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Bytes both ways after an upgrade. */
export interface Tunnel {
  readonly text: string;
  readonly isEnded: boolean;
  send(text: string): void;
  end(): void;
}

/** A client on one machine. */
export class MeshClient {
  readonly #network: Network;
  readonly #tls: DialOptions["tls"];
  readonly #idle = new Map<string, ClientConnection[]>();
  readonly #open = new Set<ClientConnection>();

  /** `tls`: for every connection. */
  constructor(network: Network, tls?: DialOptions["tls"]) {
    this.#network = network;
    this.#tls = tls;
  }

  /** Never rejects: a request without an answer has status 0. */
  async ask({ method = "GET", url, headers = {}, body = "" }: Ask): Promise<Answer> {
    const { address, authority, path } = await this.#resolve(url);
    const { host: given, ...others } = headers;
    const head = requestHead({ method, path, authority: given ?? authority, headers: others });
    if (body !== "") head.headers.set("content-length", String(Buffer.byteLength(body)));
    let connection: ClientConnection;
    try {
      connection = await this.#connection(address);
    } catch (error) {
      return failure(String(error));
    }
    return new Promise((resolve) => {
      let answer: ResponseHead | undefined;
      let text = "";
      const end = (): void => resolve(answer ? answerOf(answer, text) : failure("no head"));
      const stream = connection.openStream(head, body === "", {
        onInformational() {},
        onResponse(response, endStream) {
          answer = response;
          if (endStream) end();
        },
        onData(buffer, start, stop, endStream) {
          text += buffer.toString("latin1", start, stop);
          if (endStream) end();
        },
        onTrailers: end,
        onReset: ({ kind, detail }) => resolve(failure(`${kind}: ${detail}`)),
        onDrain() {},
      });
      if (body !== "") stream.writeData(Buffer.from(body), 0, Buffer.byteLength(body), true);
    });
  }

  /** Asks for a WebSocket; rejects with the status where it is not given. */
  async upgrade(url: string, headers: Readonly<Record<string, string>> = {}): Promise<Tunnel> {
    const { address, authority, path } = await this.#resolve(url);
    const head = requestHead({ method: "GET", path, authority, headers });
    head.upgrade = "websocket";
    const connection = await this.#connection(address);
    return new Promise((resolve, reject) => {
      let text = "";
      let isEnded = false;
      let stream: ClientStream | undefined;
      const tunnel: Tunnel = {
        get text() {
          return text;
        },
        get isEnded() {
          return isEnded;
        },
        send: (more) => void stream?.writeData(Buffer.from(more), 0, Buffer.byteLength(more), false),
        end: () => void stream?.writeData(Buffer.alloc(0), 0, 0, true),
      };
      stream = connection.openStream(head, false, {
        onInformational() {},
        onResponse: ({ status }) => (status === 101 ? resolve(tunnel) : reject(new Error(`the upgrade was answered ${status}`))),
        onData(buffer, start, end, endStream) {
          text += buffer.toString("latin1", start, end);
          isEnded ||= endStream;
        },
        onTrailers() {},
        onReset({ kind, detail }) {
          isEnded = true;
          reject(new Error(`${kind}: ${detail}`));
        },
        onDrain() {},
      });
    });
  }

  close(): void {
    for (const connection of [...this.#open]) connection.destroy();
    this.#idle.clear();
  }

  async #resolve(url: string): Promise<{ address: Address; authority: string; path: string }> {
    const match = /^http:\/\/(?<host>[^/:]+)(?::(?<port>\d+))?(?<path>\/.*)?$/.exec(url);
    const { host = "", port, path = "/" } = match?.groups ?? {};
    const { addresses } = await this.#network.resolver.resolve(host, { family: 4 });
    return { address: { host: addresses[0] ?? "", port: Number(port ?? 80) }, authority: port ? `${host}:${port}` : host, path };
  }

  /** One that nobody uses; it comes back to the idle ones by itself. */
  async #connection(to: Address): Promise<ClientConnection> {
    const key = `${to.host}:${to.port}`;
    const idle = this.#idle.get(key) ?? [];
    this.#idle.set(key, idle);
    const free = idle.pop();
    if (free) return free;
    return new Promise((resolve, reject) => {
      this.#network.dialer.dial(
        { to, timeoutMs: 5000, tls: this.#tls },
        {
          onFail: ({ phase, message }) => reject(new Error(`${phase}: ${message}`)),
          onConnect: (channel: Channel) => {
            let isLeaving = false;
            const leave = (): void => {
              isLeaving = true;
              const at = idle.indexOf(connection);
              if (at >= 0) idle.splice(at, 1);
            };
            const connection: ClientConnection = createHttp1ClientConnection(
              channel,
              { limits: MESH_HTTP_LIMITS },
              {
                onAvailable: () => void (isLeaving || idle.includes(connection) || idle.push(connection)),
                onDraining: leave,
                onClose: () => {
                  leave();
                  this.#open.delete(connection);
                },
              },
            );
            this.#open.add(connection);
            resolve(connection);
          },
        },
      );
    });
  }
}

function requestHead(ask: { method: string; path: string; authority: string; headers: Readonly<Record<string, string>> }): RequestHead {
  const { method, path, authority } = ask;
  return { method, path, authority, scheme: "http", headers: HeaderList.of(ask.headers), version: "HTTP/1.1", upgrade: undefined };
}

function answerOf({ status, headers }: ResponseHead, body: string): Answer {
  return { status, headers: Object.fromEntries(headers), body, error: "", app: headers.get("x-app") };
}

function failure(error: string): Answer {
  return { status: 0, headers: {}, body: "", error, app: undefined };
}
