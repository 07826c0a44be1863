/** A proxy side by side with Envoy: CPU a request, in interleaved pairs, and memory at rest. See README.md. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installDebian, installEnvoy } from "../scripts/tools.ts";
import { table } from "../src/cli/terminal.ts";
import { BOOTSTRAPS, type Places } from "./bootstraps.ts";
import { cpuMicros, processTree, residentMb } from "./processes.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const SCENARIOS = [...Object.keys(BOOTSTRAPS), "idle"];
const { values: options } = parseArgs({
  options: {
    scenario: { type: "string", default: SCENARIOS.join(",") },
    subject: { type: "string", default: "lateen" },
    pairs: { type: "string", default: "5" },
    secs: { type: "string", default: "3" },
    help: { type: "boolean", short: "h", default: false },
  },
});
const names = options.scenario.split(",");
const unknown = names.find((name) => !SCENARIOS.includes(name));
if (options.help || unknown) {
  console.log(
    `${unknown ? `no scenario is called ${unknown}\n` : ""}usage: npm run bench -- [--scenario NAME[,NAME]] [--subject lateen|envoy|COMMAND] [--pairs N] [--secs N]\nscenarios: ${SCENARIOS.join(" ")}`,
  );
  process.exit(options.help ? 0 : 2);
}

const say = (text: string): void => console.error(text);
const missing = installDebian({ wrk: "wrk", h2load: "nghttp2-client", openssl: "openssl" }, say);
if (missing.length > 0) {
  console.error(`the benchmark needs ${missing.join(", ")}`);
  process.exit(1);
}
const ENVOY = installEnvoy(ROOT, say);
const work = mkdtempSync(join(tmpdir(), "lateen-bench-"));
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(work, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(130));

interface Subject {
  readonly name: string;
  readonly command: readonly string[];
}

interface Running {
  readonly subject: Subject;
  readonly children: readonly ChildProcess[];
  readonly port: number;
}

const command =
  options.subject === "lateen"
    ? [join(ROOT, "bin/lateen"), "proxy"]
    : options.subject === "envoy"
      ? [ENVOY, "-l", "off"]
      : options.subject.split(" ");
const subjects: readonly [Subject, Subject] = [
  { name: options.subject, command },
  { name: "envoy", command: [ENVOY, "-l", "off"] },
];
const body = Buffer.alloc(1024, "x");
const backends = await startBackends();
const certificates = makeCertificates();

const rows: string[][] = [];
for (const name of names) {
  say(`… ${name}`);
  rows.push(...(name === "idle" ? await measureIdle() : await measureLoad(name)));
}
console.log(table(["scenario", "proxy", "CPU us/req", "ratio", "req/s", "memory MB", "errors"], rows));
process.exit(0);

async function measureLoad(name: string): Promise<string[][]> {
  const both = [await start(name, subjects[0]), await start(name, subjects[1])] as const;
  for (const one of both) load(name, one.port, 2);
  const runs = both.map((): { cpu: number; rate: number; errors: number; memory: number }[] => []);
  for (let pair = 0; pair < Number(options.pairs); pair++) {
    for (const i of pair % 2 === 0 ? [0, 1] : [1, 0]) {
      const one = both[i] as Running;
      const pids = one.children.flatMap((child) => processTree(child.pid ?? 0));
      const before = cpuMicros(pids);
      const { requests, errors, seconds } = load(name, one.port, Number(options.secs));
      runs[i]?.push({
        cpu: (cpuMicros(pids) - before) / requests,
        rate: requests / seconds,
        errors,
        memory: residentMb(pids) / one.children.length,
      });
    }
  }
  for (const one of both) await stop(one);
  return both.map((one, i) => {
    const mine = runs[i] ?? [];
    const ratios = mine.map(({ cpu }, pair) => cpu / (runs[1]?.[pair]?.cpu ?? Number.NaN));
    return [
      name,
      one.subject.name,
      median(mine.map(({ cpu }) => cpu)).toFixed(1),
      median(ratios).toFixed(2),
      median(mine.map(({ rate }) => rate)).toFixed(0),
      median(mine.map(({ memory }) => memory)).toFixed(0),
      String(mine.reduce((sum, { errors }) => sum + errors, 0)),
    ];
  });
}

async function measureIdle(): Promise<string[][]> {
  const rowsOfIdle: string[][] = [];
  let envoy = Number.NaN;
  for (const subject of subjects.toReversed()) {
    const one = await start("h1-plain-1k-16", subject);
    for (let i = 0; i < 20; i++) await get(one.port);
    await sleep(2000);
    const memory = residentMb(one.children.flatMap((child) => processTree(child.pid ?? 0)));
    if (subject === subjects[1]) envoy = memory;
    rowsOfIdle.unshift(["idle", subject.name, "-", (memory / envoy).toFixed(2), "-", memory.toFixed(1), "0"]);
    await stop(one);
  }
  return rowsOfIdle;
}

async function start(name: string, subject: Subject): Promise<Running> {
  const [listen = 0, between = 0, admin = 0] = await freePorts(4);
  const places: Places = { listen, between, admin, backend: name === "h2-h2" ? backends.h2 : backends.h1, certificates };
  const children = (BOOTSTRAPS[name]?.(places) ?? []).map((bootstrap, i) => {
    const file = join(work, `${name}-${subject.name.replace(/\W+/g, "_")}-${i}.json`);
    writeFileSync(file, JSON.stringify(bootstrap));
    const log = openSync(`${file}.log`, "w");
    const [program = "", ...args] = subject.command;
    const more = program === ENVOY ? ["--disable-hot-restart"] : [];
    const child = spawn(program, [...args, "-c", file, "--concurrency", "1", ...more], { stdio: ["ignore", log, log] });
    running.add(child);
    child.on("exit", () => running.delete(child));
    return { child, log: `${file}.log` };
  });
  for (let i = 0; ; i++) {
    if ((await get(listen)) === 200 || (name === "h2-h2" && i > 10)) break;
    if (i > 300)
      throw new Error(
        `${subject.name} does not answer in ${name}:\n${children.map(({ log }) => readFileSync(log, "utf8").slice(-2000)).join("\n")}`,
      );
    await sleep(30);
  }
  return { subject, children: children.map(({ child }) => child), port: listen };
}

async function stop({ children }: Running): Promise<void> {
  await Promise.all(
    children.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const gone = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await gone;
    }),
  );
}

/** Puts a proxy under load. Blocks: nothing else of this process has to run meanwhile but the backends, which are processes of their own. */
function load(name: string, port: number, seconds: number): { requests: number; errors: number; seconds: number } {
  if (name === "h2-h2") {
    const output = execFileSync("h2load", ["-c4", "-m16", "-t1", `-D${seconds}`, `http://127.0.0.1:${port}/`], { encoding: "utf8" });
    const [, done = "0", , failed = "0"] = /requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed/.exec(output) ?? [];
    return { requests: Number(done), errors: Number(failed), seconds };
  }
  const output = execFileSync("wrk", ["-t1", "-c16", `-d${seconds}s`, `http://127.0.0.1:${port}/`], { encoding: "utf8" });
  const requests = Number(/(\d+) requests in/.exec(output)?.[1] ?? 0);
  const bad = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
  const socket = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1).map(Number) ?? [];
  return { requests, errors: bad + socket.reduce((sum, count) => sum + count, 0), seconds };
}

function get(port: number): Promise<number> {
  return new Promise((resolve) => {
    const request = http.get({ host: "127.0.0.1", port, agent: false, timeout: 2000 }, (answer) =>
      answer
        .resume()
        .on("end", () => resolve(answer.statusCode ?? 0))
        .on("error", () => resolve(0)),
    );
    request.on("timeout", () => request.destroy()).on("error", () => resolve(0));
  });
}

/** Servers that answer 1 KB, in a process of their own. */
async function startBackends(): Promise<{ h1: number; h2: number }> {
  if (process.env["BENCH_BACKENDS"]) {
    const [h1 = 0, h2 = 0] = process.env["BENCH_BACKENDS"].split(",").map(Number);
    http
      .createServer((_request, answer) => answer.writeHead(200, { "content-type": "text/plain", "content-length": body.length }).end(body))
      .listen(h1, "127.0.0.1");
    http2.createServer((_request, answer) => answer.writeHead(200, { "content-type": "text/plain" }).end(body)).listen(h2, "127.0.0.1");
    await new Promise(() => {});
  }
  const [h1 = 0, h2 = 0] = await freePorts(2);
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url)], {
    stdio: "inherit",
    env: { ...process.env, BENCH_BACKENDS: `${h1},${h2}` },
  });
  running.add(child);
  while ((await get(h1)) !== 200) await sleep(30);
  return { h1, h2 };
}

function makeCertificates(): string {
  const folder = join(work, "certificates");
  mkdirSync(folder);
  const openssl = (...args: string[]): void => {
    const { status, stderr } = spawnSync("openssl", args, { cwd: folder, encoding: "utf8" });
    if (status !== 0) throw new Error(`openssl ${args[0]}: ${stderr}`);
  };
  const key = (file: string): void => openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", file);
  key("ca.key");
  openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/O=cluster.local", "-days", "2", "-out", "ca.pem");
  for (const name of ["a", "b"]) {
    key(`${name}.key`);
    openssl("req", "-new", "-key", `${name}.key`, "-subj", "/O=bench", "-out", `${name}.csr`);
    writeFileSync(
      join(folder, `${name}.ext`),
      `subjectAltName=critical,URI:spiffe://cluster.local/ns/default/sa/${name}\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\nbasicConstraints=critical,CA:FALSE\n`,
    );
    openssl(
      "x509",
      "-req",
      "-in",
      `${name}.csr`,
      "-CA",
      "ca.pem",
      "-CAkey",
      "ca.key",
      "-CAcreateserial",
      "-days",
      "2",
      "-extfile",
      `${name}.ext`,
      "-out",
      `${name}.pem`,
    );
  }
  return folder;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => net.createServer());
  const ports = await Promise.all(
    servers.map(
      (server) =>
        new Promise<number>((resolve) => server.listen(0, "127.0.0.1", () => resolve((server.address() as net.AddressInfo).port))),
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

function median(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}
