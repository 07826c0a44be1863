/**
 * Which filter chain takes a connection: a tree of tables in Envoy's order of criteria, where each step takes the most specific entry and
 * never goes back. Source: envoy.config.listener.v3.FilterChainMatch.
 */
import {
  type FilterChainMatch,
  FilterChainMatchSchema,
  FilterChainMatch_ConnectionSourceType as SourceType,
} from "../../gen/envoy/config/listener/v3/listener_components_pb.ts";
import type { Address } from "../../net/channel.ts";
import { ConfigRefused } from "../config/address.ts";
import { unsupportedFields } from "../config/fields.ts";
import { type Cidr, CidrTable, isLoopback, readCidr } from "./cidr.ts";

/** What is known of a connection when its chain is chosen. */
export interface ConnectionTraits {
  /** Where the client meant to go. */
  readonly destination: Address;
  readonly source: Address;
  /** Lower case; "" when none was asked for. */
  readonly serverName: string;
  readonly transportProtocol: "raw_buffer" | "tls";
  /** In the client's order of preference. */
  readonly applicationProtocols: readonly string[];
}

/** Chooses among chains. */
export interface FilterChainTable<Chain> {
  find(traits: ConnectionTraits): Chain | undefined;
}

interface BySource<Chain> {
  local: CidrTable<Map<number, Chain>> | undefined;
  external: CidrTable<Map<number, Chain>> | undefined;
  any: CidrTable<Map<number, Chain>> | undefined;
}
type ByDirectSource<Chain> = CidrTable<BySource<Chain>>;
type ByText<Value> = Map<string, Value>;
type ByServerName<Chain> = ByText<ByText<ByText<ByDirectSource<Chain>>>>;

/** Compiles the table. Throws ConfigRefused: two chains with the same criteria, or criteria that we do not have. */
export function compileFilterChains<Chain>(
  chains: readonly { readonly name: string; readonly match: FilterChainMatch | undefined; readonly chain: Chain }[],
): FilterChainTable<Chain> {
  // A listener of one chain without criteria is the most common of all.
  const only = chains.length === 1 ? chains[0] : undefined;
  if (only && (!only.match || isEmptyMatch(only.match))) return { find: () => only.chain };
  const ports = new Map<number, CidrTable<ByServerName<Chain>>>();
  const names = new Map<Chain, string>();
  for (const { name, match, chain } of chains) {
    names.set(chain, name);
    insert(ports, match, name, chain, names);
  }
  return {
    find(traits) {
      const table = ports.get(traits.destination.port) ?? ports.get(0);
      const byName = table?.find(traits.destination.host);
      return byName && findByServerName(byName, traits);
    },
  };
}

const KNOWN: ReadonlySet<string> = new Set([
  "destinationPort",
  "prefixRanges",
  "directSourcePrefixRanges",
  "sourceType",
  "sourcePrefixRanges",
  "sourcePorts",
  "serverNames",
  "transportProtocol",
  "applicationProtocols",
]);

function isEmptyMatch(match: FilterChainMatch): boolean {
  return unsupportedFields(FilterChainMatchSchema, match, new Set()).length === 0;
}

function insert<Chain>(
  ports: Map<number, CidrTable<ByServerName<Chain>>>,
  match: FilterChainMatch | undefined,
  name: string,
  chain: Chain,
  names: Map<Chain, string>,
): void {
  if (match) {
    const unknown = unsupportedFields(FilterChainMatchSchema, match, KNOWN);
    if (unknown.length > 0) throw new ConfigRefused(`filter chain "${name}": filter_chain_match.${unknown.join(", ")} not supported`);
  }
  const byIp = getOrCreate(ports, match?.destinationPort ?? 0, () => new CidrTable<ByServerName<Chain>>());
  for (const range of ranges(match?.prefixRanges)) {
    const byName = byIp.getOrCreate(range, () => new Map());
    for (const serverName of serverNames(match, name)) {
      const byTransport = getOrCreate(byName, serverName, () => new Map<string, ByText<ByDirectSource<Chain>>>());
      const byProtocol = getOrCreate(byTransport, match?.transportProtocol ?? "", () => new Map<string, ByDirectSource<Chain>>());
      for (const protocol of orAny(match?.applicationProtocols, "")) {
        const byDirect = getOrCreate(byProtocol, protocol, () => new CidrTable<BySource<Chain>>());
        for (const direct of ranges(match?.directSourcePrefixRanges)) {
          const bySource = byDirect.getOrCreate(direct, () => ({ local: undefined, external: undefined, any: undefined }));
          insertBySource(bySource, match, name, chain, names);
        }
      }
    }
  }
}

function insertBySource<Chain>(
  bySource: BySource<Chain>,
  match: FilterChainMatch | undefined,
  name: string,
  chain: Chain,
  names: Map<Chain, string>,
): void {
  const kind =
    match?.sourceType === SourceType.SAME_IP_OR_LOOPBACK ? "local" : match?.sourceType === SourceType.EXTERNAL ? "external" : "any";
  bySource[kind] ??= new CidrTable();
  for (const range of ranges(match?.sourcePrefixRanges)) {
    const byPort = bySource[kind].getOrCreate(range, () => new Map());
    for (const port of orAny(match?.sourcePorts, 0)) {
      const other = byPort.get(port);
      if (other !== undefined)
        throw new ConfigRefused(`filter chains "${names.get(other) ?? ""}" and "${name}" have the same filter_chain_match`);
      byPort.set(port, chain);
    }
  }
}

function serverNames(match: FilterChainMatch | undefined, name: string): readonly string[] {
  return orAny(match?.serverNames, "").map((serverName) => {
    if (serverName === "*") throw new ConfigRefused(`filter chain "${name}": server_names: "*" matches no SNI: leave server_names out`);
    if (serverName.slice(1).includes("*") || (serverName.startsWith("*") && !serverName.startsWith("*."))) {
      throw new ConfigRefused(`filter chain "${name}": server_names: "${serverName}": a wildcard stands for whole labels at the start`);
    }
    // ".example.com" is how Envoy keeps "*.example.com".
    return (serverName.startsWith("*.") ? serverName.slice(1) : serverName).toLowerCase();
  });
}

function ranges(messages: Parameters<typeof readCidr>[0][] | undefined): readonly (Cidr | undefined)[] {
  return messages && messages.length > 0 ? messages.map(readCidr) : [undefined];
}

function orAny<T>(values: readonly T[] | undefined, any: T): readonly T[] {
  return values && values.length > 0 ? values : [any];
}

function findByServerName<Chain>(table: ByServerName<Chain>, traits: ConnectionTraits): Chain | undefined {
  const { serverName } = traits;
  const exact = table.get(serverName);
  if (exact) return findByTransport(exact, traits);
  for (let dot = serverName.indexOf(".", 1); dot > 0; dot = serverName.indexOf(".", dot + 1)) {
    const wildcard = table.get(serverName.slice(dot));
    if (wildcard) return findByTransport(wildcard, traits);
  }
  const any = table.get("");
  return any && findByTransport(any, traits);
}

function findByTransport<Chain>(table: ByText<ByText<ByDirectSource<Chain>>>, traits: ConnectionTraits): Chain | undefined {
  const byProtocol = table.get(traits.transportProtocol) ?? table.get("");
  if (!byProtocol) return undefined;
  for (const protocol of traits.applicationProtocols) {
    const found = byProtocol.get(protocol);
    if (found) return findBySource(found, traits);
  }
  const any = byProtocol.get("");
  return any && findBySource(any, traits);
}

function findBySource<Chain>(table: ByDirectSource<Chain>, { source, destination }: ConnectionTraits): Chain | undefined {
  const bySource = table.find(source.host);
  if (!bySource) return undefined;
  const isLocal = bySource.local || bySource.external ? isLoopback(source.host) || source.host === destination.host : false;
  const kind = (isLocal ? bySource.local : bySource.external) ?? bySource.any;
  const byPort = kind?.find(source.host);
  return byPort?.get(source.port) ?? byPort?.get(0);
}

function getOrCreate<K, V>(map: Map<K, V>, key: K, create: () => V): V {
  let value = map.get(key);
  if (value === undefined) {
    value = create();
    map.set(key, value);
  }
  return value;
}
