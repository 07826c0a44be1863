/** The filters that a filter chain may be made of, by the type of their config. Anything else is refused by name. */
import type { Any } from "@bufbuild/protobuf/wkt";
import { messageOf } from "../../base/errors.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import type { Filter } from "../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import type { DownstreamConnection, NetworkFilter, TerminalFilter } from "../types.ts";

/** What a filter learns of the chain that it is made for. */
export interface FilterContext {
  readonly listenerName: string;
  readonly direction: DownstreamConnection["direction"];
  /** Of the listener's metadata and of traffic: for messages. */
  readonly chainName: string;
}

/** A route configuration that a filter will wait for. */
export interface RouteReference {
  readonly name: string;
  readonly source: ConfigSource | undefined;
}

/** Makes the last filter of chains. */
export interface TerminalFilterType {
  readonly typeName: string;
  /** Why the config cannot be carried out; empty when it can. May throw, which is a reason too. */
  validate(config: Any): readonly string[];
  /** Fields that are taken and have no effect, for a warning. Only asked of a config that is valid. */
  ineffective?(config: Any): readonly string[];
  /** Route configurations that must be there before the listener serves. */
  routes(config: Any): readonly RouteReference[];
  create(config: Any, context: FilterContext): TerminalFilter;
}

/** Makes filters that decide before the last one. */
export interface NetworkFilterType {
  readonly typeName: string;
  validate(config: Any): readonly string[];
  create(config: Any, context: FilterContext): NetworkFilter;
}

/** All types of a proxy. */
export interface FilterTypes {
  readonly terminal: readonly TerminalFilterType[];
  readonly network: readonly NetworkFilterType[];
}

/** The filters of one chain, made. */
export interface FilterSet {
  readonly network: readonly NetworkFilter[];
  readonly terminal: TerminalFilter;
}

/** Why a list of filters makes no chain; empty when it does. */
export function validateFilters(filters: readonly Filter[], types: FilterTypes): string[] {
  if (filters.length === 0) return ["the filter chain has no filters"];
  return filters.flatMap((filter, i) => {
    const isLast = i === filters.length - 1;
    const found = isLast ? terminalOf(filter, types) : networkOf(filter, types);
    if (typeof found === "string") return [found];
    try {
      return found.type.validate(found.config).map((reason) => `filter "${filter.name}": ${reason}`);
    } catch (error) {
      return [`filter "${filter.name}": ${messageOf(error)}`];
    }
  });
}

/** Route configurations that a valid list of filters waits for. */
export function routesOf(filters: readonly Filter[], types: FilterTypes): readonly RouteReference[] {
  const last = filters.at(-1);
  const found = last && terminalOf(last, types);
  return !found || typeof found === "string" ? [] : found.type.routes(found.config);
}

/** Fields of a valid list's last filter that are taken and have no effect. */
export function ineffectiveOf(filters: readonly Filter[], types: FilterTypes): readonly string[] {
  const last = filters.at(-1);
  const found = last && terminalOf(last, types);
  return !found || typeof found === "string" ? [] : (found.type.ineffective?.(found.config) ?? []);
}

/** Makes the filters of a list that was validated. */
export function createFilters(filters: readonly Filter[], types: FilterTypes, context: FilterContext): FilterSet {
  const last = filters.at(-1);
  const terminal = last ? terminalOf(last, types) : "the filter chain has no filters";
  if (typeof terminal === "string") throw new Error(terminal);
  return {
    network: filters.slice(0, -1).map((filter) => {
      const found = networkOf(filter, types);
      if (typeof found === "string") throw new Error(found);
      return found.type.create(found.config, context);
    }),
    terminal: terminal.type.create(terminal.config, context),
  };
}

function terminalOf(filter: Filter, types: FilterTypes): { type: TerminalFilterType; config: Any } | string {
  const config = filter.configType.case === "typedConfig" ? filter.configType.value : undefined;
  const type = config && types.terminal.find(({ typeName }) => typeName === typeNameOf(config));
  if (config && type) return { type, config };
  if (config && types.network.some(({ typeName }) => typeName === typeNameOf(config)))
    return `filter "${filter.name}" cannot be the last of its chain: it hands connections to nobody`;
  return unknownFilter(filter, config);
}

function networkOf(filter: Filter, types: FilterTypes): { type: NetworkFilterType; config: Any } | string {
  const config = filter.configType.case === "typedConfig" ? filter.configType.value : undefined;
  const type = config && types.network.find(({ typeName }) => typeName === typeNameOf(config));
  if (config && type) return { type, config };
  if (config && types.terminal.some(({ typeName }) => typeName === typeNameOf(config)))
    return `filter "${filter.name}" must be the last of its chain`;
  return unknownFilter(filter, config);
}

function unknownFilter(filter: Filter, config: Any | undefined): string {
  if (filter.configType.case === "configDiscovery") return `filter "${filter.name}": config_discovery is not supported`;
  return `filter "${filter.name}" (${config?.typeUrl ?? "without typed_config"}) is not supported`;
}

function typeNameOf(any: Any): string {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
}
