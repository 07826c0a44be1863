/** `lateen validate`: checks lateen.yaml and Istio YAML, and runs nothing. */
import { existsSync } from "node:fs";
import { UserError } from "../base/errors.ts";
import { formatProblem } from "../control/config/finding.ts";
import { checkConfig } from "./config-check.ts";
import { paint, printable } from "./terminal.ts";

/** What istioctl ends with when its analysis found something. Source: istioctl analyze. */
const EXIT_FINDINGS = 79;

/** Prints every fault and warning. 1 when there is a fault, 79 when something is named that nobody declares. */
export async function runValidate(paths: readonly string[]): Promise<number> {
  const missing = paths.find((path) => !existsSync(path));
  if (missing) throw new UserError(`${missing}: no such file or folder`);
  const { descriptionFaults, problems, warnings, objects } = await checkConfig(paths);
  const say = (text: string): boolean => process.stdout.write(`${text}\n`);
  const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

  for (const fault of [...descriptionFaults, ...problems.map(formatProblem)]) say(`${paint("red", "error")}  ${printable(fault)}`);
  for (const warning of warnings) say(`${paint("yellow", "warn")}   ${printable(formatProblem(warning))}`);
  const faults = descriptionFaults.length + problems.length;
  say(`${count(objects, "object")}, ${count(faults, "error")}, ${count(warnings.length, "warning")}`);
  if (faults > 0) return 1;
  return warnings.some(({ isDangling }) => isDangling) ? EXIT_FINDINGS : 0;
}
