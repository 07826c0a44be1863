/** Which proxies a change concerns, and with which types. */

import { parseClusterName } from "../../model/cluster-name.ts";
import type { Hostname } from "../../model/host.ts";
import type { XdsSession } from "../../xds/server-types.ts";
import { TypeUrl } from "../../xds/types.ts";
import type { SnapshotDiff } from "../snapshot/types.ts";
import type { ConnectedProxy } from "./generators.ts";

/** Types of one proxy's push; undefined means all. */
export interface Concern {
  readonly session: XdsSession;
  readonly types: ReadonlySet<string> | undefined;
}

const ENDPOINTS_ALONE: ReadonlySet<string> = new Set([TypeUrl.endpoint]);

/**
 * All proxies for a change of config (what is the same is not sent). A change of endpoints alone concerns those that have a cluster of these
 * services, with EDS, and the proxies beside workloads that changed, with everything.
 */
export function concernedBy(diff: SnapshotDiff, proxies: Iterable<ConnectedProxy>): readonly Concern[] {
  const concerns: Concern[] = [];
  for (const { session, node } of proxies) {
    if (diff.config || diff.workloads.has(`${node.namespace}/${node.ip}`)) concerns.push({ session, types: undefined });
    else if (hasAny(session, diff.endpoints)) concerns.push({ session, types: ENDPOINTS_ALONE });
  }
  return concerns;
}

function hasAny(session: XdsSession, hostnames: ReadonlySet<Hostname>): boolean {
  const subscription = session.subscriptions.get(TypeUrl.endpoint);
  if (!subscription) return false;
  for (const name of subscription.names) {
    const host = parseClusterName(name)?.hostname;
    if (host !== undefined && hostnames.has(host as Hostname)) return true;
  }
  return false;
}
