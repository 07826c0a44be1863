/** Asks the upstream DNS servers in turn, over the transport that the query came by. */
import { randomInt } from "node:crypto";
import dgram from "node:dgram";
import net from "node:net";
import type { Clock } from "../../base/clock.ts";
import type { Address } from "../channel.ts";

/** Queries on their way at a time; more are failed at once. */
export const FORWARDS_MAX = 1024;
/** For one upstream server. */
const UPSTREAM_TIMEOUT_MS = 2000;
const HEADER_BYTES = 12;

/** Asks others. */
export class Forwarder {
  readonly #clock: Clock;
  readonly #upstreams: readonly Address[];
  readonly #open = new Set<{ cancel(): void }>();

  constructor(clock: Clock, upstreams: readonly Address[]) {
    this.#clock = clock;
    this.#upstreams = upstreams;
  }

  /** The answer to a well-formed query with the query's own id, or undefined when nobody gave one. */
  async ask(query: Buffer, overUdp: boolean): Promise<Buffer | undefined> {
    for (const upstream of this.#upstreams) {
      if (this.#open.size >= FORWARDS_MAX) return undefined;
      // A number and a port (a socket each) that nobody can guess: answers are not authenticated otherwise.
      const sent = Buffer.from(query);
      sent.writeUInt16BE(randomInt(65536), 0);
      const answer = await (overUdp ? this.#askUdp(sent, upstream) : this.#askTcp(sent, upstream));
      if (!answer) continue;
      answer.writeUInt16BE(query.readUInt16BE(0), 0);
      return answer;
    }
    return undefined;
  }

  close(): void {
    for (const one of this.#open) one.cancel();
  }

  #askUdp(query: Buffer, upstream: Address): Promise<Buffer | undefined> {
    return this.#once((finish) => {
      const socket = dgram.createSocket(net.isIPv6(upstream.host) ? "udp6" : "udp4");
      socket.on("error", () => finish(undefined));
      socket.on("message", (bytes) => {
        if (isAnswerTo(bytes, query)) finish(bytes);
      });
      // Connected: the kernel drops what others send.
      socket.connect(upstream.port, upstream.host, () => socket.send(query));
      return () => socket.close();
    });
  }

  #askTcp(query: Buffer, upstream: Address): Promise<Buffer | undefined> {
    return this.#once((finish) => {
      const socket = net.connect({ host: upstream.host, port: upstream.port });
      let have: Buffer = Buffer.alloc(0);
      socket.on("error", () => finish(undefined));
      socket.on("close", () => finish(undefined));
      socket.on("data", (bytes: Buffer) => {
        have = Buffer.concat([have, bytes]);
        if (have.length < 2 || have.length < 2 + have.readUInt16BE(0)) return;
        const answer = have.subarray(2, 2 + have.readUInt16BE(0));
        finish(isAnswerTo(answer, query) ? answer : undefined);
      });
      socket.write(withLength(query));
      return () => socket.destroy();
    });
  }

  /** One exchange: the first `finish` or the timeout counts, and then what was opened is closed. */
  #once(start: (finish: (answer: Buffer | undefined) => void) => () => void): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      let isDone = false;
      const finish = (answer: Buffer | undefined): void => {
        if (isDone) return;
        isDone = true;
        timer.cancel();
        this.#open.delete(entry);
        // A socket that fails while it is made has nothing to close yet.
        queueMicrotask(() => close());
        resolve(answer);
      };
      const timer = this.#clock.after(UPSTREAM_TIMEOUT_MS, () => finish(undefined));
      const entry = { cancel: () => finish(undefined) };
      this.#open.add(entry);
      const close = start(finish);
    });
  }
}

/** A message with its length in front. Source: RFC 1035 section 4.2.2. */
export function withLength(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

/** Same number, a response, and the same question, letter for letter. */
function isAnswerTo(answer: Buffer, query: Buffer): boolean {
  if (answer.length < HEADER_BYTES || answer.readUInt16BE(0) !== query.readUInt16BE(0) || ((answer[2] ?? 0) & 0x80) === 0) return false;
  const end = questionEnd(query);
  if (end === undefined || answer.readUInt16BE(4) !== 1) return false;
  return answer.subarray(HEADER_BYTES, end).equals(query.subarray(HEADER_BYTES, end));
}

/** Where the first question of a query ends: labels, a zero, type and class. */
function questionEnd(query: Buffer): number | undefined {
  let at = HEADER_BYTES;
  for (;;) {
    const length = query[at];
    if (length === undefined || length > 63) return undefined;
    at += 1 + length;
    if (length === 0) return at + 4 <= query.length ? at + 4 : undefined;
  }
}
