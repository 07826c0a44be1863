import assert from "node:assert/strict";
import { test } from "node:test";
import { evaluate, type LazyJson, parseFieldMask } from "./lazy-json.ts";

function dump(asked: string[]): LazyJson {
  return {
    "@type": "t",
    name: "l",
    active_state: {
      version_info: "1",
      listener: () => {
        asked.push("listener");
        return { name: "l", address: { port: 80 } };
      },
    },
    warming_state: undefined,
  };
}

const rows: readonly { name: string; mask: string | undefined; want: unknown; asks: readonly string[] }[] = [
  {
    name: "without a mask all is shown",
    mask: undefined,
    want: { "@type": "t", name: "l", active_state: { version_info: "1", listener: { name: "l", address: { port: 80 } } } },
    asks: ["listener"],
  },
  { name: "what is not asked for is not made", mask: "name,warming_state.version_info", want: { "@type": "t", name: "l" }, asks: [] },
  {
    name: "a member of a member",
    mask: "active_state.version_info",
    want: { "@type": "t", active_state: { version_info: "1" } },
    asks: [],
  },
  {
    name: "a whole member and a part of it is the part",
    mask: "active_state.listener.name",
    want: { "@type": "t", active_state: { listener: { name: "l" } } },
    asks: ["listener"],
  },
  {
    name: "JSON's names are known too",
    mask: "activeState.versionInfo",
    want: { "@type": "t", active_state: { version_info: "1" } },
    asks: [],
  },
  { name: "an unknown name shows nothing", mask: "constructor", want: { "@type": "t" }, asks: [] },
];
for (const { name, mask, want, asks } of rows) {
  test(`mask: ${name}`, () => {
    const asked: string[] = [];
    assert.deepEqual(evaluate(dump(asked), mask === undefined ? undefined : parseFieldMask(mask)), want);
    assert.deepEqual(asked, asks);
  });
}

test("a mask that is too large is refused", () => {
  assert.throws(() => parseFieldMask(Array.from({ length: 65 }, (_, i) => `a${i}`).join()), /at most 64 paths/);
  assert.throws(() => parseFieldMask("a.".repeat(20)), /at most 16 steps/);
});
