/**
 * Network namespaces of the mesh, made with the machine's own tools (ip, unshare, nsenter, iptables-restore) inside one outer namespace: when that
 * goes, all goes.
 */
import { type ChildProcess, execFileSync, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { UserError } from "../base/errors.ts";

/** A network namespace with one link to the mesh's bridge. It lives as long as the process that holds it. */
export interface Namespace {
  readonly name: string;
  readonly ip: string;
  /** The process that holds it. Its /proc/PID/root is the file system seen inside. */
  readonly holder: ChildProcess;
  readonly pid: number;
}

/** What a namespace is to be. */
export interface NamespaceOptions {
  readonly name: string;
  readonly ip: string;
  readonly index: number;
  readonly resolvConf: string;
  readonly scratch: string;
  /** Script for iptables-restore; undefined: nothing is captured. */
  readonly captureRules: string | undefined;
}

const HOLD = `set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=0755,size=64m lateen "$1"
printf '%s' "$2" > "$1/resolv.conf"
mount --bind "$1/resolv.conf" /etc/resolv.conf || echo "names: /etc/resolv.conf cannot be replaced" >&2
ip link set lo up
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
for f in /proc/sys/net/ipv6/conf/all/disable_ipv6 /proc/sys/net/ipv6/conf/default/disable_ipv6; do if [ -w "$f" ]; then echo 1 > "$f"; fi; done
echo ready
exec sleep infinity`;

/** Makes the bridge that all namespaces hang on. Runs inside the outer namespace. */
export function createBridge(address: string, prefix: number): void {
  run(
    "ip",
    ["-batch", "-"],
    ["link set lo up", "link add br0 type bridge", `addr add ${address}/${prefix} dev br0`, "link set br0 up", ""].join("\n"),
  );
}

/** Makes a namespace, its link and its capture rules. */
export async function createNamespace(options: NamespaceOptions): Promise<Namespace> {
  const holder = spawn("unshare", ["-n", "-m", "sh", "-c", HOLD, "sh", options.scratch, options.resolvConf], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let said = "";
  holder.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  holder.on("error", (error) => {
    said += error.message;
  });
  const ready = await Promise.race([
    once(holder.stdout as NodeJS.ReadableStream, "data").then(() => true),
    once(holder, "exit").then(() => false),
  ]);
  if (!ready || holder.pid === undefined)
    throw new UserError(`a network namespace for ${options.name} could not be made: ${said.trim() || "unshare ended"}`);
  const { pid } = holder;
  const link = `w${options.index}`;
  run("ip", ["-batch", "-"], [`link add ${link} type veth peer name eth0 netns ${pid}`, `link set ${link} master br0 up`, ""].join("\n"));
  const inside = [`addr add ${options.ip}/16 dev eth0`, "link set eth0 up", "route add default via 198.18.0.1", ""].join("\n");
  run("nsenter", ["-t", String(pid), "-n", "ip", "-batch", "-"], inside);
  if (options.captureRules) {
    run(
      "nsenter",
      ["-t", String(pid), "-n", "env", `XTABLES_LOCKFILE=${options.scratch}/xtables.lock`, "iptables-restore", "--noflush"],
      options.captureRules,
    );
  }
  return { name: options.name, ip: options.ip, holder, pid };
}

/** Starts a command inside a namespace, in `directory`. The child's pid is the command's. */
export function spawnInside(
  namespace: Namespace,
  command: readonly string[],
  options: SpawnOptions & { readonly directory: string; readonly uid?: number | undefined },
): ChildProcess {
  const { directory, uid, ...rest } = options;
  const drop =
    uid === undefined ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups", "--no-new-privs", "--inh-caps=-all"];
  const enter = ["-t", String(namespace.pid), "-n", "-m", "sh", "-c", 'cd "$0" && exec "$@"', directory, ...drop, ...command];
  return spawn("nsenter", enter, rest);
}

/** A path of a namespace's own file system, as seen from outside of it. */
export function pathInside(namespace: Namespace, path: string): string {
  return `/proc/${namespace.pid}/root${path}`;
}

function run(command: string, args: readonly string[], input: string): void {
  try {
    execFileSync(command, args, { input, stdio: ["pipe", "ignore", "pipe"] });
  } catch (error) {
    const stderr = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new UserError(`${command} ${args.join(" ")} failed: ${stderr}`);
  }
}
