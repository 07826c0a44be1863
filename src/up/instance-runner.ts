/** One workload instance or gateway of a running mesh: its namespace, its proxy (and agent, for a stock Envoy), and its application. */

import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { buildBootstrap } from "../agent/bootstrap.ts";
import { SidecarPorts } from "../agent/capture-rules.ts";
import { UserError } from "../base/errors.ts";
import { type InsideContext, proxyUid, writeOwnFiles } from "./context.ts";
import type { ControlPlane } from "./control-plane.ts";
import { expandVariables } from "./environment.ts";
import type { Place } from "./ground.ts";
import type { WorkloadStatus } from "./messages.ts";
import { type GatewayInstance, type Instance, MESH_NETWORK } from "./plan.ts";
import { isHttpReady, waitFor } from "./readiness.ts";
import type { Scrape } from "./stats.ts";
import { Supervised } from "./supervise.ts";
import type { TokenIssuer } from "./tokens.ts";

const PROXY_START_MS_MAX = 30_000;
const TOKEN_SECONDS = 24 * 3600;
const GRACE_MS = { app: 5000, proxy: 3000 };
const SCRAPE_TIMEOUT_MS = 3000;

/** What instances share. */
export interface InstanceServices {
  readonly rootPem: string;
  readonly issuer: TokenIssuer;
  readonly controlPlane: ControlPlane;
}

/** Starts and keeps one instance or gateway. */
export class InstanceRunner {
  readonly name: string;
  readonly #context: InsideContext;
  readonly #part: Instance | GatewayInstance;
  readonly #index: number;
  readonly #services: InstanceServices;
  #place: Place | undefined;
  #agent: Supervised | undefined;
  #proxy: Supervised | undefined;
  #app: Supervised | undefined;

  constructor(context: InsideContext, part: Instance | GatewayInstance, index: number, services: InstanceServices) {
    this.#context = context;
    this.#part = part;
    this.#index = index;
    this.#services = services;
    this.name = part.name;
  }

  /** Rejects with a UserError that says which part of it did not come up. */
  async start(): Promise<void> {
    const { step } = this.#context;
    const { ip, spiffeId } = this.#part;
    await step(
      this.name,
      () => `${ip}  ${spiffeId ?? "no sidecar, no identity"}`,
      async () => {
        const place = await this.#context.ground.open(this.#part, this.#index);
        this.#place = place;
        if (this.#hasProxy()) await this.#startProxy(place);
        if ("workload" in this.#part) await this.#startApp(place, this.#part);
      },
    );
  }

  async stop(): Promise<void> {
    await this.#app?.stop(GRACE_MS.app);
    await this.#proxy?.stop(GRACE_MS.proxy);
    await this.#agent?.stop(GRACE_MS.proxy);
  }

  status(): WorkloadStatus {
    const part = this.#part;
    const namespace = "workload" in part ? part.workload.namespace : part.gateway.namespace;
    return {
      name: this.name,
      kind: "workload" in part ? "workload" : "gateway",
      namespace,
      ip: part.ip,
      spiffeId: part.spiffeId,
      service: "workload" in part ? part.workload.service : undefined,
      holderPid: this.#place?.holderPid ?? 0,
      proxyPid: this.#proxy?.pid,
      appPid: this.#app?.pid,
      restarts: (this.#proxy?.restarts ?? 0) + (this.#app?.restarts ?? 0),
    };
  }

  /** The proxy's metrics; undefined where there is no proxy, or it is away. */
  async scrape(): Promise<Scrape | undefined> {
    if (!this.#hasProxy()) return undefined;
    const isEnvoy = this.#context.options.proxy === "envoy";
    const path = isEnvoy ? "/stats?histogram_buckets=cumulative&filter=inbound|15006" : "/stats/prometheus";
    try {
      const answer = await fetch(`http://${this.#part.ip}:${SidecarPorts.prometheus}${path}`, {
        signal: AbortSignal.timeout(SCRAPE_TIMEOUT_MS),
      });
      const text = await answer.text();
      if (!isEnvoy) return { kind: "istio", text };
      if (!("workload" in this.#part) || this.#part.workload.service === undefined) return undefined;
      const { service, ports } = this.#part.workload;
      return { kind: "envoy", text, service, ports: ports.map(({ targetPort }) => targetPort) };
    } catch {
      return undefined;
    }
  }

  #hasProxy(): boolean {
    return this.#part.spiffeId !== undefined;
  }

  async #startProxy(place: Place): Promise<void> {
    const { options, clock } = this.#context;
    const folder = `${place.scratch.inside}/proxy`;
    const own = place.scratch.here;
    const owner = proxyUid(options);
    const files = (token: string): Record<string, string> => ({ "proxy/var/run/secrets/tokens/istio-token": token });
    const part = this.#part;
    const { ns, account } =
      "workload" in part
        ? { ns: part.workload.namespace, account: part.workload.serviceAccount }
        : { ns: part.gateway.namespace, account: part.gateway.serviceAccount };
    const writeToken = async (): Promise<void> => {
      writeOwnFiles(own, files(await this.#services.issuer.token(ns, account, TOKEN_SECONDS)), owner);
      clock.after((TOKEN_SECONDS * 1000) / 2, () => void writeToken());
    };
    await writeToken();
    writeOwnFiles(
      own,
      {
        "proxy/var/run/secrets/istio/root-cert.pem": this.#services.rootPem,
        "proxy/var/run/secrets/workload-spiffe-uds/": "",
        "proxy/bootstrap.json": JSON.stringify(this.#bootstrap(place), undefined, 2),
      },
      owner,
    );

    if (options.proxy === "envoy") this.#agent = this.#supervise("agent", place, [options.lateen, "agent", "--sds-only"], folder);
    const flags = [
      "-c",
      "bootstrap.json",
      "--drain-time-s",
      "2",
      "--drain-strategy",
      "immediate",
      "--log-level",
      "warning",
      "--concurrency",
      "1",
    ];
    const command =
      options.proxy === "envoy"
        ? [
            "sh",
            "-c",
            'while ! [ -S var/run/secrets/workload-spiffe-uds/socket ]; do sleep 0.05; done; exec "$@"',
            "sh",
            options.envoyPath ?? "envoy",
            ...flags,
            "--disable-hot-restart",
          ]
        : [options.lateen, "proxy", ...flags];
    this.#proxy = this.#supervise("proxy", place, command, folder);
    const isReady = await waitFor(clock, PROXY_START_MS_MAX, () => isHttpReady(`http://${part.ip}:${SidecarPorts.health}/healthz/ready`));
    if (!isReady) throw new UserError(`${this.name}: its proxy was not ready after ${PROXY_START_MS_MAX / 1000} s`);
  }

  #supervise(kind: "agent" | "proxy", place: Place, command: readonly string[], directory: string): Supervised {
    const { clock, say, options, ground } = this.#context;
    const name = `${this.name} (${kind})`;
    return new Supervised({
      name,
      clock,
      restarts: true,
      start: () =>
        place.spawn(command, { directory, uid: proxyUid(options), env: this.#proxyEnvironment(place), stdio: this.#proxyStdio(kind) }),
      signal: (child, signal) => ground.signal(child, signal),
      onLine: (stream, line) => say({ event: "log", from: name, stream, line }),
      onExit: (detail, restartMs) => say({ event: "exit", name, detail, restartMs }),
    });
  }

  /** A gateway's own proxy inherits the sockets that are bound on the host, from descriptor 3 on. */
  #proxyStdio(kind: "agent" | "proxy"): ("ignore" | "pipe" | number)[] {
    return ["ignore", "pipe", "pipe", ...(kind === "proxy" ? this.#inherited().map(({ fd }) => fd) : [])];
  }

  #inherited(): InsideContext["options"]["listeners"] {
    const { options } = this.#context;
    return "gateway" in this.#part && options.proxy === "lateen" ? options.listeners.filter(({ gateway }) => gateway === this.name) : [];
  }

  #proxyEnvironment(place: Place): Record<string, string> {
    const { options, plan, ground } = this.#context;
    const part = this.#part;
    const inherited = this.#inherited();
    return {
      PATH: options.environment["PATH"] ?? "",
      HOME: place.scratch.inside,
      LATEEN_NODE: options.node,
      POD_NAME: this.name,
      POD_NAMESPACE: "workload" in part ? part.workload.namespace : part.gateway.namespace,
      SERVICE_ACCOUNT: "workload" in part ? part.workload.serviceAccount : part.gateway.serviceAccount,
      INSTANCE_IP: part.ip,
      CA_ADDR: `${ground.controlPlane.host}:${ground.controlPlane.securePort}`,
      TRUST_DOMAIN: plan.trustDomain,
      ISTIOD_SAN: ground.controlPlane.serverName,
      // Lateen's proxy asks for its certificate itself; an Envoy has an agent beside it.
      ...(options.proxy === "lateen" ? { LATEEN_IDENTITY: "embedded" } : {}),
      ...place.proxyEnvironment,
      ...(inherited.length > 0
        ? { LATEEN_LISTEN_FDS: inherited.map(({ gatewayPort }, i) => `${place.listenHost}:${gatewayPort}=${3 + i}`).join(",") }
        : {}),
    };
  }

  #bootstrap(place: Place): Record<string, unknown> {
    const { host, securePort: port, serverName } = this.#context.ground.controlPlane;
    const part = this.#part;
    const isWorkload = "workload" in part;
    const source = isWorkload ? part.workload : part.gateway;
    const readyPath = isWorkload ? part.workload.readyPath : undefined;
    return buildBootstrap({
      kind: isWorkload ? "sidecar" : "router",
      name: this.name,
      namespace: source.namespace,
      ip: part.ip,
      domain: MESH_NETWORK.domain,
      labels: isWorkload ? part.labels : part.gateway.labels,
      serviceAccount: source.serviceAccount,
      workloadName: isWorkload ? part.workload.name : part.gateway.name,
      clusterId: MESH_NETWORK.clusterId,
      meshId: this.#context.plan.trustDomain,
      xds: { host, port, serverName },
      sdsPath: "./var/run/secrets/workload-spiffe-uds/socket",
      appProbe: isWorkload && readyPath !== undefined ? { port: place.appPort(readyPort(part)), path: readyPath } : undefined,
      ...place.bootstrap,
    });
  }

  async #startApp(place: Place, instance: Instance): Promise<void> {
    const { options, clock, say, ground } = this.#context;
    const { workload } = instance;
    const told = { ...place.variables, ...expandVariables(workload.name, workload.environment, place.variables) };
    let hasEnded: string | undefined;
    this.#app = new Supervised({
      name: this.name,
      clock,
      restarts: !workload.isJob,
      start: (): ChildProcess =>
        place.spawn(workload.command, {
          directory: workload.directory ? join(options.directory, workload.directory) : options.directory,
          env: { ...options.environment, ...told, HOSTNAME: this.name },
          stdio: ["ignore", "pipe", "pipe"],
        }),
      signal: (child, signal) => ground.signal(child, signal),
      onLine: (stream, line) => say({ event: "log", from: this.name, stream, line }),
      onExit: (detail, restartMs) => {
        hasEnded = detail;
        say({ event: "exit", name: this.name, detail, restartMs });
      },
    });
    const ports = workload.ports.map(({ targetPort }) => place.appPort(targetPort));
    const isReady = await waitFor(clock, workload.readyTimeoutMs, async () => {
      const listening = place.listening();
      if (!ports.every((port) => listening.has(port))) return false;
      return workload.readyPath === undefined || (await this.#isAppHealthy(place, instance));
    });
    if (!isReady)
      throw new UserError(
        `${this.name}: not ready after ${workload.readyTimeoutMs / 1000} s${hasEnded ? ` (it ${hasEnded})` : `: it should listen on ${ports.join(", ") || "nothing"}`}`,
      );
  }

  #isAppHealthy(place: Place, instance: Instance): Promise<boolean> {
    const path = instance.workload.readyPath ?? "/";
    return isHttpReady(
      this.#hasProxy()
        ? `http://${instance.ip}:${SidecarPorts.appProbe}/app-health/ready`
        : `http://${place.appHost}:${place.appPort(readyPort(instance))}${path}`,
    );
  }
}

function readyPort({ workload }: Instance): number {
  return workload.readyPort ?? workload.ports.find((port) => port.protocol === "http")?.targetPort ?? 0;
}
