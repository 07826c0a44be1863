/** Access-log files: joined writes, rotation, and a disk that cannot take it. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { FakeClock } from "../../test/kit/fake-clock.ts";
import { createFileSink, FLUSH_BYTES, FLUSH_INTERVAL_MS, KEPT_BYTES_MAX } from "./file-sink.ts";
import { createMetricsRegistry } from "./registry.ts";

const folder = mkdtempSync(join(tmpdir(), "access-log-"));
beforeEach(() => mkdirSync(folder, { recursive: true }));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function rig() {
  const clock = new FakeClock();
  const metrics = createMetricsRegistry();
  const warnings: string[] = [];
  const log = { debug() {}, info() {}, warn: (message: string) => warnings.push(message), error() {} };
  const sink = createFileSink({ clock, log, metrics });
  const flushed = (): Promise<void> => new Promise((resolve) => sink.flush(resolve));
  return { clock, metrics, warnings, sink, flushed };
}

test("lines wait for the interval, then are written together", async () => {
  const { clock, sink, flushed } = rig();
  const path = join(folder, "a.log");
  const file = sink.open(path);
  assert.equal(sink.open(path), file, "one path is one file");
  await flushed();
  file.write("one\n");
  file.write("caf\u00c3\u00a9\n");
  assert.equal(readFileSync(path, "utf8"), "");
  await clock.advance(FLUSH_INTERVAL_MS);
  await flushed();
  assert.equal(readFileSync(path, "utf8"), "one\ncafé\n", "bytes come out as they came in");
});

test("a full buffer is written at once, and reopen follows a rename", async () => {
  const { sink, flushed } = rig();
  const path = join(folder, "b.log");
  const file = sink.open(path);
  file.write(`${"x".repeat(FLUSH_BYTES)}\n`);
  await flushed();
  assert.equal(readFileSync(path, "utf8").length, FLUSH_BYTES + 1);
  renameSync(path, `${path}.1`);
  file.reopen();
  await flushed();
  file.write("after\n");
  await flushed();
  assert.equal(readFileSync(path, "utf8"), "after\n");
});

test("what cannot be written is dropped, counted and told once", async () => {
  const { sink, flushed, metrics, warnings } = rig();
  const file = sink.open(join(folder, "no-such-folder", "c.log"));
  file.write("lost\n");
  await flushed();
  file.write("lost too\n");
  await flushed();
  assert.equal(warnings.length, 1);
  const before = metrics.envoyCounter("filesystem.write_dropped").value;
  file.write("y".repeat(KEPT_BYTES_MAX + 1));
  assert.equal(metrics.envoyCounter("filesystem.write_dropped").value, before + 1);
});

test("many lines come out whole and in order, whatever the disk does", async () => {
  const { sink, flushed, metrics } = rig();
  const path = join(folder, "d.log");
  const file = sink.open(path);
  let want = "";
  for (let i = 0; i < 5000; i++) {
    const line = `${i} ${"z".repeat(i % 97)}\n`;
    want += line;
    file.write(line);
    if (i % 1000 === 999) await flushed();
  }
  file.write(`${"long".repeat(FLUSH_BYTES)}\n`);
  await flushed();
  assert.equal(readFileSync(path, "latin1"), `${want}${"long".repeat(FLUSH_BYTES)}\n`);
  assert.equal(metrics.envoyCounter("filesystem.write_dropped").value, 0);
});
