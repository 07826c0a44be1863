/** Why a place cannot be listened on, for the person who chose it. */
import { codeOf, messageOf, UserError } from "../../base/errors.ts";
import type { ListenOptions } from "../dial.ts";
import { formatAddress, isUnixPath } from "./address.ts";

/** A UserError that names the address, the cause and what to do. */
export function explainListenError(error: unknown, { at, fd }: Pick<ListenOptions, "at" | "fd">): UserError {
  const code = codeOf(error);
  const where = fd === undefined ? formatAddress(at) : `${formatAddress(at)} (inherited descriptor ${fd})`;
  const hints: Readonly<Record<string, readonly [string, string]>> = {
    EADDRINUSE: isUnixPath(at)
      ? ["another process answers there, or it is no socket", "stop that process, or choose another path"]
      : ["another process listens there already", `stop it (\`ss -ltnp 'sport = :${at.port}'\` names it), or choose another port`],
    EACCES: isUnixPath(at)
      ? ["this user may not write to that directory", "choose a path in a directory of this user"]
      : [
          "this user may not listen on that port",
          "choose a port from 1024, or lower net.ipv4.ip_unprivileged_port_start, or grant CAP_NET_BIND_SERVICE",
        ],
    EPERM: ["this user may not do that", "grant CAP_NET_ADMIN (IP_TRANSPARENT needs it)"],
    EADDRNOTAVAIL: ["no network interface here has that address", "choose an address that `ip addr` shows, or 0.0.0.0 or :: for all"],
    EAFNOSUPPORT: ["this kernel has no such address family", "choose an IPv4 address"],
    ENOENT: ["the directory does not exist", "make it first"],
    EBADF: ["the descriptor is not open", "whoever starts this process must hand the bound socket over"],
    EINVAL: ["the descriptor or address is unfit", "check that the descriptor is a bound stream socket"],
  };
  const [cause, hint] = (code !== undefined && hints[code]) || [messageOf(error), undefined];
  return new UserError(`cannot listen on ${where}: ${cause}${code ? ` (${code})` : ""}`, { hint, cause: error });
}
