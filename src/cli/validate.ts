/** `lateen validate`: checks lateen.yaml and Istio YAML, and runs nothing. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { systemClock } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import { formatProblem } from "../control/config/finding.ts";
import { defaultMeshConfig } from "../control/config/mesh-config.ts";
import { createConfigReader } from "../control/config/read.ts";
import { nodeFileSystem } from "../control/config/sources/file-system.ts";
import { createFileSource } from "../control/config/sources/files.ts";
import { createMemorySource } from "../control/config/sources/memory.ts";
import { createConfigStore } from "../control/config/store.ts";
import { DESCRIPTION_FILES, parseDescription } from "../up/description.ts";
import { planMesh } from "../up/plan.ts";
import { paint, printable } from "./terminal.ts";

/** Prints every fault and warning; 1 when there is a fault. */
export async function runValidate(paths: readonly string[]): Promise<number> {
  const missing = paths.find((path) => !existsSync(path));
  if (missing) throw new UserError(`${missing}: no such file or folder`);
  let faults = 0;
  let warnings = 0;
  const say = (text: string): boolean => process.stdout.write(`${text}\n`);

  const generated: string[] = [];
  for (const file of paths.flatMap(descriptionsAt)) {
    try {
      generated.push(planMesh(parseDescription(readFileSync(file, "utf8"), file, basename(dirname(resolve(file))))).objects);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      faults += 1;
      say(`${paint("red", "error")}  ${error.message}`);
    }
  }

  const reader = createConfigReader({ domain: "cluster.local" });
  const files = createFileSource({
    paths: [...paths],
    reader,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    log: silentLog,
    skip: isDescription,
  });
  const workloads = createMemorySource(reader, Object.fromEntries(generated.map((text, i) => [`workloads-${i}.yaml`, text])));
  const store = createConfigStore({
    sources: [files, workloads],
    mesh: defaultMeshConfig(),
    log: silentLog,
    clock: systemClock,
    onChange() {},
  });
  const { problems } = await store.open();
  for (const problem of problems) {
    faults += 1;
    say(`${paint("red", "error")}  ${printable(formatProblem(problem))}`);
  }
  for (const warning of store.warnings) {
    warnings += 1;
    say(`${paint("yellow", "warn")}   ${printable(formatProblem(warning))}`);
  }
  say(
    `${store.state.objects.length} objects, ${faults} ${faults === 1 ? "error" : "errors"}, ${warnings} ${warnings === 1 ? "warning" : "warnings"}`,
  );
  store.close();
  return faults === 0 ? 0 : 1;
}

function descriptionsAt(path: string): string[] {
  if (!statSync(path).isDirectory()) return isDescription(path) ? [path] : [];
  return DESCRIPTION_FILES.map((name) => join(path, name)).filter((file) => existsSync(file));
}

function isDescription(path: string): boolean {
  return DESCRIPTION_FILES.includes(basename(path));
}
