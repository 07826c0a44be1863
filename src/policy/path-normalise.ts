/**
 * The one canonical path of a request: what authorization, routing, logs and upstream all see. Paths are latin1 texts of bytes.
 * Source: RFC 3986 section 6.2.2; Envoy HttpConnectionManager normalize_path, merge_slashes, path_with_escaped_slashes_action.
 */

/** What a listener asks for. */
export interface PathOptions {
  /** Dot segments removed, unreserved characters unescaped, backslashes made slashes. */
  readonly normalize: boolean;
  readonly mergeSlashes: boolean;
  /** What becomes of %2F and %5C. */
  readonly escapedSlashes: "keep" | "reject" | "redirect" | "unescape";
}

/** "reject" is answered with 400; "redirect" sends the client to `path`. */
export type PathVerdict =
  | { readonly kind: "ok"; readonly path: string }
  | { readonly kind: "redirect"; readonly path: string }
  | { readonly kind: "reject" };

const REJECT: PathVerdict = { kind: "reject" };

/** The canonical path and query of `path`, which begins with a slash. A fragment is cut off. */
export function normalisePath(path: string, options: PathOptions): PathVerdict {
  const hash = path.indexOf("#");
  const whole = hash < 0 ? path : path.slice(0, hash);
  const mark = whole.indexOf("?");
  let part = mark < 0 ? whole : whole.slice(0, mark);
  const query = mark < 0 ? "" : whole.slice(mark);
  if (isPlain(part)) return { kind: "ok", path: whole };
  let isRedirect = false;
  if (options.escapedSlashes !== "keep") {
    const unescaped = part.replace(/%2f/gi, "/").replace(/%5c/gi, "\\");
    if (unescaped !== part) {
      if (options.escapedSlashes === "reject") return REJECT;
      isRedirect = options.escapedSlashes === "redirect";
      part = unescaped;
    }
  }
  if (options.normalize) {
    const canonical = canonicalise(part);
    if (canonical === undefined) return REJECT;
    part = canonical;
  }
  if (options.mergeSlashes) part = part.replace(/\/{2,}/g, "/");
  return { kind: isRedirect ? "redirect" : "ok", path: part + query };
}

/** Whether nothing in it could be written otherwise: the usual case, found in one pass. */
function isPlain(path: string): boolean {
  let before = 0;
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code >= 127 || CLASS[code] !== PLAIN) {
      if (code !== SLASH && code !== DOT) return false;
      if (before === SLASH) return false;
    }
    before = code;
  }
  return true;
}

const SLASH = 47;
const DOT = 46;
const PERCENT = 37;
const BACKSLASH = 92;

const PLAIN = 0;
const ESCAPE = 1;
const SPECIAL = 2;
const FORBIDDEN = 3;

/** Unreserved characters are unescaped where they come escaped. */
const UNRESERVED = /[A-Za-z0-9\-_.~]/;

const CLASS: readonly number[] = Array.from({ length: 128 }, (_, code) => {
  if (code < 32 || code === 127) return FORBIDDEN;
  if (code === SLASH || code === DOT || code === PERCENT || code === BACKSLASH) return SPECIAL;
  return ' "#<>?^`{|}'.includes(String.fromCharCode(code)) ? ESCAPE : PLAIN;
});

/** Undefined for what no path may have: control characters, %00, bytes that are no UTF-8. */
function canonicalise(path: string): string | undefined {
  let text = "";
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === PERCENT) {
      const byte = hexByte(path, i + 1);
      if (byte < 0) {
        text += "%"; // No escape: stays as it came.
        continue;
      }
      if (byte === 0) return undefined;
      const char = String.fromCharCode(byte);
      text += byte < 128 && UNRESERVED.test(char) ? char : path.slice(i, i + 3);
      i += 2;
    } else if (code === BACKSLASH) text += "/";
    else if (code >= 128) {
      const length = utf8Length(path, i);
      if (length === 0) return undefined;
      for (let k = 0; k < length; k++) text += escapeByte(path.charCodeAt(i + k));
      i += length - 1;
    } else {
      const kind = CLASS[code];
      if (kind === FORBIDDEN) return undefined;
      text += kind === ESCAPE ? escapeByte(code) : path[i];
    }
  }
  return removeDotSegments(text);
}

/** Source: RFC 3986 section 5.2.4. Empty segments stay: they are not ours to merge. */
function removeDotSegments(path: string): string {
  if (!path.includes("/.")) return path;
  const out: string[] = [];
  const segments = path.split("/");
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i] as string;
    const isLast = i === segments.length - 1;
    if (segment === "..") out.pop();
    else if (segment !== ".") {
      out.push(segment);
      continue;
    }
    if (isLast) out.push("");
  }
  return `/${out.join("/")}`;
}

function hexByte(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/** -1 also for NaN: past the end. */
function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

function escapeByte(byte: number): string {
  return `%${byte < 16 ? "0" : ""}${byte.toString(16).toUpperCase()}`;
}

/** Length of the UTF-8 sequence at `at`; 0 when there is none. Source: RFC 3629 section 4. */
function utf8Length(text: string, at: number): number {
  const first = text.charCodeAt(at);
  const length = first >= 0xc2 && first <= 0xdf ? 2 : first >= 0xe0 && first <= 0xef ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  for (let k = 1; k < length; k++) {
    const next = text.charCodeAt(at + k);
    const low = k > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
    const high = k > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
    if (!(next >= low && next <= high)) return 0;
  }
  return length;
}

/** The path without its query. */
export function pathWithoutQuery(path: string): string {
  const mark = path.indexOf("?");
  return mark < 0 ? path : path.slice(0, mark);
}
