/**
 * Earliest deadline first: picks entries in proportion to their weights, evenly spread. Source: the algorithm of weighted fair
 * queueing; Envoy's weighted round robin and weighted least request are of this kind.
 */

interface Entry<T> {
  readonly item: T;
  deadline: number;
  readonly order: number;
}

/** A binary heap by deadline; equal deadlines go in the order of adding. */
export class EdfScheduler<T> {
  readonly #heap: Entry<T>[] = [];
  #now = 0;
  #order = 0;

  get size(): number {
    return this.#heap.length;
  }

  /** `weight` is above 0. */
  add(item: T, weight: number): void {
    this.#push({ item, deadline: this.#now + 1 / weight, order: this.#order++ });
  }

  /** The next item; it goes back in with the weight that `weightOf` gives it now. Undefined when there is none. */
  pick(weightOf: (item: T) => number): T | undefined {
    const top = this.#heap[0];
    if (!top) return undefined;
    this.#now = top.deadline;
    const last = this.#heap.pop();
    if (last && last !== top) {
      this.#heap[0] = last;
      this.#sink(0);
    }
    this.#push({ item: top.item, deadline: this.#now + 1 / weightOf(top.item), order: this.#order++ });
    return top.item;
  }

  #push(entry: Entry<T>): void {
    const heap = this.#heap;
    let at = heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent] as Entry<T>;
      if (!isBefore(entry, above)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = entry;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const entry = heap[from] as Entry<T>;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      const right = heap[child + 1];
      if (right && isBefore(right, heap[child] as Entry<T>)) child += 1;
      if (!isBefore(heap[child] as Entry<T>, entry)) break;
      heap[at] = heap[child] as Entry<T>;
      at = child;
    }
    heap[at] = entry;
  }
}

function isBefore<T>(a: Entry<T>, b: Entry<T>): boolean {
  return a.deadline < b.deadline || (a.deadline === b.deadline && a.order < b.order);
}
