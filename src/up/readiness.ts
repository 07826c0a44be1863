/** When a workload is ready: read from the kernel's table of listening sockets, and asked over HTTP where the description says so. */
import { readFileSync } from "node:fs";
import { type Clock, sleep } from "../base/clock.ts";

const LISTEN = "0A"; // Source: the kernel's tcp states in /proc/net/tcp

/** Ports that something listens on in the network namespace of process `pid`. */
export function listeningPorts(pid: number): Set<number> {
  return new Set(listeners(pid).map(({ port }) => port));
}

/** Those of them that are listened on at all addresses, so that no address of the machine has them free. */
export function portsOnAllAddresses(pid: number): Set<number> {
  return new Set(listeners(pid).flatMap(({ address, port }) => (/^0+$/.test(address) ? [port] : [])));
}

function listeners(pid: number): { readonly address: string; readonly port: number }[] {
  return ["tcp", "tcp6"].flatMap((table) =>
    readTable(`/proc/${pid}/net/${table}`).flatMap((line) => {
      const [, local = "", , state] = line.trim().split(/\s+/);
      const [address = "", port = ""] = local.split(":");
      return state === LISTEN ? [{ address, port: Number.parseInt(port, 16) }] : [];
    }),
  );
}

function readTable(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n").slice(1);
  } catch {
    return []; // No IPv6, or the process has just ended.
  }
}

/** Waits until `test` is true. False when `timeoutMs` passed or `isOver` said that waiting is in vain. */
export async function waitFor(
  clock: Clock,
  timeoutMs: number,
  test: () => Promise<boolean> | boolean,
  isOver: () => boolean = () => false,
): Promise<boolean> {
  const end = clock.monotonicMs() + timeoutMs;
  let waitMs = 10;
  while (!(await test())) {
    if (isOver() || clock.monotonicMs() > end) return false;
    await sleep(clock, waitMs);
    waitMs = Math.min(waitMs * 1.5, 100);
  }
  return true;
}

/** Whether a GET answers 2xx or 3xx. */
export async function isHttpReady(url: string): Promise<boolean> {
  try {
    const answer = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(2000) });
    await answer.body?.cancel();
    return answer.status >= 200 && answer.status < 400;
  } catch {
    return false;
  }
}
