/** Makes channels of sockets that are connected. */
import type net from "node:net";
import type { Channel } from "../channel.ts";
import { handleOf } from "./handle.ts";
import { HandleChannel } from "./handle-channel.ts";
import type { SocketChannelOptions } from "./socket-channel.ts";
import { StreamChannel } from "./stream-channel.ts";

export { isFastPathAvailable } from "./handle.ts";
export type { SocketChannelOptions } from "./socket-channel.ts";

let isFastPathOff = false;

/** Makes all later channels of this thread use the documented stream API, whatever Node offers: for tests, and where the fast path is suspected. */
export function useFastPath(isOn: boolean): void {
  isFastPathOff = !isOn;
}

/**
 * Takes a connected net.Socket, or a TLSSocket after its handshake, and everything that happens to it. The socket must not be
 * flowing; what its stream has read already (unshifted after a peek, or early TLS data) is given first, in a later turn. Make
 * sockets with allowHalfOpen, or the own direction ends with the peer's.
 */
export function createChannel(socket: net.Socket, options: SocketChannelOptions): Channel {
  const handle = isFastPathOff ? undefined : handleOf(socket);
  return handle === undefined ? new StreamChannel(socket, options) : new HandleChannel(socket, handle, options);
}
