/** IP addresses and ranges as bytes: matching by longest prefix over a table made when config arrives. */
import type { CidrRange } from "../../gen/envoy/config/core/v3/address_pb.ts";
import { ConfigRefused } from "../config/address.ts";

/** The 4 or 16 bytes of an address as a latin1 text (so that it can be a key), or undefined for what is none. v4-mapped is v4. */
export function parseIp(text: string): string | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

/** Whether a text is an IP address. */
export function isIpText(text: string): boolean {
  return parseIp(text) !== undefined;
}

/** Whether an address is of 127.0.0.0/8 or ::1. */
export function isLoopback(text: string): boolean {
  const bytes = parseIp(text);
  return bytes !== undefined && (bytes.length === 4 ? bytes.charCodeAt(0) === 127 : bytes === LOOPBACK6);
}

const LOOPBACK6 = `${"\0".repeat(15)}\x01`;
const MAPPED = `${"\0".repeat(10)}\xff\xff`;

function parseIpv4(text: string): string | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  let bytes = "";
  for (const part of parts) {
    if (!/^\d{1,3}$/.test(part) || Number(part) > 255) return undefined;
    bytes += String.fromCharCode(Number(part));
  }
  return bytes;
}

function parseIpv6(text: string): string | undefined {
  const [address = ""] = text.split("%");
  const halves = address.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? "");
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? "") : "";
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  const bytes = head + "\0".repeat(missing) + tail;
  return bytes.startsWith(MAPPED) ? bytes.slice(12) : bytes;
}

function parseGroups(text: string): string | undefined {
  if (text === "") return "";
  let bytes = "";
  for (const group of text.split(":")) {
    if (group.includes(".")) {
      const v4 = parseIpv4(group);
      if (v4 === undefined) return undefined;
      bytes += v4;
      continue;
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const value = Number.parseInt(group, 16);
    bytes += String.fromCharCode(value >> 8, value & 255);
  }
  return bytes;
}

/** A range: the first `bits` of `bytes` count. */
export interface Cidr {
  readonly bytes: string;
  readonly bits: number;
}

/** Reads a range; without prefix_len it is 0, as Envoy has it. Throws ConfigRefused. */
export function readCidr({ addressPrefix, prefixLen }: CidrRange): Cidr {
  const bytes = parseIp(addressPrefix);
  if (bytes === undefined) throw new ConfigRefused(`"${addressPrefix}" is no IP address`);
  const bits = prefixLen ?? 0;
  if (bits > bytes.length * 8) throw new ConfigRefused(`prefix length ${bits} of ${addressPrefix} is over ${bytes.length * 8}`);
  return { bytes: maskBytes(bytes, bits), bits };
}

function maskBytes(bytes: string, bits: number): string {
  const whole = bits >> 3;
  if (whole >= bytes.length) return bytes;
  const partial = bits & 7;
  const edge = partial === 0 ? 0 : bytes.charCodeAt(whole) & (0xff << (8 - partial));
  return (
    bytes.slice(0, whole) + (partial === 0 ? "" : String.fromCharCode(edge)) + "\0".repeat(bytes.length - whole - (partial === 0 ? 0 : 1))
  );
}

/** Values by range; a look-up costs one map access for each prefix length in use. */
export class CidrTable<T> {
  /** Longest first. */
  readonly #levels: { readonly bits: number; readonly width: number; readonly values: Map<string, T> }[] = [];
  /** For every address, and for what is no IP address. */
  #any: T | undefined;

  /** The value of a range, made by `create` when there is none. Undefined is the range of everything. */
  getOrCreate(range: Cidr | undefined, create: () => T): T {
    if (!range) {
      this.#any ??= create();
      return this.#any;
    }
    let level = this.#levels.find(({ bits, width }) => bits === range.bits && width === range.bytes.length);
    if (!level) {
      level = { bits: range.bits, width: range.bytes.length, values: new Map() };
      this.#levels.push(level);
      this.#levels.sort((a, b) => b.bits - a.bits);
    }
    let value = level.values.get(range.bytes);
    if (value === undefined) {
      value = create();
      level.values.set(range.bytes, value);
    }
    return value;
  }

  /** The value of the longest range that holds `address`. */
  find(address: string): T | undefined {
    if (this.#levels.length === 0) return this.#any;
    const bytes = parseIp(address);
    if (bytes === undefined) return this.#any;
    for (const { bits, width, values } of this.#levels) {
      if (width !== bytes.length) continue;
      const value = values.get(maskBytes(bytes, bits));
      if (value !== undefined) return value;
    }
    return this.#any;
  }
}
