/** What the parts of a running mesh share. */
import { chownSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROXY_UID } from "../agent/capture-rules.ts";
import type { Clock } from "../base/clock.ts";
import type { Ground } from "./ground.ts";
import type { InsideEvent, InsideOptions } from "./messages.ts";
import type { Plan } from "./plan.ts";

/** What a running mesh shares with its parts. */
export interface InsideContext {
  readonly options: InsideOptions;
  readonly plan: Plan;
  readonly ground: Ground;
  readonly clock: Clock;
  readonly say: (event: InsideEvent) => void;
  /** Runs a step of the start and reports it. Rejects as the work does. */
  readonly step: <T>(name: string, detail: (result: T) => string, work: () => Promise<T>) => Promise<T>;
}

/** The uid of proxies: Istio's where there is root, else none of their own. */
export function proxyUid(options: InsideOptions): number | undefined {
  return options.isRoot ? PROXY_UID : undefined;
}

/** Writes files that only `owner` (undefined: this user) may read, below a folder that is there. Folders between are made. */
export function writeOwnFiles(folder: string, files: Readonly<Record<string, string>>, owner: number | undefined): void {
  const own = (path: string): void => {
    if (owner !== undefined) chownSync(path, owner, owner);
  };
  for (const [name, content] of Object.entries(files)) {
    let at = folder;
    for (const part of name.split("/").slice(0, -1)) {
      at = join(at, part);
      mkdirSync(at, { recursive: true, mode: 0o700 });
      own(at);
    }
    if (name.endsWith("/")) continue;
    writeFileSync(join(folder, name), content, { mode: 0o600 });
    own(join(folder, name));
  }
}
