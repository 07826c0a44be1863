/** Who sees what: `exportTo` of services and of config. Source: Istio, exportTo. */

/** Whether something of `owner` that is exported to these namespaces is seen in `namespace`. */
export function isVisible(exportTo: readonly string[], owner: string, namespace: string): boolean {
  if (exportTo.includes("*") || exportTo.includes(namespace)) return true;
  return owner === namespace && exportTo.includes(".");
}

/** Whether it is seen in its own namespace only. */
export function isPrivate(exportTo: readonly string[], owner: string): boolean {
  return exportTo.length > 0 && exportTo.every((entry) => entry === "." || entry === owner);
}

/** Whether all of a selector's labels are among a workload's. An empty selector selects everything. */
export function selects(selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => labels[key] === value);
}
