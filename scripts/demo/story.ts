/** What the demo tells, point by point; with --check each point is asserted and a few are added that one does not look at for pleasure. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { formatDuration } from "../../src/base/duration.ts";
import { hostPid } from "../../src/cli/exec.ts";
import { figuresTable } from "../../src/cli/mesh-status.ts";
import { paint } from "../../src/cli/terminal.ts";
import { describePush } from "../../src/cli/up.ts";
import type { InsideEvent, PushReport, ServiceFigures } from "../../src/up/messages.ts";
import { type Measured, ShopMesh } from "./shop-mesh.ts";

const REQUESTS = 2000;
const HTTP_SERVICES = ["catalog", "inventory", "orders", "payment", "storefront"];

/** What a mesh has on this machine while it runs, and must not leave. */
interface Traces {
  readonly processes: number;
  /** Network namespaces that its processes are in. */
  readonly namespaces: ReadonlySet<string>;
  readonly links: string;
}

/** Tells the story of one mesh. */
export class Story {
  passed = 0;
  failed = 0;
  readonly #mesh: ShopMesh;
  readonly #isCheck: boolean;
  readonly #before: Traces;
  #atStart: ServiceFigures[] = [];

  constructor(mesh: ShopMesh, options: { readonly isCheck: boolean }) {
    this.#mesh = mesh;
    this.#isCheck = options.isCheck;
    this.#before = traces(mesh);
  }

  /** From the start to the figures. */
  async tell(): Promise<void> {
    await this.#start();
    // What workloads asked of each other before all of them were up is no part of the story.
    this.#atStart = await this.#mesh.figures();
    await this.#openShop();
    await this.#split(90, await this.#mesh.measure(REQUESTS));
    const push = await this.#mesh.edit("payment.yaml", (text) =>
      text.replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50"),
    );
    this.#chapter("payment.yaml was edited: 50/50");
    this.#say(describePush(push));
    this.#check(
      "every proxy acknowledged the edit",
      push.refused.length === 0 && push.acknowledged === push.proxies && push.proxies >= 7,
      JSON.stringify(push),
    );
    await this.#split(50, await this.#mesh.measure(REQUESTS));
    await this.#liveOrders();
    await this.#plaintext();
    if (this.#isCheck) await this.#brokenConfig();
    if (this.#isCheck) await this.#killControlPlane();
    await this.#figures();
    if (this.#isCheck) this.#noRefusals();
  }

  /** Ends the mesh, then starts another and kills it, and looks for what is left. */
  async checkEnd(): Promise<void> {
    this.#chapter("The end");
    const first = traces(this.#mesh);
    await this.#mesh.stop();
    await this.#expectNothingLeft("after the mesh was stopped", this.#mesh, first);
    const mesh = await ShopMesh.prepare({ proxy: this.#mesh.proxy, envoy: this.#mesh.envoy, verbose: false });
    let second: Traces | undefined;
    try {
      await mesh.start(() => {});
      second = traces(mesh);
      this.#check(
        "a second mesh has processes and namespaces of its own",
        second.processes > 10 && second.namespaces.size > 10,
        JSON.stringify([second.processes, second.namespaces.size]),
      );
    } finally {
      await mesh.kill();
    }
    await this.#expectNothingLeft("after `lateen up` was killed with -9", mesh, second);
    mesh.remove();
  }

  async #start(): Promise<void> {
    const { proxy } = this.#mesh;
    this.#chapter(`Starting the shop with ${proxy === "envoy" ? "a stock Envoy" : "Lateen's proxy"} beside every workload`);
    const status = await this.#mesh.start((event) => this.#progress(event));
    const meshed = status.workloads.filter(({ spiffeId }) => spiffeId !== undefined);
    const pids = new Set(meshed.map(({ proxyPid }) => proxyPid));
    this.#check(
      "six workloads or more and a gateway run, with one proxy process each",
      meshed.length >= 7 && pids.size === meshed.length && !pids.has(undefined),
      JSON.stringify(status),
    );
    this.#check(
      "each has its SPIFFE identity",
      meshed.every(({ spiffeId }) => /^spiffe:\/\/cluster\.local\/ns\/shop\/sa\/[a-z-]+$/.test(spiffeId ?? "")),
      JSON.stringify(meshed),
    );
  }

  #progress(event: InsideEvent): void {
    if (event.event === "step" && event.state === "done")
      this.#say(`${paint("green", "✔")} ${event.name.padEnd(15)}${event.detail.padEnd(70)}${paint("dim", formatDuration(event.ms))}`);
    if (event.event === "step" && event.state === "failed") this.#say(`${paint("red", "✖")} ${event.name.padEnd(15)}${event.detail}`);
    if (event.event === "up") this.#say(paint("bold", `up in ${formatDuration(event.ms)}`));
    if (event.event === "exit") this.#say(`${paint("yellow", "!")} ${event.name} ${event.detail}`);
  }

  async #openShop(): Promise<void> {
    this.#chapter("The shop is open");
    const page = await this.#mesh.ask("/");
    this.#say(`open ${paint("underline", this.#mesh.url)}`);
    this.#check(
      "the gateway serves the shop's page",
      page.status === 200 && page.body.includes("<h1>The shop</h1>"),
      `${page.status} ${page.body.slice(0, 200)}`,
    );
    const products = await this.#mesh.ask("/api/products");
    this.#check(
      "the catalog answers with stock from the gRPC inventory",
      products.status === 200 && /"stock":\d{3,}/.test(products.body),
      `${products.status} ${products.body.slice(0, 300)}`,
    );
  }

  async #split(v1Percent: number, measured: Measured): Promise<void> {
    const { byVersion, total, failed, seconds } = measured;
    const v1 = ((byVersion["v1"] ?? 0) / total) * 100;
    const v2 = ((byVersion["v2"] ?? 0) / total) * 100;
    this.#chapter(`Payment v1 and v2, ${v1Percent}/${100 - v1Percent}: measured over ${total} requests through the gateway`);
    this.#say(`v1 ${v1.toFixed(1)} %   v2 ${v2.toFixed(1)} %   ${failed} failed   ${Math.round(total / seconds)} requests a second`);
    this.#check(`${total} requests, none failed`, failed === 0, `${failed} failed, the first: ${measured.firstFailure}`);
    // Four standard deviations of a binomial share: one run in 16,000 fails by chance.
    const sigma = Math.sqrt((v1Percent * (100 - v1Percent)) / total);
    this.#check(
      `payment v1 got ${v1Percent} % of them, give or take ${(4 * sigma).toFixed(1)}`,
      Math.abs(v1 - v1Percent) <= 4 * sigma,
      `${v1} %`,
    );
  }

  async #liveOrders(): Promise<void> {
    this.#chapter("Live orders, over WebSocket through the gateway");
    const order = await this.#mesh.hearOrder().catch((error: unknown) => ({ sku: "none", version: String(error) }));
    this.#say(`heard: a ${order.sku}, paid by ${order.version}`);
    this.#check("an order is heard by who listens", order.sku === "sail", order.version);
  }

  async #plaintext(): Promise<void> {
    this.#chapter("A client without identity");
    const status = await this.#mesh.status();
    const payment = status.workloads.find(({ name }) => name === "payment-v1");
    const program = (url: string): string =>
      `fetch(${JSON.stringify(url)},{signal:AbortSignal.timeout(5000)}).then(r=>console.log("answered "+r.status),e=>console.log("refused: "+(e.cause?.code??e.message)))`;
    const outside = await this.#mesh.execNode("outsider", program(`http://${payment?.ip}:8080/healthz`));
    this.#say(`plaintext from the outsider to payment-v1 (${payment?.ip}:8080): ${outside}`);
    this.#check("a STRICT workload refuses plaintext", outside.startsWith("refused"), outside);
    const inside = await this.#mesh.execNode("storefront", program("http://payment:8080/healthz"));
    this.#say(`the same asked by the storefront, as http://payment:8080/: ${inside}`);
    this.#check("a workload of the mesh is answered, by plain http and a short name", inside === "answered 200", inside);
  }

  async #brokenConfig(): Promise<void> {
    this.#chapter("A broken edit");
    const good = this.#mesh.read("payment.yaml");
    const heard = this.#mesh.waitForEvent((event) => event.event === "problems" && event.problems.length > 0, 20_000);
    this.#mesh.write("payment.yaml", good.replace("weight: 50", "wieght: 50"));
    const event = await heard.catch(() => undefined);
    const problems = event?.event === "problems" ? event.problems.join("\n") : "nothing was said";
    this.#say(problems);
    this.#check("it is refused with file, line and field", /payment\.yaml:\d+:\d+.*wieght/.test(problems), problems);
    const measured = await this.#mesh.measure(200);
    this.#check(
      "the last good config goes on",
      measured.failed === 0 && (measured.byVersion["v1"] ?? 0) > 50 && (measured.byVersion["v2"] ?? 0) > 50,
      JSON.stringify(measured),
    );
    const mended = this.#mesh.waitForEvent((one) => one.event === "problems" && one.problems.length === 0, 20_000);
    this.#mesh.write("payment.yaml", good);
    this.#check("mended, all is well again", (await mended.catch(() => undefined)) !== undefined, "the problems were not taken back");
  }

  async #killControlPlane(): Promise<void> {
    this.#chapter("kill -9 of the control plane while traffic flows");
    const status = await this.#mesh.status();
    const insidePid = status.controlPlane.pid ?? 0;
    const pid = hostPid(status.outerPid, insidePid);
    const traffic = this.#mesh.measure(3000);
    await sleep(300);
    if (pid !== undefined) process.kill(pid, "SIGKILL");
    const measured = await traffic;
    this.#say(`${measured.total} requests meanwhile, ${measured.failed} failed`);
    this.#check("no request fails", pid !== undefined && measured.failed === 0, `pid ${pid}; first failure: ${measured.firstFailure}`);
    const push = await this.#until("the proxies to resume", async () => {
      const report = await this.#mesh.edit("payment.yaml", (text) =>
        text.includes("weight: 50")
          ? text.replace("weight: 50", "weight: 60").replace("weight: 50", "weight: 40")
          : text.replace("weight: 60", "weight: 50").replace("weight: 40", "weight: 50"),
      );
      return report.acknowledged === report.proxies && report.proxies >= 7 ? report : undefined;
    });
    this.#check("it comes back and the proxies resume: an edit reaches all of them", push !== undefined, "no push was acknowledged by all");
    if (push) this.#say(describePush(push));
  }

  async #until(_what: string, test: () => Promise<PushReport | undefined>): Promise<PushReport | undefined> {
    for (let i = 0; i < 8; i++) {
      const result = await test().catch(() => undefined);
      if (result !== undefined) return result;
      await sleep(1000);
    }
    return undefined;
  }

  async #figures(): Promise<void> {
    this.#chapter("Figures, from the sidecars' own metrics");
    const figures = await this.#mesh.figures();
    for (const line of figuresTable(figures).split("\n")) this.#say(line);
    const of = (service: string) => figures.find((one) => one.service === service);
    this.#check(
      "every HTTP and gRPC service was counted, with latencies",
      HTTP_SERVICES.every((service) => (of(service)?.requests ?? 0) > 0 && (of(service)?.p99Ms ?? 0) > 0),
      JSON.stringify(figures),
    );
    this.#check(
      "payment counted the 4,000 requests and more",
      (of("payment")?.requests ?? 0) >= 2 * REQUESTS,
      JSON.stringify(of("payment")),
    );
    const failed = (all: readonly ServiceFigures[]): number =>
      all.reduce((sum, one) => sum + Math.round(one.requests * (1 - (one.success ?? 1))), 0);
    this.#check(
      "no service answered with an error since all were up",
      failed(figures) === failed(this.#atStart),
      `${failed(this.#atStart)} before, ${failed(figures)} now: ${JSON.stringify(figures)}`,
    );
    this.#check("the ledger's TCP connections were counted", (of("ledger")?.requests ?? 0) > 0, JSON.stringify(of("ledger")));
    this.#check(
      "all of it went over mutual TLS",
      HTTP_SERVICES.every((service) => of(service)?.mutualTls === 1),
      JSON.stringify(figures),
    );
  }

  #noRefusals(): void {
    const refused = this.#mesh.events.flatMap((event) => (event.event === "push" ? event.push.refused : []));
    const lines = this.#mesh.events.flatMap((event) =>
      event.event === "log" && event.from.endsWith("(proxy)") && /rejected|NACK/.test(event.line) ? [`${event.from}: ${event.line}`] : [],
    );
    this.#check(
      "no proxy refused any config",
      refused.length === 0 && lines.length === 0,
      [...refused.map(({ message }) => message), ...lines].slice(0, 5).join("\n"),
    );
  }

  async #expectNothingLeft(when: string, mesh: ShopMesh, during: Traces): Promise<void> {
    const left = (): string[] => [...during.namespaces].filter((namespace) => allNamespaces().has(namespace));
    for (let i = 0; i < 40 && (traces(mesh).processes > 0 || left().length > 0); i++) await sleep(100);
    const after = traces(mesh);
    this.#check(
      `no process, namespace or link is left ${when}`,
      after.processes === 0 && left().length === 0 && after.links === this.#before.links,
      `${after.processes} processes, ${left().length} namespaces, links ${after.links}`,
    );
  }

  #chapter(title: string): void {
    console.log(`\n${paint("bold", title)}`);
  }

  #say(text: string): void {
    for (const line of text.split("\n")) console.log(`  ${line}`);
  }

  #check(what: string, isTrue: boolean, otherwise: string): void {
    if (isTrue) this.passed += 1;
    else this.failed += 1;
    if (!isTrue) this.#say(`${paint("red", "✖ not so:")} ${what}\n    ${otherwise.slice(0, 1500)}`);
    else if (this.#isCheck) this.#say(`${paint("green", "✔")} ${what}`);
  }
}

/** Processes that work on the mesh's folder, and the network namespaces that are theirs. */
function traces(mesh: ShopMesh): Traces {
  let processes = 0;
  const namespaces = new Set<string>();
  const own = readlinkSync("/proc/self/ns/net");
  for (const pid of processIds()) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      if (pid === String(process.pid) || line.includes("rm -rf")) continue;
      const isOurs =
        line.includes(mesh.folder) || readFileSync(`/proc/${pid}/environ`, "utf8").includes(`LATEEN_DEMO_FOLDER=${mesh.folder}`);
      if (!isOurs) continue;
      processes += 1;
      const namespace = readlinkSync(`/proc/${pid}/ns/net`);
      if (namespace !== own) namespaces.add(namespace);
    } catch {
      // Ended meanwhile, or somebody else's.
    }
  }
  return { processes, namespaces, links: readdirSync("/sys/class/net").sort().join() };
}

function allNamespaces(): Set<string> {
  const namespaces = new Set<string>();
  for (const pid of processIds()) {
    try {
      namespaces.add(readlinkSync(`/proc/${pid}/ns/net`));
    } catch {
      // Ended meanwhile, or somebody else's.
    }
  }
  return namespaces;
}

function processIds(): string[] {
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name));
}
