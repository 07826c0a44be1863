/** `npm test`: installs the real parts that tests use and runs every test. Arguments are patterns of file names. */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { installCaptureTools, installEnvoy, installH2spec } from "./tools.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
process.chdir(root);

const patterns = process.argv.slice(2);
const all = globSync(["src/**/*.test.ts", "test/**/*.test.ts"]).sort();
const files = patterns.length === 0 ? all : all.filter((file) => patterns.some((pattern) => file.includes(pattern)));
if (files.length === 0) {
  console.error(`no test file matches ${patterns.join(", ")}`);
  process.exit(2);
}
const say = (text: string): void => console.error(text);
const missing = installCaptureTools(say);
if (missing.length > 0) say(`! ${missing.join(", ")} not found: tests of transparent capture will skip`);
const env: NodeJS.ProcessEnv = { ...process.env, ENVOY: installEnvoy(root, say) };
const h2spec = installH2spec(root, say);
if (h2spec) env["H2SPEC"] = h2spec;

const flags = ["--disable-warning=ExperimentalWarning", "--disable-proto=throw", "--test", "--test-timeout=120000", "--test-concurrency=2"];
const run = spawnSync(
  process.execPath,
  [
    ...flags,
    ...(process.stdout.isTTY
      ? []
      : [
          "--test-reporter=dot",
          "--test-reporter-destination=stdout",
          "--test-reporter=spec",
          "--test-reporter-destination=.cache/test.log",
        ]),
    ...files,
  ],
  { stdio: "inherit", env },
);
if (!process.stdout.isTTY) {
  const summary = spawnSync("grep", ["-E", "^(ℹ (tests|pass|fail|skipped|duration_ms)|✖|﹣)", ".cache/test.log"], { encoding: "utf8" });
  process.stdout.write(`\n${summary.stdout}`);
  const count = (name: string): number => Number(new RegExp(`^ℹ ${name} (\\d+)`, "m").exec(summary.stdout)?.[1] ?? 0);
  console.log(`\n${count("pass")} passed, ${count("fail")} failed, ${count("skipped")} skipped`);
}
process.exit(run.status ?? 1);
