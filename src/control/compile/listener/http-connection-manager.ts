/** The filter that reads HTTP. Source: envoy HttpConnectionManager, with Istio's settings for each place where one stands. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Filter, FilterSchema } from "../../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import type { RouteConfigurationSchema } from "../../../gen/envoy/config/route/v3/route_pb.ts";
import {
  HttpConnectionManager_CodecType as CodecType,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  HttpConnectionManager_ForwardClientCertDetails as ForwardClientCert,
  type HttpConnectionManagerSchema as HcmSchema,
  HttpConnectionManagerSchema,
} from "../../../gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import type { MeshConfig } from "../../config/types.ts";
import { buildHttpFilters } from "../filter/http-filters.ts";
import { adsSource, durationFromMs, typedConfig } from "../pack.ts";
import { type AccessLogInput, buildAccessLog } from "./access-log.ts";

/** Where it stands: who the client is, and so what may be believed. */
export type HttpPlace =
  /** Beside the client: the application's own requests. */
  | "outbound"
  /** Beside the server: requests of the mesh. */
  | "inbound"
  /** At the edge: requests of anybody. */
  | "gateway";

/** What of the mesh config it depends on. */
export interface HttpMesh {
  readonly pathNormalization: MeshConfig["pathNormalization"];
  readonly accessLog: AccessLogInput;
}

/** All that it depends on. */
export interface HttpManagerInput {
  readonly place: HttpPlace;
  readonly statPrefix: string;
  readonly routes: { readonly rds: string } | { readonly inline: MessageInitShape<typeof RouteConfigurationSchema> };
  readonly mesh: HttpMesh;
}

/** Builds the network filter. */
export function buildHttpManager({ place, statPrefix, routes, mesh }: HttpManagerInput): Filter {
  return create(FilterSchema, {
    name: "envoy.filters.network.http_connection_manager",
    configType: typedConfig(HttpConnectionManagerSchema, {
      codecType: CodecType.AUTO,
      statPrefix,
      ...byPlace(place),
      ...normalization(mesh.pathNormalization),
      routeSpecifier:
        "rds" in routes
          ? { case: "rds", value: { configSource: adsSource(), routeConfigName: routes.rds } }
          : { case: "routeConfig", value: routes.inline },
      httpFilters: buildHttpFilters(),
      upgradeConfigs: [{ upgradeType: "websocket" }],
      // A stream may stay silent as long as both ends want: deadlines are those of routes and clients.
      streamIdleTimeout: durationFromMs(0),
      proxy100Continue: true,
      accessLog: buildAccessLog(mesh.accessLog),
    }),
  });
}

function byPlace(place: HttpPlace) {
  switch (place) {
    case "outbound":
      // The application beside it is trusted like the proxy itself: its x-envoy-* and x-forwarded-* headers hold.
      return { useRemoteAddress: false };
    case "inbound":
      return {
        useRemoteAddress: false,
        serverName: "istio-envoy",
        // Who called is added to what callers before said: the mesh's own proxies are believed.
        forwardClientCertDetails: ForwardClientCert.APPEND_FORWARD,
        setCurrentClientCertDetails: { subject: true, uri: true, dns: true },
      };
    case "gateway":
      return {
        // The address is the connection's: what strangers say of x-forwarded-for, x-envoy-* and their certificates is dropped.
        useRemoteAddress: true,
        serverName: "istio-envoy",
        forwardClientCertDetails: ForwardClientCert.SANITIZE_SET,
        setCurrentClientCertDetails: { subject: true, cert: true, dns: true, uri: true },
        httpProtocolOptions: {},
      };
  }
}

function normalization(
  mode: MeshConfig["pathNormalization"],
): Pick<MessageInitShape<typeof HcmSchema>, "normalizePath" | "mergeSlashes" | "pathWithEscapedSlashesAction"> {
  const decode = mode === "DECODE_AND_MERGE_SLASHES";
  return {
    normalizePath: mode !== "NONE",
    mergeSlashes: decode || mode === "MERGE_SLASHES",
    pathWithEscapedSlashesAction: decode ? EscapedSlashes.UNESCAPE_AND_FORWARD : EscapedSlashes.KEEP_UNCHANGED,
  };
}
