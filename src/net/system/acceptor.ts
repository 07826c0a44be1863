/** Opens listening sockets of the system: TCP, inherited descriptors and Unix sockets. */
import fs from "node:fs";
import net from "node:net";
import { isMainThread } from "node:worker_threads";
import type { Clock } from "../../base/clock.ts";
import { codeOf, UserError } from "../../base/errors.ts";
import { type Address, MESH_WATERMARKS } from "../channel.ts";
import type { Acceptor, Incoming, ListeningSocket, ListenOptions } from "../dial.ts";
import { formatAddress, isUnixPath, localAddressOf, plainHost, remoteAddressOf } from "./address.ts";
import { SystemIncoming } from "./incoming.ts";
import { isLibcAvailable, originalDestination, setTransparent } from "./libc.ts";
import { explainListenError } from "./listen-error.ts";

const BACKLOG = 4096;
const PROBE_TIMEOUT_MS = 1000;

/** Makes an acceptor. Beyond `waitingMax` connections of a listener that nobody has taken yet, new ones are reset. */
export function createSystemAcceptor(options: {
  readonly clock: Clock;
  readonly waitingMax: number;
  readonly keepAliveMs: number;
  /** Told of each connection that was reset for `waitingMax`. */
  readonly onShed: (address: Address) => void;
}): Acceptor {
  return {
    async listen(listen, onConnection) {
      if ((listen.originalDestination || listen.transparent) && !isLibcAvailable()) {
        throw new UserError(`cannot listen on ${formatAddress(listen.at)} for captured traffic: libc cannot be called here`, {
          hint: "run on Linux with Node 26, or install the optional dependency koffi",
        });
      }
      const server = net.createServer({
        pauseOnConnect: true,
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: options.keepAliveMs,
      });
      await open(server, listen);
      return new SystemListener(server, listen, options, onConnection);
    },
  };
}

class SystemListener implements ListeningSocket {
  readonly address: Address;
  readonly #server: net.Server;
  readonly #path: string | undefined;
  readonly #inode: number | undefined;
  #waiting = 0;

  constructor(
    server: net.Server,
    listen: ListenOptions,
    options: { readonly clock: Clock; readonly waitingMax: number; readonly onShed: (address: Address) => void },
    onConnection: (incoming: Incoming) => void,
  ) {
    this.#server = server;
    const bound = server.address();
    this.#path = typeof bound === "string" ? bound : isUnixPath(listen.at) ? listen.at.host : undefined;
    this.address =
      typeof bound === "object" && bound
        ? { host: plainHost(bound.address), port: bound.port }
        : { host: this.#path ?? listen.at.host, port: 0 };
    this.#inode = this.#path === undefined || listen.fd !== undefined ? undefined : inodeOf(this.#path);
    // After it listens an error is of one accept (EMFILE ...): the next connection may do.
    server.on("error", () => {});
    server.on("connection", (socket) => {
      if (this.#waiting >= options.waitingMax) {
        socket.on("error", () => {});
        socket.resetAndDestroy();
        options.onShed(this.address);
        return;
      }
      this.#waiting += 1;
      const local = localAddressOf(socket, this.#path);
      const incoming = new SystemIncoming(socket, {
        local,
        remote: this.#path === undefined ? remoteAddressOf(socket) : { host: "", port: 0 },
        originalDestination: listen.originalDestination ? destinationOf(socket, local) : local,
        clock: options.clock,
        watermarks: listen.watermarks ?? MESH_WATERMARKS,
        onTaken: () => {
          this.#waiting -= 1;
        },
      });
      onConnection(incoming);
    });
  }

  close(): void {
    this.#server.close();
    // Node removes the file of a Unix socket that it bound; not if somebody else's stands there by now.
    if (this.#inode !== undefined && this.#path !== undefined && inodeOf(this.#path) === this.#inode)
      fs.rmSync(this.#path, { force: true });
  }
}

/** What SO_ORIGINAL_DST says; the near side where nothing was redirected or the client is gone already. */
function destinationOf(socket: net.Socket, local: Address): Address {
  // The descriptor has no public name.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return local;
  return originalDestination(fd, net.isIPv6(local.host) ? 6 : 4) ?? local;
}

async function open(server: net.Server, options: ListenOptions): Promise<void> {
  const { at } = options;
  try {
    await listenOnce(server, options);
  } catch (error) {
    if (codeOf(error) !== "EADDRINUSE" || !isUnixPath(at) || options.fd !== undefined || !(await isStale(at.host)))
      throw explainListenError(error, options);
    fs.rmSync(at.host, { force: true });
    try {
      await listenOnce(server, options);
    } catch (second) {
      throw explainListenError(second, options);
    }
  }
  if (!options.transparent) return;
  const fd = (server as unknown as { readonly _handle?: { readonly fd?: number } })._handle?.fd;
  try {
    if (fd === undefined || fd < 0) throw new Error("the listening descriptor is not known");
    setTransparent(fd, net.isIPv6(at.host) ? 6 : 4);
  } catch (error) {
    server.close();
    throw explainListenError(error, options);
  }
}

function listenOnce(server: net.Server, { at, fd, backlog = BACKLOG }: ListenOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      server.removeListener("listening", onListening);
      reject(error);
    };
    const onListening = (): void => {
      server.removeListener("error", onError);
      resolve();
    };
    server.once("error", onError);
    server.once("listening", onListening);
    if (fd !== undefined) server.listen({ fd, backlog });
    else if (isUnixPath(at)) listenPrivately(server, at.host, backlog);
    else server.listen({ host: at.host, port: at.port, backlog, ipv6Only: false });
  });
}

/** The file is this user's alone from its first moment (worker threads have no mask: there it is so right after). */
function listenPrivately(server: net.Server, path: string, backlog: number): void {
  if (!isMainThread) {
    server.once("listening", () => fs.chmodSync(path, 0o600));
    server.listen({ path, backlog });
    return;
  }
  const before = process.umask(0o177);
  try {
    server.listen({ path, backlog }); // Binds before it returns.
  } finally {
    process.umask(before);
  }
}

/** Whether a path is a socket that nobody listens on any more. */
function isStale(path: string): Promise<boolean> {
  if (!fs.lstatSync(path, { throwIfNoEntry: false })?.isSocket()) return Promise.resolve(false);
  return new Promise((resolve) => {
    const probe = net.connect({ path, timeout: PROBE_TIMEOUT_MS });
    const finish = (stale: boolean): void => {
      probe.destroy();
      resolve(stale);
    };
    probe.once("connect", () => finish(false));
    probe.once("timeout", () => finish(false));
    probe.on("error", (error) => finish(codeOf(error) === "ECONNREFUSED"));
  });
}

function inodeOf(path: string): number | undefined {
  return fs.lstatSync(path, { throwIfNoEntry: false })?.ino;
}
