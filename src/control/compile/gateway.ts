/** What a gateway gets, on one screen: clusters, endpoints, listeners and routes. */
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { BLACK_HOLE_CLUSTER } from "../../model/cluster-name.ts";
import { hostname } from "../../model/host.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import { isHttp } from "../../model/service.ts";
import type { Snapshot } from "../snapshot/types.ts";
import { buildFixedCluster, inboundSource } from "./cluster/fixed.ts";
import { buildGatewayListener } from "./listener/gateway.ts";
import { type ListenerMesh, listenerMesh } from "./listener/mesh-input.ts";
import { IdentityMemo } from "./memo.ts";
import { resourceOf } from "./resource.ts";
import { encodeRouteConfiguration, type VirtualHostInput } from "./route/configuration.ts";
import { gatewayHosts, type PortServer } from "./route/gateway-hosts.ts";
import { clientClass, meshConnections, type ServiceResources } from "./services.ts";
import type { Compiler } from "./types.ts";

const FIXED = { kind: "fixed-cluster", schema: ClusterSchema, build: buildFixedCluster };
const LISTENER = { kind: "gateway-listener", schema: ListenerSchema, build: buildGatewayListener };
const ROUTES = { kind: "routes", encode: encodeRouteConfiguration };

/** Compiles for gateways. */
export function compileGateway(services: ServiceResources): Compiler {
  const meshes = new IdentityMemo<ListenerMesh>();
  return {
    clusters(snapshot, node, cache) {
      const { mesh } = snapshot;
      return [
        ...services.clusters(snapshot, clientClass(node), cache),
        resourceOf(cache, BLACK_HOLE_CLUSTER, FIXED, {
          name: BLACK_HOLE_CLUSTER,
          mesh: meshConnections(mesh),
          inboundSource: inboundSource(node.ip),
        }),
      ];
    },

    endpoints: (snapshot, node, names, cache) => services.endpoints(snapshot, clientClass(node), names, cache),

    listeners(snapshot, node, cache) {
      const mesh = meshes.get([snapshot.mesh], "", () => listenerMesh(snapshot.mesh));
      return gatewayPorts(snapshot, node).map(({ bind, port, routes }) =>
        resourceOf(cache, `${bind}_${port}`, LISTENER, { bind, port, routes, mesh }),
      );
    },

    routes(snapshot, node, names, cache) {
      const ports = gatewayPorts(snapshot, node);
      return [...names].flatMap((name) => {
        const found = ports.find((port) => port.routes === name);
        // A listener that is being drained may still ask for the routes of a server that is gone: there is nothing to find.
        if (!found && !/^http\.\d+/.test(name)) return [];
        const virtualHosts = found ? hostsOf(snapshot, node, found.servers) : [];
        return [resourceOf(cache, name, ROUTES, { name, virtualHosts, otherHosts: undefined })];
      });
    },
  };
}

/** A port of the gateway and the servers that share it. */
interface GatewayPort {
  readonly bind: string;
  readonly port: number;
  readonly routes: string;
  readonly servers: readonly PortServer[];
}

/**
 * The ports of all gateways that select this proxy, in the order of their numbers. Only HTTP: servers that end or pass TLS, and TCP
 * servers, are refused where config is read.
 */
function gatewayPorts(snapshot: Snapshot, node: ProxyNode): GatewayPort[] {
  // On a machine that it shares with others it listens at its own address alone.
  const wildcard = node.explicit ? node.ip : node.ip.includes(":") ? "::" : "0.0.0.0";
  const ports = new Map<string, { bind: string; port: number; routes: string; servers: PortServer[] }>();
  for (const gateway of snapshot.gateways(node.labels)) {
    for (const server of gateway.spec.servers) {
      if (!isHttp(server.port.protocol)) continue;
      for (const port of workloadPortsOf(server.port.number, snapshot, node)) {
        const bind = server.bind || wildcard;
        const key = `${bind}_${port}`;
        const known = ports.get(key) ?? { bind, port, routes: `http.${port}${server.bind ? `.${server.bind}` : ""}`, servers: [] };
        ports.set(key, known);
        known.servers.push({ gateway, server });
      }
    }
  }
  return [...ports.values()].sort((a, b) => a.port - b.port || (a.bind < b.bind ? -1 : 1));
}

/** A server's port is the gateway's service port; the proxy listens where that service sends. Without a service it is the port itself. */
function workloadPortsOf(port: number, snapshot: Snapshot, node: ProxyNode): readonly number[] {
  const targets = snapshot.workloadPorts(node).filter(({ servicePort }) => servicePort.number === port);
  return targets.length === 0 ? [port] : [...new Set(targets.map((target) => target.port))];
}

function hostsOf(snapshot: Snapshot, node: ProxyNode, servers: readonly PortServer[]): VirtualHostInput[] {
  return gatewayHosts({
    servers,
    client: { namespace: node.namespace, labels: node.labels },
    virtualServices: (gateway) => snapshot.gatewayVirtualServices(gateway),
    findService: (host, virtualService) =>
      snapshot.findService(hostname(host), virtualService.meta.namespace) ?? snapshot.findService(hostname(host), node.namespace),
    meshRetries: snapshot.mesh.defaultHttpRetryPolicy,
  });
}
