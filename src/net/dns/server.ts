/** A small DNS server over UDP and TCP: names of the mesh from a function, all others from upstream servers. Source: RFC 1035, RFC 7766. */
import dgram from "node:dgram";
import net from "node:net";
import type { Clock } from "../../base/clock.ts";
import { codeOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Address } from "../channel.ts";
import { explainListenError } from "../system/listen-error.ts";
import { Forwarder, withLength } from "./forward.ts";
import { replyTo } from "./message.ts";
import type { NameLookup } from "./types.ts";

/** TCP connections at a time; more are closed. */
const CONNECTIONS_MAX = 128;
/** Unanswered queries of one TCP connection; then it is read no further until one is answered. */
const PIPELINE_MAX = 32;
const IDLE_TIMEOUT_MS = 10_000;
/** How often a port is looked for that is free for both transports. */
const PORT_TRIES_MAX = 10;

/** A server that answers. */
export interface DnsServer {
  readonly address: Address;
  close(): Promise<void>;
}

/** What may be set. */
export interface DnsServerOptions {
  /** IP and port; port 0 takes a free one. */
  readonly bind: Address;
  readonly answer: NameLookup;
  /** Asked in turn for names that `answer` forwards. Empty: such queries fail. */
  readonly upstreams: readonly Address[];
  readonly clock: Clock;
  readonly log: Log;
}

/** Starts a server. Rejects with a UserError that names address and cause. */
export async function createDnsServer(options: DnsServerOptions): Promise<DnsServer> {
  for (let tries = 1; ; tries++) {
    const udp = dgram.createSocket(net.isIPv6(options.bind.host) ? "udp6" : "udp4");
    const tcp = net.createServer({ noDelay: true });
    try {
      await listening(udp, () => udp.bind(options.bind.port, options.bind.host));
      const { port } = udp.address();
      await listening(tcp, () => tcp.listen({ host: options.bind.host, port }));
      return serve(udp, tcp, { host: options.bind.host, port }, options);
    } catch (error) {
      udp.close();
      tcp.close();
      const mayTryAgain = options.bind.port === 0 && codeOf(error) === "EADDRINUSE" && tries < PORT_TRIES_MAX;
      if (!mayTryAgain) throw explainListenError(error, { at: options.bind });
    }
  }
}

function serve(udp: dgram.Socket, tcp: net.Server, address: Address, { answer, upstreams, clock, log }: DnsServerOptions): DnsServer {
  const forwarder = new Forwarder(clock, upstreams);
  const connections = new Set<net.Socket>();
  let isClosed = false;

  const respond = async (query: Buffer, overUdp: boolean): Promise<Buffer | undefined> => {
    const reply = replyTo(query, answer, overUdp);
    if (reply.kind === "drop") return undefined;
    if (reply.kind === "send") return reply.bytes;
    return (await forwarder.ask(query, overUdp)) ?? reply.failed();
  };
  const fault = (error: unknown): void => {
    if (!isClosed) log.warn("a DNS query could not be answered", { error: String(error) });
  };

  udp.on("error", fault);
  udp.on("message", (query, from) => {
    respond(query, true)
      .then((bytes) => {
        if (bytes && !isClosed) udp.send(bytes, from.port, from.address);
      })
      .catch(fault);
  });
  tcp.on("error", fault);
  tcp.on("connection", (socket) => {
    if (connections.size >= CONNECTIONS_MAX) {
      socket.on("error", () => {}); // It is closed anyway.
      socket.destroy();
      return;
    }
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
    serveTcp(socket, (query) => respond(query, false), fault);
  });

  return {
    address,
    async close() {
      isClosed = true;
      forwarder.close();
      for (const socket of connections) socket.destroy();
      await Promise.all([new Promise<void>((resolve) => udp.close(() => resolve())), new Promise((resolve) => tcp.close(resolve))]);
    },
  };
}

/** Queries with their length in front, answered as they come ready. What is no query ends the connection. */
function serveTcp(socket: net.Socket, respond: (query: Buffer) => Promise<Buffer | undefined>, fault: (error: unknown) => void): void {
  let have: Buffer = Buffer.alloc(0);
  let pending = 0;
  socket.setTimeout(IDLE_TIMEOUT_MS, () => socket.destroy());
  socket.on("error", () => socket.destroy());
  const next = (): void => {
    while (!socket.destroyed && pending < PIPELINE_MAX && have.length >= 2 && have.length >= 2 + have.readUInt16BE(0)) {
      const end = 2 + have.readUInt16BE(0);
      const query = have.subarray(2, end);
      have = have.subarray(end);
      pending += 1;
      respond(query)
        .then((bytes) => {
          pending -= 1;
          if (bytes && !socket.destroyed) socket.write(withLength(bytes));
          else socket.destroy();
          next();
        })
        .catch((error: unknown) => {
          socket.destroy();
          fault(error);
        });
    }
    if (pending >= PIPELINE_MAX) socket.pause();
    else socket.resume();
  };
  socket.on("data", (bytes: Buffer) => {
    have = have.length === 0 ? bytes : Buffer.concat([have, bytes]);
    next();
  });
}

function listening(socket: dgram.Socket | net.Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => reject(error);
    socket.once("error", onError);
    socket.once("listening", () => {
      socket.removeListener("error", onError);
      resolve();
    });
    start();
  });
}
