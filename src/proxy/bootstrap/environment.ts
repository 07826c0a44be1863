/** What the proxy takes from its environment. Only read here. */
import { UserError } from "../../base/errors.ts";

/** Settings by environment variables. */
export interface Environment {
  /** LATEEN_SOCKET_MARK: SO_MARK of all connections that the proxy makes, so that capture lets them through. */
  readonly socketMark: number | undefined;
  /** LATEEN_LISTEN_FDS="ip:port=fd,...": sockets that were bound by whoever started the proxy. */
  readonly listenFds: ReadonlyMap<string, number>;
  /** LATEEN_ADMIN_HEAP_DUMP=on: a heap dump holds keys, so it is off unless asked for. */
  readonly heapDump: boolean;
  /** LATEEN_IDENTITY=embedded: the proxy asks the authority for its certificate itself, and no agent stands beside it. */
  readonly embedsIdentity: boolean;
  /** All variables, for data sources of the config that name one. */
  readonly variables: Readonly<Record<string, string | undefined>>;
}

/** Reads it. Throws a UserError that names the variable. */
export function readEnvironment(variables: Readonly<Record<string, string | undefined>> = process.env): Environment {
  return {
    socketMark: readMark(variables["LATEEN_SOCKET_MARK"]),
    listenFds: readFds(variables["LATEEN_LISTEN_FDS"]),
    heapDump: variables["LATEEN_ADMIN_HEAP_DUMP"] === "on",
    embedsIdentity: variables["LATEEN_IDENTITY"] === "embedded",
    variables,
  };
}

/** A mark in decimal or in hex ("0x539"). */
export function readMark(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  const mark = Number(text);
  if (!Number.isInteger(mark) || mark <= 0 || mark > 0xffffffff)
    throw new UserError(`LATEEN_SOCKET_MARK="${text}" is no mark`, { hint: "give a whole number such as 1337 or 0x539" });
  return mark;
}

function readFds(text: string | undefined): ReadonlyMap<string, number> {
  const fds = new Map<string, number>();
  for (const part of (text ?? "").split(",")) {
    if (part === "") continue;
    const match = /^(.+:\d+)=(\d+)$/.exec(part);
    if (!match?.[1]) throw new UserError(`LATEEN_LISTEN_FDS: "${part}" is not of the form ip:port=fd`);
    fds.set(match[1], Number(match[2]));
  }
  return fds;
}
