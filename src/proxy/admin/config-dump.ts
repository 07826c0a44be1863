/** The proxy's config as JSON in Envoy's shape, keys left out. Source: envoy.admin.v3.ConfigDump, Envoy /config_dump. */
import { type DescMessage, fromBinary, type JsonValue, type MessageShape, toJson } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import { BootstrapSchema } from "../../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { RouteConfigurationSchema } from "../../gen/envoy/config/route/v3/route_pb.ts";
import { compileRegex } from "../../policy/regex.ts";
import { anyTypes } from "../bootstrap/any-types.ts";
import type { ClusterEntry } from "../cluster/manager.ts";
import type { Refusal } from "../config/named-resources.ts";
import type { ListenerEntry } from "../listener/manager.ts";
import { inlineRoutesOf } from "../network/http-filter.ts";
import type { Secret } from "../secrets.ts";
import type { AdminSource } from "./admin-source.ts";
import { evaluate, type Json, type LazyJson, parseFieldMask } from "./lazy-json.ts";

const ADMIN = "type.googleapis.com/envoy.admin.v3";
const REDACTED = "[redacted]";

/** What is asked for. */
export interface ConfigDumpQuery {
  readonly resource: string | undefined;
  readonly mask: string | undefined;
  readonly nameRegex: string | undefined;
  readonly includeEds: boolean;
}

/** The dump, or undefined when no such resource exists. Throws on a bad mask or regex. */
export function buildConfigDump(source: AdminSource, query: ConfigDumpQuery): Json | undefined {
  const mask = query.mask ? parseFieldMask(query.mask) : undefined;
  const test = query.nameRegex === undefined ? undefined : compileRegex(query.nameRegex);
  const isWanted = (name: string): boolean => !test || test(name);
  const lists = listResources(source, isWanted);
  if (query.resource !== undefined) {
    const wanted = query.resource.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (wanted === "bootstrap")
      return { configs: [evaluate({ "@type": `${ADMIN}.BootstrapConfigDump`, bootstrap: () => bootstrapJson(source) }, mask)] };
    for (const { fields } of lists) {
      const field = fields.find(({ name }) => name === wanted);
      if (!field) continue;
      const configs = field.items().map((item) => evaluate({ "@type": `${ADMIN}.${field.type}`, ...item }, mask));
      return configs.length === 0 ? {} : { configs };
    }
    return undefined;
  }
  const configs: Json[] = [
    evaluate(
      { "@type": `${ADMIN}.BootstrapConfigDump`, bootstrap: () => bootstrapJson(source), last_updated: time(source.startedAtMs) },
      mask,
    ),
  ];
  for (const { type, version, fields } of lists) {
    if (type === "EndpointsConfigDump" && !query.includeEds) continue;
    const dump: Record<string, LazyJson> = { "@type": `${ADMIN}.${type}` };
    if (version) dump["version_info"] = version;
    for (const field of fields) {
      const items = field.items();
      if (items.length > 0) dump[field.name] = items;
    }
    configs.push(evaluate(dump, mask));
  }
  return { configs };
}

interface Item {
  readonly [name: string]: LazyJson | undefined;
}
interface DumpList {
  readonly type: string;
  readonly version: string;
  readonly fields: readonly { readonly name: string; readonly type: string; readonly items: () => readonly Item[] }[];
}

/** Every list of the dump, in Envoy's order. */
function listResources(source: AdminSource, isWanted: (name: string) => boolean): DumpList[] {
  const { clusters, listeners, xds } = source;
  const { versions } = xds;
  return [
    {
      type: "ClustersConfigDump",
      version: versions.clusters,
      fields: [
        {
          name: "static_clusters",
          type: "ClustersConfigDump.StaticCluster",
          items: () => pick(clusters.active, true, isWanted).map(staticCluster),
        },
        {
          name: "dynamic_active_clusters",
          type: "ClustersConfigDump.DynamicCluster",
          items: () => [
            ...pick(clusters.active, false, isWanted).map((entry) => dynamicCluster(entry, xds.refusals.clusters)),
            ...refusedOnly(xds.refusals.clusters, clusters.active, isWanted),
          ],
        },
        {
          name: "dynamic_warming_clusters",
          type: "ClustersConfigDump.DynamicCluster",
          items: () => pick(clusters.warming, false, isWanted).map((entry) => dynamicCluster(entry, xds.refusals.clusters)),
        },
      ],
    },
    {
      type: "EndpointsConfigDump",
      version: "",
      fields: [
        { name: "dynamic_endpoint_configs", type: "EndpointsConfigDump.DynamicEndpointConfig", items: () => endpoints(source, isWanted) },
      ],
    },
    {
      type: "ListenersConfigDump",
      version: versions.listeners,
      fields: [
        {
          name: "static_listeners",
          type: "ListenersConfigDump.StaticListener",
          items: () =>
            listeners.active
              .filter(({ isStatic, listener }) => isStatic && isWanted(listener.config.name))
              .map((entry) => ({ listener: resource(ListenerSchema, entry.bytes), last_updated: time(entry.updatedAtMs) })),
        },
        { name: "dynamic_listeners", type: "ListenersConfigDump.DynamicListener", items: () => dynamicListeners(source, isWanted) },
      ],
    },
    {
      type: "RoutesConfigDump",
      version: "",
      fields: [
        {
          name: "static_route_configs",
          type: "RoutesConfigDump.StaticRouteConfig",
          items: () => staticRoutes(source, isWanted),
        },
        { name: "dynamic_route_configs", type: "RoutesConfigDump.DynamicRouteConfig", items: () => routes(source, isWanted) },
      ],
    },
    {
      type: "SecretsConfigDump",
      version: "",
      fields: [
        { name: "static_secrets", type: "SecretsConfigDump.StaticSecret", items: () => secrets(source, isWanted, "static") },
        { name: "dynamic_active_secrets", type: "SecretsConfigDump.DynamicSecret", items: () => secrets(source, isWanted, "active") },
        { name: "dynamic_warming_secrets", type: "SecretsConfigDump.DynamicSecret", items: () => secrets(source, isWanted, "warming") },
      ],
    },
  ];
}

function pick(entries: readonly ClusterEntry[], isStatic: boolean, isWanted: (name: string) => boolean): ClusterEntry[] {
  return entries.filter((entry) => entry.isStatic === isStatic && isWanted(entry.cluster.name));
}

function staticCluster(entry: ClusterEntry): Item {
  return { cluster: resource(ClusterSchema, entry.bytes), last_updated: time(entry.updatedAtMs) };
}

function dynamicCluster(entry: ClusterEntry, refusals: ReadonlyMap<string, Refusal>): Item {
  return {
    version_info: entry.version || undefined,
    cluster: resource(ClusterSchema, entry.bytes),
    last_updated: time(entry.updatedAtMs),
    error_state: errorState(refusals.get(entry.cluster.name)),
  };
}

/** Clusters of which no version was ever good. */
function refusedOnly(refusals: ReadonlyMap<string, Refusal>, active: readonly ClusterEntry[], isWanted: (name: string) => boolean): Item[] {
  const known = new Set(active.map(({ cluster }) => cluster.name));
  return [...refusals]
    .filter(([name]) => !known.has(name) && isWanted(name))
    .map(([, refusal]) => ({ error_state: errorState(refusal), client_status: "NACKED" }));
}

function dynamicListeners({ listeners, xds }: AdminSource, isWanted: (name: string) => boolean): Item[] {
  const warming = new Map(listeners.warming.filter(({ isStatic }) => !isStatic).map((entry) => [entry.listener.config.name, entry]));
  const active = new Map(listeners.active.filter(({ isStatic }) => !isStatic).map((entry) => [entry.listener.config.name, entry]));
  const refusals = xds.refusals.listeners;
  const names = new Set([...active.keys(), ...warming.keys(), ...refusals.keys()]);
  return [...names].filter(isWanted).map((name) => ({
    name,
    active_state: listenerState(active.get(name)),
    warming_state: listenerState(warming.get(name)),
    error_state: errorState(refusals.get(name)),
    client_status: !active.has(name) && !warming.has(name) ? "NACKED" : undefined,
  }));
}

function listenerState(entry: ListenerEntry | undefined): Item | undefined {
  return (
    entry && {
      version_info: entry.version || undefined,
      listener: resource(ListenerSchema, entry.bytes),
      last_updated: time(entry.updatedAtMs),
    }
  );
}

function endpoints({ xds }: AdminSource, isWanted: (name: string) => boolean): Item[] {
  return xds.endpoints
    .filter(({ name }) => isWanted(name))
    .map(({ bytes, version, updatedAtMs }) => ({
      version_info: version || undefined,
      endpoint_config: resource(ClusterLoadAssignmentSchema, bytes),
      last_updated: time(updatedAtMs),
    }));
}

/** Routes that stand inside listeners. */
function staticRoutes({ listeners }: AdminSource, isWanted: (name: string) => boolean): Item[] {
  return listeners.active.flatMap(({ listener, updatedAtMs }) =>
    listener.chains.flatMap((chain): Item[] => {
      const filter = chain.config.filters.at(-1);
      const config = inlineRoutesOf(filter?.configType.case === "typedConfig" ? filter.configType.value : undefined);
      if (!config || !isWanted(config.name)) return [];
      return [{ route_config: () => messageJson(RouteConfigurationSchema, config), last_updated: time(updatedAtMs) }];
    }),
  );
}

function routes(source: AdminSource, isWanted: (name: string) => boolean): Item[] {
  const { refusals } = source.routes;
  return source.routes.known
    .filter(({ name }) => isWanted(name))
    .map(({ name, value, version, updatedAtMs }) => ({
      version_info: version || undefined,
      route_config: () =>
        messageJson(RouteConfigurationSchema, { ...value, virtualHosts: [...value.virtualHosts, ...source.routes.virtualHostsOf(name)] }),
      last_updated: time(updatedAtMs),
      error_state: errorState(refusals.get(name)),
    }));
}

function secrets(source: AdminSource, isWanted: (name: string) => boolean, kind: "static" | "active" | "warming"): Item[] {
  return source.secrets.entries
    .filter(
      ({ name, secret, isStatic }) =>
        isWanted(name) && (kind === "static" ? isStatic : !isStatic && (kind === "active") === (secret !== undefined)),
    )
    .map(({ name, secret, updatedAtMs }) => ({
      name,
      version_info: secret?.version,
      last_updated: secret && time(updatedAtMs),
      secret: () => secretJson(name, secret),
    }));
}

/** Chains and trust are public; a key never leaves. */
function secretJson(name: string, secret: Secret | undefined): Json {
  const type = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
  if (!secret) return { "@type": type, name };
  const bytes = (pem: string): string => Buffer.from(pem, "latin1").toString("base64");
  if (secret.kind === "trust") return { "@type": type, name, validation_context: { trusted_ca: { inline_bytes: bytes(secret.trustPem) } } };
  return {
    "@type": type,
    name,
    tls_certificate: {
      certificate_chain: { inline_bytes: bytes(secret.keyPair.chainPem) },
      private_key: { inline_bytes: Buffer.from(REDACTED).toString("base64") },
    },
  };
}

function errorState(refusal: Refusal | undefined): Item | undefined {
  return refusal && { last_update_attempt: time(refusal.atMs), details: refusal.details, version_info: refusal.version || undefined };
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

function resource(schema: DescMessage, bytes: Uint8Array): () => Json {
  return () => messageJson(schema, fromBinary(schema, bytes));
}

function messageJson<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Json {
  const type = `type.googleapis.com/${schema.typeName}`;
  const json = protoJson(schema, message);
  return typeof json === "object" && json !== null && !Array.isArray(json)
    ? { "@type": type, ...(json as Record<string, Json>) }
    : { "@type": type, value: json };
}

function protoJson<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): Json {
  try {
    return redact(toJson(schema, message, { registry: anyTypes(), useProtoFieldName: true }));
  } catch (error) {
    // A type inside an Any that we do not have: shown as what it is rather than not at all.
    return { error: messageOf(error) };
  }
}

function bootstrapJson({ bootstrap }: AdminSource): Json {
  return protoJson(BootstrapSchema, bootstrap);
}

/** Inline keys and passwords, wherever a message has them. Source: Envoy's udpa.annotations.sensitive. */
const SENSITIVE: ReadonlySet<string> = new Set([
  "private_key",
  "password",
  "pkcs12",
  "session_ticket_keys",
  "generic_secret",
  "access_token",
  "google_refresh_token",
]);

function redact(json: JsonValue): Json {
  if (Array.isArray(json)) return json.map(redact);
  if (typeof json !== "object" || json === null) return json;
  const shown: Record<string, Json> = {};
  for (const [name, value] of Object.entries(json)) shown[name] = SENSITIVE.has(name) ? hide(value) : redact(value);
  return shown;
}

/** File names stay: they say where to look. */
function hide(value: JsonValue): Json {
  if (Array.isArray(value)) return value.map(hide);
  if (typeof value !== "object" || value === null) return REDACTED;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      name === "filename" || name === "environment_variable" ? (inner as Json) : typeof inner === "object" ? hide(inner) : REDACTED,
    ]),
  );
}
