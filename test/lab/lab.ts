/** `npm run lab`: puts the cases to a mesh of Lateen's control plane and Lateen's proxy or Envoy. See README.md. */
import { mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installDebian, installEnvoy } from "../../scripts/tools.ts";
import { type Case, readCases } from "./case.ts";
import { Mesh, type StepReport } from "./mesh.ts";
import { removeLeftovers } from "./topology.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const FOLDER = process.env["LAB_FOLDER"] ?? join(tmpdir(), "lateen-conformance-lab");
const USAGE = `usage: npm run lab -- [--proxy lateen|envoy] [--envoy-pods A,B] [--only TEXT]… [--shard I/N] [--cases DIR] [--expect-only] [--sotw] [--keep] [-v]
       npm run lab -- clean`;
const TOOLS = {
  ip: "iproute2",
  ss: "iproute2",
  "iptables-restore": "iptables",
  openssl: "openssl",
  setpriv: "util-linux",
  sysctl: "procps",
};
const EXIT_USAGE = 2;
const EXIT_SIGNAL = 130;

process.exitCode = await main();

async function main(): Promise<number> {
  const { values: options, positionals } = readArguments();
  const isClean = positionals[0] === "clean";
  if (positionals.length > (isClean ? 1 : 0) || !["lateen", "envoy"].includes(options.proxy)) {
    console.error(USAGE);
    return EXIT_USAGE;
  }
  if (process.platform !== "linux" || process.getuid?.() !== 0) {
    console.error("the lab needs Linux and root: it makes network namespaces and capture rules");
    return EXIT_USAGE;
  }
  const missing = installDebian(TOOLS, console.error);
  if (missing.length > 0) {
    console.error(`the lab needs ${missing.join(", ")} (Debian: apt-get install ${[...new Set(Object.values(TOOLS))].join(" ")})`);
    return EXIT_USAGE;
  }
  if (isClean) {
    for (const namespace of removeLeftovers()) console.log(`removed ${namespace}`);
    return 0;
  }

  const cases = readCases(options.cases, { only: options.only ?? [], shard: options.shard });
  if (cases.length === 0) {
    console.error(`no case of ${options.cases} was chosen`);
    return EXIT_USAGE;
  }
  const envoyPods = options["envoy-pods"].split(",").filter(Boolean);
  const needsEnvoy = options.proxy === "envoy" || envoyPods.length > 0;
  mkdirSync(FOLDER, { recursive: true });
  const mesh = new Mesh(FOLDER, process.pid.toString(36), {
    lateen: process.env["LATEEN"] ?? join(ROOT, "bin/lateen"),
    envoy: needsEnvoy ? installEnvoy(ROOT, console.error) : "",
    proxyOf: (pod) => (options.proxy === "envoy" || envoyPods.includes(pod) ? "envoy" : "lateen"),
    isDelta: !options.sotw,
    expectOnly: options["expect-only"],
    onSeen: (step, seen) => {
      if (options.verbose) console.log(`  ${step}: ${JSON.stringify(seen)}`);
    },
  });
  return await runCases(mesh, cases, options);
}

async function runCases(
  mesh: Mesh,
  cases: readonly Case[],
  options: { readonly proxy: string; readonly keep: boolean; readonly verbose: boolean },
): Promise<number> {
  const began = Date.now();
  const seconds = (): string => ((Date.now() - began) / 1000).toFixed(1);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= mesh.close();
    return closing;
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void close().finally(() => process.exit(EXIT_SIGNAL)));

  let passed = 0;
  let failed = 0;
  try {
    await mesh.start();
    console.log(`up after ${seconds()} s: Lateen's control plane with ${options.proxy}, ${cases.length} cases`);
    for (const kase of cases) {
      const at = Date.now();
      const refusedBefore = mesh.refusals().length;
      const reports = await mesh.runCase(kase).catch((error: unknown) => failAll(kase, error));
      for (const { step, differences } of reports) {
        if (differences.length === 0) passed += 1;
        else {
          failed += 1;
          console.log(`FAIL ${kase.name} / ${step}: ${differences.join("; ")}`);
        }
      }
      for (const line of mesh.refusals().slice(refusedBefore)) console.log(`NACK ${kase.name}: ${line}`);
      if (options.verbose) console.log(`${kase.name}: ${Date.now() - at} ms`);
    }
    for (const line of await mesh.rejectCounts()) console.log(`REJECTED ${line}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL lab: ${error instanceof Error ? error.stack : String(error)}`);
  } finally {
    await close();
    if (failed > 0 || options.keep) console.log(`logs: ${mesh.runDirectory}`);
    else rmSync(mesh.runDirectory, { recursive: true, force: true });
  }
  console.log(`${mesh.sent} requests in ${seconds()} s`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

function failAll(kase: Case, error: unknown): StepReport[] {
  const difference = `the case did not run: ${error instanceof Error ? error.message : String(error)}`;
  return kase.requests.map(({ name }) => ({ step: name, differences: [difference] }));
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        proxy: { type: "string", default: "lateen" },
        "envoy-pods": { type: "string", default: "" },
        cases: { type: "string", default: join(import.meta.dirname, "cases") },
        only: { type: "string", multiple: true },
        shard: { type: "string" },
        "expect-only": { type: "boolean", default: false },
        sotw: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        verbose: { type: "boolean", short: "v", default: false },
      },
    });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    process.exit(EXIT_USAGE);
  }
}
