/** `lateen exec`: a command in the network, and with the names, of a workload of a running mesh. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { UserError } from "../base/errors.ts";
import { askMesh, meshName, type RunningMesh } from "./running-mesh.ts";

/** Runs it and gives its exit code. */
export async function runExec(workload: string, command: readonly string[], options: { readonly mesh?: string }): Promise<number> {
  const mesh = (await askMesh(meshName(options.mesh), "status")) as RunningMesh;
  if (mesh.capture === "none")
    throw new UserError("lateen exec needs network namespaces, and this mesh runs without capture", {
      hint: "Its workloads run on this machine itself: run the command here. lateen status shows their addresses.",
    });
  const part = mesh.workloads.find(({ name }) => name === workload);
  if (!part)
    throw new UserError(`no workload or gateway is called "${workload}"`, {
      hint: `There are: ${mesh.workloads.map(({ name }) => name).join(", ")}`,
    });
  const pid = hostPid(mesh.outerPid, part.holderPid);
  if (pid === undefined)
    throw new UserError(`the processes of "${workload}" are not to be found`, { hint: "Run this as the user who runs `lateen up`." });
  const user = mesh.isRoot ? [] : ["-U", "--preserve-credentials"];
  const child = spawn(
    "nsenter",
    ["-t", String(pid), ...user, "-n", "-m", "sh", "-c", 'cd "$0" 2>/dev/null || cd /; exec "$@"', mesh.directory, ...command],
    { stdio: "inherit" },
  );
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  return code ?? 128 + (signal ? constants.signals[signal] : 1);
}

/** The id on the host of the process that has `insidePid` in the mesh's PID namespace: looked for among the descendants of the outer process. */
export function hostPid(outerPid: number, insidePid: number): number | undefined {
  const pending = [outerPid];
  for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
    try {
      const ids = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]?.split(/\s+/) ?? [];
      if (ids.length > 1 && Number(ids.at(-1)) === insidePid) return pid;
      for (const task of readdirSync(`/proc/${pid}/task`)) {
        pending.push(...readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number));
      }
    } catch {
      // It has ended meanwhile.
    }
  }
  return undefined;
}
