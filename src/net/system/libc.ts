/**
 * The few calls of libc that Node does not offer and capture needs: SO_ORIGINAL_DST, SO_MARK, dup and hardening of the process.
 * They go through node:ffi where Node has it (26), else through koffi (an optional dependency), both found at the first call, so
 * that the module can be part of a start-up snapshot. Linux only. Source: socket(2), ip(7), ipv6(7), prctl(2), setrlimit(2).
 */
import { codeOf, messageOf, UserError } from "../../base/errors.ts";
import type { Address } from "../channel.ts";

const SOL_IP = 0;
const SOL_SOCKET = 1;
const SOL_IPV6 = 41;
const SO_TYPE = 3;
const SO_MARK = 36;
const IP_TRANSPARENT = 19;
const IPV6_TRANSPARENT = 75;
/** One number in both levels: SO_ORIGINAL_DST in SOL_IP, IP6T_SO_ORIGINAL_DST in SOL_IPV6. */
const SO_ORIGINAL_DST = 80;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOCKADDR_IN6_BYTES = 28;
const PR_SET_DUMPABLE = 4;
const RLIMIT_CORE = 4;
const F_DUPFD_CLOEXEC = 1030;

/** IP version of a descriptor or an address. */
export type IpFamily = 4 | 6;

/** The raw calls, the same shape from either provider. All give -1 on failure and leave the reason in errno. */
interface LibcCalls {
  readonly provider: "node:ffi" | "koffi";
  socket(domain: number, type: number, protocol: number): number;
  getsockopt(fd: number, level: number, name: number, value: Uint8Array, length: Uint8Array): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  prctl(option: number, a: number, b: number, c: number, d: number): number;
  setrlimit(resource: number, limits: Uint8Array): number;
  close(fd: number): number;
  errno(): number;
}

/** A failed system call: `code` is the symbolic name where it is a known one. */
export class LibcError extends Error {
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = ERRNO[errno] ?? `errno ${errno}`;
    super(`${call}: ${code}`);
    this.name = "LibcError";
    this.code = code;
  }
}

const ERRNO: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  9: "EBADF",
  13: "EACCES",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  88: "ENOTSOCK",
  92: "ENOPROTOOPT",
  95: "EOPNOTSUPP",
  97: "EAFNOSUPPORT",
};

let found: LibcCalls | undefined;
let missing: string | undefined;

/**
 * Where the client of a connection meant to go before REDIRECT changed it, or undefined when nothing was redirected. `family` is
 * that of the packets: 4 for a v4-mapped connection of a dual-stack listener.
 */
export function originalDestination(fd: number, family: IpFamily): Address | undefined {
  const address = new Uint8Array(SOCKADDR_IN6_BYTES);
  const length = uint32(SOCKADDR_IN6_BYTES);
  const libc = requireLibc();
  if (libc.getsockopt(fd, family === 6 ? SOL_IPV6 : SOL_IP, SO_ORIGINAL_DST, address, length) < 0) {
    const error = new LibcError("getsockopt(SO_ORIGINAL_DST)", libc.errno());
    // ENOENT: no entry in the connection table. ENOPROTOOPT: the kernel tracks no connections here at all.
    if (error.code === "ENOENT" || error.code === "ENOPROTOOPT") return undefined;
    throw error;
  }
  const view = new DataView(address.buffer);
  const port = view.getUint16(2); // Network byte order in both shapes.
  if (family === 4) return { host: address.subarray(4, 8).join("."), port };
  return { host: formatIpv6(address.subarray(8, 24)), port };
}

/** A new TCP descriptor, non-blocking and not connected, that carries the mark. The caller owns it. Needs CAP_NET_ADMIN. */
export function markedSocket(family: IpFamily, mark: number): number {
  const libc = requireLibc();
  const fd = check(libc, libc.socket(family === 6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  try {
    setMark(fd, mark);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}

/** Sets SO_MARK of a descriptor. Needs CAP_NET_ADMIN. */
export function setMark(fd: number, mark: number): void {
  const libc = requireLibc();
  check(libc, libc.setsockopt(fd, SOL_SOCKET, SO_MARK, uint32(mark), 4), "setsockopt(SO_MARK)");
}

/** Lets a listening descriptor take connections to foreign addresses (TPROXY). Needs CAP_NET_ADMIN. */
export function setTransparent(fd: number, family: IpFamily): void {
  const libc = requireLibc();
  const one = uint32(1);
  const rc = family === 6 ? libc.setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, one, 4) : libc.setsockopt(fd, SOL_IP, IP_TRANSPARENT, one, 4);
  check(libc, rc, "setsockopt(IP_TRANSPARENT)");
  // A dual-stack socket needs both; one that is bound to IPv6 alone refuses the second, which does no harm.
  if (family === 6) libc.setsockopt(fd, SOL_IP, IP_TRANSPARENT, one, 4);
}

/** A second descriptor of the same open file, closed on exec. The caller owns it. */
export function dup(fd: number): number {
  const libc = requireLibc();
  return check(libc, libc.fcntl(fd, F_DUPFD_CLOEXEC, 0), "dup");
}

/** Closes a descriptor that was made here and given to nobody. */
export function closeFd(fd: number): void {
  const libc = requireLibc();
  check(libc, libc.close(fd), "close");
}

/**
 * Keeps keys out of core files and debuggers of the same user: RLIMIT_CORE is 0 and the process not dumpable. /proc/<pid> then
 * belongs to root, so whoever wants to enter this process's namespaces without root must do so before.
 */
export function hardenProcess(): void {
  const libc = requireLibc();
  check(libc, libc.setrlimit(RLIMIT_CORE, new Uint8Array(16)), "setrlimit(RLIMIT_CORE)");
  check(libc, libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(PR_SET_DUMPABLE)");
}

/** Whether the calls work here, by making a socket and asking its type. */
export function isLibcAvailable(): boolean {
  const libc = findLibc();
  if (!libc) return false;
  const fd = libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const value = uint32(0);
  const rc = libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, value, uint32(4));
  libc.close(fd);
  return rc === 0 && value[0] === SOCK_STREAM;
}

/** What carries the calls, or undefined where there is nothing. */
export function libcProvider(): "node:ffi" | "koffi" | undefined {
  return findLibc()?.provider;
}

function requireLibc(): LibcCalls {
  const libc = findLibc();
  if (libc) return libc;
  throw new UserError(`libc cannot be called: ${missing}`, {
    hint: "run with Node 26 (which has node:ffi) or install the optional dependency koffi; without either there is no transparent capture",
  });
}

function findLibc(): LibcCalls | undefined {
  if (found || missing !== undefined) return found;
  if (process.platform !== "linux") {
    missing = `capture is for Linux, this is ${process.platform}`;
    return undefined;
  }
  const reasons: string[] = [];
  for (const [name, open] of [["node:ffi", openNodeFfi] as const, ["koffi", openKoffi] as const]) {
    try {
      found = open();
      if (found) return found;
      reasons.push(`${name} is not there`);
    } catch (error) {
      reasons.push(`${name}: ${messageOf(error)}`);
    }
  }
  missing = reasons.join("; ");
  return undefined;
}

function openNodeFfi(): LibcCalls | undefined {
  const ffi = process.getBuiltinModule("node:ffi");
  if (!ffi) return undefined;
  const { functions } = ffi.dlopen(null, {
    socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
    getsockopt: { arguments: ["i32", "i32", "i32", "buffer", "buffer"], return: "i32" },
    setsockopt: { arguments: ["i32", "i32", "i32", "buffer", "u32"], return: "i32" },
    fcntl: { arguments: ["i32", "i32", "i32"], return: "i32" },
    prctl: { arguments: ["i32", "u64", "u64", "u64", "u64"], return: "i32" },
    setrlimit: { arguments: ["i32", "buffer"], return: "i32" },
    close: { arguments: ["i32"], return: "i32" },
    __errno_location: { arguments: [], return: "pointer" },
  });
  return {
    provider: "node:ffi",
    socket: functions.socket,
    getsockopt: functions.getsockopt,
    setsockopt: functions.setsockopt,
    fcntl: functions.fcntl,
    prctl: (option, a, b, c, d) => functions.prctl(option, BigInt(a), BigInt(b), BigInt(c), BigInt(d)),
    setrlimit: functions.setrlimit,
    close: functions.close,
    errno: () => ffi.getInt32(functions.__errno_location()),
  };
}

/** As much of koffi as is used: its types would pull the optional package into every type check. */
interface Koffi {
  load(path: string | null): { func(prototype: string): (...values: readonly unknown[]) => number };
  errno(): number;
}

function openKoffi(): LibcCalls | undefined {
  const koffi = loadKoffi();
  if (!koffi) return undefined;
  const libc = koffi.load(null);
  return {
    provider: "koffi",
    socket: libc.func("int socket(int, int, int)"),
    getsockopt: libc.func("int getsockopt(int, int, int, uint8_t*, uint8_t*)"),
    setsockopt: libc.func("int setsockopt(int, int, int, const uint8_t*, uint32_t)"),
    fcntl: libc.func("int fcntl(int, int, int)"),
    prctl: libc.func("int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)"),
    setrlimit: libc.func("int setrlimit(int, const uint8_t*)"),
    close: libc.func("int close(int)"),
    errno: () => koffi.errno(),
  };
}

/** Looks from this file, from the program's, and from the start-up snapshot's: a bundle knows no file of its own, and a snapshot no program. */
function loadKoffi(): Koffi | undefined {
  const { createRequire } = process.getBuiltinModule("node:module");
  const bases: readonly (string | undefined)[] = [import.meta.url, process.argv[1], snapshotFile()];
  for (const base of bases) {
    if (!base || !(base.startsWith("/") || base.startsWith("file:"))) continue;
    try {
      // The decode boundary: koffi's exports are what its manual says; isLibcAvailable tries them.
      return createRequire(base)("koffi") as Koffi;
    } catch (error) {
      if (codeOf(error) !== "MODULE_NOT_FOUND") throw error;
    }
  }
  return undefined;
}

/** The snapshot that this process was started from, if it was. */
function snapshotFile(): string | undefined {
  const at = process.execArgv.indexOf("--snapshot-blob");
  return at < 0 ? undefined : process.execArgv[at + 1];
}

function check(libc: LibcCalls, rc: number, call: string): number {
  if (rc < 0) throw new LibcError(call, libc.errno());
  return rc;
}

function uint32(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer);
}

/** Text of 16 bytes in the shortest form. Source: RFC 5952. */
export function formatIpv6(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(2 * i).toString(16));
  let longest = { at: -1, length: 1 };
  for (let at = 0; at < 8; ) {
    let end = at;
    while (end < 8 && groups[end] === "0") end += 1;
    if (end - at > longest.length) longest = { at, length: end - at };
    at = Math.max(end, at + 1);
  }
  if (longest.at < 0) return groups.join(":");
  return `${groups.slice(0, longest.at).join(":")}::${groups.slice(longest.at + longest.length).join(":")}`;
}
