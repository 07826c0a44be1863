/**
 * Node's own handle under a socket: reads into a given buffer and writes without streams, at about half the cost. Undocumented,
 * so what is needed of it is looked for before it is used; the public API stands behind. Source: Node's lib/internal/stream_base_commons.js.
 */
import type net from "node:net";

/** A write under way: an object that Node's native part fills and calls back. */
export interface WriteRequest {
  oncomplete: ((status: number) => void) | undefined;
  channel: WriteOwner | undefined;
  handle: StreamHandle | undefined;
  /** What the kernel still reads from. Must stay reachable. */
  bytes: unknown;
}

/** Who waits for a write. */
export interface WriteOwner {
  written(status: number): void;
}

/** Who reads from a handle. */
export interface ReadOwner {
  /** `count` bytes arrived in the buffer; the buffer for the next read, or undefined for the same. */
  received(count: number): Buffer | undefined;
  readFailed(errno: number): void;
}

/** The handle. Calls return 0 or a negative error number. */
export interface StreamHandle {
  onread: ((this: StreamHandle, bytes: ArrayBuffer | undefined) => Buffer | undefined) | (() => void);
  /** net.Socket's own note of whether the handle is being read. */
  reading: boolean;
  channelOfHandle: ReadOwner | undefined;
  useUserBuffer(buffer: Buffer): void;
  readStart(): number;
  readStop(): number;
  writeLatin1String(request: WriteRequest, text: string): number;
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  writev(request: WriteRequest, chunks: readonly Uint8Array[], allBuffers: true): number;
}

interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly streamBaseState: Int32Array;
  readonly kReadBytesOrError: number;
  readonly kLastWriteWasAsync: number;
}

const HANDLE_METHODS = ["useUserBuffer", "readStart", "readStop", "writeLatin1String", "writeBuffer", "writev"] as const;

let binding: StreamBinding | undefined;
let isLookedFor = false;

/** Whether this Node has what the fast path needs. Looked for once, at first use: a start-up snapshot holds no binding. */
export function isFastPathAvailable(): boolean {
  return findBinding() !== undefined;
}

function findBinding(): StreamBinding | undefined {
  if (isLookedFor) return binding;
  isLookedFor = true;
  try {
    const found = (process as unknown as { binding(name: string): unknown }).binding("stream_wrap");
    if (isBinding(found)) binding = found;
  } catch {
    binding = undefined; // Gone, or forbidden: the public API does it.
  }
  return binding;
}

function isBinding(found: unknown): found is StreamBinding {
  const it = found as Partial<StreamBinding> | undefined;
  return (
    typeof it?.WriteWrap === "function" &&
    ArrayBuffer.isView(it.streamBaseState) &&
    typeof it.kReadBytesOrError === "number" &&
    typeof it.kLastWriteWasAsync === "number"
  );
}

/** The socket's handle, if the fast path can take it over. */
export function handleOf(socket: net.Socket): StreamHandle | undefined {
  if (findBinding() === undefined) return undefined;
  const handle = (socket as unknown as { readonly _handle?: Partial<StreamHandle> | null })._handle;
  if (!handle || !("onread" in handle)) return undefined;
  for (const method of HANDLE_METHODS) if (typeof handle[method] !== "function") return undefined;
  return handle as StreamHandle;
}

/** Makes an object for one write. */
export function newWriteRequest(): WriteRequest {
  if (binding === undefined) throw new Error("no stream binding: ask handleOf first");
  return new binding.WriteWrap();
}

/** Whether the write that was just begun goes on after the call. False: done, and its request may be used again. */
export function wasLastWriteAsync(): boolean {
  return binding !== undefined && binding.streamBaseState[binding.kLastWriteWasAsync] !== 0;
}

/** Takes the handle's reads over from the socket. */
export function takeOverReads(handle: StreamHandle, owner: ReadOwner, buffer: Buffer): void {
  handle.channelOfHandle = owner;
  handle.onread = onRead;
  handle.useUserBuffer(buffer);
}

function onRead(this: StreamHandle): Buffer | undefined {
  const owner = this.channelOfHandle;
  if (binding === undefined || owner === undefined) return undefined;
  const count = binding.streamBaseState[binding.kReadBytesOrError] as number;
  if (count > 0) return owner.received(count);
  if (count < 0) owner.readFailed(count);
  return undefined;
}

/** The callback of a write that goes on after its call. */
export function onWritten(this: WriteRequest, status: number): void {
  const owner = this.channel;
  this.channel = undefined;
  this.bytes = undefined;
  owner?.written(status);
}
