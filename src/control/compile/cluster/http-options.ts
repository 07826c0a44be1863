/** Which HTTP a cluster speaks and how its connections are used. Source: envoy.extensions.upstreams.http.v3.HttpProtocolOptions. */
import type { Any } from "@bufbuild/protobuf/wkt";
import { HttpProtocolOptionsSchema } from "../../../gen/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import { isHttp2, type Protocol } from "../../../model/service.ts";
import type { ConnectionPool } from "../../config/types.ts";
import { durationFromMs, pack } from "../pack.ts";

/** The key in a cluster's typed_extension_protocol_options. */
const OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/** All that the options depend on. */
export interface HttpOptionsInput {
  readonly protocol: Protocol;
  readonly pool: ConnectionPool | undefined;
  /** SNI, and the name that the server's certificate must have, from each request's host. */
  readonly autoSni: boolean;
  readonly autoSan: boolean;
}

/** Whether requests to the cluster are always HTTP/2. */
export function alwaysHttp2({ protocol, pool }: Pick<HttpOptionsInput, "protocol" | "pool">): boolean {
  if (pool?.useClientProtocol) return false;
  return isHttp2(protocol) || pool?.h2UpgradePolicy === "UPGRADE";
}

/** The member of a cluster; empty where every option has its default (HTTP/1.1). */
export function buildHttpOptions(input: HttpOptionsInput): { readonly typedExtensionProtocolOptions?: { readonly [key: string]: Any } } {
  const { pool } = input;
  const http2 = alwaysHttp2(input);
  const idleTimeoutMs = pool?.httpIdleTimeoutMs ?? pool?.tcpIdleTimeoutMs;
  const hasCommon = idleTimeoutMs !== undefined || (pool?.maxRequestsPerConnection ?? 0) > 0;
  if (!http2 && !pool?.useClientProtocol && !hasCommon && !input.autoSni && !input.autoSan) return {};
  const http2ProtocolOptions = http2 && pool?.maxConcurrentStreams ? { maxConcurrentStreams: pool.maxConcurrentStreams } : {};
  return {
    typedExtensionProtocolOptions: {
      [OPTIONS]: pack(HttpProtocolOptionsSchema, {
        commonHttpProtocolOptions: hasCommon
          ? {
              idleTimeout: idleTimeoutMs === undefined ? undefined : durationFromMs(idleTimeoutMs),
              maxRequestsPerConnection: pool?.maxRequestsPerConnection || undefined,
            }
          : undefined,
        upstreamHttpProtocolOptions:
          input.autoSni || input.autoSan ? { autoSni: input.autoSni, autoSanValidation: input.autoSan } : undefined,
        upstreamProtocolOptions: pool?.useClientProtocol
          ? { case: "useDownstreamProtocolConfig", value: { httpProtocolOptions: {}, http2ProtocolOptions: {} } }
          : {
              case: "explicitHttpConfig",
              value: {
                protocolConfig: http2
                  ? { case: "http2ProtocolOptions", value: http2ProtocolOptions }
                  : { case: "httpProtocolOptions", value: {} },
              },
            },
      }),
    },
  };
}

/** For clusters that send on what they know nothing of: whatever the client speaks. */
export function buildPassthroughHttpOptions(): { readonly [key: string]: Any } {
  return {
    [OPTIONS]: pack(HttpProtocolOptionsSchema, {
      commonHttpProtocolOptions: { idleTimeout: durationFromMs(300_000) },
      upstreamProtocolOptions: { case: "useDownstreamProtocolConfig", value: { httpProtocolOptions: {}, http2ProtocolOptions: {} } },
    }),
  };
}
