/** The ports of a workload as its sidecar serves them: one of each number, though several services may reach it. */
import type { ProxyNode } from "../../../model/proxy-node.ts";
import type { Service } from "../../../model/service.ts";
import type { Snapshot, WorkloadPort } from "../../snapshot/types.ts";
import { INBOUND_PORT, OUTBOUND_PORT } from "./virtual-outbound.ts";

/** A port of the workload. */
export interface OwnPort {
  readonly port: number;
  /** The oldest service decides the protocol. */
  readonly first: WorkloadPort;
  /** All services that reach it by the same service port, the oldest first. */
  readonly services: readonly Service[];
}

/** The declared ports, by number. */
export function inboundPorts(snapshot: Snapshot, node: ProxyNode): OwnPort[] {
  const byPort = new Map<number, WorkloadPort[]>();
  for (const one of snapshot.workloadPorts(node)) {
    // The proxy's own ports cannot be a workload's.
    if (one.servicePort.protocol === "udp" || one.port === INBOUND_PORT || one.port === OUTBOUND_PORT) continue;
    byPort.set(one.port, [...(byPort.get(one.port) ?? []), one]);
  }
  return [...byPort.entries()]
    .sort(([a], [b]) => a - b)
    .flatMap(([port, ones]) => {
      const byAge = ones.toSorted(
        (a, b) => a.service.createdAt - b.service.createdAt || (a.service.hostname < b.service.hostname ? -1 : 1),
      );
      const [first] = byAge;
      if (!first) return [];
      const services = byAge.filter(({ servicePort }) => servicePort.number === first.servicePort.number).map(({ service }) => service);
      return [{ port, first, services: [...new Set(services)] }];
    });
}
