// Builds dist/proxy.cjs (the proxy as one CommonJS file) and dist/proxy.blob (a V8 start-up snapshot of it for this Node). Run with the Node
// that will run the proxy. A Node that cannot make the snapshot leaves the plain file, which bin/lateen starts then.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const bundle = join(dist, "proxy.cjs");
const blob = join(dist, "proxy.blob");

// Each file is made beside its place and renamed into it: a proxy that starts meanwhile finds the old one or the new one.
const fresh = (file) => `${file}.${process.pid}`;
const place = (file) => renameSync(fresh(file), file);

mkdirSync(dist, { recursive: true });
await build({
  entryPoints: [join(root, "src/proxy/entry.ts")],
  bundle: true,
  minify: true,
  platform: "node",
  format: "cjs",
  target: "node24",
  external: ["koffi"],
  // In a bundle koffi is looked for from the program's own path.
  define: { "import.meta.url": "undefined" },
  outfile: fresh(bundle),
  logLevel: "warning",
  legalComments: "none",
});

const made = spawnSync(
  process.execPath,
  ["--no-warnings", "--max-semi-space-size=4", "--snapshot-blob", fresh(blob), "--build-snapshot", fresh(bundle)],
  {
    encoding: "utf8",
    timeout: 60_000,
  },
);
rmSync(`${blob}.for`, { force: true });
if (made.status === 0 && existsSync(fresh(blob))) {
  place(bundle);
  place(blob);
  // bin/lateen takes a snapshot only for the Node and the bundle that it was made of.
  writeFileSync(fresh(`${blob}.for`), `${statSync(process.execPath).size} ${statSync(bundle).size}\n`);
  place(`${blob}.for`);
} else {
  place(bundle);
  for (const file of [fresh(blob), blob]) rmSync(file, { force: true });
  console.error(`no start-up snapshot on this Node (${process.version}); the proxy starts from its bundle.\n${made.stderr}`);
}
