/** From a declared input to a resource: the input's digest is the version and the key under which its bytes are kept. */
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { digestOfObject } from "../../base/digest.ts";
import type { XdsResource } from "../../xds/types.ts";
import type { ResourceCache } from "./types.ts";

/** One kind of resource: how its input becomes its message, or at once its bytes. */
export type ResourceKind<Input extends object, Desc extends DescMessage> = {
  /** Tells apart inputs of two builders that happen to look alike. */
  readonly kind: string;
} & ({ readonly schema: Desc; readonly build: (input: Input) => MessageShape<Desc> } | { readonly encode: (input: Input) => Uint8Array });

/** The resource for `input`, built and encoded only when nobody asked for this input before. */
export function resourceOf<Input extends object, Desc extends DescMessage>(
  cache: ResourceCache,
  name: string,
  kind: ResourceKind<Input, Desc>,
  input: Input,
): XdsResource {
  return cache.resource(name, `${kind.kind}-${digestOfObject(input)}`, () =>
    "encode" in kind ? kind.encode(input) : toBinary(kind.schema, kind.build(input)),
  );
}
