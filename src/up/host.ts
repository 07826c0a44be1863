/** The half of `lateen up` that runs on the host: binds the gateways' sockets, makes the outer namespace, and speaks with what runs inside. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { systemClock } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { type Bound, bindSocket } from "../net/system/bound-socket.ts";
import { serveLocal } from "../net/system/local-api.ts";
import type { HostRequest, InsideEvent, InsideOptions } from "./messages.ts";

/** What to run, without what this half finds out itself. */
export type HostOptions = Omit<InsideOptions, "listeners">;

/** A mesh as seen from the host. */
export interface HostMesh {
  /** Asks the inside. Rejects with its words. */
  ask(op: HostRequest["op"]): Promise<unknown>;
  /** Ends all in good order, at most `graceMs` long. */
  stop(graceMs: number): Promise<void>;
  /** Resolves when the outer namespace is gone, with the exit code. */
  readonly ended: Promise<number>;
}

const FIRST_INHERITED = 3;

/** The name under which a mesh answers `lateen status`, `stat` and `exec`. */
export function localName(mesh: string): string {
  return `lateen-up/${mesh}`;
}

/** Starts a mesh. Rejects with a UserError when a socket cannot be bound or another mesh of that name runs. */
export async function startHost(options: HostOptions, onEvent: (event: InsideEvent) => void): Promise<HostMesh> {
  const waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  let child: ChildProcess | undefined;
  let lastId = 0;
  const ask = (op: HostRequest["op"]): Promise<unknown> =>
    new Promise((resolve, reject) => {
      lastId += 1;
      waiting.set(lastId, { resolve, reject });
      child?.stdin?.write(`${JSON.stringify({ id: lastId, op })}\n`);
    });

  const api = await serveLocal(localName(options.description.name), async (request) => {
    const op = (request as { op?: unknown } | null)?.op;
    if (op === "status")
      return {
        ...((await ask("status")) as object),
        outerPid: child?.pid,
        scratch: options.scratch,
        isRoot: options.isRoot,
        directory: options.directory,
      };
    if (op === "stat") return ask("stat");
    throw new Error(`"${String(op)}" is no request`);
  }).catch((error: unknown) => {
    throw new UserError(`a mesh called "${options.description.name}" runs already`, {
      hint: `Stop it, or give this one another name in ${options.descriptionFile}.`,
      cause: error,
    });
  });

  const bound: Bound[] = [];
  try {
    const listeners = options.description.gateways.flatMap((gateway) =>
      gateway.listen.map(({ host, port, gatewayPort }) => {
        bound.push(bindSocket(host, port));
        return { host, port, gatewayPort, gateway: gateway.name, fd: FIRST_INHERITED + bound.length - 1 };
      }),
    );
    child = spawnOuter(options, bound);
    child.stdin?.on("error", () => {}); // It is gone: `ended` tells.
    child.stdin?.write(`${JSON.stringify({ ...options, listeners } satisfies InsideOptions)}\n`);
  } catch (error) {
    api.close();
    throw error;
  } finally {
    for (const socket of bound) socket.close();
  }

  const outer = child;
  if (outer.stdout) {
    createInterface({ input: outer.stdout }).on("line", (line) => {
      const event = JSON.parse(line) as InsideEvent;
      if (event.event !== "reply") return onEvent(event);
      const waiter = waiting.get(event.id);
      waiting.delete(event.id);
      if (event.error === undefined) waiter?.resolve(event.result);
      else waiter?.reject(new Error(event.error));
    });
  }
  if (outer.stderr)
    createInterface({ input: outer.stderr }).on("line", (line) => onEvent({ event: "log", from: "up", stream: "err", line }));

  const ended = once(outer, "exit").then(([code]) => {
    api.close();
    for (const { reject } of waiting.values()) reject(new Error("the mesh has ended"));
    waiting.clear();
    return typeof code === "number" ? code : 1;
  });
  return {
    ask,
    ended,
    async stop(graceMs) {
      const force = systemClock.after(graceMs, () => outer.kill("SIGKILL"));
      await ask("stop").catch(() => undefined);
      await ended;
      force.cancel();
    },
  };
}

function spawnOuter(options: HostOptions, bound: readonly Bound[]): ChildProcess {
  const entry = fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "./inside-entry.ts" : "./inside-entry.js", import.meta.url));
  const args = [
    ...["--pdeathsig", "KILL", "unshare"],
    ...(options.isRoot ? [] : ["-U", "-r"]),
    ...["-n", "-m", "-p", "-f", "--kill-child=SIGKILL", "--mount-proc"],
    ...[options.node, "--disable-warning=ExperimentalWarning", entry],
  ];
  // A session of its own: Ctrl-C reaches this half alone, which then ends the other in good order.
  return spawn("setpriv", args, {
    detached: true,
    stdio: ["pipe", "pipe", "pipe", ...bound.map(({ fd }) => fd)],
    env: { ...options.environment },
  });
}
