/** What each proxy has and acknowledged, as `proxy-status` and /debug/syncz show it. Source: Istio, /debug/syncz and istioctl proxy-status. */

import { TypeUrl } from "../../xds/types.ts";
import type { ConnectedProxy } from "../push/generators.ts";

/** The state of one type at one proxy. */
export interface TypeSync {
  /** SYNCED: it has the newest it was sent. STALE: it has not answered. NACK: it refused. */
  readonly state: "SYNCED" | "STALE" | "NACK";
  readonly sent: string;
  readonly acked: string;
  /** Since its last answer; undefined before the first. */
  readonly answeredAgoMs: number | undefined;
  readonly resources: number;
  readonly message: string | undefined;
}

/** One proxy. */
export interface ProxySync {
  /** "name.namespace", as istioctl names proxies. */
  readonly proxy: string;
  readonly node: string;
  readonly kind: string;
  readonly clusterId: string;
  readonly version: string;
  readonly peer: string;
  readonly mode: "delta" | "sotw";
  readonly connectedAtMs: number;
  /** By istioctl's names: CDS, LDS, EDS, RDS ... */
  readonly types: Readonly<Record<string, TypeSync>>;
}

const SHORT_NAMES: Readonly<Record<string, string>> = {
  [TypeUrl.cluster]: "CDS",
  [TypeUrl.endpoint]: "EDS",
  [TypeUrl.listener]: "LDS",
  [TypeUrl.route]: "RDS",
  [TypeUrl.virtualHost]: "VHDS",
  [TypeUrl.secret]: "SDS",
  [TypeUrl.extensionConfig]: "ECDS",
};

/** "CDS" of a type URL; the type URL itself where it has no short name. */
export function shortTypeName(typeUrl: string): string {
  return SHORT_NAMES[typeUrl] ?? typeUrl;
}

const STATES = { acked: "SYNCED", sent: "STALE", nacked: "NACK" } as const;

/** All proxies by name. */
export function proxySyncs(proxies: Iterable<ConnectedProxy>, nowMs: number): readonly ProxySync[] {
  const rows = [...proxies].map(({ session, node }) => ({
    proxy: `${node.name}.${node.namespace}`,
    node: node.id,
    kind: node.kind,
    clusterId: node.clusterId,
    version: session.node.userAgentVersion,
    peer: session.call.peer,
    mode: session.delta ? ("delta" as const) : ("sotw" as const),
    connectedAtMs: session.connectedAtMs,
    types: Object.fromEntries(
      [...session.status].map(([typeUrl, status]) => [
        shortTypeName(typeUrl),
        {
          state: STATES[status.state],
          sent: status.sentLabel,
          acked: status.ackedLabel,
          answeredAgoMs: status.answeredAtMs === undefined ? undefined : Math.max(0, nowMs - status.answeredAtMs),
          resources: status.resources,
          message: status.nackMessage,
        },
      ]),
    ),
  }));
  return rows.sort((a, b) => (a.proxy < b.proxy ? -1 : a.proxy > b.proxy ? 1 : 0));
}
