/**
 * Capture by iptables REDIRECT: where a connection was going is known, and the proxy's own, marked, is not captured again. Runs
 * itself in a network namespace of its own, as root or, where the kernel allows it, as any user.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/base/clock.ts";
import type { Address, Channel } from "../../src/net/channel.ts";
import type { Network } from "../../src/net/dial.ts";
import { createSystemNetwork } from "../../src/net/system/network.ts";
import { ChannelRecorder, dial } from "../kit/channel-recorder.ts";

const MARK = 1337;
const CAPTURE_PORT = 15001;
const SERVER_PORT = 8080;
const LOOP_MAX = 6;
const LOCK = path.join(os.tmpdir(), `lateen-xtables.${process.pid}.lock`);

const SETUP = `set -e
ip link set lo up
ip addr add 198.18.0.2/32 dev lo
ip addr add 2001:2::2/128 dev lo nodad
for restore in iptables-restore ip6tables-restore; do
  $restore <<RULES
*nat
-A OUTPUT -p tcp -m mark --mark ${MARK} -j RETURN
-A OUTPUT -p tcp --dport ${SERVER_PORT} -j REDIRECT --to-ports ${CAPTURE_PORT}
COMMIT
RULES
done
exec "$0" --disable-warning=ExperimentalWarning --test-reporter=tap "$@"`;

/** Why capture cannot be tried here, or undefined. */
function obstacle(): string | undefined {
  if (process.platform !== "linux") return "capture is for Linux";
  for (const tool of ["unshare", "ip", "iptables-restore", "ip6tables-restore"]) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      return `${tool} is not installed (Debian: util-linux, iproute2, iptables)`;
  }
  const probe = spawnSync("unshare", [...namespaces(), "sh", "-c", "ip link set lo up && iptables-save -t nat"], {
    encoding: "utf8",
    env: environment(),
  });
  return probe.status === 0 ? undefined : `no network namespace with NAT can be had here: ${probe.stderr.trim()}`;
}

function namespaces(): readonly string[] {
  return process.getuid?.() === 0 ? ["-n"] : ["-Urn"];
}

function environment(): NodeJS.ProcessEnv {
  // The usual lock is not writable without root.
  return { ...process.env, XTABLES_LOCKFILE: LOCK, LATEEN_CAPTURE_INSIDE: "1", NODE_TEST_CONTEXT: "" };
}

if (process.env["LATEEN_CAPTURE_INSIDE"] === "1") {
  await inside();
} else {
  const skip = obstacle();
  test("traffic is captured with its destination kept, and a marked dial is not", {
    skip: skip === undefined ? false : `SKIPPED: ${skip}`,
  }, () => {
    const self = fileURLToPath(import.meta.url);
    process.once("exit", () => fs.rmSync(LOCK, { force: true }));
    const result = spawnSync("unshare", [...namespaces(), "sh", "-c", SETUP, process.execPath, ...process.execArgv, self], {
      encoding: "utf8",
      env: environment(),
      timeout: 30_000,
    });
    assert.equal(result.status, 0, `${result.stdout}\n${result.stderr}`);
    assert.match(result.stdout, /^captured 4 ways, looped unmarked$/m);
  });
}

/** In the namespace: the server, the proxy and the client. */
async function inside(): Promise<void> {
  const network = createSystemNetwork({ clock: systemClock });
  const seen: Address[] = [];
  const server = await network.acceptor.listen({ at: { host: "::", port: SERVER_PORT } }, (incoming) => {
    seen.push(incoming.remote);
    new ChannelRecorder(incoming.accept()).channel.writeLatin1("hello");
  });
  const rows = [
    { to: "198.18.0.2", bind: "0.0.0.0" },
    { to: "198.18.0.2", bind: "::" },
    { to: "2001:2::2", bind: "::1" },
    { to: "2001:2::2", bind: "::" },
  ];
  for (const { to, bind } of rows) {
    const target = { host: to, port: SERVER_PORT };
    const { destinations, text, remotes } = await oneRound(network, { target, bind, mark: MARK });
    assert.deepEqual(destinations, [target], `${to} through ${bind}: accepted once, and its destination kept`);
    assert.equal(text, "hello");
    assert.ok(!remotes[0]?.host.startsWith("::ffff:"), "IPv4 is shown as IPv4");
    assert.equal(seen.length, 1);
    seen.length = 0;
  }
  const loop = await oneRound(network, { target: { host: "198.18.0.2", port: SERVER_PORT }, bind: "::", mark: undefined });
  assert.equal(loop.destinations.length, LOOP_MAX, "an unmarked dial must loop, else this proves nothing");
  server.close();
  console.log("captured 4 ways, looped unmarked");
  process.exit();
}

/** One client connection through a fresh proxy. */
async function oneRound(
  network: Network,
  { target, bind, mark }: { target: Address; bind: string; mark: number | undefined },
): Promise<{ destinations: readonly Address[]; remotes: readonly Address[]; text: string }> {
  const destinations: Address[] = [];
  const remotes: Address[] = [];
  const proxy = await network.acceptor.listen({ at: { host: bind, port: CAPTURE_PORT }, originalDestination: true }, (incoming) => {
    destinations.push(incoming.originalDestination);
    remotes.push(incoming.remote);
    if (destinations.length === LOOP_MAX) return incoming.destroy({ reset: true });
    network.dialer.dial(
      { to: incoming.originalDestination, mark, timeoutMs: 2000 },
      { onConnect: (up) => join(incoming.accept(), up), onFail: () => incoming.destroy({ reset: true }) },
    );
  });
  const { recorder } = await dial(network.dialer, { to: target });
  await recorder?.until("an answer or the end", (c) => c.text === "hello" || c.isEnded || c.closes > 0);
  recorder?.channel.destroy();
  proxy.close();
  return { destinations, remotes, text: recorder?.text ?? "" };
}

function join(down: Channel, up: Channel): void {
  for (const [from, to] of [
    [down, up],
    [up, down],
  ] as const) {
    from.handler = {
      onData: (buffer, start, end) => void to.forward(buffer, start, end),
      onEnd: () => to.end(),
      onDrain() {},
      onClose: () => to.destroy(),
    };
  }
}
