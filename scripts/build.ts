/** `npm run build`: what the package holds: compiled sources with their types, and the proxy's bundle. `npm pack` runs it first. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
rmSync("dist/src", { recursive: true, force: true });
const compiled = spawnSync("node_modules/.bin/tsc", ["-p", "tsconfig.build.json"], { stdio: "inherit" });
if (compiled.status !== 0) process.exit(compiled.status ?? 1);
if (!existsSync("dist/proxy.cjs")) {
  const bundled = spawnSync(process.execPath, ["scripts/build-proxy.mjs"], { stdio: "inherit" });
  if (bundled.status !== 0) process.exit(bundled.status ?? 1);
}
console.log("built dist/");
