/** Query parameters of a path, without building a map. */

/** The first value of `name` as sent (Envoy does not unescape here); "" for one without a value; undefined when absent. */
export function queryParameter(path: string, name: string): string | undefined {
  let at = path.indexOf("?");
  if (at < 0) return undefined;
  while (at < path.length) {
    const start = at + 1;
    let end = path.indexOf("&", start);
    if (end < 0) end = path.length;
    if (path.startsWith(name, start)) {
      const after = start + name.length;
      if (after === end) return "";
      if (after < end && path[after] === "=") return path.slice(after + 1, end);
    }
    at = end;
  }
  return undefined;
}
