/**
 * A mesh on its ground: starts the control plane, the proxies and the workloads, keeps them running, and answers questions about them. With
 * namespaces it is the half of `lateen up` inside the outer one; without, it runs in `lateen up` itself.
 */
import { systemClock } from "../base/clock.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { type AuthorityFiles, createSelfSignedRoot } from "../control/ca/authority.ts";
import { openRelay } from "../net/system/relay.ts";
import type { InsideContext } from "./context.ts";
import { ControlPlane } from "./control-plane.ts";
import type { Ground } from "./ground.ts";
import { InstanceRunner } from "./instance-runner.ts";
import type { HostRequest, InsideEvent, InsideOptions, MeshStatus } from "./messages.ts";
import { serviceFigures } from "./stats.ts";
import { createTokenIssuer } from "./tokens.ts";

const PUSH_POLL_MS = 100;

/** A mesh that runs. */
export class InsideMesh {
  readonly #context: InsideContext;
  readonly #controlPlane: ControlPlane;
  readonly #runners: InstanceRunner[] = [];
  readonly #relays: { close(): void }[] = [];

  private constructor(context: InsideContext, controlPlane: ControlPlane) {
    this.#context = context;
    this.#controlPlane = controlPlane;
  }

  /** Starts everything. Rejects with a UserError when a part of it does not start; `onMade` gets the mesh before anything runs, so that it can be stopped then. */
  static async start(
    options: InsideOptions,
    ground: Ground,
    say: (event: InsideEvent) => void,
    onMade: (mesh: InsideMesh) => void = () => {},
  ): Promise<InsideMesh> {
    const clock = systemClock;
    const began = clock.monotonicMs();
    const { plan } = ground;
    const step: InsideContext["step"] = async (name, detail, work) => {
      const from = clock.monotonicMs();
      say({ event: "step", name, state: "started", detail: "", ms: 0 });
      try {
        const result = await work();
        say({ event: "step", name, state: "done", detail: detail(result), ms: clock.monotonicMs() - from });
        return result;
      } catch (error) {
        say({ event: "step", name, state: "failed", detail: messageOf(error), ms: clock.monotonicMs() - from });
        throw error;
      }
    };
    const context: InsideContext = { options, plan, ground, clock, say, step };
    await ground.prepare(clock);
    const issuer = await createTokenIssuer(plan.name);
    const root: AuthorityFiles = await createSelfSignedRoot(plan.trustDomain, clock);
    const controlPlane = new ControlPlane(context, { root, jwtRule: issuer.jwtRule });
    const mesh = new InsideMesh(context, controlPlane);
    onMade(mesh);
    await step(
      "control plane",
      () => `${mesh.#controlPlaneAddress()}, authority of ${plan.trustDomain}`,
      () => controlPlane.start(),
    );
    const parts = [...plan.instances, ...plan.gateways];
    mesh.#runners.push(
      ...parts.map((part, index) => new InstanceRunner(context, part, index, { rootPem: root.rootCertPem, issuer, controlPlane })),
    );
    const outcomes = await Promise.allSettled(mesh.#runners.map((runner) => runner.start()));
    const failed = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [messageOf(outcome.reason)] : []));
    if (failed.length > 0) throw new UserError(failed.join("\n"), { hint: "The lines of the processes above say more." });
    await mesh.#openGateways();
    say({ event: "up", status: mesh.status(), ms: clock.monotonicMs() - began });
    void mesh.#watchPushes();
    return mesh;
  }

  status(): MeshStatus {
    const { plan, options, ground } = this.#context;
    return {
      name: plan.name,
      trustDomain: plan.trustDomain,
      proxy: options.proxy,
      capture: ground.capture,
      controlPlane: { address: this.#controlPlaneAddress(), pid: this.#controlPlane.pid },
      workloads: this.#runners.map((runner) => runner.status()),
      open: options.listeners.map(({ host, port, gateway }) => ({
        url: `http://${host.includes(":") ? `[${host}]` : host}:${port}/`,
        gateway,
      })),
    };
  }

  /** Answers a request of the host. */
  async answer(request: HostRequest): Promise<unknown> {
    if (request.op === "status") return this.status();
    if (request.op === "stat") {
      const scrapes = await Promise.all(this.#runners.map((runner) => runner.scrape()));
      return serviceFigures(scrapes.filter((scrape) => scrape !== undefined));
    }
    if (request.op === "stop") return await this.stop();
    throw new Error(`"${String(request.op)}" is no request`);
  }

  /** Ends workloads, then proxies, then the control plane. */
  async stop(): Promise<void> {
    for (const relay of this.#relays) relay.close();
    await Promise.all(this.#runners.map((runner) => runner.stop()));
    await this.#controlPlane.stop();
  }

  #controlPlaneAddress(): string {
    const { host, securePort } = this.#context.ground.controlPlane;
    return `${host}:${securePort}`;
  }

  /** A stock Envoy takes no inherited socket: for it, connections of the host are passed on to the gateway's own port. */
  async #openGateways(): Promise<void> {
    const { options, plan } = this.#context;
    if (options.proxy !== "envoy") return;
    for (const listener of options.listeners) {
      const gateway = plan.gateways.find((one) => one.name === listener.gateway);
      if (gateway) this.#relays.push(await openRelay({ fd: listener.fd, to: { host: gateway.ip, port: listener.gatewayPort } }));
    }
  }

  async #watchPushes(): Promise<void> {
    const { clock, say } = this.#context;
    let lastVersion: string | undefined;
    let lastProblems = "";
    const poll = async (): Promise<void> => {
      const { push, problems } = await this.#controlPlane.progress();
      if (push && push.version !== lastVersion) {
        if (lastVersion !== undefined || push.reason !== "") say({ event: "push", push });
        lastVersion = push.version;
      }
      if (problems.join("\n") !== lastProblems) say({ event: "problems", problems });
      lastProblems = problems.join("\n");
      clock.after(PUSH_POLL_MS, () => void poll());
    };
    await poll();
  }
}
