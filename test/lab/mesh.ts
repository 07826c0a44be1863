/** The running lab: network, control plane and proxies, and how one case is put to them. */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { baseConfig, joinDocuments, MARKER, markerConfig, SERVICES } from "./base-config.ts";
import { type Case, expandPlaceholders, type Step } from "./case.ts";
import type { LabRequest, LabResult } from "./client-driver.ts";
import { MONITORING_PORT, startControlPlane } from "./control-plane.ts";
import { openPki, type Pki } from "./pki.ts";
import { ADMIN_PORT, type ProxyKind, startProxy } from "./proxy.ts";
import { PODS, type Pod, PROXIED, Topology } from "./topology.ts";
import { checkExpectation, checkVerdict, type Observation, observe, verdictOf } from "./verdict.ts";

/** How a lab is run. */
export interface MeshOptions {
  readonly lateen: string;
  readonly envoy: string;
  readonly proxyOf: (pod: string) => ProxyKind;
  readonly isDelta: boolean;
  /** Leaves the comparison with the recorded verdicts out. */
  readonly expectOnly: boolean;
  readonly onSeen: (step: string, seen: Observation) => void;
}

/** What a step came to: no differences, and it passed. */
export interface StepReport {
  readonly step: string;
  readonly differences: readonly string[];
}

const START_MS = 60_000;
const CONVERGE_MS = 8000;
const POLL_MS = 20;
/** How long a pod that cannot see the marker is given. */
const UNSEEN_MS = 1500;

/** One lab. Several can run at once. */
export class Mesh {
  readonly runDirectory: string;
  readonly #options: MeshOptions;
  readonly #configDirectory: string;
  readonly #topology: Topology;
  readonly #pki: Pki;
  readonly #proxies = new Map<string, ChildProcess>();
  #generation = 0;
  #sent = 0;

  /** Nothing runs before `start`. Keys are kept in `folder` and shared by labs; what else a lab writes is in `folder/run/ID`. */
  constructor(folder: string, id: string, options: MeshOptions) {
    this.#options = options;
    this.runDirectory = join(folder, "run", id);
    this.#configDirectory = join(this.runDirectory, "config");
    mkdirSync(this.#configDirectory, { recursive: true });
    this.#pki = openPki(folder);
    this.#topology = new Topology(id, this.runDirectory);
  }

  /** Requests sent by cases so far. */
  get sent(): number {
    return this.#sent;
  }

  /** Resolves once every proxy has its config. */
  async start(): Promise<void> {
    await this.#topology.open(this.#pki);
    this.#writeConfig("");
    const controlPlane = startControlPlane({
      topology: this.#topology,
      pki: this.#pki,
      lateen: this.#options.lateen,
      configDirectory: this.#configDirectory,
    });
    await until("the control plane to be ready", START_MS, async () => {
      if (hasEnded(controlPlane)) throw new Error("the control plane ended");
      return (await this.#metrics()).status === 200;
    });
    await this.#startProxies();
    await this.#converge([], START_MS);
  }

  close(): Promise<void> {
    return this.#topology.close();
  }

  /** Puts one case to the mesh. Rejects when its config does not reach the proxies. */
  async runCase(kase: Case): Promise<StepReport[]> {
    await this.#startProxies();
    await this.#apply(kase, "config.yaml");
    this.#topology.cutConnections();
    const steps = JSON.parse(expandPlaceholders(JSON.stringify(kase.requests), kase, this.#pki)) as Step[];
    const reports: StepReport[] = [];
    for (const [i, step] of steps.entries()) {
      if (step.apply) await this.#apply(kase, step.apply);
      if (step.pauseMs) await sleep(step.pauseMs);
      const { results, seen } = await this.#send(step, i);
      this.#options.onSeen(step.name, seen);
      const expect = step.expect ?? {};
      const differences = checkExpectation(expect, results, seen);
      const now = verdictOf(seen, expect, [...(kase.loose ?? []), ...(step.loose ?? [])]);
      if (!this.#options.expectOnly) differences.push(...checkVerdict(kase.verdicts[step.name], now));
      reports.push({ step: step.name, differences });
    }
    return reports;
  }

  /** Lines of the proxies' logs that say they refused config, and of the control plane's that say so of a file. */
  refusals(): string[] {
    const lines = (name: string, pattern: RegExp): string[] => {
      const log = join(this.runDirectory, `${name}.log`);
      if (!existsSync(log)) return [];
      const found = readFileSync(log, "utf8")
        .split("\n")
        .filter((line) => pattern.test(line));
      return found.map((line) => `${name}: ${line.slice(0, 400)}`);
    };
    return [
      ...PROXIED.flatMap(({ name }) => lines(`${name}.proxy`, /rejected|Error adding\/updating|NACK/)),
      ...lines("cp.control-plane", /a proxy refused its config|A config file is rejected/),
    ];
  }

  /** The control plane's own count of refusals, where it is not 0. */
  async rejectCounts(): Promise<string[]> {
    const { body } = await this.#metrics();
    return body.split("\n").filter((line) => /^pilot_(total_xds_rejects|xds_\w*reject)/.test(line) && !line.endsWith(" 0"));
  }

  #metrics(): Promise<{ status: number; body: string }> {
    return this.#topology.pod("cp").get({ port: MONITORING_PORT, path: "/metrics" });
  }

  /** Starts the proxies, or those again that have ended. */
  async #startProxies(): Promise<void> {
    const missing = PROXIED.filter(({ name }) => {
      const proxy = this.#proxies.get(name);
      return !proxy || hasEnded(proxy);
    });
    await Promise.all(
      missing.map(async (pod) => {
        const options = { ...this.#options, topology: this.#topology, pki: this.#pki, isAgain: this.#proxies.has(pod.name) };
        this.#proxies.set(pod.name, await startProxy(this.#options.proxyOf(pod.name), pod, options));
      }),
    );
  }

  async #apply(kase: Case, file: string): Promise<void> {
    const path = join(kase.directory, file);
    this.#writeConfig(existsSync(path) ? expandPlaceholders(readFileSync(path, "utf8"), kase, this.#pki) : "");
    await this.#converge(kase.noMarker ?? [], CONVERGE_MS);
  }

  /** Replaces the one config file at once: services, the case's own YAML, and the marker of this generation. */
  #writeConfig(text: string): void {
    this.#generation += 1;
    const file = join(this.#configDirectory, "mesh.yaml");
    writeFileSync(`${file}.new`, joinDocuments([baseConfig(), markerConfig(this.#generation), text]));
    renameSync(`${file}.new`, file);
  }

  /** Waits until each proxy answers with this generation, routes being the last of a push, and has nothing left to warm. */
  async #converge(unseeing: readonly string[], limitMs: number): Promise<void> {
    await Promise.all(
      PROXIED.map(async (pod) => {
        if (unseeing.includes(pod.name)) await sleep(UNSEEN_MS);
        else await until(`${pod.name} to have generation ${this.#generation}`, limitMs, () => this.#hasGeneration(pod));
        await until(`${pod.name} to finish warming`, limitMs, () => this.#isWarm(pod));
      }),
    );
  }

  async #hasGeneration({ name, ip, proxy }: Pod): Promise<boolean> {
    const process = this.#proxies.get(name);
    if (process && hasEnded(process)) throw new Error(`the proxy of ${name} ended`);
    const target = proxy === "router" ? { ip, port: MARKER.gatewayPort } : { ip: MARKER.vip, port: MARKER.port };
    const { body } = await this.#topology.pod(name).get({ ...target, host: MARKER.host, path: "/" });
    return body === String(this.#generation);
  }

  async #isWarm({ name }: Pod): Promise<boolean> {
    const dump = async (resource: string, mask: string): Promise<string> => {
      const path = `/config_dump?resource=${resource}&mask=${mask}`;
      return (await this.#topology.pod(name).get({ port: ADMIN_PORT, path })).body;
    };
    if ((await dump("dynamic_listeners", "name,warming_state.version_info")).includes('warming_state"')) return false;
    return !(await dump("dynamic_warming_clusters", "version_info")).includes('version_info"');
  }

  async #send(step: Step, index: number): Promise<{ results: LabResult[]; seen: Observation }> {
    const requests = Array.from({ length: step.count ?? 1 }, (_, nth) => this.#requestOf(step, `${this.#generation}-${index}-${nth}`, nth));
    this.#sent += requests.length;
    const results = await this.#topology.pod(step.from ?? "client").send(requests, step.parallel);
    if (step.settleMs) await sleep(step.settleMs);
    const ids = requests.map(({ id }) => id);
    const arrivals: Record<string, number> = {};
    await Promise.all(
      PODS.filter(({ hasApp }) => hasApp).map(async ({ name }) => {
        const count = await this.#topology.pod(name).arrivals(ids);
        if (count > 0) arrivals[name] = count;
      }),
    );
    return { results, seen: observe(results, arrivals) };
  }

  #requestOf(step: Step, id: string, nth: number): LabRequest {
    const { name: _name, expect: _expect, clientCert, to = "reviews", ...rest } = step;
    const numbered = JSON.parse(
      JSON.stringify({ path: rest.path, headers: rest.headers }).replaceAll("{{n}}", String(nth)),
    ) as Partial<LabRequest>;
    const pem = (kind: string): string => readFileSync(join(this.#pki.external, `${clientCert}-${kind}.pem`), "utf8");
    return {
      ...rest,
      ...numbered,
      id,
      ip: step.ip ?? SERVICES[to]?.vip ?? PODS.find(({ name }) => name === to)?.ip ?? to,
      port: step.port ?? 80,
      host: step.host ?? SERVICES[to]?.host ?? to,
      ...(clientCert ? { clientCert: { cert: pem("cert"), key: pem("key") } } : {}),
    };
  }
}

async function until(what: string, limitMs: number, test: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + limitMs; !(await test()); await sleep(POLL_MS)) {
    if (Date.now() > end) throw new Error(`gave up waiting for ${what}`);
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
