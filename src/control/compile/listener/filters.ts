/** Network and listener filters that listeners are put together from. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Filter,
  FilterSchema,
  type ListenerFilter,
  type ListenerFilterChainMatchPredicateSchema,
  ListenerFilterSchema,
} from "../../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { HttpInspectorSchema } from "../../../gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts";
import { OriginalDstSchema } from "../../../gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts";
import { TlsInspectorSchema } from "../../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts";
import { TcpProxySchema } from "../../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { durationFromMs, typedConfig } from "../pack.ts";
import { type AccessLogInput, buildAccessLog } from "./access-log.ts";

/** Protocols that the HTTP inspector finds. HTTP/1.0 is left out: it goes on as plain bytes, since the codec would refuse it. */
export const PLAINTEXT_HTTP = ["http/1.1", "h2c"];
/** Transport protocols of filter_chain_match: TLS as the TLS inspector finds it, and everything else. */
export const Transport = { tls: "tls", plaintext: "raw_buffer" } as const;

/** Where a connection's bytes go as they are. */
export interface TcpProxyInput {
  readonly cluster: string;
  readonly statPrefix: string;
  /** Undefined: the proxy's default. */
  readonly idleTimeoutMs: number | undefined;
  /** Undefined: not logged. */
  readonly accessLog: AccessLogInput | undefined;
}

/** The filter that passes bytes on. */
export function buildTcpProxy({ cluster, statPrefix, idleTimeoutMs, accessLog }: TcpProxyInput): Filter {
  return create(FilterSchema, {
    name: "envoy.filters.network.tcp_proxy",
    configType: typedConfig(TcpProxySchema, {
      statPrefix,
      clusterSpecifier: { case: "cluster", value: cluster },
      idleTimeout: idleTimeoutMs === undefined ? undefined : durationFromMs(idleTimeoutMs),
      accessLog: accessLog ? buildAccessLog(accessLog) : [],
    }),
  });
}

/** Finds where a captured connection was going. */
export function originalDestination(): ListenerFilter {
  return create(ListenerFilterSchema, { name: "envoy.filters.listener.original_dst", configType: typedConfig(OriginalDstSchema) });
}

/** Finds TLS, its server name and its protocols, from the first bytes. `disabled`: connections that it must not wait for. */
export function tlsInspector(disabled?: PortPredicate): ListenerFilter {
  // Small to begin with: most ClientHellos fit, and every connection costs this much.
  return create(ListenerFilterSchema, {
    name: "envoy.filters.listener.tls_inspector",
    configType: typedConfig(TlsInspectorSchema, { initialReadBufferSize: 512 }),
    filterDisabled: disabled && predicate(disabled),
  });
}

/** Finds plaintext HTTP. Stands behind the TLS inspector: what is TLS it leaves alone. */
export function httpInspector(disabled?: PortPredicate): ListenerFilter {
  return create(ListenerFilterSchema, {
    name: "envoy.filters.listener.http_inspector",
    configType: typedConfig(HttpInspectorSchema),
    filterDisabled: disabled && predicate(disabled),
  });
}

/** Connections to these ports, or to all but these. */
export interface PortPredicate {
  readonly ports: readonly number[];
  readonly except: boolean;
}

type PredicateInit = MessageInitShape<typeof ListenerFilterChainMatchPredicateSchema>;

function predicate({ ports, except }: PortPredicate): PredicateInit {
  const ranges: PredicateInit[] = ports.map((port) => ({ rule: { case: "destinationPortRange", value: { start: port, end: port + 1 } } }));
  // or_match wants two rules at least.
  const [only] = ranges;
  const any: PredicateInit = ranges.length === 1 && only ? only : { rule: { case: "orMatch", value: { rules: ranges } } };
  return except ? { rule: { case: "notMatch", value: any } } : any;
}
