import assert from "node:assert/strict";
import { test } from "node:test";
import { createSeededRandom, createSystemRandom } from "./random.ts";

test("a UUID is of version 4 and of its variant, and none comes twice", () => {
  const random = createSystemRandom();
  const seen = new Set(Array.from({ length: 2000 }, () => random.uuid()));
  assert.equal(seen.size, 2000);
  for (const uuid of seen) assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("a seed gives the same sequence, another seed another", () => {
  const sequence = (seed: number): unknown[] => {
    const random = createSeededRandom(seed);
    return [random.uuid(), random.next(), random.next()];
  };
  assert.deepEqual(sequence(7), sequence(7));
  assert.notDeepEqual(sequence(7), sequence(8));
});

test("numbers are in [0, 1) and spread", () => {
  const random = createSeededRandom(1);
  const values = Array.from({ length: 10_000 }, () => random.next());
  assert.ok(values.every((value) => value >= 0 && value < 1));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  assert.ok(Math.abs(mean - 0.5) < 0.02, String(mean));
});
