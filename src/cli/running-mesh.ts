/** Finds a mesh that `lateen up` runs on this machine and asks it. */
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { UserError } from "../base/errors.ts";
import { askLocal, isNobodyThere } from "../net/system/local-api.ts";
import { DESCRIPTION_FILES, parseDescription } from "../up/description.ts";
import { localName } from "../up/host.ts";
import type { MeshStatus } from "../up/messages.ts";

/** What a mesh tells of itself, with what only its host's half knows. */
export type RunningMesh = MeshStatus & {
  readonly outerPid: number;
  readonly scratch: string;
  readonly isRoot: boolean;
  readonly directory: string;
};

/** The name given, else that of the description in this folder. */
export function meshName(given: string | undefined): string {
  if (given) return given;
  const file = DESCRIPTION_FILES.find((name) => existsSync(name));
  if (!file)
    throw new UserError("which mesh? There is no lateen.yaml in this folder", { hint: "Name it: `lateen up` printed its name first." });
  return parseDescription(readFileSync(join(process.cwd(), file), "utf8"), file, basename(process.cwd())).name;
}

/** Asks a running mesh. Rejects with a UserError when none of that name runs. */
export async function askMesh(name: string, op: "status" | "stat"): Promise<unknown> {
  try {
    return await askLocal(localName(name), { op });
  } catch (error) {
    if (isNobodyThere(error))
      throw new UserError(`no mesh called "${name}" runs on this machine`, { hint: "Start it with: lateen up DIR" });
    throw error;
  }
}
