/** From the snapshot to clusters and endpoints of services: what sidecars and gateways have in common. */
import { digestOfObject } from "../../base/digest.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { clusterName, clusterSni, parseClusterName } from "../../model/cluster-name.ts";
import { hostname } from "../../model/host.ts";
import { formatSpiffeId, parseSpiffeId } from "../../model/identity.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import type { Endpoint, Service, ServicePort } from "../../model/service.ts";
import type { XdsResource } from "../../xds/types.ts";
import type { DestinationRule, MeshConfig, MtlsMode, Subset } from "../config/types.ts";
import type { Snapshot } from "../snapshot/types.ts";
import type { MeshConnections } from "./cluster/connection-pool.ts";
import { buildOutboundCluster, type Discovery, type OutboundClusterInput } from "./cluster/outbound.ts";
import { effectivePolicy } from "./cluster/traffic-policy.ts";
import { decideUpstreamTls } from "./cluster/upstream-tls.ts";
import { buildLoadAssignment, type LoadAssignmentInput } from "./endpoint/load-assignment.ts";
import { IdentityMemo, NOTHING } from "./memo.ts";
import { configPath, serviceLabels } from "./metadata.ts";
import { resourceOf } from "./resource.ts";
import type { ResourceCache } from "./types.ts";

/** Clients of one class get the same clusters, endpoints, outbound listeners and routes. */
export interface ClientClass {
  readonly key: string;
  readonly kind: ProxyNode["kind"];
  readonly namespace: string;
  readonly labels: ProxyNode["labels"];
  readonly clusterId: string;
  readonly lookup: "v4" | "v6";
  readonly interception: ProxyNode["interception"];
  readonly explicit: ProxyNode["explicit"];
}

/** The class of a proxy. */
export function clientClass({ kind, namespace, labels, clusterId, ip, interception, explicit }: ProxyNode): ClientClass {
  const lookup = ip.includes(":") ? "v6" : "v4";
  return {
    key: [kind, lookup, interception, clusterId, namespace, digestOfObject(labels), ...(explicit ? [digestOfObject(explicit)] : [])].join(
      "|",
    ),
    kind,
    namespace,
    labels,
    clusterId,
    lookup,
    interception,
    explicit,
  };
}

/** What clusters take from the mesh config. */
export function meshConnections({ connectTimeoutMs, tcpKeepaliveMs }: MeshConfig): MeshConnections {
  return { connectTimeoutMs, tcpKeepaliveMs };
}

/** Clusters and endpoints of services. */
export interface ServiceResources {
  /** Of every port and subset of every service that clients of the class may see. */
  clusters(snapshot: Snapshot, client: ClientClass, cache: ResourceCache): readonly XdsResource[];
  /** Of those among `names` that are clusters with endpoints from the control plane. */
  endpoints(snapshot: Snapshot, client: ClientClass, names: ReadonlySet<string>, cache: ResourceCache): readonly XdsResource[];
}

/** Makes them; what did not change since the last snapshot is not computed again. */
export function createServiceResources(): ServiceResources {
  const all = new IdentityMemo<readonly XdsResource[]>();
  const ofService = new IdentityMemo<readonly XdsResource[]>();
  const assignments = new IdentityMemo<XdsResource>();
  /** Names that exist: others are for clients to make up, and are not remembered. */
  const asked = new IdentityMemo<Map<string, XdsResource>>();
  return {
    clusters: (snapshot, client, cache) =>
      all.get([snapshot], client.key, () =>
        snapshot.visibleServices(client.namespace).flatMap((service) => {
          const view = viewService(snapshot, client, service);
          const text = `${client.kind}|${client.lookup}|${client.clusterId}|${view.serverMode}`;
          // Endpoints with DNS names stand in the cluster itself, and with them what their namespaces demand.
          const world = discoveryKind(service, client.kind) === "dns" ? snapshot : snapshot.mesh;
          return ofService.get([world, service, view.rule ?? NOTHING, view.endpoints], text, () =>
            clusterInputs(view).map((input) => resourceOf(cache, nameOf(input), CLUSTER, input)),
          );
        }),
      ),
    endpoints: (snapshot, client, names, cache) => {
      const known = asked.get([snapshot], client.key, () => new Map());
      const found: XdsResource[] = [];
      for (const name of names) {
        let resource = known.get(name);
        if (resource === undefined) {
          resource = assignment(snapshot, client, name, cache);
          if (resource) known.set(name, resource);
        }
        if (resource) found.push(resource);
      }
      return found;
    },
  };

  function assignment(snapshot: Snapshot, client: ClientClass, name: string, cache: ResourceCache): XdsResource | undefined {
    const parts = parseClusterName(name);
    const service = parts?.direction === "outbound" ? snapshot.findService(hostname(parts.hostname), client.namespace) : undefined;
    const port = service?.ports.find(({ number }) => number === parts?.port);
    if (!parts || !service || !port || discoveryKind(service, client.kind) !== "eds") return undefined;
    const rule = snapshot.destinationRule(service.hostname, client);
    // A subset that is gone has no endpoints to tell of: an empty answer would empty a cluster that is still in use until routes have changed.
    const subset = rule?.spec.subsets.find((one) => one.name === parts.subset);
    if (parts.subset !== undefined && !subset) return undefined;
    return assignments.get([snapshot, service, rule ?? NOTHING], `${client.clusterId}|${name}`, () => {
      const endpoints = snapshot.endpoints(service.hostname);
      const input = assignmentInput({ name, port, subset, rule, endpoints, clusterId: client.clusterId, snapshot });
      return resourceOf(cache, name, ASSIGNMENT, input);
    });
  }
}

const CLUSTER = { kind: "outbound-cluster", schema: ClusterSchema, build: buildOutboundCluster };
const ASSIGNMENT = { kind: "load-assignment", schema: ClusterLoadAssignmentSchema, build: buildLoadAssignment };

/** A service with what decides how a class of clients calls it. */
interface ServiceView {
  readonly service: Service;
  readonly rule: DestinationRule | undefined;
  readonly endpoints: readonly Endpoint[];
  /** What the service's namespace demands; single workloads may differ, and then say so in their endpoint's metadata. */
  readonly serverMode: MtlsMode;
  readonly client: ClientClass;
  readonly snapshot: Snapshot;
}

function viewService(snapshot: Snapshot, client: ClientClass, service: Service): ServiceView {
  return {
    service,
    rule: snapshot.destinationRule(service.hostname, client),
    endpoints: snapshot.endpoints(service.hostname),
    serverMode: snapshot.mtlsMode(service.namespace, {}).default,
    client,
    snapshot,
  };
}

function nameOf({ port, subset, service }: OutboundClusterInput): string {
  return clusterName({ direction: "outbound", port: port.number, subset, hostname: service.host });
}

/** One cluster for each port, and one for each of its subsets. */
function clusterInputs(view: ServiceView): OutboundClusterInput[] {
  return view.service.ports
    .filter((port) => port.protocol !== "udp")
    .flatMap((port) => [undefined, ...(view.rule?.spec.subsets ?? [])].flatMap((subset) => clusterInput(view, port, subset)));
}

/** The cluster; none where a name has to be resolved and there is none. */
function clusterInput(view: ServiceView, port: ServicePort, subset: Subset | undefined): OutboundClusterInput[] {
  const { service, rule, endpoints, serverMode, snapshot } = view;
  const { mesh } = snapshot;
  const policy = effectivePolicy(rule?.spec, subset, port.number);
  const discovery =
    policy.loadBalancer === "PASSTHROUGH" && view.client.kind === "sidecar" ? ORIGINAL_DESTINATION : discover(view, port, subset);
  if (!discovery) return [];
  const sni = clusterSni({ direction: "outbound", port: port.number, subset: subset?.name, hostname: service.hostname });
  return [
    {
      service: serviceLabels(service),
      meshExternal: service.meshExternal,
      port,
      subset: subset?.name,
      discovery,
      // Gateways have no connection whose destination they could follow.
      policy: discovery.kind === "eds" && policy.loadBalancer === "PASSTHROUGH" ? { ...policy, loadBalancer: undefined } : policy,
      tls: decideUpstreamTls({
        settings: policy.tls,
        meshExternal: service.meshExternal,
        autoMtls: mesh.enableAutoMtls,
        serverMode,
        everyEndpointReady: discovery.kind !== "original-destination" || isEveryReady(endpoints, port),
        serverIds: serverIds(service, endpoints, mesh),
        sni,
      }),
      mesh: meshConnections(mesh),
      ruleConfig: rule && configPath(rule.meta),
    },
  ];
}

const ORIGINAL_DESTINATION: Discovery = { kind: "original-destination" };

function discoveryKind(service: Service, kind: ProxyNode["kind"]): Discovery["kind"] {
  switch (service.resolution) {
    case "static":
      return "eds";
    case "none":
      return kind === "router" ? "eds" : "original-destination";
    case "dns":
    case "dns-round-robin":
      return "dns";
  }
}

function discover(view: ServiceView, port: ServicePort, subset: Subset | undefined): Discovery | undefined {
  const { service, client } = view;
  const kind = discoveryKind(service, client.kind);
  if (kind !== "dns") return { kind };
  const name = clusterName({ direction: "outbound", port: port.number, subset: subset?.name, hostname: service.hostname });
  const endpoints = assignmentInput({ ...view, name, port, subset, clusterId: client.clusterId });
  if (endpoints.endpoints.length === 0) return undefined;
  // A logical DNS cluster has exactly one name.
  const logical = service.resolution === "dns-round-robin" && endpoints.endpoints.length === 1;
  return { kind: "dns", logical, lookup: client.lookup, endpoints };
}

function isEveryReady(endpoints: readonly Endpoint[], port: ServicePort): boolean {
  const own = endpoints.filter(({ servicePortName }) => servicePortName === port.name);
  return own.length > 0 && own.every(({ tlsReady }) => tlsReady);
}

/** Names that the servers may have: those of the endpoints, in every trust domain that the mesh takes for its own, and what the service says. */
function serverIds(service: Service, endpoints: readonly Endpoint[], mesh: MeshConfig): readonly string[] {
  const ids = new Set<string>(service.subjectAltNames);
  for (const { identity } of endpoints) {
    if (!identity) continue;
    ids.add(identity);
    const parts = parseSpiffeId(identity);
    if (parts) for (const trustDomain of mesh.trustDomainAliases) ids.add(formatSpiffeId({ ...parts, trustDomain }));
  }
  return [...ids].sort();
}

interface AssignmentOptions {
  readonly name: string;
  readonly port: ServicePort;
  readonly subset: Subset | undefined;
  readonly rule: DestinationRule | undefined;
  readonly endpoints: readonly Endpoint[];
  readonly clusterId: string;
  readonly snapshot: Snapshot;
}

function assignmentInput({ name, port, subset, rule, endpoints, clusterId, snapshot }: AssignmentOptions): LoadAssignmentInput {
  const wanted = Object.entries(subset?.labels ?? {});
  const own = endpoints.filter(
    ({ servicePortName, labels }) => servicePortName === port.name && wanted.every(([key, value]) => labels[key] === value),
  );
  const settings = effectivePolicy(rule?.spec, subset, port.number).tls;
  return {
    clusterName: name,
    endpoints: own,
    mutualTls: own.map((endpoint) => (settings ? settings.mode === "ISTIO_MUTUAL" : takesMutualTls(endpoint, snapshot))),
    clusterId,
  };
}

function takesMutualTls(endpoint: Endpoint, snapshot: Snapshot): boolean {
  if (!endpoint.tlsReady) return false;
  const modes = snapshot.mtlsMode(endpoint.namespace, endpoint.labels);
  return (modes.ports.get(endpoint.port) ?? modes.default) !== "DISABLE";
}
