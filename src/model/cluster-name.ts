/** The names of clusters and the SNI of mesh TLS, which istioctl and dashboards parse. Source: Istio pilot/pkg/model. */

/** The parts of "outbound|8080|v1|reviews.default.svc.cluster.local". */
export interface ClusterNameParts {
  readonly direction: "outbound" | "inbound";
  readonly port: number;
  /** Undefined means all of the service. */
  readonly subset?: string | undefined;
  /** Empty for inbound. */
  readonly hostname: string;
}

/** Sends what no route knows to where it was going. */
export const PASSTHROUGH_CLUSTER = "PassthroughCluster";
/** Has no endpoint. */
export const BLACK_HOLE_CLUSTER = "BlackHoleCluster";
/** Sends what reaches a workload on an undeclared port to that port. */
export const INBOUND_PASSTHROUGH_CLUSTER = "InboundPassthroughCluster";

/** The cluster's name. */
export function clusterName({ direction, port, subset, hostname }: ClusterNameParts): string {
  return `${direction}|${port}|${subset ?? ""}|${hostname}`;
}

/** The parts of a cluster name; undefined for any other name. */
export function parseClusterName(name: string): ClusterNameParts | undefined {
  const [direction, port, subset, hostname, ...rest] = name.split("|");
  if ((direction !== "outbound" && direction !== "inbound") || !port || hostname === undefined || rest.length > 0 || !/^\d+$/.test(port))
    return undefined;
  return { direction, port: Number(port), subset: subset || undefined, hostname };
}

/** The server name that a client sends to a mesh server: "outbound_.8080_.v1_.host". */
export function clusterSni({ direction, port, subset, hostname }: ClusterNameParts): string {
  return `${direction}_.${port}_.${subset ?? ""}_.${hostname}`;
}
