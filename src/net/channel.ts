/**
 * A connection that stands: bytes in, bytes out, with backpressure both ways. TCP, TLS after its handshake, a Unix socket
 * and the in-memory pair of the simulation are all this, so codecs know nothing of sockets.
 */
import type { Address, TlsInfo } from "../model/connection.ts";

export type { Address, PeerCertificate, TlsInfo } from "../model/connection.ts";

/** Why a connection went. `code` is the system's ("ECONNRESET") or TLS's where there is one; undefined after a plain close. */
export interface CloseReason {
  readonly code: string | undefined;
  readonly message: string;
}

/** Who listens to a channel. All calls come from the event loop, never from inside a call to the channel itself. */
export interface ChannelHandler {
  /**
   * Bytes `start` to `end` of `buffer` arrived. They are valid during this call only: the next read may write over them, so
   * copy what is kept (or forward it with `forward`, which copies where needed).
   */
  onData(buffer: Buffer, start: number, end: number): void;
  /** The peer will send no more (FIN). The own direction stays open. */
  onEnd(): void;
  /** Backpressure is over: buffered bytes fell below the low watermark after a write had returned false. */
  onDrain(): void;
  /** The connection is gone; nothing follows. Called exactly once, also after `destroy`. */
  onClose(reason: CloseReason): void;
}

/**
 * A connection. Writes made during one turn (the handling of one read, of a timer ...) are joined and written at its end, so a
 * response head and its first body bytes, or all HTTP/2 frames of a turn, are one system call and one TLS record.
 */
export interface Channel {
  /** Must be set before the first event can arrive, that is, in the turn in which the channel was given. */
  handler: ChannelHandler;
  readonly local: Address;
  readonly remote: Address;
  /** Undefined for plaintext. */
  readonly tls: TlsInfo | undefined;
  /** False once destroyed or gone. */
  readonly isOpen: boolean;
  /** Bytes accepted but not yet taken by the kernel. */
  readonly bufferedBytes: number;
  /** Writes one-byte characters (latin1). False: above the high watermark, stop until onDrain. */
  writeLatin1(text: string): boolean;
  /** Writes bytes that the caller will not touch again. False as above. */
  writeBytes(bytes: Uint8Array): boolean;
  /** Writes bytes that were just received in onData (of any channel): copies what is small, hands over what is large. False as above. */
  forward(buffer: Buffer, start: number, end: number): boolean;
  /** Stops reading: the kernel's buffer fills and the peer slows down. */
  pause(): void;
  resume(): void;
  /** Sends FIN (TLS: close_notify) once all is written. Reading goes on. */
  end(): void;
  /** Closes now, dropping what is buffered. With `reset` the peer sees RST. */
  destroy(options?: { readonly reset?: boolean }): void;
}

/** Watermarks of a connection's write buffer, in bytes. Source: Envoy per_connection_buffer_limit_bytes. */
export interface Watermarks {
  readonly highBytes: number;
  readonly lowBytes: number;
}

/** 256 KiB in the mesh; edges ask for 32 KiB. */
export const MESH_WATERMARKS: Watermarks = { highBytes: 256 * 1024, lowBytes: 128 * 1024 };
