/** Access logs of listeners and filters, compiled: which streams are written, in which format, where. Source: envoy.config.accesslog.v3.AccessLog. */
import { fromBinary } from "@bufbuild/protobuf";
import type { Random } from "../../base/random.ts";
import {
  type AccessLog,
  type AccessLogFilter,
  type ComparisonFilter,
  ComparisonFilter_Op as Op,
} from "../../gen/envoy/config/accesslog/v3/accesslog_pb.ts";
import type { SubstitutionFormatString } from "../../gen/envoy/config/core/v3/substitution_format_string_pb.ts";
import { FileAccessLogSchema } from "../../gen/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import { StderrAccessLogSchema, StdoutAccessLogSchema } from "../../gen/envoy/extensions/access_loggers/stream/v3/stream_pb.ts";
import { happens, ratioOf } from "../../policy/fraction.ts";
import { compileHeaderMatch } from "../../policy/header-match.ts";
import { collectRefusal, PolicyRefusal } from "../../policy/refusal.ts";
import { compileJsonFormat, compileTextFormat, ENVOY_TEXT_FORMAT, type TextFormat } from "../../telemetry/access-log-format.ts";
import type { AccessLogSink } from "../../telemetry/access-log-sink.ts";
import type { FormatSource, RequestReader } from "../../telemetry/format-source.ts";

/** Writes ended streams. */
export interface AccessLogger {
  log(source: FormatSource): void;
}

/** What is wrong with a list of access logs; empty: it may be compiled. */
export function validateAccessLogs(configs: readonly AccessLog[]): string[] {
  const violations: string[] = [];
  for (const config of configs) collectRefusal(violations, `access_log "${config.name}"`, () => readLog(config));
  return violations;
}

/** Compiles valid logs. A log whose path is /dev/null costs nothing but its filter and format. */
export function compileAccessLogs(
  configs: readonly AccessLog[],
  deps: { readonly accessLogs: AccessLogSink; readonly random: Random },
): AccessLogger[] {
  return configs.map((config) => {
    const { path, format, filter } = readLog(config);
    const file = deps.accessLogs.open(path);
    if (!filter) return { log: (source) => file.write(format(source)) };
    return {
      log(source) {
        if (filter(source, deps.random)) file.write(format(source));
      },
    };
  });
}

type LogFilter = (source: FormatSource, random: Random) => boolean;

interface ReadLog {
  readonly path: string;
  readonly format: TextFormat;
  readonly filter: LogFilter | undefined;
}

function readLog(config: AccessLog): ReadLog {
  const any = config.configType.case === "typedConfig" ? config.configType.value : undefined;
  const type = any?.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  const filter = config.filter && compileFilter(config.filter);
  if (any && type === FileAccessLogSchema.typeName) {
    const file = fromBinary(FileAccessLogSchema, any.value);
    if (!file.path) throw new PolicyRefusal("path is empty");
    return { path: file.path, format: compileFileFormat(file.accessLogFormat), filter };
  }
  if (any && type === StdoutAccessLogSchema.typeName)
    return { path: "/dev/stdout", format: compileStreamFormat(fromBinary(StdoutAccessLogSchema, any.value).accessLogFormat.value), filter };
  if (any && type === StderrAccessLogSchema.typeName)
    return { path: "/dev/stderr", format: compileStreamFormat(fromBinary(StderrAccessLogSchema, any.value).accessLogFormat.value), filter };
  throw new PolicyRefusal(`type ${type || "(none)"} is not supported`);
}

function compileFileFormat(format: ReturnType<typeof fromBinary<typeof FileAccessLogSchema>>["accessLogFormat"]): TextFormat {
  switch (format.case) {
    case undefined:
      return compileTextFormat(ENVOY_TEXT_FORMAT);
    case "format":
      return compileTextFormat(format.value === "" ? ENVOY_TEXT_FORMAT : format.value);
    case "jsonFormat":
    case "typedJsonFormat":
      return compileJsonFormat(format.value);
    case "logFormat":
      return compileStreamFormat(format.value);
  }
}

/** Source: envoy.config.core.v3.SubstitutionFormatString. */
function compileStreamFormat(format: SubstitutionFormatString | undefined): TextFormat {
  if (!format) return compileTextFormat(ENVOY_TEXT_FORMAT);
  // Istio names these two always; formats that use what they would add are refused by the operator's name.
  const unknown = format.formatters.filter(
    ({ typedConfig }) => !/\.(metadata|req_without_query)\.v3\.\w+$/.test(typedConfig?.typeUrl ?? ""),
  );
  if (unknown[0]) throw new PolicyRefusal(`formatter "${unknown[0].name}" is not supported`);
  const options = { empty: format.omitEmptyValues ? "" : "-" };
  switch (format.format.case) {
    case "textFormat":
      return compileTextFormat(format.format.value, options);
    case "jsonFormat":
      return compileJsonFormat(format.format.value, {
        omitEmpty: format.omitEmptyValues,
        sort: format.jsonFormatOptions?.sortProperties ?? false,
      });
    case "textFormatSource": {
      const { specifier } = format.format.value;
      if (specifier.case !== "inlineString") throw new PolicyRefusal("text_format_source must be inline_string");
      return compileTextFormat(specifier.value, options);
    }
    default:
      throw new PolicyRefusal("the format is empty");
  }
}

function compileFilter(filter: AccessLogFilter): LogFilter {
  const how = filter.filterSpecifier;
  switch (how.case) {
    case "statusCodeFilter": {
      const compare = compileComparison(how.value.comparison);
      return ({ record }) => compare(record.status);
    }
    case "durationFilter": {
      const compare = compileComparison(how.value.comparison);
      return ({ record }) => compare(Math.floor((record.endMs ?? record.startMs) - record.startMs));
    }
    case "responseFlagFilter": {
      const flags = how.value.flags;
      if (flags.length === 0) return ({ record }) => record.hasFlags;
      return ({ record }) => record.hasFlags && [...record.flags].some((flag) => flags.includes(flag));
    }
    case "andFilter": {
      const filters = how.value.filters.map(compileFilter);
      return (source, random) => filters.every((one) => one(source, random));
    }
    case "orFilter": {
      const filters = how.value.filters.map(compileFilter);
      return (source, random) => filters.some((one) => one(source, random));
    }
    case "headerFilter": {
      if (!how.value.header) throw new PolicyRefusal("header_filter has no header");
      const test = compileHeaderMatch(how.value.header);
      return ({ request }) => request !== undefined && test({ ...readable(request), headers: matchable(request) });
    }
    case "grpcStatusFilter": {
      const statuses = new Set<number>(how.value.statuses);
      const { exclude } = how.value;
      return ({ record }) => statuses.has(record.grpcStatus ?? (record.status === 200 ? 0 : 2)) !== exclude;
    }
    case "runtimeFilter": {
      const ratio = ratioOf(how.value.percentSampled, 1);
      return (_source, random) => happens(ratio, random.next());
    }
    default:
      throw new PolicyRefusal(`filter ${how.case ?? "of no or unknown kind"} is not supported`);
  }
}

function readable(request: RequestReader): { method: string; path: string; authority: string; scheme: string } {
  return { method: request.method, path: request.path, authority: request.authority, scheme: request.scheme };
}

/** Logs read single fields; a matcher may ask for all of a name. */
function matchable(request: RequestReader): {
  get(name: string): string | undefined;
  getAll(name: string): string[];
  has(name: string): boolean;
} {
  const { headers } = request;
  const one = (name: string): string[] => {
    const value = headers.get(name);
    return value === undefined ? [] : [value];
  };
  return { get: (name) => headers.get(name), getAll: one, has: (name) => headers.get(name) !== undefined };
}

function compileComparison(comparison: ComparisonFilter | undefined): (value: number) => boolean {
  const bound = comparison?.value?.defaultValue;
  if (bound === undefined) throw new PolicyRefusal("a comparison has no value");
  switch (comparison?.op) {
    case Op.EQ:
      return (value) => value === bound;
    case Op.GE:
      return (value) => value >= bound;
    case Op.LE:
      return (value) => value <= bound;
    default:
      throw new PolicyRefusal(`comparison ${comparison?.op} is not known`);
  }
}
