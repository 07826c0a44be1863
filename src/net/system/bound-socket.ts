/** Sockets that are bound on this machine and handed to another process, which listens on them. */
import net from "node:net";
import { codeOf, messageOf, UserError } from "../../base/errors.ts";

/** A bound socket that accepts nothing itself. */
export interface Bound {
  readonly fd: number;
  /** Lets go of this process's copy; the inheritor keeps its own. */
  close(): void;
}

interface BoundSocketClass {
  new (options: { host: string; port: number }): { fd(): number; close(): void };
}

/** Binds without listening (net.BoundSocket: Node 26.4, late 24). Throws a UserError that names the address and what to do. */
export function bindSocket(host: string, port: number): Bound {
  const BoundSocket = "BoundSocket" in net ? (net.BoundSocket as BoundSocketClass) : undefined;
  if (!BoundSocket)
    throw new UserError(`this Node (${process.version}) cannot bind a socket for another process`, {
      hint: "Use Node 26.4 or later, or 24.21 or later: npm run setup gets it.",
    });
  try {
    const socket = new BoundSocket({ host, port });
    return { fd: socket.fd(), close: () => socket.close() };
  } catch (error) {
    const code = codeOf(error) ?? "";
    const shown = `${host.includes(":") ? `[${host}]` : host}:${port}`;
    if (code === "EADDRINUSE")
      throw new UserError(`${shown} is in use by another process`, {
        hint: `Find it with: ss -ltnp 'sport = :${port}'. Or choose another address under gateways.*.listen.`,
      });
    if (code === "EACCES")
      throw new UserError(`${shown}: no permission to use this port`, {
        hint: "Ports below 1024 need root; choose a higher one under gateways.*.listen.",
      });
    if (code === "EADDRNOTAVAIL")
      throw new UserError(`${shown}: this machine has no such address`, {
        hint: "Use 127.0.0.1, or 0.0.0.0 for every address of the machine.",
      });
    throw new UserError(`${shown} cannot be bound: ${messageOf(error)}`);
  }
}
