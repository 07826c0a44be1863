/** What a sidecar gets, on one screen: clusters, endpoints, listeners and routes, each list in the order in which it is sent. */
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { BLACK_HOLE_CLUSTER, clusterName, INBOUND_PASSTHROUGH_CLUSTER, PASSTHROUGH_CLUSTER } from "../../model/cluster-name.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import { isHttp, type Service, type ServicePort } from "../../model/service.ts";
import type { XdsResource } from "../../xds/types.ts";
import type { Snapshot } from "../snapshot/types.ts";
import { buildFixedCluster, type FixedClusterName, inboundSource } from "./cluster/fixed.ts";
import { buildInboundCluster } from "./cluster/inbound.ts";
import { effectivePolicy } from "./cluster/traffic-policy.ts";
import { dialledServices, proxiedHosts } from "./explicit.ts";
import { buildHttpProxyListener, HTTP_PROXY_ROUTES } from "./listener/http-proxy.ts";
import { buildInboundListener, buildOwnPortListener, type InboundPort } from "./listener/inbound.ts";
import { inboundPorts, type OwnPort } from "./listener/inbound-plan.ts";
import { type ListenerMesh, listenerMesh } from "./listener/mesh-input.ts";
import { buildOutboundListener, outboundListenerName } from "./listener/outbound.ts";
import { planOutboundListeners } from "./listener/outbound-plan.ts";
import { buildVirtualOutbound } from "./listener/virtual-outbound.ts";
import { IdentityMemo } from "./memo.ts";
import { configPath, serviceLabels } from "./metadata.ts";
import { resourceOf } from "./resource.ts";
import { encodeRouteConfiguration, type VirtualHostInput } from "./route/configuration.ts";
import { dependsOnClient } from "./route/plan.ts";
import { HostMemo, sidecarHosts } from "./route/sidecar-hosts.ts";
import { type ClientClass, clientClass, meshConnections, type ServiceResources } from "./services.ts";
import type { Compiler, ResourceCache } from "./types.ts";

const FIXED = { kind: "fixed-cluster", schema: ClusterSchema, build: buildFixedCluster };
const INBOUND_CLUSTER = { kind: "inbound-cluster", schema: ClusterSchema, build: buildInboundCluster };
const OUTBOUND_LISTENER = { kind: "outbound-listener", schema: ListenerSchema, build: buildOutboundListener };
const VIRTUAL_OUTBOUND = { kind: "virtual-outbound", schema: ListenerSchema, build: buildVirtualOutbound };
const INBOUND_LISTENER = { kind: "inbound-listener", schema: ListenerSchema, build: buildInboundListener };
const OWN_PORT_LISTENER = { kind: "own-port-listener", schema: ListenerSchema, build: buildOwnPortListener };
const HTTP_PROXY = { kind: "http-proxy", schema: ListenerSchema, build: buildHttpProxyListener };
const ROUTES = { kind: "routes", encode: encodeRouteConfiguration };

/** Compiles for sidecars. */
export function compileSidecar(services: ServiceResources): Compiler {
  const meshes = new IdentityMemo<ListenerMesh>();
  const outbound = new IdentityMemo<readonly XdsResource[]>();
  const planned = new IdentityMemo<readonly XdsResource[]>();
  const routes = new IdentityMemo<XdsResource>();
  const personal = new IdentityMemo<boolean>();
  const hosts = new HostMemo();
  const meshOf = (snapshot: Snapshot): ListenerMesh => meshes.get([snapshot.mesh], "", () => listenerMesh(snapshot.mesh));
  return {
    clusters(snapshot, node, cache) {
      return [
        ...services.clusters(snapshot, clientClass(node), cache),
        // Routes and listeners send here what no service takes, so these exist before them.
        fixedCluster(BLACK_HOLE_CLUSTER, snapshot, node, cache),
        fixedCluster(PASSTHROUGH_CLUSTER, snapshot, node, cache),
        ...(isCaptured(node) || node.explicit
          ? inboundPorts(snapshot, node).map((port) => inboundCluster(port, snapshot, node, cache))
          : []),
        fixedCluster(INBOUND_PASSTHROUGH_CLUSTER, snapshot, node, cache),
      ];
    },

    endpoints: (snapshot, node, names, cache) => services.endpoints(snapshot, clientClass(node), names, cache),

    listeners(snapshot, node, cache) {
      const client = clientClass(node);
      const all = outbound.get([snapshot], client.key, () => {
        const dialled = snapshot.visibleServices(client.namespace);
        const text = `${client.key}|${listenerDetails(snapshot, client, dialled)}`;
        return planned.get([dialled, meshOf(snapshot)], text, () => outboundListeners(snapshot, client, meshOf(snapshot), cache));
      });
      // What the workload sends to itself goes straight in, not out and back.
      const others = all.filter(({ name }) => !name.startsWith(`${node.ip}_`));
      if (node.explicit) return [...others, ...explicitListeners(snapshot, node, meshOf(snapshot), cache)];
      if (!isCaptured(node)) return others;
      const capture = { wildcard: wildcardOf(client), transparent: node.interception === "TPROXY", mesh: meshOf(snapshot) };
      return [
        ...others,
        // Behind the listeners that it hands connections to.
        resourceOf(cache, "virtualOutbound", VIRTUAL_OUTBOUND, capture),
        inboundListener(snapshot, node, capture, cache),
      ];
    },

    routes: (snapshot, node, names, cache) => {
      const client = clientClass(node);
      const virtualServices = snapshot.meshVirtualServices(client.namespace);
      // All that routes are made from: they stay when endpoints change.
      const sources = [snapshot.visibleServices(client.namespace), virtualServices, snapshot.mesh];
      // All of a namespace get the same, unless a VirtualService there asks for the labels of its clients.
      const isPersonal = personal.get([virtualServices], "", () => virtualServices.some(dependsOnClient));
      const who = client.explicit || isPersonal ? client.key : client.namespace;
      return [...names].flatMap((name) => {
        if (name === HTTP_PROXY_ROUTES && client.explicit)
          return [routes.get(sources, `${who}|${name}`, () => proxyRoutes(snapshot, client, hosts, cache))];
        // Route configurations of sidecars are named for their listener's port.
        if (!/^[1-9]\d{0,4}$/.test(name)) return [];
        return [routes.get(sources, `${who}|${name}`, () => routeConfiguration(snapshot, client, Number(name), hosts, cache))];
      });
    },
  };
}

/** NONE: no capture, the application dials the proxy's own listeners. */
function isCaptured(node: Pick<ProxyNode, "interception">): boolean {
  return node.interception !== "NONE";
}

function wildcardOf({ lookup }: ClientClass): string {
  return lookup === "v6" ? "::" : "0.0.0.0";
}

function fixedCluster(name: FixedClusterName, { mesh }: Snapshot, { ip }: ProxyNode, cache: ResourceCache): XdsResource {
  return resourceOf(cache, name, FIXED, { name, mesh: meshConnections(mesh), inboundSource: inboundSource(ip) });
}

function inboundCluster({ port, first, services }: OwnPort, snapshot: Snapshot, node: ProxyNode, cache: ResourceCache): XdsResource {
  const rule = snapshot.destinationRule(first.service.hostname, node);
  return resourceOf(cache, clusterName({ direction: "inbound", port, hostname: "" }), INBOUND_CLUSTER, {
    port,
    protocol: first.servicePort.protocol,
    services: services.map(serviceLabels),
    pool: effectivePolicy(rule?.spec, undefined, first.servicePort.number).connectionPool,
    ruleConfig: rule && configPath(rule.meta),
    mesh: meshConnections(snapshot.mesh),
    inboundSource: inboundSource(node.ip),
    ...(node.explicit ? { appPort: node.explicit.appPorts[port] ?? port } : {}),
  });
}

/** What outbound listeners depend on beside the services themselves. */
function listenerDetails(snapshot: Snapshot, client: ClientClass, services: readonly Service[]): string {
  return services
    .filter(({ ports }) => ports.some(({ protocol }) => !isHttp(protocol)))
    .map((service) => {
      const addresses = service.resolution === "none" ? service.ports.map((port) => endpointAddresses(snapshot, service, port).join()) : [];
      return `${tcpIdleTimeoutMs(snapshot, client, service) ?? ""};${addresses.join(";")}`;
    })
    .join("|");
}

function endpointAddresses(snapshot: Snapshot, service: Service, port: ServicePort): readonly string[] {
  const own = snapshot.endpoints(service.hostname).filter(({ servicePortName }) => servicePortName === port.name);
  return [...new Set(own.map(({ address }) => address).filter((address) => /^[\d.]+$|:/.test(address)))];
}

function tcpIdleTimeoutMs(snapshot: Snapshot, client: ClientClass, service: Service): number | undefined {
  return snapshot.destinationRule(service.hostname, client)?.spec.trafficPolicy.connectionPool?.tcpIdleTimeoutMs;
}

function outboundListeners(snapshot: Snapshot, client: ClientClass, mesh: ListenerMesh, cache: ResourceCache): XdsResource[] {
  const bindToPort = !isCaptured(client);
  return planOutboundListeners({
    services: dialledServices(snapshot.visibleServices(client.namespace), client.explicit),
    wildcard: wildcardOf(client),
    isDedicated: client.explicit !== undefined,
    localhost: bindToPort && !client.explicit ? (client.lookup === "v6" ? "::1" : "127.0.0.1") : undefined,
    endpointAddresses: (service, port) => endpointAddresses(snapshot, service, port),
    tcpIdleTimeoutMs: (service) => tcpIdleTimeoutMs(snapshot, client, service),
  }).map((planned) => resourceOf(cache, outboundListenerName(planned), OUTBOUND_LISTENER, { ...planned, bindToPort, mesh }));
}

function inboundListener(
  snapshot: Snapshot,
  node: ProxyNode,
  capture: { readonly wildcard: string; readonly transparent: boolean; readonly mesh: ListenerMesh },
  cache: ResourceCache,
): XdsResource {
  const modes = snapshot.mtlsMode(node.namespace, node.labels);
  const declared = declaredPorts(snapshot, node);
  const undeclared = [...modes.ports]
    .filter(([port, mode]) => mode !== modes.default && !declared.some((one) => one.port === port))
    .sort(([a], [b]) => a - b)
    .map(([port, mode]) => ({ port, mode, declared: undefined }));
  return resourceOf(cache, "virtualInbound", INBOUND_LISTENER, {
    ...capture,
    defaultMode: modes.default,
    ports: [...undeclared, ...declared],
  });
}

function declaredPorts(snapshot: Snapshot, node: ProxyNode): InboundPort[] {
  const modes = snapshot.mtlsMode(node.namespace, node.labels);
  return inboundPorts(snapshot, node).map(({ port, first }) => ({
    port,
    mode: modes.ports.get(port) ?? modes.default,
    declared: { protocol: first.servicePort.protocol, hostname: first.service.hostname, servicePort: first.servicePort.number },
  }));
}

/** In place of capture: a listener at the workload's own address for each of its ports, and the HTTP proxy. */
function explicitListeners(snapshot: Snapshot, node: ProxyNode, mesh: ListenerMesh, cache: ResourceCache): XdsResource[] {
  const bind = node.ip;
  const own = declaredPorts(snapshot, node).map((port) =>
    resourceOf(cache, `${bind}_${port.port}`, OWN_PORT_LISTENER, { bind, port, mesh }),
  );
  const port = node.explicit?.httpProxyPort;
  return port === undefined ? own : [...own, resourceOf(cache, `${bind}_${port}`, HTTP_PROXY, { bind, port, mesh })];
}

function routeConfiguration(snapshot: Snapshot, client: ClientClass, port: number, memo: HostMemo, cache: ResourceCache): XdsResource {
  return resourceOf(cache, String(port), ROUTES, {
    name: String(port),
    virtualHosts: hostsOn(port, snapshot, client, memo),
    // Where the application dials the proxy itself, no other destination is known that a request could go on to.
    otherHosts: snapshot.mesh.outboundTrafficPolicy === "ALLOW_ANY" && !client.explicit ? "passthrough" : "refuse",
  });
}

function proxyRoutes(snapshot: Snapshot, client: ClientClass, memo: HostMemo, cache: ResourceCache): XdsResource {
  const services = dialledServices(snapshot.visibleServices(client.namespace), client.explicit);
  return resourceOf(cache, HTTP_PROXY_ROUTES, ROUTES, {
    name: HTTP_PROXY_ROUTES,
    virtualHosts: proxiedHosts(services, (port) => hostsOn(port, snapshot, client, memo)),
    otherHosts: "refuse",
    hasPorts: true,
  });
}

function hostsOn(port: number, snapshot: Snapshot, client: ClientClass, memo: HostMemo): VirtualHostInput[] {
  const { mesh } = snapshot;
  return sidecarHosts(
    {
      port,
      client: { namespace: client.namespace, labels: client.labels, domain: mesh.domain },
      services: dialledServices(snapshot.visibleServices(client.namespace), client.explicit),
      virtualServices: snapshot.meshVirtualServices(client.namespace),
      meshRetries: mesh.defaultHttpRetryPolicy,
    },
    memo,
  );
}
