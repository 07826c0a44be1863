/** The shop without transparent capture: `lateen up --capture explicit` as a user runs it, and what is left when it ends, well or badly. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { InsideEvent, MeshStatus, ServiceFigures } from "../../src/up/messages.ts";

const ROOT = join(import.meta.dirname, "../..");
const LATEEN = join(ROOT, "bin/lateen");
const UP_MS_MAX = 90_000;
const skip = process.platform === "linux" ? false : "explicit mode needs Linux's loopback";
const run = promisify(execFile);

/** A mesh in a folder of its own, whose temporary files are there, too. */
class Mesh {
  readonly folder: string;
  readonly temporary: string;
  readonly events: InsideEvent[] = [];
  #child: ChildProcess | undefined;
  #errors = "";

  constructor(t: TestContext) {
    mkdirSync(join(ROOT, ".cache"), { recursive: true });
    this.folder = mkdtempSync(join(ROOT, ".cache/explicit-"));
    this.temporary = `${this.folder}.tmp`;
    mkdirSync(this.temporary);
    t.after(async () => {
      await this.end("SIGTERM");
      for (const folder of [this.folder, this.temporary]) rmSync(folder, { recursive: true, force: true });
    });
  }

  /** Resolves when all is up; rejects with what was said when it does not come up. */
  async up(): Promise<MeshStatus> {
    const child = spawn(LATEEN, ["up", this.folder, "--capture", "explicit", "-o", "json"], {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, TMPDIR: this.temporary },
    });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
    });
    createInterface({ input: child.stdout }).on("line", (line) => this.events.push(JSON.parse(line) as InsideEvent));
    const event = await this.heard((one) => one.event === "up", UP_MS_MAX);
    return event.event === "up" ? event.status : assert.fail();
  }

  /** An event, past or to come. */
  async heard(test: (event: InsideEvent) => boolean, timeoutMs: number): Promise<InsideEvent> {
    for (const end = Date.now() + timeoutMs; Date.now() < end; await sleep(20)) {
      const event = this.events.find(test);
      if (event) return event;
      if (this.#child?.exitCode !== null) break;
    }
    return assert.fail(
      `not heard: ${this.#errors}\n${this.events
        .slice(-20)
        .map((event) => JSON.stringify(event))
        .join("\n")}`,
    );
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const exited = once(child, "exit");
    child.kill(signal);
    await Promise.race([exited, sleep(20_000).then(() => child.kill("SIGKILL"))]);
    return child.exitCode;
  }
}

test("the shop runs without capture: gateway, names, weights, mutual TLS; and ends without a trace", {
  skip,
  timeout: 200_000,
}, async (t) => {
  const mesh = new Mesh(t);
  const port = await freePort();
  const name = `explicit-${port}`;
  cpSync(join(ROOT, "examples/shop"), mesh.folder, { recursive: true });
  const file = join(mesh.folder, "lateen.yaml");
  writeFileSync(file, readFileSync(file, "utf8").replace("127.0.0.1:8080", `127.0.0.1:${port}`).replace("name: shop", `name: ${name}`));
  const status = await mesh.up();
  const ipOf = (workload: string): string => status.workloads.find((one) => one.name === workload)?.ip ?? assert.fail(workload);
  const gateway = { host: "127.0.0.1", port };
  assert.equal(status.capture, "none");

  const page = await ask(gateway, "/");
  assert.equal(page.status, 200);
  assert.match(page.body, /<html/i);
  // Over HTTP to the catalog, from there over gRPC to the inventory.
  const products = await ask(gateway, "/api/products");
  assert.equal(products.status, 200, products.body);
  assert.match(products.body, /"stock":\d/);

  const split = await checkOut(gateway, 300);
  assert.equal(split["v1"] + split["v2"], 300, JSON.stringify(split));
  // 30 expected; five standard deviations are 26.
  assert.ok(split["v2"] >= 4 && split["v2"] <= 56, JSON.stringify(split));

  const routes = join(mesh.folder, "payment.yaml");
  writeFileSync(
    join(mesh.folder, ".new"),
    readFileSync(routes, "utf8").replace("weight: 90", "weight: 0").replace("weight: 10", "weight: 100"),
  );
  renameSync(join(mesh.folder, ".new"), routes);
  const pushed = await mesh.heard((event) => event.event === "push" && event.push.reason.includes("payment.yaml"), 20_000);
  assert.ok(pushed.event === "push" && pushed.push.acknowledged === pushed.push.proxies, JSON.stringify(pushed));
  assert.deepEqual(await checkOut(gateway, 40), { v1: 0, v2: 40, failed: 0 });

  // A client that takes its proxy from HTTP_PROXY asks by name.
  const proxy = { host: ipOf("storefront"), port: 15007 };
  assert.equal((await ask(proxy, "http://payment:8080/healthz")).body, "ok\n");
  assert.equal((await ask(proxy, "http://payment.shop.svc.cluster.local:8080/healthz")).status, 200);
  assert.equal((await ask(proxy, "http://nobody:8080/")).status, 502);

  // STRICT holds at the workload's own address.
  await assert.rejects(ask({ host: ipOf("payment-v1"), port: 8080 }, "/healthz"));
  assert.equal((await run(LATEEN, ["status", name])).stdout.includes(ipOf("payment-v1")), true);
  const figures = JSON.parse((await run(LATEEN, ["stat", name, "-o", "json"])).stdout) as ServiceFigures[];
  const byService = new Map(figures.map((one) => [one.service, one]));
  for (const service of ["storefront", "catalog", "payment", "inventory"]) assert.equal(byService.get(service)?.mutualTls, 1, service);
  await assert.rejects(run(LATEEN, ["exec", "--mesh", name, "orders", "--", "true"]), /needs network namespaces/);

  const pids = pidsOf(status);
  assert.ok(pids.length > 15);
  assert.equal(await mesh.end("SIGTERM"), 0);
  assert.deepEqual(pids.filter(isAlive), []);
  assert.deepEqual(readdirSync(mesh.temporary), []);
});

test("kill -9 ends all processes, those that ignore signals and those that workloads started, and removes the keys", {
  skip,
  timeout: 120_000,
}, async (t) => {
  const mesh = new Mesh(t);
  const noted = join(mesh.folder, "child");
  const command = `trap '' TERM; sh -c 'echo $$ > ${noted}; sleep 600; true' & wait; sleep 600`;
  writeFileSync(
    join(mesh.folder, "lateen.yaml"),
    JSON.stringify({ name: `explicit-${process.pid}`, workloads: { idle: { command, sidecar: false } } }),
  );
  const status = await mesh.up();
  while (!existsSync(noted) || readFileSync(noted, "utf8") === "") await sleep(20);
  const pids = [...pidsOf(status), Number(readFileSync(noted, "utf8"))];
  assert.deepEqual(
    pids.filter((pid) => !isAlive(pid)),
    [],
  );
  assert.equal(readdirSync(mesh.temporary).length, 1);
  await mesh.end("SIGKILL");
  for (const end = Date.now() + 10_000; Date.now() < end && (pids.some(isAlive) || readdirSync(mesh.temporary).length > 0); )
    await sleep(20);
  assert.deepEqual(pids.filter(isAlive), []);
  assert.deepEqual(readdirSync(mesh.temporary), []);
});

function pidsOf(status: MeshStatus): number[] {
  const parts = status.workloads.flatMap(({ appPid, proxyPid }) => [appPid, proxyPid]);
  return [status.controlPlane.pid, ...parts].filter((pid) => pid !== undefined);
}

function isAlive(pid: number): boolean {
  try {
    // A zombie that nobody has waited for yet is dead.
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}

async function checkOut(gateway: { host: string; port: number }, total: number): Promise<{ v1: number; v2: number; failed: number }> {
  const count = { v1: 0, v2: 0, failed: 0 };
  let sent = 0;
  const customer = async (): Promise<void> => {
    while (sent++ < total) {
      const { status, body } = await ask(gateway, "/api/checkout", '{"sku":"rope","amount":24,"dryRun":true}');
      const version = status === 200 ? (JSON.parse(body) as { version: string }).version : "failed";
      count[version === "v1" || version === "v2" ? version : "failed"] += 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, customer));
  return count;
}

function ask(to: { host: string; port: number }, path: string, body?: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const host = path.startsWith("http") ? { host: new URL(path).host } : {};
    const headers = { ...host, ...(body === undefined ? {} : { "content-type": "application/json" }) };
    const request = http.request(
      { ...to, path, method: body === undefined ? "GET" : "POST", agent: false, timeout: 15_000, headers },
      (answer) => {
        let text = "";
        answer
          .setEncoding("utf8")
          .on("data", (part: string) => {
            text += part;
          })
          .on("end", () => resolve({ status: answer.statusCode ?? 0, body: text }))
          .on("error", reject);
      },
    );
    request.on("timeout", () => request.destroy(new Error("timeout"))).on("error", reject);
    request.end(body);
  });
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  return port;
}
