#!/usr/bin/env node
// `npm run demo`, `npm test` and the other scripts: installs what is missing, then runs the job with the right Node.
// Plain JavaScript that Node 20 runs, since that may be all a fresh machine has.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setUp } from "./setup.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What each job runs, after set-up, with the right Node: [file, ...arguments]. */
const JOBS = {
  setup: undefined,
  demo: ["scripts/demo.ts"],
  test: ["scripts/test.ts"],
  check: ["scripts/check.ts"],
  build: ["scripts/build.ts"],
  bench: ["bench/dataplane.ts"],
  lab: ["test/lab/lab.ts"],
};

const [job, ...rest] = process.argv.slice(2);
if (!job || !(job in JOBS)) {
  console.error(`usage: node scripts/run.mjs ${Object.keys(JOBS).join("|")} [arguments]`);
  process.exit(2);
}

try {
  const node = await setUp(root, { say: (text) => console.error(text) });
  if (!JOBS[job]) process.exit(0);
  const [file, ...fixed] = JOBS[job];
  const child = spawn(node, ["--disable-warning=ExperimentalWarning", join(root, file), ...fixed, ...rest], {
    stdio: "inherit",
    env: { ...process.env, LATEEN_NODE: node },
  });
  // The job ends itself tidily on a signal; this process only waits for it.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
  // Whoever started this one (npm, with a shell between) may be killed without a word: then its child is told.
  const above = ancestors();
  setInterval(() => ancestors() !== above && child.kill("SIGTERM"), 500).unref();
  child.on("exit", (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 1)));
} catch (error) {
  console.error(`\nlateen: set-up failed: ${error.message}`);
  process.exit(1);
}

/** Process ids of the parent and of its parent, as text. */
function ancestors() {
  try {
    const parentOfParent = readFileSync(`/proc/${process.ppid}/stat`, "utf8").split(") ")[1]?.split(" ")[1];
    return `${process.ppid} ${parentOfParent}`;
  } catch {
    return `${process.ppid}`; // No /proc, or the parent has just gone: then its id has changed too.
  }
}
