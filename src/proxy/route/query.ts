/** Query parameters of a path, without building a map. Source: URL standard, percent-decoding. */

/** The first value of `name`, unescaped; "" for one without a value; undefined when absent. */
export function queryParameter(path: string, name: string): string | undefined {
  let at = path.indexOf("?");
  if (at < 0) return undefined;
  while (at < path.length) {
    const start = at + 1;
    let end = path.indexOf("&", start);
    if (end < 0) end = path.length;
    const equals = path.indexOf("=", start);
    const keyEnd = equals < 0 || equals > end ? end : equals;
    if (unescapePercent(path.slice(start, keyEnd)) === name) return keyEnd === end ? "" : unescapePercent(path.slice(keyEnd + 1, end));
    at = end;
  }
  return undefined;
}

/** Bytes of %XX; what is no escape stays. "+" stays a plus. */
function unescapePercent(text: string): string {
  if (!text.includes("%")) return text;
  return text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
