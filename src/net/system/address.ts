/** Addresses as sockets tell them, in the one form that logs, policy and hashes use. */
import net from "node:net";
import type { Address } from "../channel.ts";
import type { IpFamily } from "./libc.ts";

/** A v4-mapped IPv6 address as plain IPv4; a link-local's zone is kept; anything else as it is. */
export function plainHost(host: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(host);
  return mapped?.[1] ?? host;
}

/** Family of an IP address, undefined for anything else. A v4-mapped address is 6 as a text but 4 as packets: see `plainHost`. */
export function familyOf(host: string): IpFamily | undefined {
  const family = net.isIP(host);
  return family === 4 || family === 6 ? family : undefined;
}

/** Whether an address is a Unix socket's path, absolute or from the working directory ("./run/socket"). */
export function isUnixPath(address: Address): boolean {
  return address.port === 0 && address.host.includes("/");
}

/** "1.2.3.4:80", "[::1]:80" or a path. */
export function formatAddress(address: Address): string {
  if (isUnixPath(address)) return address.host;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** The near side of a connected socket. A Unix socket's is `path` at the side that listens, else unnamed. */
export function localAddressOf(socket: net.Socket, path?: string): Address {
  if (path !== undefined) return { host: path, port: 0 };
  return { host: plainHost(socket.localAddress ?? ""), port: socket.localPort ?? 0 };
}

/** The far side of a connected socket. */
export function remoteAddressOf(socket: net.Socket, path?: string): Address {
  if (path !== undefined) return { host: path, port: 0 };
  return { host: plainHost(socket.remoteAddress ?? ""), port: socket.remotePort ?? 0 };
}
