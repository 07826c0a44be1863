/** Response flags as text. Source: Envoy, %RESPONSE_FLAGS%. */
import type { ResponseFlag } from "./record.ts";

/** The order in which Envoy prints them, whatever happened first. */
const ORDER: readonly ResponseFlag[] = [
  "LH",
  "UH",
  "UT",
  "LR",
  "UR",
  "UF",
  "UC",
  "UO",
  "NR",
  "DI",
  "FI",
  "RL",
  "UAEX",
  "RLSE",
  "DC",
  "URX",
  "SI",
  "IH",
  "DPE",
  "UMSDR",
  "RFCF",
  "NFCF",
  "DT",
  "UPE",
  "NC",
  "OM",
  "DF",
  "DR",
];

/** "UF,URX"; undefined when there is none. */
export function flagsText(flags: ReadonlySet<ResponseFlag>): string | undefined {
  if (flags.size === 0) return undefined;
  return ORDER.filter((flag) => flags.has(flag)).join(",");
}
