/** Runs the mesh's control plane as a process of its own. */
import type { ChildProcess } from "node:child_process";
import { basename } from "node:path";
import { UserError } from "../base/errors.ts";
import type { AuthorityFiles } from "../control/ca/authority.ts";
import type { InsideContext } from "./context.ts";
import type { PushReport } from "./messages.ts";
import { MESH_NETWORK } from "./plan.ts";
import { isHttpReady, waitFor } from "./readiness.ts";
import { Supervised } from "./supervise.ts";

const START_MS_MAX = 30_000;
/** What the shelter of the control plane says before it becomes the control plane. */
const SHELTERED = "mounted";
const STOP_GRACE_MS = 3000;

/** The control plane's process. */
export class ControlPlane {
  readonly #context: InsideContext;
  readonly #secrets: { readonly root: AuthorityFiles; readonly jwtRule: string };
  #process: Supervised | undefined;
  #said: { readonly stream: "out" | "err"; readonly line: string }[] = [];

  constructor(context: InsideContext, secrets: { readonly root: AuthorityFiles; readonly jwtRule: string }) {
    this.#context = context;
    this.#secrets = secrets;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Starts it. Rejects with what it said when it does not come up. */
  async start(): Promise<void> {
    const { clock, say, ground } = this.#context;
    let hasEnded = false;
    let isUp = false;
    this.#process = new Supervised({
      name: "control-plane",
      clock,
      restarts: true,
      start: () => this.#spawn(),
      signal: (child, signal) => ground.signal(child, signal),
      onLine: (stream, line) => {
        if (line === SHELTERED) return;
        if (isUp) say({ event: "log", from: "control-plane", stream, line });
        else this.#said.push({ stream, line });
      },
      onExit: (detail, restartMs) => {
        hasEnded = true;
        if (isUp) say({ event: "exit", name: "control-plane", detail, restartMs });
      },
    });
    isUp = await waitFor(
      clock,
      START_MS_MAX,
      () => isHttpReady(`http://${this.#context.ground.controlPlane.monitoring}/ready`),
      () => hasEnded,
    );
    const said = this.#said.splice(0);
    if (isUp) {
      for (const { stream, line } of said) say({ event: "log", from: "control-plane", stream, line });
      return;
    }
    await this.#process.stop(0);
    throw new UserError(failureOf(said.map(({ line }) => line)) || "the control plane did not start", {
      hint: "Mend what is named above, then start again.",
    });
  }

  async stop(): Promise<void> {
    await this.#process?.stop(STOP_GRACE_MS);
  }

  /** The last push and the present faults of the config. Nothing while it is away. */
  async progress(): Promise<{ push: PushReport | undefined; problems: readonly string[] }> {
    try {
      const answer = await fetch(`http://${this.#context.ground.controlPlane.monitoring}/debug/pushz`, {
        signal: AbortSignal.timeout(2000),
      });
      return readProgress(await answer.json());
    } catch {
      return { push: undefined, problems: [] };
    }
  }

  #spawn(): ChildProcess {
    const { options, plan, ground } = this.#context;
    const { scratch } = options;
    const { root } = this.#secrets;
    const { host, securePort, monitoring } = ground.controlPlane;
    const command = [
      options.lateen,
      "control-plane",
      ...["--config", options.directory, "--config", `${scratch}/generated`, "--mesh-config", `${scratch}/mesh.yaml`],
      ...["--skip", basename(options.descriptionFile)],
      ...["--grpc-addr", "", "--secure-grpc-addr", `${host}:${securePort}`],
      ...["--monitoring-addr", monitoring, "--domain", MESH_NETWORK.domain, "--log-level", options.logLevel],
    ];
    const env = {
      ...options.environment,
      LATEEN_NODE: options.node,
      ROOT_CA_DIR: `${scratch}/ca`,
      JWT_RULE: this.#secrets.jwtRule,
      POD_NAME: "lateen-up",
      POD_NAMESPACE: "istio-system",
    };
    return ground.startControlPlane(command, env, {
      "ca/root-cert.pem": root.rootCertPem,
      "ca/ca-cert.pem": root.caCertPem,
      "ca/ca-key.pem": root.caKeyPem,
      "ca/cert-chain.pem": root.certChainPem,
      "generated/workloads.yaml": plan.objects,
      "mesh.yaml": plan.meshConfig,
    });
  }
}

/** Reads /debug/pushz. Throws when it is not of its shape. */
function readProgress(answer: unknown): { push: PushReport | undefined; problems: readonly string[] } {
  if (typeof answer !== "object" || answer === null) throw new Error("pushz is no object");
  const { push, problems } = answer as { push?: PushReport; problems?: readonly string[] };
  return { push, problems: problems ?? [] };
}

/** What the control plane's own error report says, without its frame: "error:" in front and the hint behind, which are this process's to give. */
function failureOf(lines: readonly string[]): string {
  return lines
    .filter((line) => line.trim() !== "" && !/^\s*→/.test(line))
    .slice(-20)
    .map((line) => line.replace(/^error: /, ""))
    .join("\n");
}
