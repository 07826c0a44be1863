/** tcp_proxy as a type of filter: config read, records reported to metrics and access logs. */
import type { Any } from "@bufbuild/protobuf/wkt";
import { TcpProxySchema } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import type { FormatSource } from "../../telemetry/format-source.ts";
import type { IstioMetrics, Reporter } from "../../telemetry/istio-metrics.ts";
import type { StreamRecord } from "../../telemetry/record.ts";
import { ConfigRefused } from "../config/address.ts";
import { unpackAny } from "../config/any.ts";
import { type AccessLogger, compileAccessLogs, validateAccessLogs } from "../http/access-logs.ts";
import type { DownstreamConnection, ProxyContext } from "../types.ts";
import type { TerminalFilterType } from "./filters.ts";
import { readTcpProxy, type TcpProxyConfig } from "./tcp-config.ts";
import { TcpProxy, type TcpReporter } from "./tcp-proxy.ts";

/** The type for filter chains. */
export function createTcpFilterType(context: ProxyContext, metrics: IstioMetrics): TerminalFilterType {
  return {
    typeName: TcpProxySchema.typeName,
    validate: (config) => validateAccessLogs(decode(config).accessLogs),
    routes: () => [],
    create(config) {
      const read = decode(config);
      const logs = compileAccessLogs(read.accessLogs, { accessLogs: context.accessLogs, random: context.random });
      return new TcpProxy(read, context, createReporter(metrics, logs));
    },
  };
}

function decode(config: Any): TcpProxyConfig {
  const message = unpackAny(config, TcpProxySchema);
  if (!message) throw new ConfigRefused(`${config.typeUrl} is no TcpProxy`);
  return readTcpProxy(message);
}

function createReporter(metrics: IstioMetrics, logs: readonly AccessLogger[]): TcpReporter {
  return {
    opened: (record, direction) => metrics.tcpOpened(record, reporterOf(direction)),
    moved: (record, direction, bytes) => metrics.tcpBytes(record, reporterOf(direction), bytes),
    closed(record, direction, wasOpen) {
      // Istio counts a connection that found no upstream as opened and closed, with its flags.
      if (!wasOpen) metrics.tcpOpened(record, reporterOf(direction));
      metrics.tcpClosed(record, reporterOf(direction));
      if (logs.length === 0) return;
      const source = formatSource(record);
      for (const log of logs) log.log(source);
    },
  };
}

/** The client's proxy reports as the source. */
function reporterOf(direction: DownstreamConnection["direction"]): Reporter {
  return direction === "inbound" ? "destination" : "source";
}

function formatSource(record: StreamRecord): FormatSource {
  return {
    record,
    request: undefined,
    responseHeaders: undefined,
    responseTrailers: undefined,
    directRemote: record.downstreamRemote,
    filterState: undefined,
  };
}
