/** What a DNS server is told of names. */

/** What is known of a name. */
export type NameAnswer =
  /** The name exists; without addresses (of the family asked for) the answer is empty, not "no such name". */
  | { readonly kind: "known"; readonly addresses: readonly string[]; readonly ttlS?: number | undefined }
  /** There is no such name. */
  | { readonly kind: "unknown" }
  /** Somebody else knows: the upstream servers are asked. */
  | { readonly kind: "forward" };

/** Says what is known of a name. `name` is lower-case and has no final dot. Must be quick: it is called for each query. */
export type NameLookup = (name: string) => NameAnswer;
