/** The immutable world that everything is compiled from. snapshot.ts builds it and its indexes; compile/ only reads it. */
import type { Hostname } from "../../model/host.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import type { Endpoint, Service } from "../../model/service.ts";
import type { DestinationRule, Gateway, MeshConfig, MtlsMode, VirtualService } from "../config/types.ts";

/** One state of the mesh. Objects that did not change are the same objects as in the snapshot before. */
export interface Snapshot {
  /** Grows by one with each snapshot: the label of pushes ("2026-11-21T13:00:00Z/17" is made from it). */
  readonly version: string;
  readonly mesh: MeshConfig;
  /** All services by name. Where two declare one name, the older one. */
  readonly services: ReadonlyMap<Hostname, Service>;
  /** Endpoints of a service, all ports, in the order of their addresses. */
  endpoints(service: Hostname): readonly Endpoint[];
  /** Services that proxies of a namespace may see, by name in alphabetical order. */
  visibleServices(namespace: string): readonly Service[];
  /** The service as a config in `namespace` may refer to it; undefined when there is none or it is not visible there. */
  findService(hostname: Hostname, namespace: string): Service | undefined;
  /**
   * VirtualServices for sidecars of a namespace (gateway "mesh", exported there): those that the namespace keeps to itself first,
   * then those exported to it by name, then those for all; each group oldest first. Where two name one host, the first holds.
   */
  meshVirtualServices(namespace: string): readonly VirtualService[];
  /** VirtualServices bound to a gateway ("namespace/name") and exported to its namespace, in the same order. */
  gatewayVirtualServices(gateway: string): readonly VirtualService[];
  /**
   * The rule for a host as clients of a namespace see it: looked up in the client's namespace, then the service's, then the root
   * namespace; the most specific host wins; several for one host are merged (subsets joined, the oldest policy kept).
   */
  destinationRule(
    hostname: Hostname,
    client: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
  ): DestinationRule | undefined;
  /** Gateways whose selector matches these labels, oldest first. */
  gateways(labels: Readonly<Record<string, string>>): readonly Gateway[];
  /** How a workload takes mutual TLS: PERMISSIVE unless a PeerAuthentication says otherwise. */
  mtlsMode(namespace: string, labels: Readonly<Record<string, string>>): MtlsModes;
  /** The ports that a proxy's workload serves, with the services that declare them. */
  workloadPorts(node: ProxyNode): readonly WorkloadPort[];
}

/** Modes of one workload. */
export interface MtlsModes {
  readonly default: MtlsMode;
  readonly ports: ReadonlyMap<number, MtlsMode>;
}

/** One port of the workload beside a proxy. */
export interface WorkloadPort {
  /** The workload's port. */
  readonly port: number;
  readonly service: Service;
  readonly servicePort: Service["ports"][number];
}

/** What changed from one snapshot to the next, for the push queue. */
export interface SnapshotDiff {
  /**
   * True when anything but endpoints changed, or when endpoints changed so that more than EDS follows at every client: the identities
   * behind a service, the addresses of a service of names.
   */
  readonly config: boolean;
  /** Services whose endpoints changed (addresses, weights, health, labels). */
  readonly endpoints: ReadonlySet<Hostname>;
  /** Workloads ("namespace/address") that are new, gone, or serve other ports: the proxies beside them get other listeners. */
  readonly workloads: ReadonlySet<string>;
  /** Objects that changed, as "kind/namespace/name". */
  readonly objects: readonly string[];
}
