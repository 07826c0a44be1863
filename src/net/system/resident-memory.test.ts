import assert from "node:assert/strict";
import { test } from "node:test";
import { cleanMappings, releaseStartupMemory } from "./resident-memory.ts";

const SMAPS = `00400000-02000000 r-xp 00000000 fe:00 1234                       /usr/bin/node
Rss:               20000 kB
Anonymous:             0 kB
02000000-02100000 r--p 01c00000 fe:00 1234                       /usr/bin/node
Rss:                 900 kB
Anonymous:           900 kB
02100000-02200000 rw-p 01d00000 fe:00 1234                       /usr/bin/node
Rss:                 100 kB
Anonymous:             0 kB
7f0000000000-7f0000100000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000200000-7f0000300000 r--p 00000000 fe:00 99                 /usr/lib/libc.so.6
Anonymous:             0 kB
`;

test("only mappings of files, not writable, without pages of their own", () => {
  const starts = cleanMappings(SMAPS).map(({ start }) => start.toString(16));
  assert.deepEqual(starts, ["400000", "7f0000200000"]);
});

test("the process lives on after it", () => {
  const released = releaseStartupMemory();
  if (process.getBuiltinModule("node:ffi")) assert.ok(released > 1_000_000, `${released} bytes`);
  assert.equal([3, 1, 2].sort().join(), "1,2,3");
  assert.equal(new TextDecoder().decode(Buffer.from("héllo")), "héllo");
});
