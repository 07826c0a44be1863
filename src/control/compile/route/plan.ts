/**
 * What a route needs to be built, chosen from a VirtualService for one kind of client. A plan no longer depends on who asks, so
 * that clients with the same plan share the route.
 */
import { clusterName } from "../../../model/cluster-name.ts";
import type { Service } from "../../../model/service.ts";
import type { Destination, HttpMatch, HttpRetry, HttpRoute, VirtualService } from "../../config/types.ts";
import { configPath } from "../metadata.ts";
import { matchesClient, type RouteClient, takesEverything } from "./match.ts";

/** One route. */
export type RoutePlan = DefaultRoutePlan | VirtualServiceRoutePlan;

/** To a service that no VirtualService speaks of. */
export interface DefaultRoutePlan {
  readonly kind: "default";
  readonly hostname: string;
  readonly port: number;
  readonly retries: HttpRetry | undefined;
}

/** One match of one route of a VirtualService. */
export interface VirtualServiceRoutePlan {
  readonly kind: "virtual-service";
  readonly route: HttpRoute;
  /** Undefined takes every request. */
  readonly match: HttpMatch | undefined;
  /** The cluster of each destination, in their order. */
  readonly clusters: readonly string[];
  /** The route's retries, else those of the mesh, else undefined for the built-in default. */
  readonly retries: HttpRetry | undefined;
  /** The listener's port: for redirects, and in names. */
  readonly port: number;
  /** Whether clients come over TLS. */
  readonly isTls: boolean;
  readonly virtualService: string;
  readonly config: string;
}

/** What plans are made with. */
export interface PlanContext {
  readonly client: RouteClient;
  readonly isTls: boolean;
  readonly meshRetries: HttpRetry | undefined;
  /** The service that a destination means, as far as it decides the port. */
  findService(hostname: string): Pick<Service, "ports"> | undefined;
}

/** Whether clients of one gateway may get different routes. */
export function dependsOnClient({ spec }: VirtualService): boolean {
  return spec.http.some(({ match }) =>
    match.some(({ sourceLabels, sourceNamespace }) => sourceNamespace !== undefined || Object.keys(sourceLabels).length > 0),
  );
}

/** The routes of a VirtualService that this client may take, in order; none behind one that takes every request. */
export function planRoutes({ meta, spec }: VirtualService, context: PlanContext): VirtualServiceRoutePlan[] {
  const plans: VirtualServiceRoutePlan[] = [];
  for (const route of spec.http) {
    for (const match of route.match.length > 0 ? route.match : [undefined]) {
      if (!matchesClient(match, context.client)) continue;
      plans.push({
        kind: "virtual-service",
        route,
        match,
        clusters: route.route.map(({ destination }) => destinationCluster(destination, context)),
        retries: route.retries ?? context.meshRetries,
        port: context.client.port,
        isTls: context.isTls,
        virtualService: meta.name,
        config: configPath(meta),
      });
      if (takesEverything(match)) return plans;
    }
  }
  return plans;
}

/**
 * The cluster that a destination means. Without a port it is the service's only one, else the listener's. The cluster need not
 * exist: then requests get 503.
 */
function destinationCluster({ host, port, subset }: Destination, { client, findService }: PlanContext): string {
  const ports = port === undefined ? findService(host)?.ports : undefined;
  const only = ports?.length === 1 ? ports[0]?.number : undefined;
  return clusterName({ direction: "outbound", port: port ?? only ?? client.port, subset, hostname: host });
}
