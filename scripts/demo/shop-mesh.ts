/** The shop as a running mesh: a copy of examples/shop whose YAML may be edited, `lateen up` on it, and what a visitor can do with it. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { InsideEvent, MeshStatus, PushReport, ServiceFigures } from "../../src/up/messages.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const LATEEN = join(ROOT, "bin/lateen");
const run = promisify(execFile);

/** How 2,000 requests went. */
export interface Measured {
  readonly total: number;
  readonly failed: number;
  readonly byVersion: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly firstFailure: string | undefined;
}

/** A mesh that `lateen up` runs. */
export class ShopMesh {
  readonly folder: string;
  readonly url: string;
  readonly name: string;
  readonly proxy: string;
  readonly events: InsideEvent[] = [];
  readonly #options: { readonly envoy: string | undefined; readonly verbose: boolean };
  readonly #listeners = new Set<(event: InsideEvent) => void>();
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  #child: ChildProcess | undefined;
  #errors = "";

  private constructor(folder: string, port: number, options: { proxy: string; envoy: string | undefined; verbose: boolean; name: string }) {
    this.folder = folder;
    this.url = `http://127.0.0.1:${port}/`;
    this.name = options.name;
    this.proxy = options.proxy;
    this.#options = options;
  }

  /** Copies the shop into the checkout's cache, from where it goes whatever becomes of this process. */
  static async prepare(options: { proxy: string; envoy: string | undefined; verbose: boolean }): Promise<ShopMesh> {
    mkdirSync(join(ROOT, ".cache"), { recursive: true });
    const folder = mkdtempSync(join(ROOT, ".cache/shop-"));
    // A guard removes the copy when this process has gone, even if it was killed: then its input ends.
    spawn("sh", ["-c", 'cat > /dev/null; rm -rf "$1"', "sh", folder], { detached: true, stdio: ["pipe", "ignore", "ignore"] }).unref();
    cpSync(join(ROOT, "examples/shop"), folder, { recursive: true });
    const port = (await isFree(8080)) ? 8080 : await freePort();
    const file = join(folder, "lateen.yaml");
    const name = port === 8080 ? "shop" : `shop-${port}`;
    writeFileSync(file, readFileSync(file, "utf8").replace("127.0.0.1:8080", `127.0.0.1:${port}`).replace("name: shop", `name: ${name}`));
    return new ShopMesh(folder, port, { ...options, name });
  }

  /** The Envoy beside its workloads, if that is what stands there. */
  get envoy(): string | undefined {
    return this.#options.envoy;
  }

  get relativeFolder(): string {
    return relative(process.cwd(), this.folder);
  }

  /** Resolves when `lateen up` has ended. */
  get ended(): Promise<unknown> {
    return this.#child && this.#child.exitCode === null && this.#child.signalCode === null ? once(this.#child, "exit") : Promise.resolve();
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Starts it and waits until it is up. Rejects with what `lateen up` said. */
  async start(onEvent: (event: InsideEvent) => void): Promise<MeshStatus> {
    const args = [
      "up",
      this.folder,
      "--output",
      "json",
      "--proxy",
      this.proxy,
      ...(this.#options.envoy ? ["--envoy", this.#options.envoy] : []),
    ];
    const child = spawn(LATEEN, args, {
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
      env: { ...process.env, LATEEN_DEMO_FOLDER: this.folder },
    });
    this.#child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.#errors += text;
      if (this.#options.verbose) process.stderr.write(text);
    });
    createInterface({ input: child.stdout }).on("line", (line) => {
      const event = JSON.parse(line) as InsideEvent;
      this.events.push(event);
      if (this.#options.verbose && event.event === "log") console.log(`    ${event.from}: ${event.line}`);
      for (const listener of this.#listeners) listener(event);
    });
    this.#listeners.add(onEvent);
    const up = this.waitForEvent((event) => event.event === "up", 120_000);
    const ended = once(child, "exit").then(() => {
      throw new Error(`lateen up ended\n${this.#errors.trim()}`);
    });
    ended.catch(() => {});
    const event = await Promise.race([up, ended]);
    if (event.event !== "up") throw new Error("not up");
    return event.status;
  }

  /** The next event that `test` says yes to. */
  waitForEvent(test: (event: InsideEvent) => boolean, timeoutMs: number): Promise<InsideEvent> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#listeners.delete(listen);
        reject(new Error(`nothing was heard for ${timeoutMs / 1000} s`));
      }, timeoutMs);
      const listen = (event: InsideEvent): void => {
        if (!test(event)) return;
        clearTimeout(timer);
        this.#listeners.delete(listen);
        resolve(event);
      };
      this.#listeners.add(listen);
    });
  }

  /** Replaces text in a YAML file of the mesh, at once, and waits for the proxies. */
  async edit(file: string, change: (text: string) => string): Promise<PushReport> {
    const pushed = this.waitForEvent((event) => event.event === "push" && event.push.reason.includes(file), 20_000);
    this.write(file, change(this.read(file)));
    const event = await pushed;
    if (event.event !== "push") throw new Error("no push");
    return event.push;
  }

  read(file: string): string {
    return readFileSync(join(this.folder, file), "utf8");
  }

  write(file: string, text: string): void {
    writeFileSync(join(this.folder, `.${file}.new`), text);
    renameSync(join(this.folder, `.${file}.new`), join(this.folder, file));
  }

  /** One request through the gateway. */
  ask(path: string, body?: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const request = http.request(
        new URL(path, this.url),
        {
          method: body === undefined ? "GET" : "POST",
          agent: this.#agent,
          timeout: 15_000,
          headers: body === undefined ? {} : { "content-type": "application/json" },
        },
        (answer) => {
          const parts: Buffer[] = [];
          answer
            .on("data", (part: Buffer) => parts.push(part))
            .on("end", () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(parts).toString() }))
            .on("error", reject);
        },
      );
      request.on("timeout", () => request.destroy(new Error("timeout"))).on("error", reject);
      request.end(body);
    });
  }

  /** Checks out `total` times through the gateway and counts which payment answered. */
  async measure(total: number): Promise<Measured> {
    const byVersion: Record<string, number> = {};
    let sent = 0;
    let failed = 0;
    let firstFailure: string | undefined;
    const began = performance.now();
    const customer = async (): Promise<void> => {
      while (sent < total) {
        sent += 1;
        try {
          const { status, body } = await this.ask("/api/checkout", '{"sku":"rope","amount":24,"dryRun":true}');
          if (status !== 200) throw new Error(`${status} ${body.slice(0, 200)}`);
          const { version } = JSON.parse(body) as { version: string };
          byVersion[version] = (byVersion[version] ?? 0) + 1;
        } catch (error) {
          failed += 1;
          firstFailure ??= error instanceof Error ? error.message : String(error);
        }
      }
    };
    await Promise.all(Array.from({ length: 16 }, customer));
    return { total, failed, byVersion, seconds: (performance.now() - began) / 1000, firstFailure };
  }

  /** Connects to the live orders, buys something, and gives the order heard. */
  async hearOrder(): Promise<{ sku: string; version: string }> {
    const socket = new WebSocket(`${this.url.replace("http", "ws")}live`);
    try {
      return await new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error("no order was heard in 10 s")), 10_000);
        socket.onerror = () => reject(new Error("the WebSocket failed"));
        socket.onmessage = ({ data }) => {
          const order = JSON.parse(String(data)) as { sku?: string; version?: string; hello?: string };
          if (order.hello) void this.ask("/api/checkout", '{"sku":"sail","amount":420}').catch(reject);
          if (order.sku !== "sail" || !order.version) return;
          clearTimeout(timer);
          resolve({ sku: order.sku, version: order.version });
        };
      });
    } finally {
      socket.close();
    }
  }

  /** Runs a Node program where a workload runs; its output. Rejects when it fails. */
  async execNode(workload: string, program: string): Promise<string> {
    const { stdout } = await run(LATEEN, ["exec", "--mesh", this.name, workload, "--", process.execPath, "-e", program], {
      timeout: 20_000,
    });
    return stdout.trim();
  }

  async figures(): Promise<ServiceFigures[]> {
    const { stdout } = await run(LATEEN, ["stat", this.name, "-o", "json"], { timeout: 20_000 });
    return JSON.parse(stdout) as ServiceFigures[];
  }

  async status(): Promise<MeshStatus & { outerPid: number }> {
    const { stdout } = await run(LATEEN, ["status", this.name, "-o", "json"], { timeout: 20_000 });
    return JSON.parse(stdout) as MeshStatus & { outerPid: number };
  }

  /** Ends `lateen up` in good order and removes the copy. */
  async stop(): Promise<void> {
    this.#agent.destroy();
    const child = this.#child;
    if (child && child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      await Promise.race([once(child, "exit"), sleep(20_000).then(() => child.kill("SIGKILL"))]);
    }
    this.remove();
  }

  /** Removes the copy. */
  remove(): void {
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true, force: true });
  }

  /** kill -9, as a crash would be. */
  async kill(): Promise<void> {
    this.#agent.destroy();
    const child = this.#child;
    child?.kill("SIGKILL");
    if (child && child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
