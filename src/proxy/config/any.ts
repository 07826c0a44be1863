/** Messages inside Any, by the type that is expected. */
import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { messageOf } from "../../base/errors.ts";
import { ConfigRefused } from "./address.ts";

/** The message, or undefined when the Any is absent or of another type. Throws ConfigRefused when its bytes are none. */
export function unpackAny<Desc extends DescMessage>(any: Any | undefined, schema: Desc): MessageShape<Desc> | undefined {
  if (!any || !isOfType(any, schema)) return undefined;
  try {
    return fromBinary(schema, any.value);
  } catch (error) {
    throw new ConfigRefused(`${schema.typeName} cannot be decoded: ${messageOf(error)}`);
  }
}

/** Whether an Any says that it holds a message of that type. */
export function isOfType(any: Any, schema: DescMessage): boolean {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1) === schema.typeName;
}
