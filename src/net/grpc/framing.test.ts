/** Messages come out of a body as they went in, however it is cut; what is wrong ends the call with its code. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageReader } from "./framing.ts";
import { GrpcStatus } from "./types.ts";

function read(bytes: Buffer, pieceBytes: number, bytesMax = 100): { messages: string[]; code: number | undefined; isBetween: boolean } {
  const messages: string[] = [];
  const reader = new MessageReader(bytesMax, (message) => messages.push(Buffer.from(message).toString()));
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const error = reader.push(bytes, at, Math.min(bytes.length, at + pieceBytes));
    if (error) return { messages, code: error.code, isBetween: false };
  }
  return { messages, code: undefined, isBetween: reader.isBetweenMessages };
}

const message = (text: string): string => `\0\0\0\0${String.fromCharCode(text.length)}${text}`;

const rows: readonly {
  readonly name: string;
  readonly body: string;
  readonly messages: readonly string[];
  readonly code?: number;
  readonly isBetween?: boolean;
}[] = [
  { name: "none", body: "", messages: [], isBetween: true },
  { name: "one", body: message("hello"), messages: ["hello"], isBetween: true },
  { name: "three, one of them empty", body: message("a") + message("") + message("bc"), messages: ["a", "", "bc"], isBetween: true },
  { name: "one and a half", body: `${message("a")}\0\0\0\0\x05he`, messages: ["a"], isBetween: false },
  { name: "half a prefix", body: "\0\0", messages: [], isBetween: false },
  { name: "a compressed one", body: "\x01\0\0\0\x01a", messages: [], code: GrpcStatus.UNIMPLEMENTED },
  { name: "one with a flag that does not exist", body: "\x02\0\0\0\x01a", messages: [], code: GrpcStatus.INTERNAL },
  { name: "one at the limit", body: message("x".repeat(100)), messages: ["x".repeat(100)], isBetween: true },
  { name: "one above the limit", body: message("x".repeat(101)), messages: [], code: GrpcStatus.RESOURCE_EXHAUSTED },
  { name: "one that claims 4 GiB", body: "\0\xff\xff\xff\xff", messages: [], code: GrpcStatus.RESOURCE_EXHAUSTED },
];

for (const { name, body, messages, code, isBetween = false } of rows) {
  test(`a body with messages: ${name}`, () => {
    for (const pieceBytes of [1, 2, 3, 7, 1000]) {
      assert.deepEqual(read(Buffer.from(body, "latin1"), pieceBytes), { messages, code, isBetween }, `in pieces of ${pieceBytes}`);
    }
  });
}
