/** `lateen up` where no traffic can be captured: HTTP_PROXY and service addresses on loopback. */
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { bindSocket } from "../net/system/bound-socket.ts";
import { serveLocal } from "../net/system/local-api.ts";
import { planExplicit, SLOTS } from "./explicit-plan.ts";
import { localName } from "./host.ts";
import { InsideMesh } from "./inside.ts";
import { LoopbackGround } from "./loopback-ground.ts";
import type { HostRequest, InsideEvent, InsideOptions } from "./messages.ts";
import { ProcessGroups } from "./process-groups.ts";
import { listeningPorts } from "./readiness.ts";

/** What to run. */
export interface ExplicitRunOptions
  extends Pick<
    InsideOptions,
    "description" | "directory" | "descriptionFile" | "proxy" | "envoyPath" | "lateen" | "environment" | "logLevel"
  > {
  readonly onEvent: (event: InsideEvent) => void;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Runs a mesh until a signal ends it. Gives the exit code; rejects with a UserError when a part does not start. Nothing is left behind, whatever happens. */
export async function runExplicit(run: ExplicitRunOptions): Promise<number> {
  if (process.platform !== "linux") {
    throw new UserError(
      `lateen up does not run on ${process.platform} yet: without capture each part listens at a loopback address of its own, and only Linux has all of 127.0.0.0/8`,
      { hint: "A Linux virtual machine or container will do." },
    );
  }
  const closers: (() => Promise<void> | void)[] = [];
  const stopped = Promise.withResolvers<void>();
  const stop = (): void => stopped.resolve();
  for (const signal of SIGNALS) process.on(signal, stop);
  try {
    const mesh = await Promise.race([start(run, closers), stopped.promise]);
    if (mesh) await stopped.promise;
    return 0;
  } finally {
    for (const close of closers.toReversed()) await close();
    for (const signal of SIGNALS) process.off(signal, stop);
  }
}

async function start(run: ExplicitRunOptions, closers: (() => Promise<void> | void)[]): Promise<InsideMesh> {
  const { description, environment } = run;
  let mesh: InsideMesh | undefined;
  const answer = async (op: HostRequest["op"]): Promise<unknown> => {
    if (!mesh) throw new Error("the mesh is starting");
    const answered = await mesh.answer({ id: 0, op });
    return op === "status"
      ? { ...(answered as object), outerPid: process.pid, scratch: "", isRoot: false, directory: run.directory }
      : answered;
  };
  const api = await serveLocal(localName(description.name), (request) => {
    const op = (request as { op?: unknown } | null)?.op;
    return op === "status" || op === "stat" ? answer(op) : Promise.reject(new Error(`"${String(op)}" is no request`));
  }).catch((error: unknown) => {
    throw new UserError(`a mesh called "${description.name}" runs already`, {
      hint: `Stop it, or give this one another name in ${run.descriptionFile}.`,
      cause: error,
    });
  });
  closers.push(() => api.close());
  const { slot, close } = await takeSlot();
  closers.push(close);

  const listeners = description.gateways.flatMap((gateway) =>
    gateway.listen.map(({ host, port, gatewayPort }) => {
      const bound = bindSocket(host, port);
      closers.push(() => bound.close());
      return { host, port, gatewayPort, gateway: gateway.name, fd: bound.fd };
    }),
  );
  const taken = listeningPorts(process.pid);
  const explicit = planExplicit(description, {
    slot,
    isTaken: (port) => taken.has(port) || listeners.some((listener) => listener.port === port),
    noProxy: environment["NO_PROXY"] ?? environment["no_proxy"] ?? "",
  });
  const scratch = mkdtempSync(join(tmpdir(), "lateen-up-"));
  const groups = new ProcessGroups(scratch, systemClock);
  closers.push(() => groups.close());
  const options: InsideOptions = { ...run, node: process.execPath, isRoot: false, listeners, scratch };
  const ground = new LoopbackGround(options, explicit, groups, firstFreePort());
  mesh = await InsideMesh.start(options, ground, run.onEvent, (made) => closers.push(() => made.stop()));
  return mesh;
}

/** A number that no other mesh of this machine has. */
async function takeSlot(): Promise<{ readonly slot: number; close(): void }> {
  for (let slot = 0; slot < SLOTS; slot++) {
    const held = await serveLocal(`lateen-up-slot/${slot}`, () => Promise.reject(new Error("this is a number only"))).catch(
      () => undefined,
    );
    if (held) return { slot, close: () => held.close() };
  }
  throw new UserError(`${SLOTS} meshes run on this machine already`);
}

function firstFreePort(): number {
  if (process.getuid?.() === 0) return 0;
  try {
    return Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"));
  } catch {
    return 1024;
  }
}
