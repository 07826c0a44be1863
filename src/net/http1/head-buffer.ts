/** Finds a head in what arrives: nearly always whole in one read, else gathered within limits. */

import { INCOMPLETE, REFUSED } from "./fields.ts";
import { Flaws, type Http1Flaw } from "./flaw.ts";

/** What is looked at first; a longer head is gathered. */
const FIRST_LOOK_BYTES = 8 * 1024;

/** Tries to read a head from the start of a text; returns the index behind it, INCOMPLETE or REFUSED (with `flaw` set). */
export interface HeadReader {
  readonly flaw: Http1Flaw | undefined;
  readText(text: string): number;
}

/** The bytes of a head that is not complete. */
export class HeadBuffer {
  flaw: Http1Flaw | undefined;
  #text = "";
  readonly #bytesMax: number;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get isEmpty(): boolean {
    return this.#text === "";
  }

  clear(): void {
    this.#text = "";
  }

  /** Takes bytes of a head; returns the index in `buffer` behind it, INCOMPLETE when all bytes were kept, or REFUSED. */
  read(buffer: Buffer, start: number, end: number, reader: HeadReader): number {
    if (this.#text === "") {
      const lookEnd = Math.min(end, start + FIRST_LOOK_BYTES);
      const text = buffer.toString("latin1", start, lookEnd);
      const used = reader.readText(text);
      if (used >= 0) return start + used;
      if (used === REFUSED) return this.#refuse(reader.flaw);
      if (lookEnd - start >= this.#bytesMax) return this.#refuse(Flaws.tooLarge);
      this.#text = text;
      if (lookEnd === end) return INCOMPLETE;
      return this.#gather(buffer, lookEnd, end, reader);
    }
    return this.#gather(buffer, start, end, reader);
  }

  #gather(buffer: Buffer, start: number, end: number, reader: HeadReader): number {
    const before = this.#text.length;
    // One byte more than allowed shows that it is too long.
    const takeEnd = Math.min(end, start + this.#bytesMax + 1 - before);
    const text = this.#text + buffer.toString("latin1", start, takeEnd);
    // Read once only, when it is whole: a head in many small pieces must not cost its square.
    const emptyLine = text.indexOf("\r\n\r\n", Math.max(0, before - 3));
    if (emptyLine < 0 && !text.startsWith("\r\n")) {
      if (hasBareLf(text, before)) return this.#refuse(Flaws.bareLf);
      if (text.length > this.#bytesMax) return this.#refuse(Flaws.tooLarge);
      this.#text = text;
      return INCOMPLETE;
    }
    const used = reader.readText(text);
    this.#text = "";
    if (used < 0) return this.#refuse(reader.flaw ?? Flaws.requestLine);
    return start + used - before;
  }

  #refuse(flaw: Http1Flaw | undefined): number {
    this.#text = "";
    this.flaw = flaw ?? Flaws.requestLine;
    return REFUSED;
  }
}

function hasBareLf(text: string, from: number): boolean {
  for (let at = text.indexOf("\n", from); at >= 0; at = text.indexOf("\n", at + 1)) if (text.charCodeAt(at - 1) !== 13) return true;
  return false;
}
