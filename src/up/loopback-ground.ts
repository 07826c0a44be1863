/** The ground without capture: every part is a plain process of this user, at loopback addresses of its own. */
import type { ChildProcess } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../base/errors.ts";
import { writeOwnFiles } from "./context.ts";
import { expandVariables } from "./environment.ts";
import type { ExplicitPlan } from "./explicit-plan.ts";
import type { ControlPlaneAddress, Ground, Place } from "./ground.ts";
import type { InsideOptions } from "./messages.ts";
import type { GatewayInstance, Instance, Plan } from "./plan.ts";
import type { ProcessGroups } from "./process-groups.ts";
import { listeningPorts, portsOnAllAddresses } from "./readiness.ts";

/** See the file's head. */
export class LoopbackGround implements Ground {
  readonly plan: Plan;
  readonly capture = "none";
  readonly controlPlane: ControlPlaneAddress;
  readonly #options: InsideOptions;
  readonly #explicit: ExplicitPlan;
  readonly #groups: ProcessGroups;
  readonly #firstFreePort: number;

  /** `firstFreePort` is the lowest port that this user may listen on. */
  constructor(options: InsideOptions, explicit: ExplicitPlan, groups: ProcessGroups, firstFreePort: number) {
    this.#options = options;
    this.#explicit = explicit;
    this.#groups = groups;
    this.#firstFreePort = firstFreePort;
    this.plan = explicit.plan;
    const host = explicit.controlPlaneIp;
    this.controlPlane = { host, securePort: 15012, monitoring: `${host}:15014`, serverName: "istiod.istio-system.svc" };
  }

  prepare(): Promise<void> {
    for (const { name, workload } of this.plan.instances)
      expandVariables(workload.name, workload.environment, this.#explicit.parts.get(name)?.variables ?? {});
    const onAll = portsOnAllAddresses(process.pid);
    const own = this.#options.description.gateways.flatMap(({ listen }) =>
      listen.filter(({ host }) => host === "0.0.0.0" || host === "::").map(({ port }) => port),
    );
    const taken = [...this.#explicit.ports].filter((port) => onAll.has(port) || own.includes(port));
    if (taken.length > 0) {
      throw new UserError(
        `without capture the mesh listens on port ${taken.join(", ")} of its own addresses, and another process (or a gateway of ${this.#options.descriptionFile}) has it on all addresses`,
        {
          hint: `Find it with: ss -ltnp 'sport = :${taken[0]}'. Or choose another port.`,
        },
      );
    }
    const low = this.plan.services.flatMap((service) =>
      service.ports
        .filter(({ port, targetPort }) => Math.min(port, targetPort) < this.#firstFreePort)
        .map(({ port }) => `${service.name}:${port}`),
    );
    if (low.length > 0)
      throw new UserError(`${low.join(", ")}: ports below ${this.#firstFreePort} need root where nothing is captured`, {
        hint: `Choose higher ones, or: sysctl net.ipv4.ip_unprivileged_port_start=80`,
      });
    return Promise.resolve();
  }

  startControlPlane(
    command: readonly string[],
    env: Readonly<Record<string, string>>,
    files: Readonly<Record<string, string>>,
  ): ChildProcess {
    writeOwnFiles(this.#options.scratch, files, undefined);
    return this.#groups.spawn(command, { env, stdio: ["ignore", "pipe", "pipe"] });
  }

  open(part: Instance | GatewayInstance, index: number): Promise<Place> {
    const folder = join(this.#options.scratch, "parts", String(index));
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const explicit = this.#explicit.parts.get(part.name);
    return Promise.resolve({
      holderPid: 0,
      scratch: { inside: folder, here: folder },
      variables: explicit?.variables ?? {},
      appHost: "127.0.0.1",
      listenHost: part.ip,
      bootstrap: { bind: part.ip, explicit: explicit?.addresses ?? { serviceAddresses: {}, appPorts: {}, httpProxyPort: undefined } },
      proxyEnvironment: {},
      appPort: (targetPort) => explicit?.addresses.appPorts[targetPort] ?? targetPort,
      listening: () => listeningPorts(process.pid),
      spawn: (command, { directory, env, stdio }) => this.#groups.spawn(command, { cwd: directory, env, stdio }),
    });
  }

  signal(child: ChildProcess, signal: NodeJS.Signals): void {
    this.#groups.signal(child, signal);
  }
}
