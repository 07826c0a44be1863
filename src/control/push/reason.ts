/** What a push is about, in words: files and the objects in them. */

import type { AnyConfig } from "../config/types.ts";
import type { SnapshotDiff } from "../snapshot/types.ts";

const NAMED_MAX = 5;

/** "payment.yaml (VirtualService shop/payment), VirtualService shop/old removed, and 3 more". Empty when no object changed. */
export function describeChange(diff: SnapshotDiff, objects: ReadonlyMap<string, AnyConfig>): string {
  const byFile = new Map<string, string[]>();
  const others: string[] = [];
  for (const key of diff.objects.slice(0, NAMED_MAX)) {
    const [kind, namespace, name] = key.split("/");
    const title = namespace ? `${kind} ${namespace}/${name}` : `${kind} ${name}`;
    const file = objects.get(key)?.meta.position.file;
    if (file === undefined) others.push(namespace ? `${title} removed` : title);
    else byFile.set(file, [...(byFile.get(file) ?? []), title]);
  }
  const parts = [...byFile].map(([file, titles]) => `${file.slice(file.lastIndexOf("/") + 1)} (${titles.join(", ")})`);
  parts.push(...others);
  if (diff.objects.length > NAMED_MAX) parts.push(`and ${diff.objects.length - NAMED_MAX} more`);
  return parts.join(", ");
}
