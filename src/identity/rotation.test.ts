import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../test/kit/fake-clock.ts";
import type { Log } from "../base/log.ts";
import { createSeededRandom } from "../base/random.ts";
import type { WorkloadCertificate } from "./certificate-client.ts";
import { startRotation } from "./rotation.ts";

const HOUR_MS = 3_600_000;

function kit() {
  const clock = new FakeClock();
  const lines: string[] = [];
  const keep = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  const log: Log = { debug: keep("debug"), info: keep("info"), warn: keep("warn"), error: keep("error") };
  let isUp = true;
  let asked = 0;
  const got: WorkloadCertificate[] = [];
  const rotation = startRotation({
    clock,
    log,
    random: createSeededRandom(7),
    onCertificate: (certificate) => void got.push(certificate),
    request: async () => {
      asked += 1;
      if (!isUp) throw new Error("authority away");
      return { chainPem: "", keyPem: Buffer.alloc(0), rootPem: "", notBeforeMs: clock.nowMs(), notAfterMs: clock.nowMs() + 24 * HOUR_MS };
    },
  });
  return { clock, lines, got, rotation, setUp: (up: boolean) => (isUp = up), asked: () => asked };
}

test("a certificate is renewed between 45 and 55 percent of its life", async () => {
  const { clock, got } = kit();
  await clock.advance(24 * HOUR_MS * 0.449);
  assert.equal(got.length, 1);
  await clock.advance(24 * HOUR_MS * 0.102);
  assert.equal(got.length, 2);
});

test("while the authority is away the old certificate stays and tries go on, with an alarm near its end", async () => {
  const { clock, got, rotation, setUp, lines, asked } = kit();
  await clock.advance(1000);
  setUp(false);
  await clock.advance(14 * HOUR_MS);
  assert.equal(got.length, 1);
  assert.equal(rotation.current, got[0]);
  assert.ok(lines.some((line) => line.startsWith("warn the certificate could not be renewed")));
  assert.ok(!lines.some((line) => line.startsWith("error")));
  const before = asked();
  await clock.advance(60_000);
  assert.ok(asked() - before >= 2, "at least one try in 30 s");
  await clock.advance(6 * HOUR_MS);
  assert.ok(
    lines.some((line) => line.startsWith("error")),
    "less than a quarter of its life left",
  );
  setUp(true);
  await clock.advance(30_000);
  assert.equal(got.length, 2);
});

test("a closed rotation asks no more", async () => {
  const { clock, rotation, asked } = kit();
  await clock.advance(1000);
  rotation.close();
  await clock.advance(48 * HOUR_MS);
  assert.equal(asked(), 1);
});
