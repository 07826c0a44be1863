/** Errors that a person reads: what failed, where, and what to do about it. */

/** One fault of a user's config. `path` is the field ("spec.http[0].route[1].weight"), empty for the whole document. */
export interface ConfigViolation {
  readonly path: string;
  readonly message: string;
  /** What the reader might do. */
  readonly hint?: string;
}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's error code ("ECONNREFUSED") of anything that was thrown, if it has one. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** A failure to be shown to the person at the command line, without a stack: message, what to do, exit code. */
export class UserError extends Error {
  readonly hint: string | undefined;
  readonly exitCode: number;

  constructor(message: string, options: { hint?: string; exitCode?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = "UserError";
    this.hint = options.hint;
    this.exitCode = options.exitCode ?? 1;
  }
}
