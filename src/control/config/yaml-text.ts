/**
 * YAML (and JSON) text as documents whose fields can be found again by line and column. Source: YAML 1.2.2, core schema: so `n`,
 * `no` and `on` are strings, and a key that stands twice is an error.
 */
import { Composer, type CST, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, Parser } from "yaml";
import { messageOf } from "../../base/errors.ts";
import type { Path } from "./finding.ts";

/** How large a file may be. */
export const FILE_BYTES_MAX = 4 * 1024 * 1024;
/** How deep a document may nest. */
export const DEPTH_MAX = 64;
/** How many aliases a document may have, each counted with what it stands for. */
export const ALIASES_MAX = 100;
/** How many documents a file may have. */
export const DOCUMENTS_MAX = 20_000;

/** A line and a column, both from 1. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** A part of a file that holds one document, as it stands in the text. */
export interface TextChunk {
  readonly text: string;
  /** Lines of the file before it. */
  readonly linesBefore: number;
}

/** One document, or what is wrong with it. */
export type YamlDocument =
  | {
      readonly kind: "value";
      /** Undefined for an empty document. */
      readonly value: unknown;
      readonly start: TextPosition;
      /** Where a field stands: its key where it has one, else its value; the nearest parent where it is missing. */
      locate(path: Path): TextPosition;
    }
  | { readonly kind: "fault"; readonly message: string; readonly hint: string | undefined; readonly at: TextPosition };

/** Cuts a text at its document markers, so that each document can be read, and remembered, alone. */
export function splitDocuments(text: string): readonly TextChunk[] {
  // A directive belongs to the marker after it: leave such rare texts whole.
  if (/^%/m.test(text)) return [{ text, linesBefore: 0 }];
  const chunks: TextChunk[] = [];
  let start = 0;
  let linesBefore = 0;
  // A marker at the start of a line ends a document even inside a block or quoted scalar (YAML 1.2.2, 9.1.2).
  for (const match of text.matchAll(/^---(?=[ \t\r\n]|$)/gm)) {
    if (match.index === 0) continue;
    const chunk = text.slice(start, match.index);
    chunks.push({ text: chunk, linesBefore });
    linesBefore += countLines(chunk);
    start = match.index;
  }
  chunks.push({ text: text.slice(start), linesBefore });
  return chunks;
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

/** Reads all documents of a text. Never throws: what is wrong is a document of kind "fault". */
export function parseYaml(text: string): readonly YamlDocument[] {
  const lines = new LineCounter();
  const position = (offset: number): TextPosition => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  };
  const fault = (message: string, offset: number, hint?: string): YamlDocument => ({ kind: "fault", message, hint, at: position(offset) });
  const tokens = [...new Parser(lines.addNewLine).parse(text)];
  const tooDeep = findTooDeep(tokens);
  if (tooDeep !== undefined) return [fault(`nests deeper than ${DEPTH_MAX} levels`, tooDeep)];
  const documents: YamlDocument[] = [];
  const composer = new Composer({ version: "1.2", schema: "core", uniqueKeys: true, strict: true, prettyErrors: false });
  for (const document of composer.compose(tokens, true, text.length)) {
    const broken = document.errors[0];
    if (broken) {
      documents.push(fault(yamlMessage(broken.code, broken.message), broken.pos[0], yamlHint(broken.code)));
      continue;
    }
    const root = document.contents;
    try {
      const value: unknown = document.toJS({ maxAliasCount: ALIASES_MAX });
      const start = root?.range ? position(root.range[0]) : { line: 1, column: 1 };
      documents.push({ kind: "value", value: value ?? undefined, start, locate: (path) => locate(root, path, position) ?? start });
    } catch (error) {
      documents.push(fault(messageOf(error), root?.range?.[0] ?? 0, `at most ${ALIASES_MAX} aliases are taken`));
    }
  }
  return documents;
}

function yamlMessage(code: string, message: string): string {
  if (code === "DUPLICATE_KEY") return "the same key stands twice";
  return `not valid YAML: ${message}`;
}

function yamlHint(code: string): string | undefined {
  if (code === "TAB_AS_INDENT") return "indent with spaces";
  if (code === "DUPLICATE_KEY") return "join the two, or remove one";
  return undefined;
}

// Before the composer, which recurses: a text of a million brackets must not end the process.
function findTooDeep(tokens: readonly CST.Token[]): number | undefined {
  const open: { token: CST.Token; depth: number }[] = tokens.map((token) => ({ token, depth: 0 }));
  for (let next = open.pop(); next; next = open.pop()) {
    const { token, depth } = next;
    if (depth > DEPTH_MAX + 1) return token.offset;
    if (token.type === "document") {
      if (token.value) open.push({ token: token.value, depth });
    } else if ("items" in token) {
      for (const item of token.items) {
        if (item.key) open.push({ token: item.key, depth: depth + 1 });
        if (item.value) open.push({ token: item.value, depth: depth + 1 });
      }
    }
  }
  return undefined;
}

function locate(root: Node | null, path: Path, position: (offset: number) => TextPosition): TextPosition | undefined {
  let node: unknown = root;
  let at = root?.range?.[0];
  for (const part of path) {
    const child = childOf(node, part);
    if (!child) break;
    at = child.at ?? at;
    node = child.node;
  }
  return at === undefined ? undefined : position(at);
}

function childOf(node: unknown, part: string | number): { node: unknown; at: number | undefined } | undefined {
  if (isMap(node)) {
    for (const pair of node.items) {
      if (isScalar(pair.key) && String(pair.key.value) === String(part)) return { node: pair.value, at: pair.key.range?.[0] };
    }
  } else if (isSeq(node) && typeof part === "number") {
    const item = node.items[part];
    if (isScalar(item) || isMap(item) || isSeq(item) || isAlias(item)) return { node: item, at: item.range?.[0] };
  }
  return undefined;
}
