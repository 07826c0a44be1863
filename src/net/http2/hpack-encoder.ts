/**
 * Encodes header fields with HPACK. What repeats is put into the dynamic table when it is seen again, so values that are new each time (ids,
 * dates) do not push out those that are not; secrets never enter it. Source: RFC 7541; for secrets section 7.1.
 */
import { FIELD_OVERHEAD_BYTES } from "./field.ts";
import { TABLE_BYTES_MAX } from "./hpack-decoder.ts";
import { writeLatin1 } from "./latin1.ts";
import { STATIC_ENTRIES, STATIC_TABLE } from "./static-table.ts";

/** How many of a name's latest values are remembered to recognize one that repeats. */
const RECENT_VALUES = 4;

/** Names whose values a table would make guessable, byte by byte. */
const SECRET_NAMES: ReadonlySet<string> = new Set(["authorization", "cookie", "set-cookie", "proxy-authorization"]);

/** Names that HTTP/2 must not carry; dropped, should they ever get here. */
const FORBIDDEN_NAMES: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "host",
]);

/** Entries of the static table by name: the first one's index, and the index of each value. */
const STATIC_NAMES: ReadonlyMap<string, { readonly index: number; readonly values: ReadonlyMap<string, number> }> = buildStaticNames();

function buildStaticNames(): Map<string, { index: number; values: Map<string, number> }> {
  const names = new Map<string, { index: number; values: Map<string, number> }>();
  for (let index = 1; index <= STATIC_ENTRIES; index++) {
    const field = STATIC_TABLE[index];
    if (field === undefined) continue;
    const known = names.get(field.name) ?? { index, values: new Map<string, number>() };
    known.values.set(field.value, index);
    names.set(field.name, known);
  }
  return names;
}

/** What the encoder knows of a field name. Kept for names of the static table and of entries in the dynamic one: bounded by both. */
class KnownName {
  readonly staticIndex: number;
  readonly isSecret: boolean;
  /** Entries by value: positive a static index, negative -1 - the entry's number in the order of insertion. */
  readonly values: Map<string, number>;
  /** Number of the newest dynamic entry with this name, -1 for none. */
  newest = -1;
  readonly recent: string[] = [];
  recentAt = 0;

  constructor(name: string) {
    const fixed = STATIC_NAMES.get(name);
    this.staticIndex = fixed?.index ?? 0;
    this.values = new Map(fixed?.values);
    this.isSecret = SECRET_NAMES.has(name);
  }

  /** Whether the value was seen lately; remembers it if not. */
  sawBefore(value: string): boolean {
    const { recent } = this;
    for (let i = 0; i < recent.length; i++) if (recent[i] === value) return true;
    recent[this.recentAt] = value;
    this.recentAt = (this.recentAt + 1) % RECENT_VALUES;
    return false;
  }
}

/** Longer values are not worth remembering, nor the table's room. */
const INDEXED_VALUE_BYTES_MAX = 512;

/** The encoding end of one connection's compression. */
export class HpackEncoder {
  readonly #names = new Map<string, KnownName>();
  /** Oldest first: name, value, name, value ... */
  readonly #table: string[] = [];
  #tableBytes = 0;
  #tableBytesMax = TABLE_BYTES_MAX;
  /** Entries ever inserted. */
  #inserted = 0;
  /** The smallest size since the last block, to be announced; -1 for none. */
  #announceMin = -1;

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. */
  setTableBytesMax(bytes: number): void {
    const bytesMax = Math.min(bytes, TABLE_BYTES_MAX);
    if (bytesMax === this.#tableBytesMax) return;
    this.#tableBytesMax = bytesMax;
    this.#announceMin = this.#announceMin < 0 ? bytesMax : Math.min(this.#announceMin, bytesMax);
    this.#evict(bytesMax);
  }

  /** No block of these fields is longer than this; add blockStartBytesMax once. */
  static fieldBytesMax(name: string, value: string): number {
    return name.length + value.length + 11;
  }

  /** What a block may begin with: two table size updates. */
  static readonly blockStartBytesMax = 8;

  /** Begins a block: announces a changed table size. Gives the place after it. */
  begin(out: Buffer, at: number): number {
    if (this.#announceMin < 0) return at;
    let to = at;
    if (this.#announceMin < this.#tableBytesMax) to = writeInteger(out, to, 0x20, 0x1f, this.#announceMin);
    to = writeInteger(out, to, 0x20, 0x1f, this.#tableBytesMax);
    this.#announceMin = -1;
    return to;
  }

  /** Writes one field. Gives the place after it. */
  field(name: string, value: string, out: Buffer, at: number): number {
    let known = this.#names.get(name);
    if (known === undefined) {
      if (FORBIDDEN_NAMES.has(name)) return at;
      if (STATIC_NAMES.has(name)) {
        known = new KnownName(name);
        this.#names.set(name, known);
      }
    }
    if (known === undefined) {
      // A new name enters the table at once, so that its next values need not spell it.
      if (value.length > INDEXED_VALUE_BYTES_MAX) return writeText(out, writeText(out, writeByte(out, at, 0x00), name), value);
      const to = writeText(out, writeText(out, writeByte(out, at, 0x40), name), value);
      this.#insert(name, value);
      return to;
    }
    const entry = known.values.get(value);
    if (entry !== undefined) {
      return writeInteger(out, at, 0x80, 0x7f, entry > 0 ? entry : STATIC_ENTRIES + this.#inserted + 1 + entry);
    }
    const nameIndex = known.staticIndex > 0 ? known.staticIndex : STATIC_ENTRIES + this.#inserted - known.newest;
    if (known.isSecret) return writeText(out, writeInteger(out, at, 0x10, 0x0f, nameIndex), value);
    if (value.length <= INDEXED_VALUE_BYTES_MAX && known.sawBefore(value)) {
      const to = writeText(out, writeInteger(out, at, 0x40, 0x3f, nameIndex), value);
      this.#insert(name, value);
      return to;
    }
    return writeText(out, writeInteger(out, at, 0x00, 0x0f, nameIndex), value);
  }

  #insert(name: string, value: string): void {
    const size = name.length + value.length + FIELD_OVERHEAD_BYTES;
    this.#evict(this.#tableBytesMax - size);
    // An entry larger than the table empties it and is not kept: the peer does the same.
    if (size > this.#tableBytesMax) return;
    let known = this.#names.get(name);
    if (known === undefined) {
      known = new KnownName(name);
      this.#names.set(name, known);
    }
    const number = this.#inserted++;
    known.values.set(value, -1 - number);
    known.newest = number;
    this.#table.push(name, value);
    this.#tableBytes += size;
  }

  #evict(untilBytes: number): void {
    const table = this.#table;
    let gone = 0;
    while (this.#tableBytes > untilBytes && gone < table.length) {
      const number = this.#inserted - (table.length - gone) / 2;
      const name = table[gone] as string;
      const value = table[gone + 1] as string;
      gone += 2;
      this.#tableBytes -= name.length + value.length + FIELD_OVERHEAD_BYTES;
      const known = this.#names.get(name);
      if (known === undefined) continue;
      if (known.values.get(value) === -1 - number) known.values.delete(value);
      if (known.newest !== number) continue;
      known.newest = -1;
      if (known.staticIndex === 0) this.#names.delete(name);
    }
    if (gone > 0) table.splice(0, gone);
  }
}

function writeByte(out: Buffer, at: number, byte: number): number {
  out[at] = byte;
  return at + 1;
}

function writeInteger(out: Buffer, at: number, pattern: number, mask: number, value: number): number {
  let to = at;
  if (value < mask) {
    out[to++] = pattern | value;
    return to;
  }
  out[to++] = pattern | mask;
  let rest = value - mask;
  while (rest >= 128) {
    out[to++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[to++] = rest;
  return to;
}

/** Above this a call into the runtime is cheaper than a loop here. */
const LOOP_LENGTH_MAX = 24;

function writeText(out: Buffer, at: number, text: string): number {
  const { length } = text;
  const to = writeInteger(out, at, 0x00, 0x7f, length);
  if (length <= LOOP_LENGTH_MAX) for (let i = 0; i < length; i++) out[to + i] = text.charCodeAt(i);
  else writeLatin1(out, text, to);
  return to + length;
}
