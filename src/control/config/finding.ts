/** What a check says of a document: a path, a message, a hint; and, once the document is known, the line and column. */
import type { ConfigViolation } from "../../base/errors.ts";
import type { SourcePosition } from "./types.ts";

/** A field's place inside a document: names and list indexes. */
export type Path = readonly (string | number)[];

/** A fault (the document is refused) or a warning (it is taken and the reader told). */
export interface Finding {
  readonly severity: "error" | "warning";
  readonly path: Path;
  readonly message: string;
  readonly hint: string | undefined;
}

/** A finding with its place in a file and the object it speaks of ("VirtualService shop/payment", empty where unknown). */
export interface Problem extends ConfigViolation {
  readonly severity: "error" | "warning";
  readonly position: SourcePosition;
  readonly object: string;
  /** A warning of a reference to what nobody declares: a host, subset, port or gateway. */
  readonly isDangling?: boolean;
}

/** How many findings of one document are kept. */
export const FINDINGS_PER_DOCUMENT_MAX = 100;

/** Gathers all findings of a document, not only the first. */
export class Findings {
  readonly #list: Finding[] = [];

  get list(): readonly Finding[] {
    return this.#list;
  }

  get hasErrors(): boolean {
    return this.#list.some((finding) => finding.severity === "error");
  }

  error(path: Path, message: string, hint?: string): void {
    this.#add({ severity: "error", path, message, hint });
  }

  warn(path: Path, message: string, hint?: string): void {
    this.#add({ severity: "warning", path, message, hint });
  }

  /**
   * An error for what is missing under `parent`, unless a field there was refused: a misspelt `rout` is one fault, not also a
   * missing `route`.
   */
  missing(parent: Path, name: Path, message: string, hint?: string): void {
    const refused = this.#list.some(({ severity, path }) => {
      return severity === "error" && path.length === parent.length + 1 && parent.every((part, i) => part === path[i]);
    });
    if (!refused) this.error([...parent, ...name], message, hint);
  }

  #add(finding: Finding): void {
    if (this.#list.length < FINDINGS_PER_DOCUMENT_MAX) this.#list.push(finding);
  }
}

/** The path as users write it: `spec.http[0].match[1].headers["x-user"]`. */
export function formatPath(path: Path): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(part)) text += text === "" ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

/** "shop/routes.yaml:12:3". */
export function formatPosition({ file, line, column }: SourcePosition): string {
  return `${file}:${line}:${column}`;
}

/** One line: place, object, path, what is wrong, what to do. */
export function formatProblem({ position, object, path, message, hint }: Problem): string {
  return [formatPosition(position), object, path, hint ? `${message}; ${hint}` : message].filter((part) => part !== "").join(": ");
}

/** The name of `names` that is nearest to `wanted`, when it is near enough to be what was meant. */
export function nearestName(wanted: string, names: Iterable<string>): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_.]/g, "");
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.max(1, Math.floor(wanted.length / 3))) + 1;
  let left = CANDIDATES_MAX;
  for (const name of names) {
    if (left-- === 0) break;
    if (Math.abs(name.length - wanted.length) >= bestDistance + 2) continue;
    const distance = plain(name) === plain(wanted) ? 0 : editDistance(wanted, name, bestDistance);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** How many names are compared for a hint. */
const CANDIDATES_MAX = 2000;

/** Insertions, deletions, replacements and swaps of neighbours. */
function editDistance(a: string, b: string, limit: number): number {
  let twoAbove: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (above[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min(replaced, (above[j] as number) + 1, (row[j - 1] as number) + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, (twoAbove[j - 2] as number) + 1);
      row.push(least);
    }
    if (Math.min(...row) > limit) return limit + 1;
    twoAbove = above;
    above = row;
  }
  return above[b.length] as number;
}
