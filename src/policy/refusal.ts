/** Config that a policy cannot carry out: it is refused by name, never ignored. */

/** Thrown while config is compiled; the message says which field and why. Becomes a NACK. */
export class PolicyRefusal extends Error {}

/** Runs `compile`; a refusal becomes a line of `violations`, with where it happened in front. Undefined then. */
export function collectRefusal<T>(violations: string[], where: string, compile: () => T): T | undefined {
  try {
    return compile();
  } catch (error) {
    violations.push(`${where}: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}
