/** The ground with transparent capture: a network namespace for each part, inside one outer namespace that ends them all. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { buildCaptureRules, PROXY_UID } from "../agent/capture-rules.ts";
import type { Clock } from "../base/clock.ts";
import { silentLog } from "../base/log.ts";
import { createDnsServer } from "../net/dns/server.ts";
import { writeOwnFiles } from "./context.ts";
import { portVariables, serviceVariables } from "./environment.ts";
import type { ControlPlaneAddress, Ground, Place } from "./ground.ts";
import type { InsideOptions } from "./messages.ts";
import { createBridge, createNamespace, type NamespaceOptions, pathInside, spawnInside } from "./namespaces.ts";
import { createNameTable, type GatewayInstance, type Instance, MESH_NETWORK, type Plan, planMesh } from "./plan.ts";
import { listeningPorts } from "./readiness.ts";

// Mounts a memory file system of its own, waits until the files are in it, and becomes the control plane.
const SHELTER =
  'set -eu\nmount --make-rprivate /\nmount -t tmpfs -o mode=0700,size=16m lateen "$1"\necho mounted\nread -r go\nshift\nexec "$@"';

/** See the file's head. */
export class NamespaceGround implements Ground {
  readonly plan: Plan;
  readonly capture: "owner" | "mark";
  readonly controlPlane: ControlPlaneAddress = {
    host: MESH_NETWORK.bridge,
    securePort: 15012,
    monitoring: "127.0.0.1:15014",
    serverName: "istiod.istio-system.svc",
  };
  readonly #options: InsideOptions;

  constructor(options: InsideOptions) {
    this.#options = options;
    this.plan = planMesh(options.description);
    this.capture = options.isRoot ? "owner" : "mark";
  }

  async prepare(clock: Clock): Promise<void> {
    createBridge(MESH_NETWORK.bridge, MESH_NETWORK.prefix);
    const lookUp = createNameTable(this.plan);
    await createDnsServer({
      bind: { host: MESH_NETWORK.bridge, port: 53 },
      upstreams: [], // There is no way out, so there is nobody to ask for other names.
      clock,
      log: silentLog,
      // Workloads' resolvers complete short names with their own namespace; a bare name that comes here is taken as of the mesh's.
      answer: (name) => {
        const addresses = lookUp(name, this.#options.description.namespace);
        return addresses ? { kind: "known", addresses } : { kind: "unknown" };
      },
    });
  }

  /** In a mount namespace that keeps the authority's key from everybody else. */
  startControlPlane(
    command: readonly string[],
    env: Readonly<Record<string, string>>,
    files: Readonly<Record<string, string>>,
  ): ChildProcess {
    const { scratch } = this.#options;
    const child = spawn("unshare", ["-m", "sh", "-c", SHELTER, "sh", scratch, ...command], { env, stdio: ["pipe", "pipe", "pipe"] });
    child.stdin?.on("error", () => {}); // It ended before it could read: its exit tells.
    void fill(child, scratch, files).catch((error: unknown) => child.emit("error", error));
    return child;
  }

  async open(part: Instance | GatewayInstance, index: number): Promise<Place> {
    const options = this.#options;
    const isWorkload = "workload" in part;
    const ownNamespace = isWorkload ? part.workload.namespace : part.gateway.namespace;
    const suffix = `svc.${MESH_NETWORK.domain}`;
    const asked: NamespaceOptions = {
      name: part.name,
      ip: part.ip,
      index,
      scratch: options.scratch,
      resolvConf: `nameserver ${MESH_NETWORK.bridge}\nsearch ${ownNamespace}.${suffix} ${suffix} ${MESH_NETWORK.domain}\noptions ndots:5 timeout:2 attempts:2\n`,
      // A gateway is asked for by name; what it sends is its own.
      captureRules:
        isWorkload && part.spiffeId !== undefined
          ? buildCaptureRules({ exemptBy: options.isRoot ? "owner" : "mark", family: 4 })
          : undefined,
    };
    const namespace = await createNamespace(asked);
    const services = this.plan.services.map((service) => ({
      ...service,
      host: service.namespace === ownNamespace ? service.name : `${service.name}.${service.namespace}`,
    }));
    return {
      holderPid: namespace.pid,
      scratch: { inside: options.scratch, here: pathInside(namespace, options.scratch) },
      variables: {
        ...serviceVariables(ownNamespace, services),
        ...portVariables(isWorkload ? part.workload.ports.map(({ name, targetPort }) => ({ name, port: targetPort })) : []),
      },
      appHost: part.ip,
      listenHost: "0.0.0.0",
      bootstrap: { socketMark: options.isRoot ? undefined : PROXY_UID },
      proxyEnvironment: options.isRoot ? {} : { LATEEN_SOCKET_MARK: String(PROXY_UID) },
      appPort: (targetPort) => targetPort,
      listening: () => listeningPorts(namespace.pid),
      spawn: (command, how) => spawnInside(namespace, command, how),
    };
  }

  /** What it started goes with the outer namespace. */
  signal(child: ChildProcess, signal: NodeJS.Signals): void {
    child.kill(signal);
  }
}

async function fill(child: ChildProcess, scratch: string, files: Readonly<Record<string, string>>): Promise<void> {
  if (!child.stdout || child.pid === undefined) return;
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  if (!line.toString().startsWith("mounted"))
    throw new Error(`the control plane's own file system could not be mounted: ${line.toString().trim()}`);
  writeOwnFiles(`/proc/${child.pid}/root${scratch}`, files, undefined);
  child.stdin?.write("go\n");
}
