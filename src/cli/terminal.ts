/** How the command line looks: colours on a terminal only, tables that line up, errors with what to do. */
import { stripVTControlCharacters, styleText } from "node:util";
import { messageOf, UserError } from "../base/errors.ts";

type Style = Parameters<typeof styleText>[0];

/** Text in a style where `stream` is a terminal that takes it (NO_COLOR is obeyed). */
export function paint(style: Style, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return styleText(style, text, { stream, validateStream: true });
}

/** Rows as columns that line up, two spaces apart; the header in capitals. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header.map((cell) => cell.toUpperCase()), ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => width(row[column] ?? ""))));
  return all
    .map((row) =>
      row.map((cell, column) => (column === row.length - 1 ? cell : cell + " ".repeat((widths[column] ?? 0) - width(cell)))).join("  "),
    )
    .join("\n");
}

function width(text: string): number {
  return stripVTControlCharacters(text).length;
}

/** Makes what a peer or a process said safe to print: no control characters. */
export function printable(text: string): string {
  return stripVTControlCharacters(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "?");
}

/** Says on standard error what failed and what to do, and gives the exit code. */
export function reportError(error: unknown): number {
  const lead = paint("red", "error:", process.stderr);
  process.stderr.write(`${lead} ${printable(messageOf(error))}\n`);
  if (error instanceof UserError) {
    if (error.hint) process.stderr.write(`${paint("dim", "  →", process.stderr)} ${error.hint}\n`);
    return error.exitCode;
  }
  if (error instanceof Error && error.stack)
    process.stderr.write(`${paint("dim", error.stack.split("\n").slice(1).join("\n"), process.stderr)}\n`);
  return 70; // EX_SOFTWARE: a fault of Lateen's own
}
