import assert from "node:assert/strict";
import { test } from "node:test";
import { createResourceCache } from "./resource-cache.ts";

test("a resource is built once, and is the same object afterwards", () => {
  const cache = createResourceCache();
  let built = 0;
  const get = (name: string, key: string) =>
    cache.resource(name, key, () => {
      built += 1;
      return new Uint8Array(10);
    });
  assert.equal(get("a", "k1"), get("a", "k1"));
  assert.notEqual(get("a", "k1"), get("a", "k2"));
  assert.notEqual(get("a", "k1"), get("b", "k1"), "two names of one content are two resources");
  assert.equal(built, 3);
  assert.equal(get("a", "k2").version, "k2");
});

test("beyond its limits what was used least lately goes, by entries and by bytes", () => {
  for (const limits of [
    { entriesMax: 2, bytesMax: 1000 },
    { entriesMax: 100, bytesMax: 25 },
  ]) {
    const cache = createResourceCache(limits);
    let built = 0;
    const get = (key: string) =>
      cache.resource("a", key, () => {
        built += 1;
        return new Uint8Array(10);
      });
    for (const key of ["1", "2", "1", "3"]) get(key);
    assert.equal(cache.entries, 2);
    assert.equal(cache.bytes, 20);
    get("1");
    assert.equal(built, 3, "1 was used after 2");
    get("2");
    assert.equal(built, 4);
  }
});
