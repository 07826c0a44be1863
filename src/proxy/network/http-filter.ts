/** The HTTP connection manager as a type of filter: its routes come from where its config says. */
import type { Any } from "@bufbuild/protobuf/wkt";
import type { RouteConfiguration } from "../../gen/envoy/config/route/v3/route_pb.ts";
import {
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
} from "../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { createHttp1ServerConnection } from "../../net/http1/server-connection.ts";
import { createHttp2ServerConnection } from "../../net/http2/server-connection.ts";
import type { IstioMetrics } from "../../telemetry/istio-metrics.ts";
import { ConfigRefused } from "../config/address.ts";
import { unpackAny } from "../config/any.ts";
import { createHttpConnectionManager } from "../http/connection-manager.ts";
import { ineffectiveManagerFields, validateHttpConnectionManager } from "../http/manager-config.ts";
import type { RouteTable } from "../route/route-table.ts";
import type { ProxyContext } from "../types.ts";
import type { RouteReference, TerminalFilterType } from "./filters.ts";

/** Gives route tables by name and config source. */
export interface RouteTableSource {
  watch(reference: RouteReference, onRoutes: (table: RouteTable) => void): { close(): void };
}

/** The type for filter chains. */
export function createHttpFilterType(context: ProxyContext, istio: IstioMetrics, tables: RouteTableSource): TerminalFilterType {
  return {
    typeName: HttpConnectionManagerSchema.typeName,
    validate: (config) => validateHttpConnectionManager(decode(config)),
    ineffective: (config) => ineffectiveManagerFields(decode(config)),
    routes: (config) => routeReferences(decode(config)),
    create(config) {
      const message = decode(config);
      const [reference] = routeReferences(message);
      return createHttpConnectionManager(message, {
        context,
        istio,
        routes: { watch: (name, onRoutes) => tables.watch({ name, source: reference?.source }, onRoutes) },
        codecs: { http1: createHttp1ServerConnection, http2: createHttp2ServerConnection },
      });
    },
  };
}

/** The routes that stand in a filter's own config, if it is a connection manager with some. */
export function inlineRoutesOf(config: Any | undefined): RouteConfiguration | undefined {
  const message = unpackAny(config, HttpConnectionManagerSchema);
  return message?.routeSpecifier.case === "routeConfig" ? message.routeSpecifier.value : undefined;
}

function routeReferences({ routeSpecifier }: HttpConnectionManager): readonly RouteReference[] {
  return routeSpecifier.case === "rds" ? [{ name: routeSpecifier.value.routeConfigName, source: routeSpecifier.value.configSource }] : [];
}

function decode(config: Any): HttpConnectionManager {
  const message = unpackAny(config, HttpConnectionManagerSchema);
  if (!message) throw new ConfigRefused(`${config.typeUrl} is no HttpConnectionManager`);
  return message;
}
