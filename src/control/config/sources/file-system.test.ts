import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { nodeFileSystem } from "./file-system.ts";

test("nodeFileSystem: a stamp changes with a write, a rename over the file and a link that turns; a watch tells", async (t) => {
  const root = mkdtempSync(join(tmpdir(), "lateen-config-"));
  t.after(() => rmSync(root, { recursive: true }));
  const file = join(root, "a.yaml");
  assert.equal(await nodeFileSystem.status(file), undefined);
  assert.equal(await nodeFileSystem.status(join(file, "below")), undefined);

  const stamps = new Set<string | undefined>();
  const take = async (path: string): Promise<void> => void stamps.add((await nodeFileSystem.status(path))?.stamp);
  writeFileSync(file, "a: 1");
  await take(file);
  const told = new Promise<void>((resolve) => {
    const watching = nodeFileSystem.watch(
      root,
      () => {
        watching.close();
        resolve();
      },
      () => assert.fail("the watch ended"),
    );
  });
  writeFileSync(file, "a: 22");
  await told;
  await take(file);
  writeFileSync(join(root, "new"), "a: 33");
  renameSync(join(root, "new"), file);
  await take(file);
  assert.equal(stamps.size, 3);
  assert.equal(new TextDecoder().decode(await nodeFileSystem.read(file)), "a: 33");

  // As Kubernetes mounts a ConfigMap: the file is a link into a directory that is swapped.
  for (const version of ["v1", "v2"]) {
    mkdirSync(join(root, version));
    writeFileSync(join(root, version, "b.yaml"), "b: 1");
  }
  symlinkSync("v1", join(root, "..data"));
  symlinkSync("..data/b.yaml", join(root, "b.yaml"));
  await take(join(root, "b.yaml"));
  symlinkSync("v2", join(root, "..new"));
  renameSync(join(root, "..new"), join(root, "..data"));
  await take(join(root, "b.yaml"));
  assert.equal(stamps.size, 5);
  assert.deepEqual((await nodeFileSystem.list(root)).toSorted(), ["..data", "a.yaml", "b.yaml", "v1", "v2"]);
});

test("nodeFileSystem: a directory that is not there ends its watch", async () => {
  await new Promise<void>((resolve) => nodeFileSystem.watch("/nowhere/at/all", () => assert.fail("an event"), resolve));
});
