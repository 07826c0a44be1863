/**
 * A whole mesh in one process and in memory: the real control plane, one real proxy a workload, capture, certificates, and small
 * applications. Time and chance are the simulation's, so that a run can be replayed from its seed.
 */

import { buildBootstrap } from "../../src/agent/bootstrap.ts";
import { PROXY_UID, SidecarPorts } from "../../src/agent/capture-rules.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { createSeededRandom, type Random } from "../../src/base/random.ts";
import type { TokenRule } from "../../src/control/ca/authenticate.ts";
import { type Authority, type AuthorityFiles, createAuthority, createSelfSignedRoot } from "../../src/control/ca/authority.ts";
import { defaultMeshConfig } from "../../src/control/config/mesh-config.ts";
import { createMemorySource, type MemorySource } from "../../src/control/config/sources/memory.ts";
import type { MeshConfig } from "../../src/control/config/types.ts";
import { type RunningControlPlane, startControlPlane } from "../../src/control/main.ts";
import type { DebounceOptions } from "../../src/control/push/state.ts";
import type { PushRecord } from "../../src/control/status/pushes.ts";
import { createKeyAndCsr } from "../../src/crypto/csr.ts";
import { formatSpiffeId, type SpiffeId } from "../../src/model/identity.ts";
import type { DialOptions, Network } from "../../src/net/dial.ts";
import { createGrpcChannel } from "../../src/net/grpc/channel.ts";
import type { GrpcChannel } from "../../src/net/grpc/types.ts";
import { createMemoryNetwork, type MemoryHost, type MemoryNetwork } from "../../src/net/memory/network.ts";
import type { KeyPair } from "../../src/net/tls/types.ts";
import { parseFlags } from "../../src/proxy/bootstrap/flags.ts";
import type { LeveledLog } from "../../src/proxy/bootstrap/log.ts";
import { readBootstrap } from "../../src/proxy/bootstrap/read.ts";
import { type ProxyOptions, ProxyServer } from "../../src/proxy/proxy.ts";
import type { Secret } from "../../src/proxy/secrets.ts";
import { ChannelRecorder } from "./channel-recorder.ts";
import { App } from "./mesh-apps.ts";
import { type Answer, type Ask, MeshClient, type Tunnel } from "./mesh-client.ts";
import { MeshClock } from "./mesh-clock.ts";
import { type LogLine, parsePrometheus, type Sample, sumOf } from "./mesh-figures.ts";
import { type MeshInstance, type MeshPlan, type MeshWorkload, planWorkloads, workloadFile, workloadFiles } from "./mesh-workloads.ts";

/** What a mesh is made of. */
export interface MeshOptions {
  readonly seed: number;
  readonly workloads: readonly MeshWorkload[];
  /** Istio's YAML beside the workloads' own declarations. */
  readonly yaml?: string;
  readonly mesh?: Partial<MeshConfig>;
  readonly tokenRule?: TokenRule;
  /** When changes are published; default: as the product has it. */
  readonly debounce?: DebounceOptions;
  /** Instead of a certificate that is there from the start: how a proxy comes by its secrets. */
  readonly secrets?: (
    instance: MeshInstance,
    place: { readonly network: Network; readonly clock: MeshClock; readonly random: Random; readonly rootPem: string },
  ) => LocalSecrets;
}

/** Where a proxy has its secrets from. */
export type LocalSecrets = NonNullable<ProxyOptions["localSecrets"]> & { close?(): void };

/** The control plane's address and the name of its certificate. */
export const CONTROL_PLANE = { host: "198.18.0.1", port: 15012, serverName: "istiod.istio-system.svc" } as const;
const TRUST_DOMAIN = "cluster.local";
const LOG_LINES_MAX = 2000;
const EDIT_FILE = "mesh.yaml";

/** Makes a mesh and waits until every proxy serves. */
export async function createMesh(options: MeshOptions): Promise<Mesh> {
  const clock = new MeshClock();
  const files = await createSelfSignedRoot(TRUST_DOMAIN, clock);
  const mesh = new Mesh(options, clock, files, await createAuthority(files, clock));
  try {
    await mesh.startControlPlane();
    await mesh.startInstances();
  } catch (error) {
    await mesh.close();
    throw error;
  }
  return mesh;
}

/** What one application asks of others. */
export interface Caller {
  ask(ask: Ask): Promise<Answer>;
  get(url: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  upgrade(url: string): Promise<Tunnel>;
  /** A gRPC channel without TLS of its own; closed with the mesh. */
  grpc(host: string, port: number): GrpcChannel;
  /** A TCP connection; rejects where there is none. */
  tcp(host: string, port: number): Promise<ChannelRecorder>;
}

/** One machine of the mesh with its application and proxy. */
class Machine {
  readonly instance: MeshInstance;
  readonly host: MemoryHost;
  readonly app: App;
  readonly accessLog: LogLine[] = [];
  readonly random: Random;
  proxy: ProxyServer | undefined;
  secrets: LocalSecrets | undefined;
  client: MeshClient | undefined;

  constructor(instance: MeshInstance, host: MemoryHost, app: App, random: Random) {
    this.instance = instance;
    this.host = host;
    this.app = app;
    this.random = random;
  }
}

/** See the file's head. */
export class Mesh {
  readonly clock: MeshClock;
  readonly network: MemoryNetwork;
  readonly plan: MeshPlan;
  readonly authority: Authority;
  /** Warnings and errors of all parts, oldest first. */
  readonly log: string[] = [];
  /** Hears each line of the log in the moment in which it is written. */
  onLine: (line: string) => void = () => {};
  readonly #options: MeshOptions;
  readonly #files: AuthorityFiles;
  readonly #machines = new Map<string, Machine>();
  readonly #channels: GrpcChannel[] = [];
  readonly #config: Record<string, string>;
  #source: MemorySource | undefined;
  #controlPlane: RunningControlPlane | undefined;

  constructor(options: MeshOptions, clock: MeshClock, files: AuthorityFiles, authority: Authority) {
    this.#options = options;
    this.clock = clock;
    this.#files = files;
    this.authority = authority;
    this.network = createMemoryNetwork({ clock });
    this.plan = planWorkloads(options.workloads);
    this.#config = { ...workloadFiles(this.plan), [EDIT_FILE]: options.yaml ?? "" };
    for (const { hostname, name, namespace, vip } of this.plan.services) {
      for (const form of [hostname, `${name}.${namespace}`, `${name}.${namespace}.svc`, name]) this.network.setName(form, [vip]);
    }
  }

  /** Starts the control plane, again if it was stopped; proxies come to it by themselves. */
  async startControlPlane(): Promise<void> {
    this.#controlPlane = await startControlPlane({
      version: "test",
      mesh: { ...defaultMeshConfig(TRUST_DOMAIN), accessLogFile: "/dev/stdout", accessLogEncoding: "JSON", ...this.#options.mesh },
      sources: (reader) => {
        this.#source = createMemorySource(reader, this.#config);
        return [this.#source];
      },
      grpcAddr: undefined,
      secure: {
        at: { host: CONTROL_PLANE.host, port: CONTROL_PLANE.port },
        authority: this.#files,
        serverNames: [CONTROL_PLANE.serverName],
        tokenRule: this.#options.tokenRule,
      },
      monitoringAddr: undefined,
      network: this.network.host(CONTROL_PLANE.host),
      clock: this.clock,
      log: this.#logOf("control plane"),
      debounce: this.#options.debounce,
    });
  }

  /** As kill -9 of the control plane's process. */
  async killControlPlane(): Promise<void> {
    const dead = this.controlPlane;
    this.#controlPlane = undefined;
    this.network.host(CONTROL_PLANE.host).crash();
    await this.clock.run("the control plane to end", dead.close());
  }

  /** Lets the control plane end as SIGTERM does. */
  async stopControlPlane(): Promise<void> {
    const ended = this.controlPlane;
    this.#controlPlane = undefined;
    await this.clock.run("the control plane to end", ended.close());
  }

  get controlPlane(): RunningControlPlane {
    if (!this.#controlPlane) throw new Error("the control plane was stopped");
    return this.#controlPlane;
  }

  /** Starts applications and proxies, and waits until all serve. */
  async startInstances(): Promise<void> {
    const live: Promise<void>[] = [];
    for (const instance of this.plan.instances) {
      const host = this.network.host(instance.ip);
      const machine = new Machine(
        instance,
        host,
        new App(instance.name, this.clock),
        createSeededRandom(this.#options.seed * 1000 + this.#machines.size),
      );
      this.#machines.set(instance.name, machine);
      if (instance.kind === "sidecar") await openApp(machine);
      if (instance.hasProxy) live.push((await this.startProxy(instance.name)).live);
    }
    await this.clock.run("every proxy to be live", Promise.all(live), 20_000);
  }

  /** Starts an instance's proxy; `live` resolves when it serves. */
  async startProxy(name: string): Promise<{ readonly live: Promise<void> }> {
    const machine = this.#machine(name);
    const { instance, host } = machine;
    if (instance.kind === "sidecar") host.redirect = capture(instance.ip);
    machine.secrets =
      this.#options.secrets?.(instance, { network: host, clock: this.clock, random: machine.random, rootPem: this.authority.rootPem }) ??
      (await this.#secretsOf(instance));
    const log = this.#logOf(`proxy ${instance.name}`);
    const parsed = parseFlags(["--config-yaml", "-", "--drain-time-s", "45", "--log-level", "debug"]);
    if (parsed.kind !== "run") throw new Error("the proxy's flags are not taken");
    const proxy = new ProxyServer({
      bootstrap: readBootstrap({ path: undefined, text: JSON.stringify(bootstrapOf(instance)), allowUnknownFields: false }).bootstrap,
      flags: parsed.flags,
      environment: { socketMark: PROXY_UID, listenFds: new Map(), heapDump: false, embedsIdentity: false, variables: {} },
      clock: this.clock,
      random: machine.random,
      log,
      network: host,
      version: "test",
      accessLogs: { open: () => ({ write: (text) => void machine.accessLog.push(...linesOf(text)), reopen() {} }) },
      localSecrets: machine.secrets,
      onQuit() {},
    });
    machine.proxy = proxy;
    proxy.loadStatic();
    await proxy.start();
    return { live: new Promise((resolve) => void proxy.onceLive(resolve)) };
  }

  /** An instance's application. */
  app(name: string): App {
    return this.#machine(name).app;
  }

  /** The proxy of an instance. */
  proxy(name: string): ProxyServer {
    const { proxy } = this.#machine(name);
    if (!proxy) throw new Error(`${name} has no proxy`);
    return proxy;
  }

  /** The machine that an instance runs on. */
  host(name: string): MemoryHost {
    return this.#machine(name).host;
  }

  /** The applications of a workload's or service's instances. */
  apps(label: string): App[] {
    return [...this.#machines.values()]
      .filter(({ instance }) => instance.workloadName === label || instance.labels["app"] === label)
      .map(({ app }) => app);
  }

  /** Calls from an instance, as its application would make them. Time goes on until each is answered. */
  client(name: string): Caller {
    const machine = this.#machine(name);
    machine.client ??= new MeshClient(machine.host);
    return this.#caller(machine.client, machine.host);
  }

  /** Calls from a machine outside of the mesh; `tls` for each connection. */
  stranger(ip = "10.9.9.9", tls?: DialOptions["tls"]): Caller {
    const host = this.network.host(ip);
    return this.#caller(new MeshClient(host, tls), host, tls);
  }

  /** A certificate of this mesh's authority for any identity. */
  async certificate(identity: SpiffeId, authority = this.authority): Promise<KeyPair> {
    const { keyPem, csrPem } = createKeyAndCsr(identity);
    const [leaf = "", ...above] = await authority.signWorkload(csrPem, identity, 0);
    return { chainPem: [leaf, ...above.slice(0, -1)].join(""), keyPem };
  }

  /** Replaces the YAML beside the workloads, waits until it was pushed, and gives the account of the push. */
  async edit(yaml: string): Promise<PushRecord> {
    return this.change({ [EDIT_FILE]: yaml });
  }

  /** Changes files as one change, and waits until it was pushed. */
  async change(files: Readonly<Record<string, string | undefined>>): Promise<PushRecord> {
    const { pushes } = this.controlPlane;
    const last = Number(pushes.records.at(-1)?.version ?? 0);
    this.put(files);
    return await this.clock.run("the push to be answered", pushes.finished(last + 1));
  }

  /** Changes files and waits for nothing. */
  put(files: Readonly<Record<string, string | undefined>>): void {
    for (const [name, text] of Object.entries(files)) {
      if (text === undefined) delete this.#config[name];
      else this.#config[name] = text;
    }
    if (this.#controlPlane) this.#source?.set(files);
  }

  /** As `put`, of the YAML that `edit` replaces. */
  putYaml(yaml: string): void {
    this.put({ [EDIT_FILE]: yaml });
  }

  /** The file of config that declares an instance. */
  fileOf(name: string): string {
    return workloadFile(this.#machine(name).instance);
  }

  /** What an instance's proxy counts. */
  samples(name: string): Sample[] {
    return parsePrometheus(this.proxy(name).metrics.toPrometheus());
  }

  /** A figure of an instance's proxy: the sum over the label sets that fit. */
  figure(name: string, metric: string, labels: Readonly<Record<string, string>> = {}): number {
    return sumOf(this.samples(name), metric, labels);
  }

  /** What an instance's proxy logged of its traffic. */
  accessLog(name: string): readonly LogLine[] {
    return this.#machine(name).accessLog;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    for (const channel of this.#channels) channel.close();
    for (const { proxy, client, secrets, host } of this.#machines.values()) {
      client?.close();
      proxy?.close();
      secrets?.close?.();
      host.crash();
    }
    if (this.#controlPlane) await this.stopControlPlane();
  }

  #machine(name: string): Machine {
    const machine = this.#machines.get(name);
    if (!machine) throw new Error(`there is no ${name}; there are ${[...this.#machines.keys()].join(", ")}`);
    return machine;
  }

  #caller(client: MeshClient, host: MemoryHost, tls?: DialOptions["tls"]): Caller {
    const ask = (what: Ask): Promise<Answer> => this.clock.run(`the answer to ${what.url}`, client.ask(what));
    const addressOf = async (name: string, port: number) => {
      const { addresses } = await host.resolver.resolve(name, { family: 4 });
      return { host: addresses[0] ?? "", port };
    };
    return {
      ask,
      get: (url, headers = {}) => ask({ url, headers }),
      upgrade: (url) => this.clock.run(`the upgrade of ${url}`, client.upgrade(url)),
      grpc: (name, port) => {
        const channel = createGrpcChannel({
          network: host,
          target: { host: name, port },
          authority: `${name}:${port}`,
          clock: this.clock,
          tls,
        });
        this.#channels.push(channel);
        return channel;
      },
      tcp: async (name, port) => {
        const to = await addressOf(name, port);
        const dialled = new Promise<ChannelRecorder>((resolve, reject) => {
          host.dialer.dial(
            { to, tls, timeoutMs: 5000 },
            {
              onConnect: (channel) => resolve(new ChannelRecorder(channel)),
              onFail: ({ phase, message }) => reject(new Error(`${phase}: ${message}`)),
            },
          );
        });
        return this.clock.run(`a connection to ${name}:${port}`, dialled);
      },
    };
  }

  async #secretsOf({ namespace, serviceAccount }: MeshInstance): Promise<LocalSecrets> {
    const keyPair = await this.certificate(formatSpiffeId({ trustDomain: TRUST_DOMAIN, namespace, serviceAccount }));
    const secrets: readonly Secret[] = [
      { kind: "trust", name: "ROOTCA", version: "1", trustPem: this.authority.rootPem },
      { kind: "key-pair", name: "default", version: "1", keyPair },
    ];
    return {
      names: new Set(secrets.map(({ name }) => name)),
      source: {
        known: secrets,
        watch(name, onSecret) {
          const secret = secrets.find((one) => one.name === name);
          if (secret) onSecret(secret);
          return { close() {} };
        },
      },
    };
  }

  #logOf(part: string): LeveledLog {
    const add =
      (level: string): Log["info"] =>
      (message, fields) => {
        const line = `${this.clock.monotonicMs()} ${part} ${level}: ${message}${fields ? ` ${JSON.stringify(fields)}` : ""}`;
        if (this.log.length >= LOG_LINES_MAX) this.log.shift();
        this.log.push(line);
        this.onLine(line);
      };
    return { ...silentLog, level: "warning", info: add("info"), warn: add("warn"), error: add("error") };
  }
}

function bootstrapOf(instance: MeshInstance): Record<string, unknown> {
  return buildBootstrap({
    kind: instance.kind,
    name: instance.name,
    namespace: instance.namespace,
    ip: instance.ip,
    domain: TRUST_DOMAIN,
    labels: instance.labels,
    serviceAccount: instance.serviceAccount,
    workloadName: instance.workloadName,
    clusterId: "test",
    meshId: TRUST_DOMAIN,
    xds: CONTROL_PLANE,
    sdsPath: "/var/run/secrets/workload-spiffe-uds/socket",
    socketMark: PROXY_UID,
  });
}

const NOT_CAPTURED: ReadonlySet<number> = new Set([
  SidecarPorts.hbone,
  SidecarPorts.prometheus,
  SidecarPorts.health,
  SidecarPorts.appProbe,
]);

/** The rules of buildCaptureRules as a function. */
function capture(ip: string): MemoryHost["redirect"] {
  return ({ to, direction }) => {
    if (direction === "inbound") return NOT_CAPTURED.has(to.port) ? undefined : { host: ip, port: SidecarPorts.inbound };
    return to.host === ip || to.host.startsWith("127.") ? undefined : { host: "127.0.0.1", port: SidecarPorts.outbound };
  };
}

async function openApp({ instance, host, app }: Machine): Promise<void> {
  for (const { targetPort, protocol } of instance.ports) {
    await host.acceptor.listen({ at: { host: "0.0.0.0", port: targetPort } }, (incoming) => {
      const channel = incoming.accept();
      if (protocol === "GRPC") app.serveGrpc(channel);
      else if (protocol === "HTTP") app.serveHttp(channel, targetPort, 1);
      else if (protocol === "HTTP2") app.serveHttp(channel, targetPort, 2);
      else app.serveTcp(channel);
    });
  }
}

function linesOf(text: string): LogLine[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LogLine);
}
