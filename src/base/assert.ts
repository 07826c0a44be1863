/** A programmer's errors: what must hold, and crashes when it does not. */

/** Throws when `condition` is false. `what` names the thing that must hold. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}

/** Ends a switch over a union: reached only when a case is missing. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
