/** Envoy's addresses and data sources as ours. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { messageOf } from "../../base/errors.ts";
import type { Address as AddressMessage, SocketAddress } from "../../gen/envoy/config/core/v3/address_pb.ts";
import type { DataSource } from "../../gen/envoy/config/core/v3/base_pb.ts";
import type { SocketOption } from "../../gen/envoy/config/core/v3/socket_option_pb.ts";
import type { Address } from "../../net/channel.ts";

/** Config that cannot be carried out; the message says which and why. */
export class ConfigRefused extends Error {}

/** An address to listen on or to send to. Throws ConfigRefused for what we cannot speak to. A pipe's path is made absolute. */
export function readAddress(address: AddressMessage | undefined): Address {
  const kind = address?.address;
  switch (kind?.case) {
    case "socketAddress":
      return readSocketAddress(kind.value);
    case "pipe":
      if (kind.value.path.startsWith("@"))
        throw new ConfigRefused(`abstract socket "${kind.value.path}" is not supported: give the path of a socket`);
      return { host: resolve(kind.value.path), port: 0 };
    case "envoyInternalAddress":
      throw new ConfigRefused("envoy_internal_address is not supported");
    default:
      throw new ConfigRefused("the address is empty");
  }
}

/** "ip" or name, and port. Source: envoy.config.core.v3.SocketAddress. */
export function readSocketAddress(socket: SocketAddress): Address {
  if (socket.protocol !== 0) throw new ConfigRefused(`${socket.address}: UDP is not supported`);
  if (socket.portSpecifier.case === "namedPort") throw new ConfigRefused(`${socket.address}: named_port is not supported: give port_value`);
  const port = socket.portSpecifier.value ?? 0;
  if (port > 65535) throw new ConfigRefused(`${socket.address}: port ${port} is over 65535`);
  return { host: socket.address, port };
}

/** "1.2.3.4:80", "[::1]:80" or a path. */
export function addressText(address: Address): string {
  if (address.port === 0 && address.host.startsWith("/")) return address.host;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Where the bytes of a DataSource are. */
export interface DataSourceReader {
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** The bytes of a DataSource; undefined when it is empty. Throws ConfigRefused when a file or variable cannot be read. */
export function readDataSource(source: DataSource | undefined, reader: DataSourceReader): Buffer | undefined {
  const specifier = source?.specifier;
  switch (specifier?.case) {
    case "inlineBytes":
      return Buffer.from(specifier.value);
    case "inlineString":
      return Buffer.from(specifier.value, "utf8");
    case "filename":
      try {
        return readFileSync(specifier.value);
      } catch (error) {
        throw new ConfigRefused(`file ${specifier.value} cannot be read: ${messageOf(error)}`);
      }
    case "environmentVariable": {
      const value = reader.environment[specifier.value];
      if (value === undefined) throw new ConfigRefused(`environment variable ${specifier.value} is not set`);
      return Buffer.from(value, "utf8");
    }
    default:
      return undefined;
  }
}

const SOL_SOCKET = 1;
const SO_MARK = 36;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;

/** SO_MARK of a list of options, and the names of those that we do not set. Keep-alive is always on, so asking for it is met. */
export function readSocketOptions(options: readonly SocketOption[]): {
  readonly mark: number | undefined;
  readonly unsupported: readonly string[];
} {
  let mark: number | undefined;
  const unsupported: string[] = [];
  for (const option of options) {
    const level = Number(option.level);
    const name = Number(option.name);
    if (level === SOL_SOCKET && name === SO_MARK && option.value.case === "intValue") mark = Number(option.value.value);
    else if (!(level === SOL_SOCKET && name === SO_KEEPALIVE) && level !== IPPROTO_TCP)
      unsupported.push(`socket_options level ${level} name ${name}`);
  }
  return { mark, unsupported };
}
