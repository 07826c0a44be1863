/** What this machine lets a mesh do: namespaces and capture, or not, and what to install. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, realpathSync } from "node:fs";
import { messageOf } from "../base/errors.ts";

/** The way a mesh can run here. */
export type Capability =
  | { readonly mode: "namespaces"; readonly isRoot: boolean }
  | { readonly mode: "explicit"; readonly reason: string; readonly hint: string };

const TOOLS: readonly { readonly command: string; readonly package: string }[] = [
  { command: "unshare", package: "util-linux" },
  { command: "nsenter", package: "util-linux" },
  { command: "setpriv", package: "util-linux" },
  { command: "ip", package: "iproute2" },
  { command: "iptables-restore", package: "iptables" },
];

/** Finds out by trying: a namespace is made, and a rule set in it. */
export function probeMachine(platform: string, uid: number): Capability {
  if (platform !== "linux")
    return {
      mode: "explicit",
      reason: `this is ${platform}: network namespaces are Linux's`,
      hint: "Run it on Linux (a virtual machine will do) for transparent capture.",
    };
  const missing = TOOLS.filter(({ command }) => !isInstalled(command));
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((tool) => tool.package))].join(" ");
    return {
      mode: "explicit",
      reason: `${missing.map(({ command }) => command).join(", ")} not found`,
      hint: `Install ${packages} (Debian and Ubuntu: apt-get install ${packages}).`,
    };
  }
  const isRoot = uid === 0;
  const rules = "*nat\n-A OUTPUT -p tcp -m mark --mark 1337 -j RETURN\n-A OUTPUT -p tcp --dport 9 -j REDIRECT --to-ports 15001\nCOMMIT\n";
  const tried = spawnSync("unshare", [isRoot ? "-nm" : "-Urnm", "env", "XTABLES_LOCKFILE=/dev/null", "iptables-restore"], {
    input: rules,
    encoding: "utf8",
  });
  if (tried.status === 0) return { mode: "namespaces", isRoot };
  const said = tried.stderr.trim() || messageOf(tried.error ?? "unshare failed");
  return {
    mode: "explicit",
    reason: `a ${isRoot ? "" : "user and "}network namespace with capture rules could not be made: ${said.split("\n")[0]}`,
    hint: isRoot
      ? "Give the container NET_ADMIN and SYS_ADMIN, or run on the machine itself."
      : "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0), or run as root.",
  };
}

function isInstalled(command: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** A folder of the machine to lay the mesh's own file system over: one that nothing of the mesh stands in. Undefined if there is none. */
export function chooseScratch(inUse: readonly string[]): string | undefined {
  const real = inUse.map((path) => (existsSync(path) ? realpathSync(path) : path));
  const free = ["/srv", "/media", "/mnt", "/opt", "/home"].filter(
    (folder) => existsSync(folder) && !real.some((path) => path === folder || path.startsWith(`${folder}/`)),
  );
  return free.find((folder) => isEmpty(folder)) ?? free[0];
}

function isEmpty(folder: string): boolean {
  try {
    return readdirSync(folder).length === 0;
  } catch {
    return false;
  }
}
