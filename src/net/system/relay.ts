/** Passes connections of an inherited listening socket on to another address, byte for byte. For servers that cannot inherit a socket. */
import net from "node:net";
import type { Address } from "../channel.ts";

/** From where to where. */
export interface RelayOptions {
  /** Descriptor of a bound socket. */
  readonly fd: number;
  readonly to: Address;
}

/** Begins to accept. Connections live until one of their ends goes. Resolves when it listens. */
export function openRelay(options: RelayOptions): Promise<{ close(): void }> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const upstream = net.connect({ host: options.to.host, port: options.to.port, allowHalfOpen: true, noDelay: true });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
      one.pipe(other);
    }
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd: options.fd }, () => {
      server.removeListener("error", reject);
      server.on("error", () => {}); // An accept that failed (too many open files) is the client's to repeat.
      resolve({ close: () => server.close() });
    });
  });
}
