/** Results that are kept as long as the immutable objects that they were made from live. */

/** How many results one set of objects may have, by text: what clients say of themselves is part of it. */
const TEXTS_MAX = 1024;

interface Level<Value> {
  readonly next: WeakMap<object, Level<Value>>;
  readonly values: Map<string, Value>;
}

/** Results by the identity of objects and a text. A snapshot's objects that did not change are the same, and so are their results. */
export class IdentityMemo<Value> {
  readonly #root: Level<Value> = newLevel();

  /** The result for these objects and this text; `make` makes it the first time, and may read nothing else. */
  get(objects: readonly object[], text: string, make: () => Value): Value {
    let level = this.#root;
    for (const object of objects) {
      let next = level.next.get(object);
      if (!next) {
        next = newLevel();
        level.next.set(object, next);
      }
      level = next;
    }
    const known = level.values.get(text);
    if (known !== undefined) return known;
    const value = make();
    if (level.values.size >= TEXTS_MAX) level.values.clear();
    level.values.set(text, value);
    return value;
  }
}

/** Stands for an object that is not there. */
export const NOTHING: object = Object.freeze({});

function newLevel<Value>(): Level<Value> {
  return { next: new WeakMap(), values: new Map() };
}
