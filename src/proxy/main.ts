/** `lateen proxy`: reads flags, environment and bootstrap, runs a proxy on the system's network, and ends it tidily. */
import { writeFileSync } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { createSystemRandom } from "../base/random.ts";
import { hardenProcess } from "../net/system/libc.ts";
import { createSystemNetwork } from "../net/system/network.ts";
import { releaseStartupMemory } from "../net/system/resident-memory.ts";
import { createFileSink } from "../telemetry/file-sink.ts";
import { createMetricsRegistry } from "../telemetry/registry.ts";
import { readEnvironment, readMark } from "./bootstrap/environment.ts";
import { type Flags, parseFlags } from "./bootstrap/flags.ts";
import { createLog, type LeveledLog } from "./bootstrap/log.ts";
import { readBootstrap } from "./bootstrap/read.ts";
import { addressText } from "./config/address.ts";
import { type EmbeddedIdentity, startEmbeddedIdentity } from "./config/embedded-identity.ts";
import { ProxyServer } from "./proxy.ts";

/** The product's version, as the admin and the xDS node tell it. */
export const VERSION = "0.1.0";

/** How long open connections have after SIGTERM where no --drain-time-s is given. */
const TERMINATION_DRAIN_MS = 5000;
/** When what start-up needed is given back: after the first config, and after the first traffic. */
const RELEASE_MEMORY_AFTER_MS = [1000, 10_000];
/** How often it is looked whether the proxy idles, and how much CPU time that is at most: then what traffic needed is given back too. */
const IDLE_LOOK_MS = 30_000;
const IDLE_CPU_SHARE = 0.01;
/** Exit codes: a wrong command line, a fault of the program (sysexits.h EX_SOFTWARE). */
const EXIT_USAGE = 2;
const EXIT_SOFTWARE = 70;

/** Runs the proxy with the arguments behind its name. Resolves with the exit code when it has ended. */
export async function runProxy(argv: readonly string[]): Promise<number> {
  const parsed = parseFlags(argv);
  if (parsed.kind === "help") {
    process.stdout.write(parsed.text);
    return 0;
  }
  if (parsed.kind === "usage") {
    process.stderr.write(`lateen proxy: ${parsed.message}\n`);
    return EXIT_USAGE;
  }
  const { flags } = parsed;
  let log: LeveledLog | undefined;
  try {
    log = createLog({ level: flags.logLevel, path: flags.logPath });
    return await run(flags, log, argv.some((argument) => argument.startsWith("--drain-time-s")) ? flags.drainTimeMs : TERMINATION_DRAIN_MS);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const text = error.hint ? `${error.message} (${error.hint})` : error.message;
    if (log) log.error(text);
    else process.stderr.write(`lateen proxy: ${text}\n`);
    return error.exitCode;
  }
}

async function run(flags: Flags, log: LeveledLog, terminationDrainMs: number): Promise<number> {
  const endOfProcess = Promise.withResolvers<number>();
  const crash = (error: unknown, kind: string): void => {
    log.error(`${kind}: ${messageOf(error)}`, { stack: error instanceof Error ? (error.stack ?? "") : "" });
    process.exit(EXIT_SOFTWARE);
  };
  process.on("uncaughtException", (error) => crash(error, "uncaught exception"));
  process.on("unhandledRejection", (error) => crash(error, "unhandled rejection"));
  for (const warning of flags.warnings) log.warn(warning);

  const environment = readEnvironment();
  const { bootstrap, warnings } = readBootstrap({
    path: flags.configPath,
    text: flags.configYaml,
    allowUnknownFields: flags.allowUnknownStaticFields,
  });
  for (const warning of warnings) log.warn(`bootstrap: ${warning}`);
  const nodeMark = bootstrap.node?.metadata?.["LATEEN_SOCKET_MARK"];
  const socketMark =
    environment.socketMark ?? readMark(typeof nodeMark === "string" || typeof nodeMark === "number" ? String(nodeMark) : undefined);

  const clock = systemClock;
  const metrics = createMetricsRegistry();
  const accessLogs = createFileSink({ clock, log, metrics });
  const network = createSystemNetwork({
    clock,
    onShed: (address) => log.warn(`connection reset: too many wait on ${addressText(address)}`),
  });
  const random = createSystemRandom();
  let identity: EmbeddedIdentity | undefined;
  if (environment.embedsIdentity && flags.mode !== "validate") {
    const onFail = (message: string): void => {
      log.error(`no identity: ${message}`);
      endOfProcess.resolve(1);
    };
    identity = startEmbeddedIdentity({
      variables: environment.variables,
      directory: process.cwd(),
      network,
      clock,
      random,
      log,
      mark: socketMark,
      onFail,
    });
  }
  const proxy = new ProxyServer({
    bootstrap,
    flags,
    environment: { ...environment, socketMark },
    clock,
    random,
    log,
    network,
    localSecrets: identity,
    version: VERSION,
    accessLogs,
    metrics,
    onQuit: () => endOfProcess.resolve(0),
  });
  proxy.loadStatic();
  if (flags.mode === "validate") {
    process.stdout.write(`configuration '${flags.configPath ?? "--config-yaml"}' OK\n`);
    proxy.close();
    return 0;
  }

  try {
    hardenProcess();
  } catch (error) {
    log.warn(`the process cannot be hardened against dumps: ${messageOf(error)}`);
  }
  let isTerminating = false;
  const terminate = (signal: string): void => {
    if (isTerminating) {
      endOfProcess.resolve(0);
      return;
    }
    isTerminating = true;
    log.info(`${signal}: draining for at most ${terminationDrainMs} ms`);
    proxy.drain(terminationDrainMs, () => endOfProcess.resolve(0));
  };
  process.on("SIGTERM", () => terminate("SIGTERM"));
  process.on("SIGINT", () => terminate("SIGINT"));
  process.on("SIGHUP", () => undefined); // A terminal that closes is no reason to stop serving.

  await proxy.start();
  for (const delayMs of RELEASE_MEMORY_AFTER_MS) clock.after(delayMs, () => void releaseStartupMemory());
  const releaseWhenIdle = (before: NodeJS.CpuUsage): void => {
    clock.after(IDLE_LOOK_MS, () => {
      const { user, system } = process.cpuUsage(before);
      if ((user + system) / 1000 < IDLE_LOOK_MS * IDLE_CPU_SHARE) releaseStartupMemory();
      releaseWhenIdle(process.cpuUsage());
    });
  };
  releaseWhenIdle(process.cpuUsage());
  if (flags.adminAddressPath !== undefined && proxy.adminAddress) writeFileSync(flags.adminAddressPath, addressText(proxy.adminAddress));
  // Timers do not keep a process; a proxy whose listeners are all dynamic may have nothing else.
  const keepAlive = setInterval(() => undefined, 0x7fffffff);
  const code = await endOfProcess.promise;
  clearInterval(keepAlive);
  identity?.close();
  proxy.close();
  await new Promise<void>((resolve) => accessLogs.flush(resolve));
  return code;
}
