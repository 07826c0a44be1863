/** `lateen status` and `lateen stat`: a running mesh, as it is and as it fares. */
import type { ServiceFigures } from "../up/messages.ts";
import { askMesh, meshName, type RunningMesh } from "./running-mesh.ts";
import { table } from "./terminal.ts";

/** How to print. */
export interface OutputOptions {
  readonly output: "text" | "json";
}

/** Prints workloads and gateways. */
export async function runStatus(mesh: string | undefined, options: OutputOptions): Promise<number> {
  const status = (await askMesh(meshName(mesh), "status")) as RunningMesh;
  const rows = status.workloads.map((part) => [part.name, part.kind, part.namespace, part.ip, part.spiffeId ?? "-", String(part.restarts)]);
  print(options, status, table(["name", "kind", "namespace", "address", "identity", "restarts"], rows));
  return 0;
}

/** Prints figures of services. */
export async function runStat(mesh: string | undefined, options: OutputOptions): Promise<number> {
  const figures = (await askMesh(meshName(mesh), "stat")) as ServiceFigures[];
  print(options, figures, figuresTable(figures));
  return 0;
}

/** A table of services: requests (or connections), share of answers below 500, latencies, share over mutual TLS. */
export function figuresTable(figures: readonly ServiceFigures[]): string {
  const percent = (share: number | undefined): string => (share === undefined ? "-" : `${(share * 100).toFixed(share === 1 ? 0 : 2)} %`);
  const ms = (value: number | undefined): string => (value === undefined ? "-" : `${value.toFixed(1)} ms`);
  const rows = figures.map((one) => [
    one.service,
    one.protocol,
    `${one.requests}${one.protocol === "tcp" ? " conn." : ""}`,
    percent(one.success),
    ms(one.p50Ms),
    ms(one.p99Ms),
    percent(one.mutualTls),
  ]);
  return table(["service", "protocol", "requests", "success", "p50", "p99", "mutual TLS"], rows);
}

function print(options: OutputOptions, value: unknown, text: string): void {
  process.stdout.write(`${options.output === "json" ? JSON.stringify(value, undefined, 2) : text}\n`);
}
