// Builds dist/proxy.cjs (the proxy as one CommonJS file) and dist/proxy.blob (a V8 start-up snapshot of it for this Node). Run with the Node
// that will run the proxy. A Node that cannot make the snapshot leaves the plain file, which bin/lateen starts then.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const bundle = join(dist, "proxy.cjs");
const blob = join(dist, "proxy.blob");

mkdirSync(dist, { recursive: true });
await build({
  entryPoints: [join(root, "src/proxy/entry.ts")],
  bundle: true,
  minify: true,
  platform: "node",
  format: "cjs",
  target: "node24",
  external: ["koffi"],
  outfile: bundle,
  logLevel: "warning",
  legalComments: "none",
});

for (const file of [blob, `${blob}.for`]) rmSync(file, { force: true });
const made = spawnSync(
  process.execPath,
  ["--no-warnings", "--max-semi-space-size=1", "--snapshot-blob", blob, "--build-snapshot", bundle],
  { encoding: "utf8", timeout: 60_000 },
);
if (made.status === 0 && existsSync(blob)) {
  // bin/lateen takes a snapshot only for the Node and the bundle that it was made of.
  writeFileSync(`${blob}.for`, `${statSync(process.execPath).size} ${statSync(bundle).size}\n`);
} else {
  rmSync(blob, { force: true });
  console.error(`no start-up snapshot on this Node (${process.version}); the proxy starts from its bundle.\n${made.stderr}`);
}
