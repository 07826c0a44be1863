/**
 * Wires the control plane, the only place that makes its things: config -> store -> state -> distributor -> xDS, with the certificate authority
 * beside it. Nothing listens before the config has been read.
 */
import { type Clock, sleep } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Address, Channel } from "../net/channel.ts";
import type { Network } from "../net/dial.ts";
import { createGrpcServer, type GrpcServer } from "../net/grpc/server.ts";
import { MESH_HTTP_LIMITS } from "../net/http/stream.ts";
import { createHttp1ServerConnection } from "../net/http1/server-connection.ts";
import { createMetricsRegistry } from "../telemetry/registry.ts";
import { createXdsServer } from "../xds/server.ts";
import type { XdsServerLimits } from "../xds/server-limits.ts";
import { type AdminContext, answerAdmin } from "./admin/debug.ts";
import { openAdminServer } from "./admin/http.ts";
import { createAuthenticator, type TokenRule } from "./ca/authenticate.ts";
import { type AuthorityFiles, createAuthority } from "./ca/authority.ts";
import { createCertificateService } from "./ca/certificate-service.ts";
import { createCompiler } from "./compile/compiler.ts";
import { formatProblem } from "./config/finding.ts";
import { type ConfigReader, createConfigReader } from "./config/read.ts";
import type { ConfigSource } from "./config/sources/source.ts";
import { type ConfigStore, createConfigStore } from "./config/store.ts";
import type { MeshConfig } from "./config/types.ts";
import { createDistributor } from "./push/distributor.ts";
import { compileType } from "./push/generators.ts";
import { describeChange } from "./push/reason.ts";
import { createResourceCache } from "./push/resource-cache.ts";
import { type DebounceOptions, MeshState } from "./push/state.ts";
import { openSecurePort } from "./secure-port.ts";
import { createPilotMetrics } from "./status/pilot-metrics.ts";
import type { PushLog } from "./status/pushes.ts";

/** What a control plane is made of. */
export interface ControlPlaneOptions {
  readonly version: string;
  readonly mesh: MeshConfig;
  /** Where config comes from; made with the reader that is given, so that a document is read once. */
  readonly sources: (reader: ConfigReader) => readonly ConfigSource[];
  /** xDS in plaintext, without authentication; undefined: off. */
  readonly grpcAddr: Address | undefined;
  /** xDS and certificates over TLS; undefined: off. */
  readonly secure: SecureOptions | undefined;
  readonly monitoringAddr: Address | undefined;
  /** Opens /debug to callers that are not on loopback. */
  readonly debugToken?: string | undefined;
  readonly network: Network;
  readonly clock: Clock;
  readonly log: Log;
  readonly xdsLimits?: Partial<XdsServerLimits> | undefined;
  readonly debounce?: DebounceOptions | undefined;
}

/** The authenticated port and the authority behind it. */
export interface SecureOptions {
  readonly at: Address;
  readonly authority: AuthorityFiles;
  /** DNS names of the port's certificate. */
  readonly serverNames: readonly string[];
  /** Which tokens prove a caller; undefined: certificates alone. */
  readonly tokenRule: TokenRule | undefined;
}

/** A control plane that serves. */
export interface RunningControlPlane {
  /** Where it listens; a port that was 0 has its number here. */
  readonly addresses: {
    readonly grpc: Address | undefined;
    readonly secure: Address | undefined;
    readonly monitoring: Address | undefined;
  };
  /** How pushes fare: `finished(version)` awaits one. */
  readonly pushes: PushLog;
  readonly config: ConfigStore;
  /** The label of the newest published state. */
  readonly label: string;
  /** Lets clients go (they come again, elsewhere or later), closes ports and sources, and leaves no timer behind. */
  close(): Promise<void>;
}

const DRAIN_MS = 500;

/** Starts it. Rejects with a UserError that names every fault of the config, or the address that cannot be had; then nothing stays open. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<RunningControlPlane> {
  const closers: (() => void)[] = [];
  const closeAll = (): void => {
    for (const close of closers.splice(0).reverse()) close();
  };
  try {
    return await start(options, closers, closeAll);
  } catch (error) {
    closeAll();
    throw error;
  }
}

async function start(options: ControlPlaneOptions, closers: (() => void)[], closeAll: () => void): Promise<RunningControlPlane> {
  const { clock, log, mesh, network, secure } = options;
  const metrics = createMetricsRegistry();
  const pilot = createPilotMetrics(metrics, options.version);
  let isReady = false;

  // 1. Config: all of it is good, or nothing starts.
  let state: MeshState | undefined;
  const config = createConfigStore({
    sources: options.sources(createConfigReader({ domain: mesh.domain })),
    mesh,
    log,
    clock,
    onChange(next, { changed }) {
      pilot.onUpdate(changed.every((key) => key.startsWith("WorkloadEntry/")) ? "eds" : "config");
      state?.change(next.objects, changed);
    },
  });
  closers.push(() => config.close());
  await openConfig(config, log);

  // 2. The state that proxies are served from, and what brings it to them.
  const compiler = createCompiler();
  const cache = createResourceCache();
  const authenticator = createAuthenticator({ trustDomain: mesh.trustDomain, rule: secure?.tokenRule });
  const meshState = new MeshState({
    objects: config.state.objects,
    mesh,
    clock,
    log,
    ...(options.debounce ? { debounce: options.debounce } : {}),
    publish: (publication) => distributor.distribute(publication, describeChange(publication.diff, config.state.byKey)),
  });
  state = meshState;
  closers.push(() => meshState.close());
  const distributor = createDistributor({
    state: () => meshState,
    compiler,
    cache,
    // A call over TLS has to prove itself; the plaintext port is for whom its operator lets reach it.
    prove: async (call) => (call.tls ? authenticator.authenticate(call) : undefined),
    metrics: pilot,
    clock,
    log,
  });
  closers.push(() => distributor.close());
  pilot.onWorld(meshState.world);
  const xds = createXdsServer({
    source: distributor.source,
    clock,
    log,
    identifier: `lateen-${options.version}`,
    ...(options.xdsLimits ? { limits: options.xdsLimits } : {}),
  });
  closers.push(() => xds.close());

  // 3. Ports: xDS first, then the page that says that all is well.
  const servers: GrpcServer[] = [];
  const grpc = options.grpcAddr && (await openPlain(options.grpcAddr));
  const secured = secure && (await openSecure(secure));
  const admin: AdminContext = {
    version: options.version,
    nowMs: () => clock.nowMs(),
    unready: () => (isReady ? undefined : "not ready"),
    metrics,
    proxies: () => distributor.source.proxies.values(),
    resources: (proxy, typeUrl) =>
      compileType(compiler, cache, proxy, typeUrl, proxy.session.subscriptions.get(typeUrl) ?? { wildcard: true, names: new Set() }),
    pushes: distributor.pushes,
    world: () => meshState.world,
    config,
    debugToken: options.debugToken,
  };
  const monitoring = options.monitoringAddr && (await openMonitoring(options.monitoringAddr));
  isReady = true;
  log.info("the control plane serves", {
    label: meshState.label,
    objects: config.state.objects.length,
    services: meshState.world.services.size,
    grpc: addressText(grpc),
    secure: addressText(secured),
    monitoring: addressText(monitoring),
  });

  return {
    addresses: { grpc, secure: secured, monitoring },
    pushes: distributor.pushes,
    config,
    get label() {
      return meshState.label;
    },
    async close() {
      isReady = false;
      for (const server of servers) server.drain();
      closeAll();
      const endMs = clock.monotonicMs() + DRAIN_MS;
      while (servers.some((server) => server.activeCalls > 0) && clock.monotonicMs() < endMs) await sleep(clock, 10);
      for (const server of servers) server.close();
    },
  };

  async function openPlain(at: Address): Promise<Address> {
    const server = createGrpcServer({ clock, log }, [xds.service]);
    servers.push(server);
    const listening = await network.acceptor.listen({ at }, (incoming) => server.serve(incoming.accept()));
    closers.push(() => listening.close());
    return listening.address;
  }

  async function openSecure({ at, authority: files, serverNames }: SecureOptions): Promise<Address> {
    const authority = await createAuthority(files, clock).catch((error: unknown) => {
      throw new UserError(`the certificate authority cannot be used: ${error instanceof Error ? error.message : String(error)}`);
    });
    const certificates = createCertificateService({ authority: () => authority, authenticator, metrics, log });
    const server = createGrpcServer({ clock, log }, [xds.service, certificates]);
    servers.push(server);
    const serve = (channel: Channel): void => void server.serve(channel);
    const port = await openSecurePort({ at, acceptor: network.acceptor, authority, serverNames, serve, clock, log });
    closers.push(() => port.close());
    return port.address;
  }

  async function openMonitoring(at: Address): Promise<Address> {
    const server = await openAdminServer({
      acceptor: network.acceptor,
      at,
      serve: (channel, handler) => createHttp1ServerConnection(channel, { limits: MESH_HTTP_LIMITS, clock }, handler),
      answer(request) {
        pilot.onConfigProblems(config.problems.length);
        return answerAdmin(admin, request);
      },
      log,
    });
    closers.push(() => server.close());
    return server.address;
  }
}

async function openConfig(config: ConfigStore, log: Log): Promise<void> {
  const { problems } = await config.open();
  if (problems.length > 0) {
    throw new UserError(problems.map(formatProblem).join("\n"), {
      hint: `Mend ${problems.length === 1 ? "this" : `these ${problems.length}`}, then start again. (While running, a bad file keeps its last good version.)`,
    });
  }
  for (const warning of config.warnings) log.warn("A config file is taken, with a warning.", { problem: formatProblem(warning) });
}

function addressText(address: Address | undefined): string | undefined {
  return address && `${address.host}:${address.port}`;
}
