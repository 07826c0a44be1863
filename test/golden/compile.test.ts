/**
 * What sample meshes are compiled to, whole. A difference is shown as a diff of YAML; when it is meant, `LATEEN_GOLDEN=write node --test
 * test/golden/compile.test.ts` writes it down.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { printAll } from "./print.ts";
import { compileAll, readMesh } from "./world.ts";

const meshes = join(import.meta.dirname, "meshes");
const compiled = join(import.meta.dirname, "compiled");

for (const file of readdirSync(meshes).sort()) {
  const name = file.replace(/\.yaml$/, "");
  const { world, proxies } = readMesh(join(meshes, file));
  for (const [proxy, node] of proxies) {
    test(`${name}: what ${proxy} gets`, () => {
      const got = printAll(compileAll(world, node));
      const path = join(compiled, `${name}.${proxy}.yaml`);
      if (process.env["LATEEN_GOLDEN"] === "write") {
        mkdirSync(compiled, { recursive: true });
        writeFileSync(path, got);
      }
      assert.ok(existsSync(path), `${path} is missing: write it with LATEEN_GOLDEN=write`);
      assert.equal(got, readFileSync(path, "utf8"));
    });
  }
}
