/** Runs the mesh's control plane as a process of its own, in a mount namespace that keeps the authority's key from everybody else. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { UserError } from "../base/errors.ts";
import type { AuthorityFiles } from "../control/ca/authority.ts";
import { type InsideContext, writeOwnFiles } from "./context.ts";
import type { PushReport } from "./messages.ts";
import { MESH_NETWORK } from "./plan.ts";
import { isHttpReady, waitFor } from "./readiness.ts";
import { Supervised } from "./supervise.ts";

/** Where it is reached, and the name that its certificate has. */
export const CONTROL_PLANE = { host: MESH_NETWORK.bridge, securePort: 15012, monitoring: "127.0.0.1:15014", serverName: "istiod.istio-system.svc" } as const;

const START_MS_MAX = 30_000;
const STOP_GRACE_MS = 3000;

// Mounts a memory file system of its own, waits until the files are in it, and becomes the control plane.
const SHELTER = 'set -eu\nmount --make-rprivate /\nmount -t tmpfs -o mode=0700,size=16m lateen "$1"\necho mounted\nread -r go\nshift\nexec "$@"';

/** The control plane's process. */
export class ControlPlane {
  readonly #context: InsideContext;
  readonly #secrets: { readonly root: AuthorityFiles; readonly jwtRule: string };
  #process: Supervised | undefined;
  #said: string[] = [];

  constructor(context: InsideContext, secrets: { readonly root: AuthorityFiles; readonly jwtRule: string }) {
    this.#context = context;
    this.#secrets = secrets;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts it. Rejects with what it said when it does not come up. */
  async start(): Promise<void> {
    const { clock, say } = this.#context;
    let hasEnded = false;
    let isUp = false;
    this.#process = new Supervised({
      name: "control-plane",
      clock,
      restarts: true,
      start: () => this.#spawn(),
      onLine: (stream, line) => {
        if (!isUp) this.#said.push(line);
        say({ event: "log", from: "control-plane", stream, line });
      },
      onExit: (detail, restartMs) => {
        hasEnded = true;
        if (isUp) say({ event: "exit", name: "control-plane", detail, restartMs });
      },
    });
    isUp = await waitFor(clock, START_MS_MAX, () => isHttpReady(`http://${CONTROL_PLANE.monitoring}/ready`), () => hasEnded);
    if (isUp) return;
    await this.#process.stop(0);
    const problems = this.#said.filter((line) => line.trim() !== "").slice(-20).join("\n");
    throw new UserError(problems || "the control plane did not start", { hint: "Mend the config named above, then start again." });
  }

  async stop(): Promise<void> {
    await this.#process?.stop(STOP_GRACE_MS);
  }

  /** The last push and the present faults of the config. Nothing while it is away. */
  async progress(): Promise<{ push: PushReport | undefined; problems: readonly string[] }> {
    try {
      const answer = await fetch(`http://${CONTROL_PLANE.monitoring}/debug/pushz`, { signal: AbortSignal.timeout(2000) });
      return readProgress(await answer.json());
    } catch {
      return { push: undefined, problems: [] };
    }
  }

  #spawn(): ChildProcess {
    const { options, plan } = this.#context;
    const { scratch } = options;
    const command = [
      options.lateen,
      "control-plane",
      ...["--config", options.directory, "--config", `${scratch}/generated`, "--mesh-config", `${scratch}/mesh.yaml`],
      ...["--grpc-addr", "", "--secure-grpc-addr", `${CONTROL_PLANE.host}:${CONTROL_PLANE.securePort}`],
      ...["--monitoring-addr", CONTROL_PLANE.monitoring, "--domain", MESH_NETWORK.domain, "--log-level", options.logLevel],
    ];
    const env = {
      ...options.environment,
      LATEEN_NODE: options.node,
      ROOT_CA_DIR: `${scratch}/ca`,
      JWT_RULE: this.#secrets.jwtRule,
      POD_NAME: "lateen-up",
      POD_NAMESPACE: "istio-system",
    };
    const child = spawn("unshare", ["-m", "sh", "-c", SHELTER, "sh", scratch, ...command], { env, stdio: ["pipe", "pipe", "pipe"] });
    child.stdin?.on("error", () => {}); // It ended before it could read: its exit tells.
    void this.#fill(child).catch((error: unknown) => child.emit("error", error));
    return child;
  }

  async #fill(child: ChildProcess): Promise<void> {
    const { root } = this.#secrets;
    const { plan, options } = this.#context;
    if (!child.stdout || child.pid === undefined) return;
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    if (!line.toString().startsWith("mounted")) throw new Error(`the control plane's own file system could not be mounted: ${line.toString().trim()}`);
    writeOwnFiles(`/proc/${child.pid}/root${options.scratch}`, {
      "ca/root-cert.pem": root.rootCertPem,
      "ca/ca-cert.pem": root.caCertPem,
      "ca/ca-key.pem": root.caKeyPem,
      "ca/cert-chain.pem": root.certChainPem,
      "generated/workloads.yaml": plan.objects,
      "mesh.yaml": plan.meshConfig,
    }, undefined);
    child.stdin?.write("go\n");
  }
}

/** Reads /debug/pushz. Throws when it is not of its shape. */
function readProgress(answer: unknown): { push: PushReport | undefined; problems: readonly string[] } {
  if (typeof answer !== "object" || answer === null) throw new Error("pushz is no object");
  const { push, problems } = answer as { push?: PushReport; problems?: readonly string[] };
  return { push, problems: problems ?? [] };
}
