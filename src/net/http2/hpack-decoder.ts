/** Decodes HPACK header blocks. Source: RFC 7541. */
import { type FieldKindCode, findNameFlaw, HeaderField, kindOf } from "./field.ts";
import { decodeHuffman, huffmanBytesMax } from "./huffman.ts";
import { readLatin1 } from "./latin1.ts";
import { STATIC_ENTRIES, STATIC_TABLE } from "./static-table.ts";

/** A block that cannot be decoded: the connection is lost, since both ends' tables may differ from here on. */
export class HpackError extends Error {}

/** Bounds of one header list. */
export interface HeaderListLimits {
  /** Names and values, with 32 bytes a field as HPACK counts. */
  readonly bytesMax: number;
  readonly fieldsMax: number;
}

/** The table size that both ends begin with, and the largest that this codec lets a peer use. */
export const TABLE_BYTES_MAX = 4096;

/** An integer longer than this many bytes is an attack, as no length or index of ours needs it. */
const INTEGER_BYTES_MAX = 4;

/** The decoding end of one connection's compression. */
export class HpackDecoder {
  /** The fields of the block that was decoded last, `count` of them; the array is used again for the next block. */
  readonly fields: HeaderField[] = [];
  count = 0;
  /** Whether that block went beyond the limits: what is beyond was decoded (the table must keep pace) and dropped. */
  isTooLarge = false;

  readonly #limits: HeaderListLimits;
  /** Newest last. */
  readonly #table: HeaderField[] = [];
  #tableBytes = 0;
  #tableBytesMax = TABLE_BYTES_MAX;
  #at = 0;
  #scratch: Buffer | undefined;

  constructor(limits: HeaderListLimits) {
    this.#limits = limits;
  }

  /** Decodes a whole block into `fields`. Throws HpackError. */
  decode(buffer: Buffer, start: number, end: number): void {
    this.#at = start;
    this.count = 0;
    this.isTooLarge = false;
    let bytes = 0;
    let count = 0;
    const { bytesMax, fieldsMax } = this.#limits;
    while (this.#at < end) {
      const first = buffer[this.#at] as number;
      let field: HeaderField;
      if (first & 0x80) {
        field = this.#entry(this.#integer(buffer, end, 0x7f));
      } else if (first & 0x40) {
        field = this.#literal(buffer, end, 0x3f);
        this.#insert(field);
      } else if (first & 0x20) {
        if (count > 0) throw new HpackError("a table size update after a field");
        this.#resize(this.#integer(buffer, end, 0x1f));
        continue;
      } else {
        field = this.#literal(buffer, end, 0x0f);
      }
      count += 1;
      bytes += field.size;
      if (bytes > bytesMax || count > fieldsMax) this.isTooLarge = true;
      else this.fields[this.count++] = field;
    }
    // Fields of an unusually large block shall not live on in the array.
    if (this.fields.length > 128) this.fields.length = 128;
  }

  #entry(index: number): HeaderField {
    const field = index <= STATIC_ENTRIES ? STATIC_TABLE[index] : this.#table[this.#table.length - (index - STATIC_ENTRIES)];
    if (field === undefined) throw new HpackError("an index that is not in the table");
    return field;
  }

  #literal(buffer: Buffer, end: number, mask: number): HeaderField {
    const index = this.#integer(buffer, end, mask);
    let name: string;
    let kind: FieldKindCode;
    let nameFlaw: string | undefined;
    if (index > 0) {
      const named = this.#entry(index);
      name = named.name;
      kind = named.kind;
      nameFlaw = named.nameFlaw;
    } else {
      name = this.#string(buffer, end);
      kind = kindOf(name);
      nameFlaw = findNameFlaw(name, kind);
    }
    return new HeaderField(name, this.#string(buffer, end), kind, nameFlaw);
  }

  #integer(buffer: Buffer, end: number, mask: number): number {
    let value = (buffer[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift < INTEGER_BYTES_MAX * 7; shift += 7) {
      if (this.#at >= end) throw new HpackError("an integer that is cut off");
      const byte = buffer[this.#at++] as number;
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw new HpackError("an integer that is too long");
  }

  #string(buffer: Buffer, end: number): string {
    if (this.#at >= end) throw new HpackError("a field that is cut off");
    const isCoded = ((buffer[this.#at] as number) & 0x80) !== 0;
    const length = this.#integer(buffer, end, 0x7f);
    const start = this.#at;
    if (length > end - start) throw new HpackError("a string that is cut off");
    this.#at = start + length;
    if (!isCoded) return toText(buffer, start, start + length);
    const bytesMax = huffmanBytesMax(length);
    if (this.#scratch === undefined || this.#scratch.length < bytesMax) this.#scratch = Buffer.allocUnsafeSlow(Math.max(512, bytesMax));
    const scratch = this.#scratch;
    const decoded = decodeHuffman(buffer, start, start + length, scratch);
    if (decoded < 0) throw new HpackError("a string with a wrong Huffman code");
    // A long string was an exception: its memory is not kept.
    if (scratch.length > 8192) this.#scratch = undefined;
    return toText(scratch, 0, decoded);
  }

  #insert(field: HeaderField): void {
    this.#evict(this.#tableBytesMax - field.size);
    if (field.size > this.#tableBytesMax) return;
    this.#table.push(field);
    this.#tableBytes += field.size;
  }

  #resize(bytesMax: number): void {
    if (bytesMax > TABLE_BYTES_MAX) throw new HpackError("a table size above what was offered");
    this.#tableBytesMax = bytesMax;
    this.#evict(bytesMax);
  }

  #evict(untilBytes: number): void {
    while (this.#tableBytes > untilBytes) {
      const oldest = this.#table.shift();
      if (oldest === undefined) break;
      this.#tableBytes -= oldest.size;
    }
  }
}

function toText(buffer: Buffer, start: number, end: number): string {
  return start === end ? "" : readLatin1(buffer, start, end);
}
