/** Where route tables come from: RDS, or the listener's own config. */
import type { RouteTable } from "./route-table.ts";

/** Gives route tables by name. config/ implements it over RDS (and VHDS). */
export interface RouteConfigSource {
  /** Calls back with the table once it is known, at once where it is, and with each later version, until closed. */
  watch(name: string, onRoutes: (table: RouteTable) => void): { close(): void };
}
