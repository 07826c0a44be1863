/**
 * The xDS clients of a proxy: one for the aggregated stream, one for each other server that some config names. A client reaches its
 * server through a cluster, as everything that the proxy dials.
 */
import { toBinary } from "@bufbuild/protobuf";
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Random } from "../../base/random.ts";
import { type Node, NodeSchema } from "../../gen/envoy/config/core/v3/base_pb.ts";
import {
  type ApiConfigSource,
  ApiConfigSource_ApiType as ApiType,
  type ConfigSource,
} from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import type { Dialer, Network } from "../../net/dial.ts";
import { createGrpcChannel } from "../../net/grpc/channel.ts";
import type { GrpcMetadata } from "../../net/grpc/types.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import { createXdsClient } from "../../xds/client.ts";
import type { XdsClient } from "../../xds/client-types.ts";
import type { DiscoveryService } from "../../xds/services.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { ConfigRefused } from "./address.ts";

/** Servers at once that a config may name. */
const CLIENTS_MAX = 64;

/** What clients take from outside. */
export interface DiscoveryOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: MetricsRegistry;
  readonly network: Network;
  readonly node: Node;
  readonly ads: ApiConfigSource | undefined;
  readonly cluster: (name: string) => Cluster | undefined;
}

/** Gives the client of a config source. */
export interface ClientSource {
  /** Why a config source cannot be used; undefined when it can. */
  refusalOf(source: ConfigSource | undefined): string | undefined;
  /** The client of a source, connecting from its first use on. Throws ConfigRefused. `service` is that of the type, for servers of their own. */
  clientOf(source: ConfigSource | undefined, service: DiscoveryService): XdsClient;
}

/** See the file's head. */
export class Discovery implements ClientSource {
  readonly #options: DiscoveryOptions;
  readonly #clients = new Map<string, XdsClient>();
  #ads: XdsClient | undefined;

  constructor(options: DiscoveryOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#ads?.isConnected ?? false;
  }

  refusalOf(source: ConfigSource | undefined): string | undefined {
    switch (source?.configSourceSpecifier.case) {
      case "ads":
        return this.#options.ads ? undefined : "config_source ads: the bootstrap has no ads_config";
      case "apiConfigSource":
        try {
          readApi(source.configSourceSpecifier.value);
          return undefined;
        } catch (error) {
          if (error instanceof ConfigRefused) return error.message;
          throw error;
        }
      default:
        return `config_source ${source?.configSourceSpecifier.case ?? "(none)"} is not supported: ads and api_config_source are`;
    }
  }

  clientOf(source: ConfigSource | undefined, service: DiscoveryService): XdsClient {
    const refusal = this.refusalOf(source);
    if (refusal !== undefined) throw new ConfigRefused(refusal);
    const specifier = source?.configSourceSpecifier;
    if (specifier?.case !== "apiConfigSource") return this.ads;
    const { clusterName, mode } = readApi(specifier.value);
    const key = `${service.sotwMethod} ${mode} ${clusterName}`;
    const known = this.#clients.get(key);
    if (known) return known;
    if (this.#clients.size >= CLIENTS_MAX) throw new ConfigRefused(`more than ${CLIENTS_MAX} xDS servers`);
    const client = this.#create(specifier.value, service);
    this.#clients.set(key, client);
    return client;
  }

  /** The aggregated stream's client. */
  get ads(): XdsClient {
    const { ads } = this.#options;
    if (!ads) throw new ConfigRefused("the bootstrap has no ads_config");
    this.#ads ??= this.#create(ads, undefined);
    return this.#ads;
  }

  close(): void {
    this.#ads?.close();
    for (const client of this.#clients.values()) client.close();
  }

  #create(api: ApiConfigSource, service: DiscoveryService | undefined): XdsClient {
    const { clock, random, log, metrics, network, node, cluster } = this.#options;
    const { clusterName, mode, authority, metadata } = readApi(api);
    const client = createXdsClient({
      openChannel: () =>
        createGrpcChannel({
          network: { dialer: clusterDialer(network, clock, () => cluster(clusterName)), resolver: network.resolver },
          // The dialer chooses the host anew for each connection; this is its name in messages.
          target: { host: `cluster ${clusterName}`, port: 0 },
          authority: authority || clusterName,
          clock,
        }),
      node: toBinary(NodeSchema, node),
      mode,
      setNodeOnFirstMessageOnly: api.setNodeOnFirstMessageOnly,
      clock,
      random,
      log,
      metrics,
      service,
      metadata: () => metadata,
    });
    client.start();
    return client;
  }
}

/** How often a cluster is looked at that has no host, or not its certificate yet. */
const CLUSTER_POLL_MS = 20;

/** Dials hosts of a cluster with its TLS and its mark. Waits, as long as a connect may take, for a cluster that is not ready: at start its certificate is on its way. */
function clusterDialer(network: Network, clock: Clock, find: () => Cluster | undefined): Dialer {
  return {
    dial(options, handler) {
      const untilMs = clock.monotonicMs() + options.timeoutMs;
      let pending: { cancel(): void };
      const attempt = (): void => {
        const cluster = find();
        const host = cluster?.chooseHost({
          originalDestination: undefined,
          triedHosts: undefined,
          hash: undefined,
          metadataMatch: undefined,
        });
        const dial = cluster && host ? cluster.dialOptionsFor(host) : "the cluster of the xDS server is missing or has no host";
        if (typeof dial !== "string")
          pending = network.dialer.dial({ ...dial, watermarks: options.watermarks ?? dial.watermarks }, handler);
        else if (clock.monotonicMs() < untilMs) pending = clock.after(CLUSTER_POLL_MS, attempt);
        else pending = clock.after(0, () => handler.onFail({ code: undefined, message: dial, phase: "connect" }));
      };
      attempt();
      return { cancel: () => pending.cancel() };
    },
  };
}

function readApi(api: ApiConfigSource): {
  readonly clusterName: string;
  readonly authority: string;
  readonly mode: "delta" | "sotw";
  readonly metadata: GrpcMetadata;
} {
  const mode =
    api.apiType === ApiType.DELTA_GRPC || api.apiType === ApiType.AGGREGATED_DELTA_GRPC
      ? "delta"
      : api.apiType === ApiType.GRPC || api.apiType === ApiType.AGGREGATED_GRPC
        ? "sotw"
        : undefined;
  if (!mode) throw new ConfigRefused(`api_config_source: api_type ${api.apiType} is not supported: GRPC and DELTA_GRPC are`);
  const [service] = api.grpcServices;
  if (service?.targetSpecifier.case !== "envoyGrpc") throw new ConfigRefused("api_config_source: grpc_services with envoy_grpc is needed");
  const { clusterName, authority } = service.targetSpecifier.value;
  if (clusterName === "") throw new ConfigRefused("api_config_source: envoy_grpc.cluster_name is needed");
  const metadata = Object.fromEntries(service.initialMetadata.map(({ key, value }) => [key.toLowerCase(), value]));
  return { clusterName, authority, mode, metadata };
}
