/** The control plane's own pages: readiness, metrics, version, and istiod's debug pages. Source: Istio pilot/pkg/xds/debug.go, names and shapes. */
import { timingSafeEqual } from "node:crypto";
import { digestOf } from "../../base/digest.ts";
import type { Hostname } from "../../model/host.ts";
import type { MetricsRegistry } from "../../telemetry/metrics.ts";
import type { XdsResource } from "../../xds/types.ts";
import { formatProblem } from "../config/finding.ts";
import type { ConfigStore } from "../config/store.ts";
import type { ConnectedProxy } from "../push/generators.ts";
import type { World } from "../snapshot/snapshot.ts";
import { proxySyncs, type TypeSync } from "../status/proxies.ts";
import type { PushLog } from "../status/pushes.ts";
import { buildConfigDump } from "./config-dump.ts";
import { type AdminAnswer, type AdminRequest, jsonAnswer, textAnswer } from "./http.ts";

/** What the pages show. */
export interface AdminContext {
  readonly version: string;
  readonly nowMs: () => number;
  /** Undefined when ready; otherwise why not. */
  readonly unready: () => string | undefined;
  readonly metrics: MetricsRegistry;
  readonly proxies: () => Iterable<ConnectedProxy>;
  readonly resources: (proxy: ConnectedProxy, typeUrl: string) => readonly XdsResource[];
  readonly pushes: PushLog;
  readonly world: () => World;
  readonly config: ConfigStore;
  /** Opens the debug pages to callers that are not on loopback. */
  readonly debugToken: string | undefined;
}

type Page = (context: AdminContext, query: URLSearchParams) => AdminAnswer;

const DEBUG_PAGES: Readonly<Record<string, { readonly about: string; readonly page: Page }>> = {
  adsz: { about: "connected proxies and what they watch", page: (context) => jsonAnswer(adsz(context)) },
  config_dump: { about: "what a proxy is given: ?proxyID=name.namespace", page: configDump },
  configz: { about: "the objects of the config", page: (context) => jsonAnswer(configz(context)) },
  connections: { about: "connected proxies", page: (context) => jsonAnswer(connections(context)) },
  endpointz: { about: "endpoints of all services", page: (context) => jsonAnswer(endpointz(context.world())) },
  mesh: { about: "the mesh config", page: (context) => jsonAnswer(context.world().mesh) },
  push_status: { about: "the last push, and faults and warnings of the config", page: (context) => jsonAnswer(pushStatus(context)) },
  pushz: { about: "the last pushes: who acknowledged, who refused, how long it took", page: (context) => jsonAnswer(pushz(context)) },
  registryz: { about: "services", page: (context) => jsonAnswer(registryz(context.world())) },
  syncz: { about: "what each proxy was sent and acknowledged", page: (context) => jsonAnswer(syncz(context)) },
};

/** The answer to a request on the monitoring port. */
export function answerAdmin(context: AdminContext, request: AdminRequest): AdminAnswer {
  const { path } = request;
  if (path === "/ready") {
    const why = context.unready();
    return why === undefined ? textAnswer(200, "ready") : textAnswer(503, why);
  }
  if (path === "/metrics") {
    const why = context.unready();
    if (why !== undefined) return textAnswer(503, why);
    return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: context.metrics.toPrometheus() };
  }
  if (path === "/version") return textAnswer(200, context.version);
  if (path !== "/debug" && !path.startsWith("/debug/"))
    return textAnswer(404, "nothing is here; see /debug, /metrics, /ready and /version");
  if (!mayDebug(context, request)) return textAnswer(403, "debug pages are for callers on loopback, or with the debug token");
  const name = path.slice("/debug/".length);
  const found = Object.hasOwn(DEBUG_PAGES, name) ? DEBUG_PAGES[name] : undefined;
  if (found) return found.page(context, request.query);
  const index = Object.entries(DEBUG_PAGES).map(([page, { about }]) => `/debug/${page.padEnd(14)} ${about}`);
  return textAnswer(path === "/debug" || path === "/debug/" ? 200 : 404, index.join("\n"));
}

function mayDebug({ debugToken }: AdminContext, { remote, token }: AdminRequest): boolean {
  if (isLoopback(remote)) return true;
  if (debugToken === undefined || token === undefined) return false;
  return timingSafeEqual(Buffer.from(digestOf(token)), Buffer.from(digestOf(debugToken)));
}

function isLoopback(host: string): boolean {
  return host === "::1" || /^(::ffff:)?127\./.test(host) || host.startsWith("/");
}

function adsz(context: AdminContext) {
  const clients = [...context.proxies()].map(({ session, node }) => ({
    connectionId: session.id,
    connectedAt: new Date(session.connectedAtMs).toISOString(),
    address: session.call.peer,
    proxyType: node.kind,
    labels: node.labels,
    locality: node.locality,
    metadata: session.node.metadata,
    watches: Object.fromEntries(
      [...session.subscriptions].map(([type, { wildcard, names }]) => [type, wildcard ? ["*", ...names] : [...names]]),
    ),
  }));
  return { totalClients: clients.length, clients };
}

function connections(context: AdminContext) {
  const clients = [...context.proxies()].map(({ session }) => ({
    connectionId: session.id,
    connectedAt: new Date(session.connectedAtMs).toISOString(),
    address: session.call.peer,
  }));
  return { totalClients: clients.length, clients };
}

function syncz(context: AdminContext) {
  return proxySyncs(context.proxies(), context.nowMs()).map(({ node, types, ...row }) => ({
    cluster_id: row.clusterId,
    proxy: row.proxy,
    proxy_id: node,
    proxy_type: row.kind,
    proxy_version: row.version,
    ...pair("cluster", types["CDS"]),
    ...pair("listener", types["LDS"]),
    ...pair("route", types["RDS"]),
    ...pair("endpoint", types["EDS"]),
    peer: row.peer,
    mode: row.mode,
    connected_at: new Date(row.connectedAtMs).toISOString(),
    types,
  }));
}

function pair(name: string, sync: TypeSync | undefined): Record<string, string> {
  return sync ? { [`${name}_sent`]: sync.sent, [`${name}_acked`]: sync.acked } : {};
}

function configz({ config }: AdminContext) {
  return config.state.objects.map(({ meta, spec }) => ({
    kind: meta.kind,
    metadata: { name: meta.name, namespace: meta.namespace, labels: meta.labels, annotations: meta.annotations },
    position: meta.position,
    spec: plain(spec),
  }));
}

/** Maps are shown as objects. */
function plain(value: unknown): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, inner]) => [String(key), plain(inner)]));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return value;
}

function registryz(world: World) {
  return [...world.services.values()].map((service) => ({
    Attributes: { Name: service.name, Namespace: service.namespace, ServiceRegistry: "External", ExportTo: service.exportTo },
    hostname: service.hostname,
    defaultAddress: service.addresses[0] ?? "0.0.0.0",
    addresses: service.addresses,
    ports: service.ports.map(({ name, number, protocol }) => ({ name, port: number, protocol: protocol.toUpperCase() })),
    Resolution: service.resolution,
    MeshExternal: service.meshExternal,
    subjectAltNames: service.subjectAltNames,
  }));
}

function endpointz(world: World) {
  return [...world.services.values()].flatMap(({ hostname, ports }) =>
    ports.map(({ name }) => ({
      svc: `${hostname}:${name}`,
      ep: world.endpoints(hostname as Hostname).filter((endpoint) => endpoint.servicePortName === name),
    })),
  );
}

function pushz({ pushes, config }: AdminContext) {
  return {
    push: pushes.lastFinished,
    problems: config.problems.map(formatProblem),
    warnings: config.warnings.map(formatProblem),
    pushes: pushes.records.slice(-20),
  };
}

function pushStatus({ pushes, config }: AdminContext) {
  return { last: pushes.lastFinished ?? null, problems: config.problems.map(formatProblem), warnings: config.warnings.map(formatProblem) };
}

function configDump(context: AdminContext, query: URLSearchParams): AdminAnswer {
  const id = query.get("proxyID");
  if (!id) return textAnswer(400, "which proxy? ?proxyID=name.namespace");
  const proxy = [...context.proxies()].find(({ node }) => node.id === id || `${node.name}.${node.namespace}` === id);
  if (!proxy) return textAnswer(404, `no proxy called "${id}" is connected here`);
  return jsonAnswer(buildConfigDump((typeUrl) => context.resources(proxy, typeUrl)));
}
