// Sets a checkout up: the pinned Node where the machine's is older, npm dependencies, generated code, the proxy's bundle
// and start-up snapshot. Each step is done once for its inputs (their hash is kept in .cache/). Plain Node 20.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

/** The Node that Lateen is developed on, and the oldest that it runs on. */
export const NODE_VERSION = "26.10.0";
const NODE_MAJOR_MIN = 24;
/** How much is shown of what a step that failed has said. */
const OUTPUT_LINES_MAX = 20;
const LIBATOMIC_FALLBACK = "24.21.0"; // needs no libatomic.so.1

/**
 * Makes the checkout at `root` ready and gives the path of the Node to run it with.
 * @param {string} root
 * @param {{ say: (text: string) => void }} options
 */
export async function setUp(root, { say }) {
  const began = Date.now();
  const steps = new Steps(root, say);
  const node = await pinnedNode(steps);
  await steps.once(
    "npm dependencies",
    ["package-lock.json"],
    () => npm(root, node, ["ci", "--ignore-scripts", "--no-audit", "--no-fund"]),
    ["node_modules/.package-lock.json"],
  );
  const { generate } = await import("./generate.mjs");
  await steps.once("protobuf types", ["proto", "scripts/generate.mjs", "package-lock.json"], () => generate(root), ["src/gen"]);
  await steps.once(
    "proxy bundle and start-up snapshot",
    ["src", "scripts/build-proxy.mjs", "package-lock.json"],
    () => run(node, [join(root, "scripts/build-proxy.mjs")], root),
    ["dist/proxy.cjs"],
    [node],
  );
  writeFileSync(join(root, ".cache/node-path"), `${node}\n`);
  if (steps.worked) say(`set up in ${((Date.now() - began) / 1000).toFixed(1)} s\n`);
  return node;
}

/** This machine's Node where it is new enough, else the pinned one from npm. */
async function pinnedNode(steps) {
  if (Number(process.versions.node.split(".")[0]) >= NODE_MAJOR_MIN) return process.execPath;
  const arch =
    process.platform === "linux" ? `linux-${process.arch}` : process.platform === "darwin" ? `darwin-${process.arch}` : undefined;
  if (!arch)
    throw new Error(`no Node for ${process.platform}/${process.arch} is known: install Node ${NODE_MAJOR_MIN} or later and run this again`);
  const dir = join(steps.root, ".cache/node");
  const binary = join(dir, `node_modules/node-${arch}/bin/node`);
  await steps.once(
    `Node ${NODE_VERSION}`,
    [],
    async () => {
      await installNode(dir, arch, NODE_VERSION);
      if (!works(binary)) {
        steps.say(
          `  Node ${NODE_VERSION} does not start here (libatomic.so.1 may be missing: apt-get install libatomic1); taking ${LIBATOMIC_FALLBACK}`,
        );
        await installNode(dir, arch, LIBATOMIC_FALLBACK);
        if (!works(binary))
          throw new Error(
            `neither Node ${NODE_VERSION} nor ${LIBATOMIC_FALLBACK} starts on this machine: install Node ${NODE_MAJOR_MIN} or later yourself`,
          );
      }
    },
    [binary],
    [NODE_VERSION],
  );
  return binary;
}

async function installNode(dir, arch, version) {
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, "package.json"), '{"private":true}\n');
  await npm(dir, process.execPath, [
    "install",
    "--no-save",
    "--no-package-lock",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    `node-${arch}@${version}`,
  ]);
}

function works(binary) {
  try {
    return execFileSync(binary, ["--version"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).startsWith("v");
  } catch {
    return false;
  }
}

/** Runs npm's own program with the given Node, so that it resolves for that version. */
async function npm(cwd, node, args) {
  const cli = npmCli();
  await run(cli ? node : "npm", [...(cli ? [cli] : []), ...args, "--loglevel=error"], cwd);
}

function npmCli() {
  if (process.env.npm_execpath && existsSync(process.env.npm_execpath)) return process.env.npm_execpath;
  try {
    const path = join(
      execFileSync("npm", ["root", "-g"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim(),
      "npm/bin/npm-cli.js",
    );
    return existsSync(path) ? path : undefined;
  } catch {
    return undefined;
  }
}

/** Runs a command quietly; its output is shown when it fails. */
function run(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => (output += text));
    child.on("error", (error) => reject(new Error(`${command} could not be started: ${error.message}`)));
    child.on("exit", (code) =>
      code === 0
        ? resolve()
        : reject(
            new Error(
              `${command} ${args.join(" ")} ended with ${code}\n${output.trim().split("\n").slice(0, OUTPUT_LINES_MAX).join("\n")}`,
            ),
          ),
    );
  });
}

/** Steps that are skipped while their inputs are as they were the last time. */
class Steps {
  constructor(root, say) {
    this.root = root;
    this.say = say;
    this.worked = false;
    mkdirSync(join(root, ".cache"), { recursive: true });
  }

  /** Runs `work` unless `outputs` exist and were made from the same `inputs` (files or folders) and `values`. */
  async once(name, inputs, work, outputs, values = []) {
    const stamp = join(this.root, ".cache", `stamp-${name.replace(/\W+/g, "-").toLowerCase()}`);
    const hash = createHash("sha256").update(JSON.stringify(values));
    for (const input of inputs) hashTree(hash, join(this.root, input), this.root);
    const want = hash.digest("hex");
    const there = outputs.every((output) => existsSync(output.startsWith("/") ? output : join(this.root, output)));
    if (there && existsSync(stamp) && readFileSync(stamp, "utf8") === want) return;
    this.worked = true;
    const began = Date.now();
    this.say(`… ${name}`);
    await work();
    writeFileSync(stamp, want);
    this.say(`✔ ${name}  ${((Date.now() - began) / 1000).toFixed(1)} s`);
  }
}

function hashTree(hash, path, root) {
  if (!existsSync(path)) return;
  const entries = readdirOrUndefined(path);
  if (!entries) {
    hash.update(relative(root, path)).update(readFileSync(path));
    return;
  }
  for (const entry of entries.sort()) if (!entry.endsWith(".test.ts")) hashTree(hash, join(path, entry), root);
}

function readdirOrUndefined(path) {
  try {
    return readdirSync(path);
  } catch {
    return undefined;
  }
}
