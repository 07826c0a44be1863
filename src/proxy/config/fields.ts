/** What a config message sets beyond what we carry out: so that nothing is accepted and then ignored in silence. */
import type { DescMessage, Message, MessageShape } from "@bufbuild/protobuf";
import { isFieldSet } from "@bufbuild/protobuf";

/** Names (as in the .proto file) of fields that are set and not among `known`, which are local names. */
export function unsupportedFields<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  known: ReadonlySet<string>,
): string[] {
  return schema.fields.filter((field) => !known.has(field.localName) && isFieldSet(message, field)).map((field) => field.name);
}

/** Names (as in the .proto file) of fields that are set and among `names`, which are local names. */
export function setFields<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>, names: ReadonlySet<string>): string[] {
  return schema.fields.filter((field) => names.has(field.localName) && isFieldSet(message, field)).map((field) => field.name);
}

/** Paths of fields that the .proto files here do not know, in this message and inside it. Source: Envoy --reject-unknown-dynamic-fields. */
export function unknownFields(schema: DescMessage, message: Message, path = ""): string[] {
  const found = (message.$unknown ?? []).map(({ no }) => `${path === "" ? schema.typeName : path}: field number ${no}`);
  for (const field of schema.fields) {
    if (!isFieldSet(message, field)) continue;
    const at = path === "" ? field.name : `${path}.${field.name}`;
    const inner = field.message;
    if (!inner) continue;
    for (const [key, value] of childrenOf(message, field))
      if (isMessage(value)) found.push(...unknownFields(inner, value, key === "" ? at : `${at}[${key}]`));
  }
  return found;
}

function childrenOf(message: Message, field: DescMessage["fields"][number]): [string, unknown][] {
  // The decode boundary: a generated message has its fields under their local names, those of a oneof inside { case, value }.
  const holder = message as unknown as Record<string, unknown>;
  const value = field.oneof ? (holder[field.oneof.localName] as { value?: unknown }).value : holder[field.localName];
  if (field.fieldKind === "list") return (value as unknown[]).map((item, i) => [String(i), item]);
  if (field.fieldKind === "map") return Object.entries(value as Record<string, unknown>);
  return [["", value]];
}

function isMessage(value: unknown): value is Message {
  return typeof value === "object" && value !== null && "$typeName" in value;
}
