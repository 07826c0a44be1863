/**
 * Gives memory back that start-up needed and serving does not: freed heap of the C library, and pages of program code that ran once. What is used again
 * comes back from the page cache, a page at a time. Linux with node:ffi; elsewhere nothing happens. Source: malloc_trim(3), madvise(2).
 */
import { readFileSync } from "node:fs";

const MADV_DONTNEED = 4n;

/**
 * Drops what can be dropped; gives how many bytes of mappings that covers, 0 where it cannot be done. Only pages that are as they are in their
 * file are touched: a mapping with a page of its own (relocations) would lose it.
 */
export function releaseStartupMemory(): number {
  const ffi = process.getBuiltinModule("node:ffi");
  if (!ffi || process.platform !== "linux") return 0;
  let functions: { malloc_trim(pad: bigint): number; madvise(address: bigint, length: bigint, advice: number): number };
  try {
    ({ functions } = ffi.dlopen(null, {
      malloc_trim: { arguments: ["u64"], return: "i32" },
      madvise: { arguments: ["u64", "u64", "i32"], return: "i32" },
    }));
  } catch {
    return 0; // A C library without malloc_trim (musl).
  }
  functions.malloc_trim(0n);
  let released = 0;
  for (const { start, end } of cleanMappings(readFileSync("/proc/self/smaps", "utf8"))) {
    if (functions.madvise(start, end - start, Number(MADV_DONTNEED)) === 0) released += Number(end - start);
  }
  return released;
}

/** Mappings of files that cannot be written to and have no page of their own. Source: proc_pid_smaps(5). */
export function cleanMappings(smaps: string): { readonly start: bigint; readonly end: bigint }[] {
  const found: { start: bigint; end: bigint }[] = [];
  let current: { start: bigint; end: bigint } | undefined;
  for (const line of smaps.split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ \S+ [1-9]\d* +\/\S/.exec(line);
    if (head) current = { start: BigInt(`0x${head[1]}`), end: BigInt(`0x${head[2]}`) };
    else if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) current = undefined;
    else if (current && /^Anonymous: +0 kB/.test(line)) {
      found.push(current);
      current = undefined;
    }
  }
  return found;
}
