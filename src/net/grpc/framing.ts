/** Messages in a body: a flag, a length, the bytes. Source: gRPC over HTTP/2, PROTOCOL-HTTP2, Length-Prefixed-Message. */
import type { HttpStream } from "../http/stream.ts";
import { writeKept } from "../http2/http2-stream.ts";
import { GrpcError, GrpcStatus } from "./types.ts";

const PREFIX_BYTES = 5;
/** Below this a message is copied behind its prefix, so that both are one DATA frame. */
const JOINED_BYTES_MAX = 4096;

/** 16 MiB: Envoy and Istio set no limit of their own, gRPC's default of 4 MiB is too small for the state of a large mesh. */
export const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

/** Cuts a body into messages. */
export class MessageReader {
  readonly #bytesMax: number;
  readonly #onMessage: (message: Uint8Array) => void;
  readonly #prefix = new Uint8Array(PREFIX_BYTES);
  #prefixBytes = 0;
  #message: Buffer | undefined;
  #messageBytes = 0;

  constructor(bytesMax: number, onMessage: (message: Uint8Array) => void) {
    this.#bytesMax = bytesMax;
    this.#onMessage = onMessage;
  }

  /** Whether the body may end here. */
  get isBetweenMessages(): boolean {
    return this.#prefixBytes === 0;
  }

  /** Takes body bytes; gives what is wrong with them, if anything: then no more may follow. */
  push(buffer: Buffer, start: number, end: number): GrpcError | undefined {
    let at = start;
    while (at < end) {
      if (this.#message === undefined) {
        this.#prefix[this.#prefixBytes++] = buffer[at++] as number;
        if (this.#prefixBytes < PREFIX_BYTES) continue;
        const error = this.#begin();
        if (error) return error;
      } else {
        const count = Math.min(end - at, this.#message.length - this.#messageBytes);
        buffer.copy(this.#message, this.#messageBytes, at, at + count);
        this.#messageBytes += count;
        at += count;
      }
      this.#finishIfWhole();
    }
    return undefined;
  }

  #begin(): GrpcError | undefined {
    const [flag = 0, a = 0, b = 0, c = 0, d = 0] = this.#prefix;
    if (flag === 1) return new GrpcError(GrpcStatus.UNIMPLEMENTED, "compressed messages are not taken: send grpc-encoding identity");
    if (flag !== 0) return new GrpcError(GrpcStatus.INTERNAL, "a message with a wrong prefix");
    const length = a * 0x100_0000 + ((b << 16) | (c << 8) | d);
    if (length > this.#bytesMax) {
      return new GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, `a message of ${length} bytes; the limit is ${this.#bytesMax}`);
    }
    this.#message = Buffer.allocUnsafeSlow(length);
    this.#messageBytes = 0;
    return undefined;
  }

  #finishIfWhole(): void {
    const message = this.#message;
    if (message === undefined || this.#messageBytes < message.length) return;
    this.#message = undefined;
    this.#prefixBytes = 0;
    this.#onMessage(message);
  }
}

/** Writes one message. False: stop until onDrain. */
export function writeMessage(stream: HttpStream, message: Uint8Array): boolean {
  const { length } = message;
  const isJoined = length <= JOINED_BYTES_MAX;
  const head = Buffer.allocUnsafe(isJoined ? PREFIX_BYTES + length : PREFIX_BYTES);
  head[0] = 0;
  head.writeUInt32BE(length, 1);
  if (isJoined) {
    head.set(message, PREFIX_BYTES);
    return stream.writeData(head, 0, head.length, false);
  }
  stream.writeData(head, 0, head.length, false);
  return writeKept(stream, Buffer.from(message.buffer, message.byteOffset, length));
}
