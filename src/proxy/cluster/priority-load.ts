/** How much of the traffic each priority takes. Source: Envoy, Priority levels; overprovisioning factor and panic threshold. */

/** One priority's hosts in numbers. */
export interface PriorityHealth {
  readonly hosts: number;
  readonly healthy: number;
}

/** What a priority gets: its part in percent (all together 100, or all 0 where there is no host), and whether it is in panic. */
export interface PriorityLoad {
  readonly percent: number;
  /** Too few are healthy: traffic goes to all hosts of the priority, healthy or not. */
  readonly isPanic: boolean;
}

/** Bounds of the computation. Envoy's defaults are 140 and 50. */
export interface PriorityLoadOptions {
  readonly overprovisioningPercent: number;
  readonly panicThresholdPercent: number;
}

/** The load of each priority, the first being the most wanted. */
export function computePriorityLoad(
  priorities: readonly PriorityHealth[],
  { overprovisioningPercent, panicThresholdPercent }: PriorityLoadOptions,
): PriorityLoad[] {
  const health = priorities.map(({ hosts, healthy }) =>
    hosts === 0 ? 0 : Math.min(100, Math.floor((overprovisioningPercent * healthy) / hosts)),
  );
  const total = Math.min(
    100,
    health.reduce((sum, part) => sum + part, 0),
  );
  if (total === 0) return spreadByHosts(priorities, panicThresholdPercent);
  // While the priorities together are healthy enough, one that is not hands its part on and does not panic.
  const isShort = total < 100;
  let left = 100;
  const percents = health.map((part) => {
    const take = Math.min(left, Math.floor((part * 100) / total));
    left -= take;
    return take;
  });
  if (left > 0) {
    const first = percents.findIndex((percent) => percent > 0);
    if (first >= 0) percents[first] = (percents[first] as number) + left;
  }
  return priorities.map(({ hosts, healthy }, i) => ({
    percent: percents[i] as number,
    isPanic: isShort && hosts > 0 && (healthy * 100) / hosts < panicThresholdPercent,
  }));
}

/** Nobody is healthy: all panic, by the number of their hosts. */
function spreadByHosts(priorities: readonly PriorityHealth[], panicThresholdPercent: number): PriorityLoad[] {
  const all = priorities.reduce((sum, { hosts }) => sum + hosts, 0);
  if (all === 0) return priorities.map(() => ({ percent: 0, isPanic: false }));
  let left = 100;
  const loads = priorities.map(({ hosts }) => {
    const percent = Math.floor((hosts * 100) / all);
    left -= percent;
    return { percent, isPanic: hosts > 0 && panicThresholdPercent > 0 };
  });
  const first = loads.findIndex(({ percent }) => percent > 0);
  return loads.map((load, i) => (i === first ? { ...load, percent: load.percent + left } : load));
}
