/** The package as npm would publish it: packed, installed elsewhere, and run there. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

test("npm pack gives a package that installs and runs elsewhere", { timeout: 120_000 }, (t) => {
  const elsewhere = mkdtempSync(join(tmpdir(), "lateen-package-"));
  t.after(() => rmSync(elsewhere, { recursive: true, force: true }));
  const npm = (args: readonly string[], cwd: string): string =>
    execFileSync("npm", [...args, "--loglevel=error", "--no-audit", "--no-fund"], {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });

  npm(["pack", "--pack-destination", elsewhere], ROOT);
  const tarball = readdirSync(elsewhere).find((name) => name.endsWith(".tgz"));
  assert.ok(tarball, "a tarball was written");
  writeFileSync(join(elsewhere, "package.json"), '{"private":true}\n');
  npm(["install", "--ignore-scripts", `./${tarball}`], elsewhere);

  const installed = join(elsewhere, "node_modules/lateen");
  for (const file of ["dist/src/cli/entry.js", "dist/src/cli/entry.d.ts", "dist/proxy.cjs", "schemas/lateen.schema.json", "LICENSE"]) {
    assert.ok(existsSync(join(installed, file)), `${file} is in the package`);
  }
  assert.ok(!existsSync(join(installed, "src")), "sources stay at home");
  const env = { PATH: process.env["PATH"] ?? "", LATEEN_NODE: process.execPath, HOME: elsewhere };
  const lateen = (...args: string[]) =>
    spawnSync(join(elsewhere, "node_modules/.bin/lateen"), args, { cwd: elsewhere, encoding: "utf8", env });
  assert.match(lateen("version").stdout, /^\d+\.\d+\.\d+\n$/);
  const validated = lateen("validate", join(installed, "examples/shop"));
  assert.equal(validated.status, 0, validated.stdout + validated.stderr);
  assert.match(validated.stdout, /0 errors/);
  writeFileSync(join(elsewhere, "bootstrap.yaml"), "static_resources: { clusters: [], listeners: [] }\n");
  const checked = lateen(
    "proxy",
    "--mode",
    "validate",
    "-c",
    "bootstrap.yaml",
    "--service-node",
    "sidecar~127.0.0.1~a.b~c",
    "--service-cluster",
    "a",
  );
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  assert.equal(lateen("proxy", "--mode", "validate", "-c", "nothing.yaml").status !== 0, true, "a bootstrap that is not there is refused");
});
