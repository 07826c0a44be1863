/**
 * Header fields in the order received. Names are lower case always; values are latin1 text without surrounding white space.
 * A flat array (name, value, name, value ...): requests have few fields, so a scan beats a map, and nothing is built that is not asked for.
 */

/** A list of header fields. Mutable: filters change it in place. */
export class HeaderList {
  /** name at even places, value at odd ones. Codecs read it directly; others use the methods. */
  readonly flat: string[];

  constructor(flat: string[] = []) {
    this.flat = flat;
  }

  /** From pairs whose names may have any case. For tests and for config. */
  static of(pairs: Readonly<Record<string, string>>): HeaderList {
    return new HeaderList(Object.entries(pairs).flatMap(([name, value]) => [name.toLowerCase(), value]));
  }

  get size(): number {
    return this.flat.length >> 1;
  }

  /** The first value of `name` (lower case), or undefined. */
  get(name: string): string | undefined {
    const { flat } = this;
    for (let i = 0; i < flat.length; i += 2) if (flat[i] === name) return flat[i + 1];
    return undefined;
  }

  /** All values of `name`, joined by a comma as HTTP means a field on several lines; undefined when absent. */
  getJoined(name: string): string | undefined {
    const { flat } = this;
    let joined: string | undefined;
    for (let i = 0; i < flat.length; i += 2) {
      if (flat[i] === name) joined = joined === undefined ? (flat[i + 1] as string) : `${joined},${flat[i + 1]}`;
    }
    return joined;
  }

  /** Every value of `name`, in order. */
  getAll(name: string): string[] {
    const values: string[] = [];
    const { flat } = this;
    for (let i = 0; i < flat.length; i += 2) if (flat[i] === name) values.push(flat[i + 1] as string);
    return values;
  }

  has(name: string): boolean {
    const { flat } = this;
    for (let i = 0; i < flat.length; i += 2) if (flat[i] === name) return true;
    return false;
  }

  /** Appends a field, whatever is there. */
  add(name: string, value: string): void {
    this.flat.push(name, value);
  }

  /** Replaces the first field of that name and removes its others; appends when there is none. */
  set(name: string, value: string): void {
    const { flat } = this;
    for (let i = 0; i < flat.length; i += 2) {
      if (flat[i] !== name) continue;
      flat[i + 1] = value;
      this.#removeFrom(name, i + 2);
      return;
    }
    flat.push(name, value);
  }

  /** Removes all fields of that name. */
  remove(name: string): void {
    this.#removeFrom(name, 0);
  }

  /** Removes all fields that `drop` says yes to. */
  removeIf(drop: (name: string, value: string) => boolean): void {
    const { flat } = this;
    let to = 0;
    for (let i = 0; i < flat.length; i += 2) {
      const name = flat[i] as string;
      const value = flat[i + 1] as string;
      if (drop(name, value)) continue;
      flat[to++] = name;
      flat[to++] = value;
    }
    flat.length = to;
  }

  clone(): HeaderList {
    return new HeaderList(this.flat.slice());
  }

  *[Symbol.iterator](): IterableIterator<[string, string]> {
    const { flat } = this;
    for (let i = 0; i < flat.length; i += 2) yield [flat[i] as string, flat[i + 1] as string];
  }

  #removeFrom(name: string, start: number): void {
    const { flat } = this;
    let to = start;
    for (let i = start; i < flat.length; i += 2) {
      if (flat[i] === name) continue;
      if (to !== i) {
        flat[to] = flat[i] as string;
        flat[to + 1] = flat[i + 1] as string;
      }
      to += 2;
    }
    flat.length = to;
  }
}
