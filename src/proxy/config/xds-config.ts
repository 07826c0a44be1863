/**
 * Applies what the management server sends: all of a response is read first, then the good resources take effect, and one bad one
 * refuses the response by name. Clusters come before listeners, endpoints before their cluster, routes and secrets before their listener.
 * Source: Envoy xDS, CDS, LDS; initialization.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Bootstrap_DynamicResources } from "../../gen/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { ClusterSchema } from "../../gen/envoy/config/cluster/v3/cluster_pb.ts";
import type { ConfigSource } from "../../gen/envoy/config/core/v3/config_source_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../gen/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import { SecretSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { XdsClient, XdsUpdate } from "../../xds/client-types.ts";
import type { DiscoveryService } from "../../xds/services.ts";
import { SDS } from "../../xds/services.ts";
import { TypeUrl } from "../../xds/types.ts";
import { type Assignment, readAssignment } from "../cluster/assignment.ts";
import type { ReadCluster } from "../cluster/cluster-config.ts";
import type { Clusters, EndpointSource } from "../cluster/manager.ts";
import type { ListenerConfig } from "../listener/listener-config.ts";
import type { Listeners } from "../listener/manager.ts";
import type { Secret } from "../secrets.ts";
import type { ClientSource } from "./discovery.ts";
import { unknownFields } from "./fields.ts";
import { type NamedResource, NamedResources, type Refusal } from "./named-resources.ts";
import type { SecretStore } from "./secret-store.ts";
import { CDS, EDS, LDS } from "./services.ts";
import type { TlsConfig } from "./tls-config.ts";

/** Source: ConfigSource.initial_fetch_timeout. */
const INITIAL_FETCH_TIMEOUT_MS = 15_000;
/**
 * A cluster that the server took away serves on until routes have come, or for so long: whoever removes it first (a server that
 * was started anew cannot know what its clients still use) would cut what goes there in between.
 */
const REMOVAL_GRACE_MS = 1000;

/** What the config takes from outside. */
export interface XdsConfigOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly discovery: ClientSource;
  readonly clusters: Clusters;
  readonly listeners: Listeners;
  readonly secrets: SecretStore;
  readonly dynamic: Bootstrap_DynamicResources | undefined;
  /** What becomes of fields that we do not know. Source: Envoy --reject-unknown-dynamic-fields, --ignore-unknown-dynamic-fields. */
  readonly unknownFields: "warn" | "reject" | "ignore";
}

/** See the file's head. */
export class XdsConfig implements EndpointSource {
  readonly #options: XdsConfigOptions;
  readonly #endpoints = new Map<XdsClient, NamedResources<Assignment>>();
  readonly #secrets = new Map<XdsClient, NamedResources<Secret>>();
  readonly #refusals = { clusters: new Map<string, Refusal>(), listeners: new Map<string, Refusal>() };
  readonly #versions = { clusters: "", listeners: "" };
  readonly #warned = new Set<string>();
  /** Clusters that are to go. */
  readonly #leaving = new Map<string, Timer>();

  constructor(options: XdsConfigOptions) {
    this.#options = options;
  }

  /** Begins: clusters, then listeners. `onReady` is called once, when the first of both serve or the waiting for them was given up. */
  start(onReady: () => void): void {
    const { dynamic, clusters, listeners } = this.#options;
    const startListeners = (): void => {
      this.#begin(
        dynamic?.ldsConfig,
        LDS,
        TypeUrl.listener,
        (update) => this.#onListeners(update),
        () => listeners.onceWarm(onReady),
      );
    };
    this.#begin(
      dynamic?.cdsConfig,
      CDS,
      TypeUrl.cluster,
      (update) => this.#onClusters(update),
      () => clusters.onceWarm(startListeners),
    );
  }

  watch(serviceName: string, source: ConfigSource | undefined, onAssignment: (assignment: Assignment) => void): { close(): void } {
    return this.#endpointsOf(source).watch(serviceName, onAssignment);
  }

  /** Asks a server for a secret. */
  fetchSecret(name: string, source: ConfigSource | undefined): { close(): void } {
    try {
      return this.#secretsOf(source).watch(name, (secret) => this.#options.secrets.apply(secret));
    } catch (error) {
      this.#options.log.error(`secret "${name}" rejected: ${messageOf(error)}`);
      return { close() {} };
    }
  }

  /** Versions of the last responses that had a part taken. */
  get versions(): { readonly clusters: string; readonly listeners: string } {
    return this.#versions;
  }

  get refusals(): { readonly clusters: ReadonlyMap<string, Refusal>; readonly listeners: ReadonlyMap<string, Refusal> } {
    return this.#refusals;
  }

  /** Endpoints that are known, for the admin. */
  get endpoints(): readonly NamedResource<Assignment>[] {
    return [...this.#endpoints.values()].flatMap((hub) => hub.known);
  }

  /** Subscribes, and calls `onFirst` once after the first response or when its time is over. */
  #begin(
    source: ConfigSource | undefined,
    service: DiscoveryService,
    typeUrl: string,
    apply: (update: XdsUpdate) => string | undefined,
    onFirst: () => void,
  ): void {
    const { discovery, clock, log } = this.#options;
    if (!source) {
      onFirst();
      return;
    }
    let timer: Timer | undefined;
    let isFirst = true;
    const first = (): void => {
      if (!isFirst) return;
      isFirst = false;
      timer?.cancel();
      onFirst();
    };
    discovery.clientOf(source, service).subscribe(
      typeUrl,
      { wildcard: true },
      {
        onUpdate(update) {
          const refusal = apply(update);
          first();
          return refusal;
        },
      },
    );
    const timeoutMs = source.initialFetchTimeout ? durationMs(source.initialFetchTimeout) : INITIAL_FETCH_TIMEOUT_MS;
    if (timeoutMs > 0) {
      timer = clock.after(timeoutMs, () => {
        if (isFirst) log.warn(`no ${typeUrl.slice(typeUrl.lastIndexOf(".") + 1)} came within ${timeoutMs} ms; going on without`);
        first();
      });
    }
  }

  #onClusters(update: XdsUpdate): string | undefined {
    const { clusters, clock } = this.#options;
    const violations = new Violations(this.#refusals.clusters, clock);
    const good: { read: ReadCluster; bytes: Uint8Array; version: string }[] = [];
    const named = new Set<string>();
    for (const { name, bytes, version: own } of update.resources) {
      const version = own || update.version;
      if (named.has(name)) {
        violations.add(name, version, ["it is there twice"]);
        continue;
      }
      named.add(name);
      try {
        const message = fromBinary(ClusterSchema, bytes);
        const read = clusters.validate(message);
        const reasons = [...this.#unknown(unknownFields(ClusterSchema, message), name), ...this.#sourceFlaws(read)];
        if (reasons.length > 0) violations.add(name, version, reasons);
        else good.push({ read, bytes, version });
      } catch (error) {
        violations.add(name, version, [messageOf(error)]);
      }
    }
    for (const { read, bytes, version } of good) {
      violations.clear(read.config.name);
      clusters.apply(read, bytes, version);
    }
    const gone = update.isFullState
      ? [...clusters.active, ...clusters.warming]
          .filter(({ isStatic, cluster }) => !isStatic && !named.has(cluster.name))
          .map(({ cluster }) => cluster.name)
      : update.removed;
    for (const name of named) this.#stay(name);
    for (const name of gone) this.#leave(name);
    if (good.length > 0 || update.resources.length === 0) this.#versions.clusters = update.version;
    return violations.finish();
  }

  #onListeners(update: XdsUpdate): string | undefined {
    const { listeners, clock } = this.#options;
    const violations = new Violations(this.#refusals.listeners, clock);
    const good: { config: ListenerConfig; warnings: readonly string[]; bytes: Uint8Array; version: string }[] = [];
    const named = new Set<string>();
    for (const { name, bytes, version: own } of update.resources) {
      const version = own || update.version;
      if (named.has(name)) {
        violations.add(name, version, ["it is there twice"]);
        continue;
      }
      named.add(name);
      try {
        const message = fromBinary(ListenerSchema, bytes);
        const { config, violations: reasons, warnings } = listeners.validate(message);
        const all = [
          ...reasons,
          ...this.#unknown(unknownFields(ListenerSchema, message), name),
          ...(config ? this.#listenerSourceFlaws(config) : []),
        ];
        if (!config || all.length > 0) violations.add(name, version, all);
        else good.push({ config, warnings, bytes, version });
      } catch (error) {
        violations.add(name, version, [messageOf(error)]);
      }
    }
    // Those that go make room for those that come: an address may change its listener.
    const gone = update.isFullState
      ? [...listeners.active, ...listeners.warming]
          .filter(({ isStatic, listener }) => !isStatic && !named.has(listener.config.name))
          .map(({ listener }) => listener.config.name)
      : update.removed;
    for (const { config, warnings, bytes, version } of good) {
      violations.clear(config.name);
      listeners.apply(config, warnings, bytes, version);
    }
    for (const name of gone) listeners.remove(name);
    if (good.length > 0 || update.resources.length === 0) this.#versions.listeners = update.version;
    return violations.finish();
  }

  /** New routes took effect: no request goes to a cluster that is to leave any more. */
  onRoutes(): void {
    for (const name of [...this.#leaving.keys()]) {
      this.#stay(name);
      this.#options.clusters.remove(name);
    }
  }

  #leave(name: string): void {
    const { clusters, clock } = this.#options;
    if (this.#leaving.has(name)) return;
    if (!clusters.get(name)) clusters.remove(name);
    else
      this.#leaving.set(
        name,
        clock.after(REMOVAL_GRACE_MS, () => {
          this.#leaving.delete(name);
          clusters.remove(name);
        }),
      );
  }

  #stay(name: string): void {
    this.#leaving.get(name)?.cancel();
    this.#leaving.delete(name);
  }

  #sourceFlaws({ config }: ReadCluster): string[] {
    const { discovery } = this.#options;
    const reasons = config.discovery.kind === "eds" ? [discovery.refusalOf(config.discovery.source)] : [];
    for (const tls of [config.socket, ...config.sockets.map((socket) => socket.tls)]) reasons.push(...this.#secretFlaws(tls));
    return reasons.filter((reason) => reason !== undefined);
  }

  #listenerSourceFlaws(config: ListenerConfig): string[] {
    const chains = config.defaultChain ? [...config.chains, config.defaultChain] : config.chains;
    return chains
      .flatMap((chain) => [...chain.routes.map(({ source }) => this.#options.discovery.refusalOf(source)), ...this.#secretFlaws(chain.tls)])
      .filter((reason) => reason !== undefined);
  }

  /** A secret without a source is one of the bootstrap, or made in this process. */
  #secretFlaws(tls: TlsConfig | undefined): (string | undefined)[] {
    return [tls?.certificate, tls?.trust].map((ref) =>
      ref?.kind === "sds" && ref.source ? this.#options.discovery.refusalOf(ref.source) : undefined,
    );
  }

  #unknown(paths: readonly string[], name: string): readonly string[] {
    if (paths.length === 0 || this.#options.unknownFields === "ignore") return [];
    if (this.#options.unknownFields === "reject") return paths.map((path) => `unknown field: ${path}`);
    for (const path of paths) {
      // Once a path: every cluster of a newer control plane may have it.
      if (this.#warned.has(path) || this.#warned.size > 1000) continue;
      this.#warned.add(path);
      this.#options.log.warn(`${name} has a field that is not known and left out: ${path}`);
    }
    return [];
  }

  #endpointsOf(source: ConfigSource | undefined): NamedResources<Assignment> {
    const { discovery, clock } = this.#options;
    const client = discovery.clientOf(source, EDS);
    let hub = this.#endpoints.get(client);
    if (!hub) {
      hub = new NamedResources(client, {
        typeUrl: TypeUrl.endpoint,
        read: (bytes) => readAssignment(fromBinary(ClusterLoadAssignmentSchema, bytes)),
        clock,
      });
      this.#endpoints.set(client, hub);
    }
    return hub;
  }

  #secretsOf(source: ConfigSource | undefined): NamedResources<Secret> {
    const { discovery, clock, secrets } = this.#options;
    const client = discovery.clientOf(source, SDS);
    let hub = this.#secrets.get(client);
    if (!hub) {
      hub = new NamedResources<Secret>(client, {
        typeUrl: TypeUrl.secret,
        read: (bytes, name, version) => {
          const message = fromBinary(SecretSchema, bytes);
          if (message.name !== name) throw new Error(`the secret inside is named "${message.name}"`);
          return secrets.read(message, version);
        },
        clock,
      });
      this.#secrets.set(client, hub);
    }
    return hub;
  }
}

/** Reasons by resource, and the text of the NACK. */
class Violations {
  readonly #refusals: Map<string, Refusal>;
  readonly #clock: Clock;
  readonly #lines: string[] = [];

  constructor(refusals: Map<string, Refusal>, clock: Clock) {
    this.#refusals = refusals;
    this.#clock = clock;
  }

  add(name: string, version: string, reasons: readonly string[]): void {
    const details = reasons.join(", ");
    this.#lines.push(`${name}: ${details}`);
    this.#refusals.set(name, { version, atMs: this.#clock.nowMs(), details });
  }

  clear(name: string): void {
    this.#refusals.delete(name);
  }

  /** The NACK, which the client logs; undefined when all was good. */
  finish(): string | undefined {
    return this.#lines.length === 0 ? undefined : this.#lines.join("; ");
  }
}
