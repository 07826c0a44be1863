/** Stores formatted values on the stream, for policies, logs and headers. Source: envoy.extensions.filters.http.set_filter_state.v3.Config. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { ConfigSchema } from "../../../gen/envoy/extensions/filters/http/set_filter_state/v3/set_filter_state_pb.ts";
import { PolicyRefusal } from "../../../policy/refusal.ts";
import { compileTextFormat, type TextFormat } from "../../../telemetry/access-log-format.ts";
import { type HttpFilterType, isActive } from "../filter.ts";

/** The filter's type. */
export const setFilterStateFilter: HttpFilterType = {
  typeName: ConfigSchema.typeName,
  validate(config) {
    compile(config);
  },
  create(config, context) {
    const values = compile(config);
    return {
      onRequest(stream) {
        if (!isActive(stream.overrideOf(context.name), context)) return "continue";
        for (const { key, format, skipsEmpty } of values) {
          const value = format(stream);
          if (value !== "" || !skipsEmpty) stream.setFilterState(key, value);
        }
        return "continue";
      },
    };
  },
};

function compile(any: Any): { readonly key: string; readonly format: TextFormat; readonly skipsEmpty: boolean }[] {
  return fromBinary(ConfigSchema, any.value).onRequestHeaders.map((value) => {
    const key = value.key.case === "objectKey" ? value.key.value : "";
    if (key === "") throw new PolicyRefusal("a value has no object_key");
    const format = value.value.case === "formatString" ? value.value.value.format : undefined;
    const source = format?.case === "textFormatSource" ? format.value.specifier : undefined;
    const text = format?.case === "textFormat" ? format.value : source?.case === "inlineString" ? source.value : undefined;
    if (text === undefined) throw new PolicyRefusal(`"${key}": the format must be an inline text`);
    return { key, format: compileTextFormat(text, { empty: "" }), skipsEmpty: value.skipIfEmpty };
  });
}
