/** Answers to DNS queries as bytes. Source: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 (no data and no such name). */
import net from "node:net";
import dnsPacket from "dns-packet";
import type { NameLookup } from "./types.ts";

const TTL_S = 30;
const UDP_BYTES = 512;
/** What fits a packet that is never cut into fragments. */
const EDNS_BYTES_MAX = 1232;
const ADDRESSES_MAX = 64;
const HEADER_BYTES = 12;
const OPCODE_QUERY = 0;
const RCODE = { formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;

/** What to do with a query. */
export type Reply =
  | { readonly kind: "send"; readonly bytes: Buffer }
  | { readonly kind: "forward"; readonly failed: () => Buffer }
  /** No query at all: nothing is answered. */
  | { readonly kind: "drop" };

/** Decides on one query. `overUdp` limits the answer's size: what does not fit is marked truncated, and the client asks by TCP. */
export function replyTo(query: Buffer, lookup: NameLookup, overUdp: boolean): Reply {
  // Who answers answers may be made to talk to itself.
  if (query.length < HEADER_BYTES || ((query[2] ?? 0) & 0x80) !== 0) return { kind: "drop" };
  let packet: dnsPacket.DecodedPacket;
  try {
    packet = dnsPacket.decode(query);
  } catch {
    // A malformed packet is a stranger's: there is nobody to tell.
    return { kind: "drop" };
  }
  const question = packet.questions?.[0];
  const send = (rcode: number, answers: readonly dnsPacket.Answer[] = []): Buffer => encode(packet, { rcode, answers, overUdp });
  if ((((query[2] ?? 0) >> 3) & 0x0f) !== OPCODE_QUERY) return { kind: "send", bytes: send(RCODE.notImplemented) };
  if (!question || packet.questions?.length !== 1) return { kind: "send", bytes: send(RCODE.formatError) };
  if (question.class !== undefined && question.class !== "IN") return { kind: "send", bytes: send(RCODE.refused) };
  const found = lookup(question.name.toLowerCase().replace(/\.$/, ""));
  if (found.kind === "forward") return { kind: "forward", failed: () => send(RCODE.serverFailure) };
  if (found.kind === "unknown") return { kind: "send", bytes: send(RCODE.noSuchName) };
  const { name, type } = question;
  const wanted = type === "A" ? 4 : type === "AAAA" ? 6 : undefined;
  const ttl = found.ttlS ?? TTL_S;
  const answers = found.addresses
    .filter((address) => wanted !== undefined && net.isIP(address) === wanted)
    .slice(0, ADDRESSES_MAX)
    .map((data): dnsPacket.Answer => ({ name, ttl, data, class: "IN", type: wanted === 4 ? "A" : "AAAA" }));
  return { kind: "send", bytes: send(0, answers) };
}

function encode(
  query: dnsPacket.DecodedPacket,
  options: { rcode: number; answers: readonly dnsPacket.Answer[]; overUdp: boolean },
): Buffer {
  const edns = query.additionals?.find((record) => record.type === "OPT");
  const desired = edns?.type === "OPT" ? edns.udpPayloadSize : UDP_BYTES;
  const bytesMax = options.overUdp ? Math.min(Math.max(UDP_BYTES, desired), EDNS_BYTES_MAX) : 65535;
  const make = (answers: readonly dnsPacket.Answer[], more: number): Buffer =>
    dnsPacket.encode({
      type: "response",
      id: query.id,
      flags:
        dnsPacket.AUTHORITATIVE_ANSWER |
        dnsPacket.RECURSION_AVAILABLE |
        ((query.flags ?? 0) & dnsPacket.RECURSION_DESIRED) |
        options.rcode |
        more,
      questions: query.questions ?? [],
      answers: [...answers],
      additionals: edns
        ? [
            {
              type: "OPT",
              name: ".",
              udpPayloadSize: EDNS_BYTES_MAX,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ]
        : [],
    });
  const whole = make(options.answers, 0);
  return whole.length <= bytesMax ? whole : make([], dnsPacket.TRUNCATED_RESPONSE);
}
