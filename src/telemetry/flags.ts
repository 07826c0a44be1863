/** Response flags as text. Source: Envoy, %RESPONSE_FLAGS%. */
import type { ResponseFlag } from "./record.ts";

/** "URX,UF", in the order in which they were raised, as Envoy prints them; undefined when there is none. */
export function flagsText(flags: ReadonlySet<ResponseFlag>): string | undefined {
  if (flags.size === 0) return undefined;
  let text = "";
  for (const flag of flags) text = text === "" ? flag : `${text},${flag}`;
  return text;
}
