/** What processes cost: CPU time and memory, from /proc. */
import { readdirSync, readFileSync } from "node:fs";

/** The process and all that descend from it. */
export function processTree(pid: number): number[] {
  const tree: number[] = [];
  const pending = [pid];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    tree.push(next);
    for (const task of listTasks(next))
      pending.push(...read(`/proc/${next}/task/${task}/children`).trim().split(" ").filter(Boolean).map(Number));
  }
  return tree;
}

/** CPU time of all threads so far, in microseconds, as the scheduler counts it. */
export function cpuMicros(pids: readonly number[]): number {
  let nanos = 0;
  for (const pid of pids)
    for (const task of listTasks(pid)) nanos += Number(read(`/proc/${pid}/task/${task}/schedstat`).split(" ")[0] ?? 0);
  return nanos / 1000;
}

/** Resident memory in MB. */
export function residentMb(pids: readonly number[]): number {
  let kilobytes = 0;
  for (const pid of pids) kilobytes += Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
  return kilobytes / 1024;
}

function listTasks(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // It has ended.
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
