/** One workload instance or gateway of a running mesh: its namespace, its proxy (and agent, for a stock Envoy), and its application. */
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { buildBootstrap } from "../agent/bootstrap.ts";
import { buildCaptureRules, PROXY_UID, SidecarPorts } from "../agent/capture-rules.ts";
import { UserError } from "../base/errors.ts";
import { type InsideContext, proxyUid, writeOwnFiles } from "./context.ts";
import { CONTROL_PLANE, type ControlPlane } from "./control-plane.ts";
import type { WorkloadStatus } from "./messages.ts";
import { createNamespace, type Namespace, pathInside, spawnInside } from "./namespaces.ts";
import { type GatewayInstance, type Instance, MESH_NETWORK } from "./plan.ts";
import { isHttpReady, listeningPorts, waitFor } from "./readiness.ts";
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
  #namespace: Namespace | undefined;
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
    await step(this.name, () => `${ip}  ${spiffeId ?? "no sidecar, no identity"}`, async () => {
      const namespace = await this.#openNamespace();
      this.#namespace = namespace;
      if (this.#hasProxy()) await this.#startProxy(namespace);
      if ("workload" in this.#part) await this.#startApp(namespace, this.#part);
    });
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
      holderPid: this.#namespace?.pid ?? 0,
      proxyPid: this.#proxy?.pid,
      appPid: this.#app?.pid,
      restarts: (this.#proxy?.restarts ?? 0) + (this.#app?.restarts ?? 0),
    };
  }

  /** The proxy's metrics in Prometheus' format; empty where there is no proxy or it is away. */
  async scrape(): Promise<string> {
    if (!this.#hasProxy()) return "";
    try {
      const answer = await fetch(`http://${this.#part.ip}:${SidecarPorts.prometheus}/stats/prometheus`, { signal: AbortSignal.timeout(SCRAPE_TIMEOUT_MS) });
      return await answer.text();
    } catch {
      return "";
    }
  }

  #hasProxy(): boolean {
    return this.#part.spiffeId !== undefined;
  }

  async #openNamespace(): Promise<Namespace> {
    const { options } = this.#context;
    const part = this.#part;
    const namespace = "workload" in part ? part.workload.namespace : part.gateway.namespace;
    const suffix = `svc.${MESH_NETWORK.domain}`;
    return createNamespace({
      name: this.name,
      ip: part.ip,
      index: this.#index,
      scratch: options.scratch,
      resolvConf: `nameserver ${MESH_NETWORK.bridge}\nsearch ${namespace}.${suffix} ${suffix} ${MESH_NETWORK.domain}\noptions ndots:5 timeout:2 attempts:2\n`,
      // A gateway is asked for by name; what it sends is its own.
      captureRules: "workload" in part && this.#hasProxy() ? buildCaptureRules({ exemptBy: options.isRoot ? "owner" : "mark", family: 4 }) : undefined,
    });
  }

  async #startProxy(namespace: Namespace): Promise<void> {
    const { options, clock } = this.#context;
    const folder = `${options.scratch}/proxy`;
    const own = pathInside(namespace, options.scratch);
    const owner = proxyUid(options);
    const files = (token: string): Record<string, string> => ({ "proxy/var/run/secrets/tokens/istio-token": token });
    const part = this.#part;
    const { ns, account } =
      "workload" in part ? { ns: part.workload.namespace, account: part.workload.serviceAccount } : { ns: part.gateway.namespace, account: part.gateway.serviceAccount };
    const writeToken = async (): Promise<void> => {
      writeOwnFiles(own, files(await this.#services.issuer.token(ns, account, TOKEN_SECONDS)), owner);
      clock.after((TOKEN_SECONDS * 1000) / 2, () => void writeToken());
    };
    await writeToken();
    writeOwnFiles(own, {
      "proxy/var/run/secrets/istio/root-cert.pem": this.#services.rootPem,
      "proxy/var/run/secrets/workload-spiffe-uds/": "",
      "proxy/bootstrap.json": JSON.stringify(this.#bootstrap(), undefined, 2),
    }, owner);

    if (options.proxy === "envoy") this.#agent = this.#supervise("agent", namespace, [options.lateen, "agent", "--sds-only"], folder);
    const flags = ["-c", "bootstrap.json", "--drain-time-s", "2", "--drain-strategy", "immediate", "--log-level", "warning", "--concurrency", "1"];
    const command =
      options.proxy === "envoy"
        ? ["sh", "-c", 'while ! [ -S var/run/secrets/workload-spiffe-uds/socket ]; do sleep 0.05; done; exec "$@"', "sh", options.envoyPath ?? "envoy", ...flags, "--disable-hot-restart"]
        : [options.lateen, "proxy", ...flags];
    this.#proxy = this.#supervise("proxy", namespace, command, folder);
    const isReady = await waitFor(clock, PROXY_START_MS_MAX, () => isHttpReady(`http://${part.ip}:${SidecarPorts.health}/healthz/ready`));
    if (!isReady) throw new UserError(`${this.name}: its proxy was not ready after ${PROXY_START_MS_MAX / 1000} s`);
  }

  #supervise(kind: "agent" | "proxy", namespace: Namespace, command: readonly string[], directory: string): Supervised {
    const { clock, say, options } = this.#context;
    const name = `${this.name} (${kind})`;
    return new Supervised({
      name,
      clock,
      restarts: true,
      start: () => spawnInside(namespace, command, { directory, uid: proxyUid(options), env: this.#proxyEnvironment(), stdio: this.#proxyStdio(kind) }),
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

  #proxyEnvironment(): Record<string, string> {
    const { options, plan } = this.#context;
    const part = this.#part;
    const inherited = this.#inherited();
    return {
      PATH: options.environment["PATH"] ?? "",
      HOME: options.scratch,
      LATEEN_NODE: options.node,
      POD_NAME: this.name,
      POD_NAMESPACE: "workload" in part ? part.workload.namespace : part.gateway.namespace,
      SERVICE_ACCOUNT: "workload" in part ? part.workload.serviceAccount : part.gateway.serviceAccount,
      INSTANCE_IP: part.ip,
      CA_ADDR: `${CONTROL_PLANE.host}:${CONTROL_PLANE.securePort}`,
      TRUST_DOMAIN: plan.trustDomain,
      ISTIOD_SAN: CONTROL_PLANE.serverName,
      // Lateen's proxy asks for its certificate itself; an Envoy has an agent beside it.
      ...(options.proxy === "lateen" ? { LATEEN_IDENTITY: "embedded" } : {}),
      ...(options.isRoot ? {} : { LATEEN_SOCKET_MARK: String(PROXY_UID) }),
      ...(inherited.length > 0 ? { LATEEN_LISTEN_FDS: inherited.map(({ gatewayPort }, i) => `0.0.0.0:${gatewayPort}=${3 + i}`).join(",") } : {}),
    };
  }

  #bootstrap(): Record<string, unknown> {
    const { options } = this.#context;
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
      xds: { host: CONTROL_PLANE.host, port: CONTROL_PLANE.securePort, serverName: CONTROL_PLANE.serverName },
      sdsPath: "./var/run/secrets/workload-spiffe-uds/socket",
      appProbe: isWorkload && readyPath !== undefined ? { port: readyPort(part), path: readyPath } : undefined,
      socketMark: options.isRoot ? undefined : PROXY_UID,
    });
  }

  async #startApp(namespace: Namespace, instance: Instance): Promise<void> {
    const { options, clock, say } = this.#context;
    const { workload } = instance;
    let hasEnded: string | undefined;
    this.#app = new Supervised({
      name: this.name,
      clock,
      restarts: !workload.isJob,
      start: (): ChildProcess =>
        spawnInside(namespace, workload.command, {
          directory: workload.directory ? join(options.directory, workload.directory) : options.directory,
          env: { ...options.environment, ...workload.environment, HOSTNAME: this.name },
          stdio: ["ignore", "pipe", "pipe"],
        }),
      onLine: (stream, line) => say({ event: "log", from: this.name, stream, line }),
      onExit: (detail, restartMs) => {
        hasEnded = detail;
        say({ event: "exit", name: this.name, detail, restartMs });
      },
    });
    const ports = workload.ports.map(({ targetPort }) => targetPort);
    const isReady = await waitFor(clock, workload.readyTimeoutMs, async () => {
      const listening = listeningPorts(namespace.pid);
      if (!ports.every((port) => listening.has(port))) return false;
      return workload.readyPath === undefined || (await this.#isAppHealthy(instance));
    });
    if (!isReady) throw new UserError(`${this.name}: not ready after ${workload.readyTimeoutMs / 1000} s${hasEnded ? ` (it ${hasEnded})` : `: it should listen on ${ports.join(", ") || "nothing"}`}`);
  }

  #isAppHealthy(instance: Instance): Promise<boolean> {
    const path = instance.workload.readyPath ?? "/";
    return isHttpReady(this.#hasProxy() ? `http://${instance.ip}:${SidecarPorts.appProbe}/app-health/ready` : `http://${instance.ip}:${readyPort(instance)}${path}`);
  }
}

function readyPort({ workload }: Instance): number {
  return workload.readyPort ?? workload.ports.find((port) => port.protocol === "http")?.targetPort ?? 0;
}
