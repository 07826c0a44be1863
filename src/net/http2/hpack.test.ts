/** Compression: what one end encodes the other decodes, and what is wrong is refused. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { HpackDecoder, HpackError } from "./hpack-decoder.ts";
import { HpackEncoder } from "./hpack-encoder.ts";

const LIMITS = { bytesMax: 60 * 1024, fieldsMax: 100 };

function encode(encoder: HpackEncoder, flat: readonly string[]): Buffer {
  const out = Buffer.alloc(200_000);
  let at = encoder.begin(out, 0);
  for (let i = 0; i < flat.length; i += 2) at = encoder.field(flat[i] ?? "", flat[i + 1] ?? "", out, at);
  return out.subarray(0, at);
}

function decode(decoder: HpackDecoder, block: Buffer): string[] {
  decoder.decode(block, 0, block.length);
  return decoder.fields.slice(0, decoder.count).flatMap((field) => [field.name, field.value]);
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

/** Requests and answers on one connection each. Source: RFC 7541, appendix C. */
const examples: readonly { readonly name: string; readonly blocks: readonly (readonly [string, readonly string[]])[] }[] = [
  { name: "C.2.1", blocks: [["400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", ["custom-key", "custom-header"]]] },
  { name: "C.2.2", blocks: [["040c 2f73 616d 706c 652f 7061 7468", [":path", "/sample/path"]]] },
  { name: "C.2.3", blocks: [["1008 7061 7373 776f 7264 0673 6563 7265 74", ["password", "secret"]]] },
  {
    name: "C.4, Huffman",
    blocks: [
      ["8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"]],
      [
        "8286 84be 5886 a8eb 1064 9cbf",
        [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com", "cache-control", "no-cache"],
      ],
      [
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
        [":method", "GET", ":scheme", "https", ":path", "/index.html", ":authority", "www.example.com", "custom-key", "custom-value"],
      ],
    ],
  },
];

for (const { name, blocks } of examples) {
  test(`the RFC's example ${name}`, () => {
    const decoder = new HpackDecoder(LIMITS);
    for (const [block, want] of blocks) assert.deepEqual(decode(decoder, hex(block)), want);
  });
}

const wrong: readonly { readonly name: string; readonly block: string }[] = [
  { name: "index 0", block: "80" },
  { name: "an index beyond the tables", block: "be" },
  { name: "an integer without end", block: "ff 80 80 80 80 80 80" },
  { name: "an integer that is cut off", block: "ff" },
  { name: "a name that is cut off", block: "00 05 61 62" },
  { name: "a value that is missing", block: "00 01 61" },
  { name: "a length beyond the block", block: "00 7f ff ff ff 7f" },
  { name: "a table size above ours", block: "3f e2 1f" },
  { name: "a table size behind a field", block: "82 20" },
  { name: "Huffman with a padding of zeros", block: "00 01 61 81 18" },
  { name: "Huffman with a padding of a whole byte", block: "00 01 61 82 1f ff" },
  { name: "Huffman with EOS", block: "00 01 61 84 ff ff ff ff" },
];

for (const { name, block } of wrong) {
  test(`a block with ${name} is refused`, () => {
    assert.throws(() => decode(new HpackDecoder(LIMITS), hex(block)), HpackError);
  });
}

test("any lists of fields survive, whatever the peer makes of the table's size", () => {
  const name = fc.stringMatching(/^[a-z][a-z-]{0,20}$/);
  const value = fc.oneof(fc.constantFrom("a", "b", "text/plain", "x".repeat(600)), fc.string({ unit: "binary-ascii", maxLength: 300 }));
  const list = fc.array(fc.tuple(fc.oneof(fc.constantFrom(":path", "cookie", "authorization", "x-id", "x-other", "date"), name), value), {
    maxLength: 20,
  });
  const step = fc.record({ list, tableBytes: fc.option(fc.integer({ min: 0, max: 5000 })) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const encoder = new HpackEncoder();
      const decoder = new HpackDecoder({ bytesMax: 1 << 20, fieldsMax: 1000 });
      for (const { list, tableBytes } of steps) {
        if (tableBytes !== null) encoder.setTableBytesMax(tableBytes);
        const flat = list.flat().filter((_, i) => !["host", "connection", "upgrade"].includes(list[i >> 1]?.[0] ?? ""));
        assert.deepEqual(decode(decoder, encode(encoder, flat)), flat);
      }
    }),
    { numRuns: 200 },
  );
});

test("any bytes decode or are refused, and never anything else", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const decoder = new HpackDecoder(LIMITS);
      try {
        decode(decoder, Buffer.from(bytes));
      } catch (error) {
        assert.ok(error instanceof HpackError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

test("what repeats takes a byte, what is new each time stays out of the table", () => {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(LIMITS);
  let last = 0;
  for (let i = 0; i < 1000; i++) {
    const flat = ["x-tenant", "blue", "user-agent", "a client", "x-request-id", `id-${i}`, "x-request-start", `t-${i}`];
    const block = encode(encoder, flat);
    assert.deepEqual(decode(decoder, block), flat);
    last = block.length;
  }
  assert.ok(last <= 2 + 2 * 8 + 4, `${last} bytes`);
});

test("secrets are never indexed", () => {
  const encoder = new HpackEncoder();
  for (const name of ["authorization", "cookie", "set-cookie", "proxy-authorization"]) {
    for (let i = 0; i < 3; i++) assert.equal((encode(encoder, [name, "secret"])[0] ?? 0) & 0xf0, 0x10, name);
  }
});

test("fields of one connection alone are dropped", () => {
  assert.equal(
    encode(new HpackEncoder(), ["connection", "close", "transfer-encoding", "chunked", "upgrade", "h2c", "host", "a", "keep-alive", "1"])
      .length,
    0,
  );
});

test("a list beyond the limits is cut, and the table keeps pace", () => {
  const decoder = new HpackDecoder({ bytesMax: 200, fieldsMax: 3 });
  const encoder = new HpackEncoder();
  decode(decoder, encode(encoder, ["a", "1", "b", "2", "c", "3", "d", "4"]));
  assert.equal(decoder.isTooLarge, true);
  assert.equal(decoder.count, 3);
  assert.deepEqual(decode(decoder, encode(encoder, ["d", "4"])), ["d", "4"]);
  assert.equal(decoder.isTooLarge, false);
  decode(decoder, encode(encoder, ["e", "x".repeat(168)]));
  assert.equal(decoder.isTooLarge, true, "200 bytes hold a field of 167, as each counts 32 more");
});
