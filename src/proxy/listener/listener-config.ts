/**
 * An LDS listener as plain config. All reasons against it are given at once. Source: envoy.config.listener.v3.Listener.
 */
import { toBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { digestOf } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { AccessLog } from "../../gen/envoy/config/accesslog/v3/accesslog_pb.ts";
import {
  type Filter,
  type FilterChain,
  type FilterChainMatch,
  FilterChainSchema,
  type ListenerFilter,
  type ListenerFilterChainMatchPredicate,
} from "../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { HttpInspectorSchema } from "../../gen/envoy/extensions/filters/listener/http_inspector/v3/http_inspector_pb.ts";
import { OriginalDstSchema } from "../../gen/envoy/extensions/filters/listener/original_dst/v3/original_dst_pb.ts";
import { TlsInspectorSchema } from "../../gen/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.ts";
import type { Address } from "../../net/channel.ts";
import { type DataSourceReader, readAddress, readSocketOptions } from "../config/address.ts";
import { isOfType } from "../config/any.ts";
import { unsupportedFields } from "../config/fields.ts";
import { type DownstreamTlsConfig, readDownstreamSocket } from "../config/tls-config.ts";
import { validateAccessLogs } from "../http/access-logs.ts";
import { type FilterTypes, ineffectiveOf, type RouteReference, routesOf, validateFilters } from "../network/filters.ts";
import type { DownstreamConnection } from "../types.ts";
import { compileFilterChains } from "./filter-chain-match.ts";

/** How long a handshake may take where the config says nothing. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** A filter chain that can be made. */
export interface ChainConfig {
  readonly name: string;
  readonly match: FilterChainMatch | undefined;
  readonly tls: DownstreamTlsConfig | undefined;
  readonly handshakeTimeoutMs: number;
  readonly filters: readonly Filter[];
  readonly routes: readonly RouteReference[];
  /** Equal digests make equal chains, which an update leaves alone. */
  readonly digest: string;
}

/** A listener filter that looks at bytes, but not where `isDisabled` says so. */
export interface InspectorConfig {
  readonly isDisabled: (destinationPort: number) => boolean;
}

/** A listener that can be run. */
export interface ListenerConfig {
  readonly name: string;
  readonly statName: string;
  readonly addresses: readonly Address[];
  readonly bindToPort: boolean;
  /** Hand captured connections to the listener of where they meant to go. */
  readonly handsOff: boolean;
  readonly originalDestination: boolean;
  readonly tlsInspector: InspectorConfig | undefined;
  readonly httpInspector: InspectorConfig | undefined;
  /** 0: none. */
  readonly inspectTimeoutMs: number;
  readonly continueOnTimeout: boolean;
  readonly transparent: boolean;
  readonly backlog: number | undefined;
  readonly bufferBytes: number | undefined;
  readonly direction: DownstreamConnection["direction"];
  readonly drainsOnModifyOnly: boolean;
  readonly chains: readonly ChainConfig[];
  readonly defaultChain: ChainConfig | undefined;
  /** For connections that no filter chain takes. */
  readonly accessLogs: readonly AccessLog[];
}

/** What reading gives: a config, or all reasons why there is none. */
export type ReadListener =
  | { readonly config: ListenerConfig; readonly violations: readonly []; readonly warnings: readonly string[] }
  | { readonly config: undefined; readonly violations: readonly string[]; readonly warnings: readonly string[] };

const SUPPORTED: ReadonlySet<string> = new Set([
  "name",
  "accessLog",
  "address",
  "additionalAddresses",
  "statPrefix",
  "filterChains",
  "useOriginalDst",
  "defaultFilterChain",
  "perConnectionBufferLimitBytes",
  "metadata",
  "deprecatedV1",
  "drainType",
  "listenerFilters",
  "listenerFiltersTimeout",
  "continueOnListenerFiltersTimeout",
  "transparent",
  "trafficDirection",
  "tcpBacklogSize",
  "bindToPort",
  "socketOptions",
  // One thread accepts, so there is nothing to balance; the port is not shared; there is no overload manager to pass by.
  "connectionBalanceConfig",
  "reusePort",
  "enableReusePort",
  "maxConnectionsToAcceptPerSocketEvent",
  "ignoreGlobalConnLimit",
  "bypassOverloadManager",
]);
const REFUSED: ReadonlySet<string> = new Set(["udp_listener_config", "api_listener", "internal_listener", "filter_chain_matcher"]);

/** Reads a listener. */
export function readListener(listener: Listener, types: FilterTypes, reader: DataSourceReader): ReadListener {
  const violations: string[] = [];
  const warnings: string[] = [];
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      violations.push(messageOf(error));
      return undefined;
    }
  };
  if (listener.name === "") violations.push("a listener needs a name");
  for (const field of unsupportedFields(ListenerSchema, listener, SUPPORTED)) {
    if (REFUSED.has(field)) violations.push(`${field} is not supported`);
    else warnings.push(field);
  }
  const addresses = [listener.address, ...listener.additionalAddresses.map(({ address }) => address)].flatMap(
    (address) => attempt(() => readAddress(address)) ?? [],
  );
  const inspectors = attempt(() => readListenerFilters(listener.listenerFilters));
  const readOne = (chain: FilterChain, name: string): ChainConfig | undefined =>
    readChain(chain, name, listener, types, reader, { violations, warnings });
  const chains = listener.filterChains.map((chain, i) => readOne(chain, chain.name || String(i)));
  const defaultChain = listener.defaultFilterChain && readOne(listener.defaultFilterChain, listener.defaultFilterChain.name || "default");
  if (chains.length === 0 && !defaultChain) violations.push("no filter chains");
  const read = chains.filter((chain) => chain !== undefined);
  attempt(() => compileFilterChains(read.map((chain) => ({ name: chain.name, match: chain.match, chain }))));
  violations.push(...validateAccessLogs(listener.accessLog));
  const accessLogs = listener.accessLog.filter(isOfUnmatched);
  if (accessLogs.length < listener.accessLog.length) warnings.push("access_log (but for those that are filtered by the response flag NR)");
  if (listener.socketOptions.length > 0) warnings.push(...readSocketOptions(listener.socketOptions).unsupported);
  if (violations.length > 0 || !inspectors) return { config: undefined, violations, warnings };
  const first = addresses[0];
  const timeout = listener.listenerFiltersTimeout;
  return {
    violations: [],
    warnings,
    config: {
      name: listener.name,
      statName: (listener.statPrefix || (first ? `${first.host}_${first.port}` : listener.name)).replaceAll(":", "_"),
      addresses,
      bindToPort: listener.bindToPort ?? listener.deprecatedV1?.bindToPort ?? true,
      handsOff: listener.useOriginalDst ?? false,
      originalDestination: inspectors.originalDestination || (listener.useOriginalDst ?? false),
      tlsInspector: inspectors.tlsInspector,
      httpInspector: inspectors.httpInspector,
      inspectTimeoutMs: timeout ? durationMs(timeout) : 15_000,
      continueOnTimeout: listener.continueOnListenerFiltersTimeout,
      transparent: listener.transparent ?? false,
      backlog: listener.tcpBacklogSize,
      bufferBytes: listener.perConnectionBufferLimitBytes,
      direction: listener.trafficDirection === 1 ? "inbound" : listener.trafficDirection === 2 ? "outbound" : "unspecified",
      drainsOnModifyOnly: listener.drainType === 1,
      chains: read,
      defaultChain,
      accessLogs,
    },
  };
}

/** Whether a log wants connections alone that found no filter chain. Those that found one are logged by their filters. */
function isOfUnmatched({ filter }: AccessLog): boolean {
  const how = filter?.filterSpecifier;
  return how?.case === "responseFlagFilter" && how.value.flags.length > 0 && how.value.flags.every((flag) => flag === "NR");
}

function readChain(
  chain: FilterChain,
  name: string,
  listener: Listener,
  types: FilterTypes,
  reader: DataSourceReader,
  { violations, warnings }: { violations: string[]; warnings: string[] },
): ChainConfig | undefined {
  const reasons = validateFilters(chain.filters, types);
  let tls: DownstreamTlsConfig | undefined;
  try {
    tls = readDownstreamSocket(chain.transportSocket, reader, (field) => warnings.push(field));
  } catch (error) {
    reasons.push(messageOf(error));
  }
  for (const field of unsupportedFields(FilterChainSchema, chain, CHAIN)) warnings.push(`filter_chain.${field}`);
  violations.push(...reasons.map((reason) => `filter chain "${name}": ${reason}`));
  if (reasons.length > 0) return undefined;
  for (const field of ineffectiveOf(chain.filters, types)) warnings.push(`filter_chain.filters: ${field}`);
  const timeout = chain.transportSocketConnectTimeout;
  return {
    name,
    match: chain.filterChainMatch,
    tls,
    handshakeTimeoutMs: timeout ? durationMs(timeout) || HANDSHAKE_TIMEOUT_MS : HANDSHAKE_TIMEOUT_MS,
    filters: chain.filters,
    routes: routesOf(chain.filters, types),
    digest: digestOf(JSON.stringify([listener.name, listener.trafficDirection, digestOf(toBinary(FilterChainSchema, chain))])),
  };
}

const CHAIN: ReadonlySet<string> = new Set([
  "filterChainMatch",
  "filters",
  "metadata",
  "transportSocket",
  "transportSocketConnectTimeout",
  "name",
]);

function readListenerFilters(filters: readonly ListenerFilter[]): {
  originalDestination: boolean;
  tlsInspector: InspectorConfig | undefined;
  httpInspector: InspectorConfig | undefined;
} {
  let originalDestination = false;
  let tlsInspector: InspectorConfig | undefined;
  let httpInspector: InspectorConfig | undefined;
  for (const filter of filters) {
    const config = filter.configType.case === "typedConfig" ? filter.configType.value : undefined;
    const inspector: InspectorConfig = { isDisabled: compilePredicate(filter.filterDisabled) };
    if (config && isOfType(config, OriginalDstSchema)) originalDestination = true;
    else if (config && isOfType(config, TlsInspectorSchema)) tlsInspector = inspector;
    else if (config && isOfType(config, HttpInspectorSchema)) httpInspector = inspector;
    else throw new Error(`listener filter "${filter.name}" (${config?.typeUrl ?? "without typed_config"}) is not supported`);
  }
  return { originalDestination, tlsInspector, httpInspector };
}

/** Source: ListenerFilterChainMatchPredicate. Ranges end before their `end`. */
function compilePredicate(predicate: ListenerFilterChainMatchPredicate | undefined): (port: number) => boolean {
  const rule = predicate?.rule;
  switch (rule?.case) {
    case "orMatch": {
      const rules = rule.value.rules.map(compilePredicate);
      return (port) => rules.some((matches) => matches(port));
    }
    case "andMatch": {
      const rules = rule.value.rules.map(compilePredicate);
      return (port) => rules.every((matches) => matches(port));
    }
    case "notMatch": {
      const inner = compilePredicate(rule.value);
      return (port) => !inner(port);
    }
    case "anyMatch":
      return () => rule.value;
    case "destinationPortRange": {
      const { start, end } = rule.value;
      return (port) => port >= start && port < end;
    }
    default:
      return () => false;
  }
}
