/** `npm run check`: types, formatting and lint. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
const fix = process.argv.includes("--fix");
const steps: readonly (readonly string[])[] = [
  ["node_modules/.bin/tsc", "-p", "."],
  [
    "node_modules/.bin/biome",
    fix ? "check" : "ci",
    ...(fix ? ["--write"] : []),
    "--max-diagnostics=40",
    ...(process.stdout.isTTY ? [] : ["--colors=off"]),
  ],
];
let failed = 0;
for (const [command = "", ...args] of steps) {
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  if (status !== 0) failed += 1;
}
process.exit(failed === 0 ? 0 : 1);
