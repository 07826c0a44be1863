/** The proxy's log: one line a message, in the form of Envoy's, on stderr or in a file. The level may change while it runs. */
import { openSync, writeSync } from "node:fs";
import { messageOf, UserError } from "../../base/errors.ts";
import type { Log, LogFields } from "../../base/log.ts";
import { LOG_LEVELS, type LogLevel } from "./flags.ts";

/** A log whose level can be changed. */
export interface LeveledLog extends Log {
  level: LogLevel;
}

const LINE_CHARS_MAX = 8192;
const STDERR = 2;

/** Makes the log. Throws a UserError when the file cannot be opened. */
export function createLog({
  level,
  path,
  component = "main",
}: {
  readonly level: LogLevel;
  readonly path?: string | undefined;
  readonly component?: string;
}): LeveledLog {
  let fd = STDERR;
  if (path !== undefined) {
    try {
      fd = openSync(path, "a", 0o640);
    } catch (error) {
      throw new UserError(`--log-path ${path} cannot be opened: ${messageOf(error)}`);
    }
  }
  const write = (at: LogLevel, message: string, fields: LogFields | undefined): void => {
    if (LOG_LEVELS.indexOf(at) < LOG_LEVELS.indexOf(log.level)) return;
    const line = `[${new Date().toISOString().replace("T", " ").replace("Z", "")}][${process.pid}][${at}][${component}] ${clean(message)}${fields ? formatFields(fields) : ""}`;
    try {
      writeSync(fd, `${line.slice(0, LINE_CHARS_MAX)}\n`);
    } catch {
      // Nobody reads the log (EAGAIN, EPIPE): serving goes on.
    }
  };
  const log: LeveledLog = {
    level,
    debug: (message, fields) => write("debug", message, fields),
    info: (message, fields) => write("info", message, fields),
    warn: (message, fields) => write("warning", message, fields),
    error: (message, fields) => write("error", message, fields),
  };
  return log;
}

/** One line stays one line, whatever a peer put into it. */
function clean(text: string): string {
  return text.replace(/[\x00-\x1f\x7f]/g, (char) => (char === "\n" ? "\\n" : `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`));
}

function formatFields(fields: LogFields): string {
  return Object.entries(fields)
    .map(([key, value]) => ` ${key}=${clean(typeof value === "string" ? value : (JSON.stringify(value) ?? "undefined"))}`)
    .join("");
}
