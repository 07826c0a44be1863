/** The diagnostics log as an argument. Main files make it over pino; tests keep the lines. */

/** Fields of a line, as JSON. */
export type LogFields = Readonly<Record<string, unknown>>;

/** A log with levels. A message is a sentence for the operator; values that vary go into fields. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** A log that drops everything. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
