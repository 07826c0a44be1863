/** Ranges of IP addresses. Source: RFC 4632, RFC 4291. */
import type { CidrRange } from "../gen/envoy/config/core/v3/address_pb.ts";
import { PolicyRefusal } from "./refusal.ts";

/** An address as 4 or 16 bytes in one number, with the bits it has. IPv4 in IPv6 ("::ffff:1.2.3.4") is IPv4. */
export interface IpValue {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** Whether an address (as text) lies in a range; false for what is no address. */
export type AddressTest = (ip: string) => boolean;

const V4_MAPPED = 0xffffn << 32n;

/** Reads an address; undefined for what is none (names, zones, leading zeros). */
export function parseIp(text: string): IpValue | undefined {
  const v4 = parseV4(text);
  if (v4 !== undefined) return { bits: 32, value: BigInt(v4) };
  const v6 = parseV6(text);
  if (v6 === undefined) return undefined;
  return v6 >> 32n === V4_MAPPED >> 32n ? { bits: 32, value: v6 & 0xffffffffn } : { bits: 128, value: v6 };
}

/** Compiles a range. Throws PolicyRefusal. */
export function compileCidr(range: CidrRange | undefined): AddressTest {
  const base = range ? parseIp(range.addressPrefix) : undefined;
  if (!range || !base) throw new PolicyRefusal(`"${range?.addressPrefix ?? ""}" is no IP address`);
  const length = range.prefixLen ?? 0;
  if (length > base.bits) throw new PolicyRefusal(`${range.addressPrefix}/${length}: an address has ${base.bits} bits`);
  if (base.bits === 32) {
    const mask = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
    const want = (Number(base.value) & mask) >>> 0;
    return (ip) => {
      const v4 = parseV4(ip) ?? mappedV4(ip);
      return v4 !== undefined && (v4 & mask) >>> 0 === want;
    };
  }
  const shift = BigInt(128 - length);
  const want = base.value >> shift;
  return (ip) => {
    const address = parseIp(ip);
    return address !== undefined && address.bits === 128 && address.value >> shift === want;
  };
}

function mappedV4(ip: string): number | undefined {
  if (!ip.includes(":")) return undefined;
  const address = parseIp(ip);
  return address?.bits === 32 ? Number(address.value) : undefined;
}

function parseV4(text: string): number | undefined {
  let value = 0;
  let part = -1;
  let parts = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : 46;
    if (code === 46) {
      if (part < 0) return undefined;
      value = value * 256 + part;
      part = -1;
      if (++parts > 4) return undefined;
      continue;
    }
    if (code < 48 || code > 57 || part === 0) return undefined;
    part = (part < 0 ? 0 : part * 10) + code - 48;
    if (part > 255) return undefined;
  }
  return parts === 4 ? value : undefined;
}

function parseV6(text: string): bigint | undefined {
  if (!text.includes(":") || text.length > 45) return undefined;
  const [left, right, ...more] = text.split("::");
  if (left === undefined || more.length > 0) return undefined;
  const head = groupsOf(left);
  const tail = right === undefined ? [] : groupsOf(right);
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (right === undefined ? missing !== 0 : missing < 1) return undefined;
  let value = 0n;
  for (const group of [...head, ...new Array<number>(missing).fill(0), ...tail]) value = (value << 16n) | BigInt(group);
  return value;
}

function groupsOf(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (i === parts.length - 1 && part.includes(".")) {
      const v4 = parseV4(part);
      if (v4 === undefined) return undefined;
      groups.push(v4 >>> 16, v4 & 0xffff);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}
