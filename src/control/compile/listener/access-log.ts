/** Access logs as the mesh config asks for them. Source: Istio MeshConfig.accessLogFile, accessLogFormat, accessLogEncoding. */
import type { JsonObject, MessageInitShape } from "@bufbuild/protobuf";
import type { AccessLogSchema } from "../../../gen/envoy/config/accesslog/v3/accesslog_pb.ts";
import { FileAccessLogSchema } from "../../../gen/envoy/extensions/access_loggers/file/v3/file_pb.ts";
import type { MeshConfig } from "../../config/types.ts";
import { typedConfig } from "../pack.ts";

/** What access logs depend on. */
export type AccessLogInput = Pick<MeshConfig, "accessLogFile" | "accessLogEncoding" | "accessLogFormat">;

type AccessLogInit = MessageInitShape<typeof AccessLogSchema>;

const TEXT_FORMAT =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ' +
  '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% ' +
  '%DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ' +
  '"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% ' +
  "%DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

const JSON_FORMAT: JsonObject = {
  start_time: "%START_TIME%",
  route_name: "%ROUTE_NAME%",
  method: "%REQ(:METHOD)%",
  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  protocol: "%PROTOCOL%",
  response_code: "%RESPONSE_CODE%",
  response_flags: "%RESPONSE_FLAGS%",
  response_code_details: "%RESPONSE_CODE_DETAILS%",
  connection_termination_details: "%CONNECTION_TERMINATION_DETAILS%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
  duration: "%DURATION%",
  upstream_service_time: "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
  x_forwarded_for: "%REQ(X-FORWARDED-FOR)%",
  user_agent: "%REQ(USER-AGENT)%",
  request_id: "%REQ(X-REQUEST-ID)%",
  authority: "%REQ(:AUTHORITY)%",
  upstream_host: "%UPSTREAM_HOST%",
  upstream_cluster: "%UPSTREAM_CLUSTER_RAW%",
  upstream_local_address: "%UPSTREAM_LOCAL_ADDRESS%",
  downstream_local_address: "%DOWNSTREAM_LOCAL_ADDRESS%",
  downstream_remote_address: "%DOWNSTREAM_REMOTE_ADDRESS%",
  requested_server_name: "%REQUESTED_SERVER_NAME%",
  upstream_transport_failure_reason: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
};

/** The log of requests and connections; none where no file is named. */
export function buildAccessLog(input: AccessLogInput): AccessLogInit[] {
  return input.accessLogFile === "" ? [] : [fileLog(input)];
}

/** The log of a listener: only what no filter chain took, since everything else is logged by its chain. */
export function buildListenerAccessLog(input: AccessLogInput): AccessLogInit[] {
  if (input.accessLogFile === "") return [];
  return [{ ...fileLog(input), filter: { filterSpecifier: { case: "responseFlagFilter", value: { flags: ["NR"] } } } }];
}

function fileLog(input: AccessLogInput) {
  return {
    name: "envoy.access_loggers.file",
    configType: typedConfig(FileAccessLogSchema, {
      path: input.accessLogFile,
      accessLogFormat: { case: "logFormat", value: { format: format(input) } },
    }),
  };
}

function format({ accessLogEncoding, accessLogFormat }: AccessLogInput) {
  if (accessLogEncoding === "JSON") return { case: "jsonFormat" as const, value: parseJsonFormat(accessLogFormat) ?? JSON_FORMAT };
  const text = accessLogFormat === "" ? TEXT_FORMAT : accessLogFormat.endsWith("\n") ? accessLogFormat : `${accessLogFormat}\n`;
  return { case: "textFormatSource" as const, value: { specifier: { case: "inlineString" as const, value: text } } };
}

/** The format as an object; undefined for none and for what is no JSON object, as Istio then takes its default. */
function parseJsonFormat(text: string): JsonObject | undefined {
  if (text === "") return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined;
  } catch {
    return undefined;
  }
}
