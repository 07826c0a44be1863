/** Reads lateen.yaml and Istio YAML as the control plane would, and says what is wrong with them. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { systemClock } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import type { Problem } from "../control/config/finding.ts";
import { defaultMeshConfig } from "../control/config/mesh-config.ts";
import { createConfigReader } from "../control/config/read.ts";
import { nodeFileSystem } from "../control/config/sources/file-system.ts";
import { createFileSource } from "../control/config/sources/files.ts";
import { createMemorySource } from "../control/config/sources/memory.ts";
import { createConfigStore } from "../control/config/store.ts";
import { DESCRIPTION_FILES, parseDescription } from "../up/description.ts";
import { planMesh } from "../up/plan.ts";

/** What was found. */
export interface ConfigCheck {
  /** Faults of descriptions, as text with file:line:column. */
  readonly descriptionFaults: readonly string[];
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
  readonly objects: number;
}

/** Checks files and folders together: what one declares another may refer to. `lateen.yaml` of a folder is part of it, unless `description` stands for it. */
export async function checkConfig(
  paths: readonly string[],
  description?: { readonly file: string; readonly objects: string },
): Promise<ConfigCheck> {
  const descriptionFaults: string[] = [];
  const generated: string[] = description ? [description.objects] : [];
  for (const file of description ? [] : paths.flatMap(descriptionsAt)) {
    try {
      generated.push(planMesh(parseDescription(readFileSync(file, "utf8"), file, basename(dirname(resolve(file))))).objects);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      descriptionFaults.push(error.message);
    }
  }
  const reader = createConfigReader({ domain: "cluster.local" });
  const files = createFileSource({
    paths: [...paths],
    reader,
    fileSystem: nodeFileSystem,
    clock: systemClock,
    log: silentLog,
    skip: (path) => isDescription(path) || (description !== undefined && resolve(path) === resolve(description.file)),
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
  const check = { descriptionFaults, problems, warnings: store.warnings, objects: store.state.objects.length };
  store.close();
  return check;
}

function descriptionsAt(path: string): string[] {
  if (!statSync(path).isDirectory()) return isDescription(path) ? [path] : [];
  return DESCRIPTION_FILES.map((name) => join(path, name)).filter((file) => existsSync(file));
}

function isDescription(path: string): boolean {
  return DESCRIPTION_FILES.includes(basename(path));
}
