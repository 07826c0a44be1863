import assert from "node:assert/strict";
import { test } from "node:test";
import dnsPacket from "dns-packet";
import { replyTo } from "./message.ts";
import type { NameAnswer } from "./types.ts";

const NAMES: Readonly<Record<string, NameAnswer>> = {
  "catalog.shop": { kind: "known", addresses: ["240.0.0.1", "240.0.0.2", "2001:db8::1"], ttlS: 5 },
  "v4.shop": { kind: "known", addresses: ["240.0.0.3"] },
  "many.shop": { kind: "known", addresses: Array.from({ length: 40 }, (_, i) => `10.0.0.${i}`) },
  "nobody.shop": { kind: "unknown" },
};
const lookup = (name: string): NameAnswer => NAMES[name] ?? { kind: "forward" };

function query(name: string, type: dnsPacket.RecordType, more: Partial<dnsPacket.Packet> = {}): Buffer {
  return dnsPacket.encode({ type: "query", id: 4711, flags: dnsPacket.RECURSION_DESIRED, questions: [{ name, type }], ...more });
}

function sent(bytes: Buffer, overUdp = true): dnsPacket.DecodedPacket & { rcode?: string; flag_tc?: boolean } {
  const reply = replyTo(bytes, lookup, overUdp);
  assert.equal(reply.kind, "send");
  return dnsPacket.decode(reply.kind === "send" ? reply.bytes : Buffer.alloc(0));
}

const rows: readonly {
  readonly name: string;
  readonly ask: string;
  readonly type: dnsPacket.RecordType;
  readonly rcode: string;
  readonly data: readonly string[];
}[] = [
  { name: "A gives the IPv4 addresses", ask: "catalog.shop", type: "A", rcode: "NOERROR", data: ["240.0.0.1", "240.0.0.2"] },
  { name: "AAAA gives the IPv6 addresses", ask: "catalog.shop", type: "AAAA", rcode: "NOERROR", data: ["2001:db8::1"] },
  { name: "case is ignored", ask: "Catalog.SHOP", type: "A", rcode: "NOERROR", data: ["240.0.0.1", "240.0.0.2"] },
  {
    name: "a name without IPv6 is empty, not missing: else IPv4 would not be tried",
    ask: "v4.shop",
    type: "AAAA",
    rcode: "NOERROR",
    data: [],
  },
  { name: "another type of a known name is empty", ask: "v4.shop", type: "MX", rcode: "NOERROR", data: [] },
  { name: "an unknown name is no such name", ask: "nobody.shop", type: "A", rcode: "NXDOMAIN", data: [] },
];
for (const { name, ask, type, rcode, data } of rows) {
  test(name, () => {
    const packet = sent(query(ask, type));
    assert.equal(packet.id, 4711);
    assert.equal(packet.rcode, rcode);
    assert.equal(packet.questions?.[0]?.name, ask, "the question comes back letter for letter");
    assert.deepEqual(
      packet.answers?.map((answer) => ("data" in answer ? answer.data : undefined)),
      data,
    );
  });
}

test("other names are forwarded, and fail as server failure", () => {
  const reply = replyTo(query("example.com", "A"), lookup, true);
  assert.equal(reply.kind, "forward");
  const packet: dnsPacket.DecodedPacket & { rcode?: string } = dnsPacket.decode(
    reply.kind === "forward" ? reply.failed() : Buffer.alloc(0),
  );
  assert.equal(packet.rcode, "SERVFAIL");
});

test("an answer that does not fit says so over UDP, fits with EDNS or over TCP", () => {
  const plain = sent(query("many.shop", "A"));
  assert.equal(plain.flag_tc, true);
  assert.equal(plain.answers?.length, 0);
  assert.equal(sent(query("many.shop", "A"), false).answers?.length, 40);
  const edns = query("many.shop", "A", {
    additionals: [
      { type: "OPT", name: ".", udpPayloadSize: 4096, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
    ],
  });
  const large = sent(edns);
  assert.equal(large.answers?.length, 40);
  assert.ok(large.additionals?.some((record) => record.type === "OPT"));
});

test("what is no query is dropped, what is an odd one is told so", () => {
  assert.equal(replyTo(Buffer.alloc(0), lookup, true).kind, "drop");
  assert.equal(replyTo(Buffer.from("GET / HTTP/1.1\r\n\r\n"), lookup, true).kind, "drop");
  assert.equal(
    replyTo(dnsPacket.encode({ type: "response", id: 1, questions: [{ name: "v4.shop", type: "A" }] }), lookup, true).kind,
    "drop",
  );
  const status = query("v4.shop", "A");
  status.writeUInt8(0x10, 2);
  assert.equal(sent(status).rcode, "NOTIMP");
  assert.equal(sent(query("v4.shop", "A", { questions: [] })).rcode, "FORMERR");
  assert.equal(sent(query("v4.shop", "A", { questions: [{ name: "v4.shop", type: "A", class: "CH" }] })).rcode, "REFUSED");
});

test("no mangled or cut query makes it throw", () => {
  const whole = query("catalog.shop", "A", {
    additionals: [
      { type: "OPT", name: ".", udpPayloadSize: 4096, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] },
    ],
  });
  for (let at = 0; at < whole.length; at++) {
    replyTo(whole.subarray(0, at), lookup, true);
    for (const value of [0, 0x3f, 0xc0, 0xff]) {
      const mangled = Buffer.from(whole);
      mangled[at] = value;
      assert.ok(["send", "forward", "drop"].includes(replyTo(mangled, lookup, true).kind));
    }
  }
});
