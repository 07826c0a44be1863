/**
 * All listeners, and the sockets that they share over updates: a listener's successor takes over its socket, so that no connection is
 * lost between the two. Source: Envoy, Listener discovery service.
 */
import { toBinary } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import { type Listener as ListenerMessage, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.ts";
import type { Address } from "../../net/channel.ts";
import type { Acceptor, Incoming, ListeningSocket } from "../../net/dial.ts";
import { addressText, ConfigRefused, type DataSourceReader } from "../config/address.ts";
import type { RouteReference } from "../network/filters.ts";
import type { DrainOptions } from "./filter-chain.ts";
import { Listener, type ListenerContext } from "./listener.ts";
import { type ListenerConfig, type ReadListener, readListener } from "./listener-config.ts";

/** Listeners at once; more are refused. */
const LISTENERS_MAX = 20_000;

/** Tells when route configurations that listeners wait for are known. */
export interface RouteWaiter {
  /** Calls back once all are known or given up (maybe at once); cancel when the listener goes. */
  onceKnown(routes: readonly RouteReference[], done: () => void): { cancel(): void };
}

/** One version of a listener. */
export interface ListenerEntry {
  readonly bytes: Uint8Array;
  readonly version: string;
  readonly updatedAtMs: number;
  readonly isStatic: boolean;
  readonly listener: Listener;
}

interface LiveEntry extends ListenerEntry {
  routesKnown: boolean;
  wait: { cancel(): void } | undefined;
}

/** What the manager takes from outside. */
export interface ListenersOptions {
  readonly context: ListenerContext;
  readonly acceptor: Acceptor;
  readonly reader: DataSourceReader;
  readonly drain: DrainOptions;
  /** Inherited sockets by "ip:port". */
  readonly inherited: ReadonlyMap<string, number>;
}

/** A socket, opening or open, and whom its connections go to. */
interface BoundSocket {
  readonly key: string;
  owner: Listener;
  socket: ListeningSocket | undefined;
  opening: Promise<void>;
  isClosed: boolean;
}

/** See the file's head. */
export class Listeners {
  readonly #options: ListenersOptions;
  readonly #active = new Map<string, LiveEntry>();
  readonly #warming = new Map<string, LiveEntry>();
  readonly #draining = new Map<string, number>();
  readonly #sockets = new Map<string, BoundSocket>();
  /** Active listeners by "ip:port", for connections that were captured. */
  readonly #byAddress = new Map<string, Listener>();
  readonly #waiting: (() => void)[] = [];
  readonly #failed = new Map<string, string>();
  #routes: RouteWaiter | undefined;
  #isAccepting = true;

  constructor(options: ListenersOptions) {
    this.#options = options;
  }

  /** Who knows route configurations. Set once, before the first listener. */
  set routeWaiter(routes: RouteWaiter) {
    this.#routes = routes;
  }

  get active(): readonly ListenerEntry[] {
    return [...this.#active.values()];
  }

  get warming(): readonly ListenerEntry[] {
    return [...this.#warming.values()];
  }

  /** Listeners that were replaced or removed and whose drain time is not over. */
  get draining(): readonly string[] {
    return [...this.#draining.keys()];
  }

  /** Addresses that could not be bound, with the reason. */
  get failures(): ReadonlyMap<string, string> {
    return this.#failed;
  }

  get activeConnections(): number {
    return this.active.reduce((sum, { listener }) => sum + listener.activeConnections, 0);
  }

  /** Reads without applying. */
  validate(message: ListenerMessage): ReadListener {
    const { context, reader } = this.#options;
    if (this.#active.get(message.name)?.isStatic)
      return { config: undefined, violations: ["a static listener of that name exists"], warnings: [] };
    if (this.#active.size >= LISTENERS_MAX && !this.#active.has(message.name))
      return { config: undefined, violations: [`more than ${LISTENERS_MAX} listeners`], warnings: [] };
    return readListener(message, context.filters, reader);
  }

  /** A listener of the bootstrap. Throws ConfigRefused with all reasons. */
  addStatic(message: ListenerMessage): void {
    const read = readListener(message, this.#options.context.filters, this.#options.reader);
    if (!read.config) throw new ConfigRefused(read.violations.join("; "));
    this.#add(read.config, read.warnings, toBinary(ListenerSchema, message), "", true);
  }

  /** Takes over a listener that was validated. The same content keeps what runs; another one warms, then takes its place. */
  apply(config: ListenerConfig, warnings: readonly string[], bytes: Uint8Array, version: string): void {
    const newest = this.#warming.get(config.name) ?? this.#active.get(config.name);
    if (newest && Buffer.compare(newest.bytes, bytes) === 0) return;
    this.#add(config, warnings, bytes, version, false);
  }

  /** Stops accepting for a listener; its connections drain. */
  remove(name: string): void {
    const entry = this.#active.get(name);
    if (entry?.isStatic) return;
    this.#dropWarming(name);
    if (entry) {
      this.#active.delete(name);
      this.#unlink(entry.listener, undefined);
      this.#retire(entry.listener, undefined);
    }
    this.#tellIfWarm();
  }

  /** Calls back once nothing warms (maybe at once). */
  onceWarm(done: () => void): void {
    if (this.#warming.size === 0) done();
    else this.#waiting.push(done);
  }

  /** Resolves when the sockets of all active listeners are open or could not be opened: see `failures`. */
  async onceBound(): Promise<void> {
    await Promise.all([...this.#sockets.values()].map(({ opening }) => opening));
  }

  /** Stops accepting everywhere. With `direction`, only there. */
  stopAccepting(direction?: "inbound"): void {
    if (!direction) this.#isAccepting = false;
    for (const bound of [...this.#sockets.values()]) if (!direction || bound.owner.config.direction === direction) this.#closeSocket(bound);
  }

  /** Asks all clients to go; what is open goes on. */
  startDrain(direction?: "inbound"): void {
    for (const { listener } of this.active) if (!direction || listener.config.direction === direction) listener.startDrain();
  }

  /** Ends everything now. */
  close(): void {
    this.stopAccepting();
    for (const { wait, listener } of [...this.#active.values(), ...this.#warming.values()]) {
      wait?.cancel();
      listener.close();
    }
    this.#active.clear();
    this.#warming.clear();
    this.#byAddress.clear();
  }

  /** Brings gauges up to date: connections are counted by those who hold them. */
  refreshStats(): void {
    for (const { listener } of this.active) listener.stats.cxActive.set(listener.activeConnections);
    const { metrics } = this.#options.context;
    metrics.envoyGauge("listener_manager.total_listeners_active").set(this.#active.size);
    metrics.envoyGauge("listener_manager.total_listeners_warming").set(this.#warming.size);
    metrics.envoyGauge("listener_manager.total_listeners_draining").set(this.#draining.size);
  }

  /** The listener of an address: exactly, then of all addresses with that port. Source: Envoy use_original_dst. */
  findByDestination({ host, port }: Address): Listener | undefined {
    return (
      this.#byAddress.get(addressText({ host, port })) ??
      this.#byAddress.get(host.includes(":") ? `[::]:${port}` : `0.0.0.0:${port}`) ??
      this.#byAddress.get(`[::]:${port}`)
    );
  }

  #add(config: ListenerConfig, warnings: readonly string[], bytes: Uint8Array, version: string, isStatic: boolean): void {
    const { context } = this.#options;
    if (warnings.length > 0) context.log.warn(`listener "${config.name}": not carried out: ${[...new Set(warnings)].join(", ")}`);
    this.#dropWarming(config.name);
    const before = this.#active.get(config.name)?.listener;
    const listener = new Listener(config, context, before, () => this.#onProgress(entry));
    const entry: LiveEntry = {
      bytes,
      version,
      isStatic,
      updatedAtMs: context.clock.nowMs(),
      listener,
      routesKnown: false,
      wait: undefined,
    };
    this.#warming.set(config.name, entry);
    const routes = [...config.chains, ...(config.defaultChain ? [config.defaultChain] : [])].flatMap((chain) => chain.routes);
    const onRoutes = (): void => {
      entry.routesKnown = true;
      this.#onProgress(entry);
    };
    if (routes.length === 0 || !this.#routes) onRoutes();
    else entry.wait = this.#routes.onceKnown(routes, onRoutes);
  }

  #onProgress(entry: LiveEntry): void {
    const { name } = entry.listener.config;
    if (this.#warming.get(name) !== entry || !entry.routesKnown || !entry.listener.isReady) return;
    this.#warming.delete(name);
    const before = this.#active.get(name);
    this.#active.set(name, entry);
    this.#link(entry.listener);
    if (before) {
      this.#unlink(before.listener, entry.listener);
      this.#retire(before.listener, entry.listener);
    }
    this.#tellIfWarm();
  }

  #dropWarming(name: string): void {
    const entry = this.#warming.get(name);
    if (!entry) return;
    this.#warming.delete(name);
    entry.wait?.cancel();
    // It never served: its own chains have nothing to drain. Those taken over go on in the active one.
    const kept = new Set(this.#active.get(name)?.listener.chains);
    for (const chain of entry.listener.chains) if (!kept.has(chain)) chain.close();
  }

  #link(listener: Listener): void {
    const { config } = listener;
    for (const address of config.addresses) {
      const key = addressText(address);
      this.#byAddress.set(key, listener);
      if (!config.bindToPort || !this.#isAccepting) continue;
      const bound = this.#sockets.get(key);
      if (bound) bound.owner = listener;
      else this.#bind(key, address, listener);
    }
  }

  #unlink(listener: Listener, successor: Listener | undefined): void {
    const kept = new Set(successor?.config.addresses.map(addressText));
    for (const address of listener.config.addresses) {
      const key = addressText(address);
      if (!kept.has(key) && this.#byAddress.get(key) === listener) this.#byAddress.delete(key);
      const bound = this.#sockets.get(key);
      if (bound && bound.owner === listener) this.#closeSocket(bound);
    }
  }

  #bind(key: string, address: Address, listener: Listener): void {
    const { acceptor, inherited, context } = this.#options;
    const { config } = listener;
    const bound: BoundSocket = { key, owner: listener, socket: undefined, opening: Promise.resolve(), isClosed: false };
    this.#sockets.set(key, bound);
    const buffer = config.bufferBytes;
    const open = async (): Promise<void> => {
      try {
        const socket = await acceptor.listen(
          {
            at: address,
            fd: inherited.get(key),
            backlog: config.backlog,
            originalDestination: config.originalDestination,
            transparent: config.transparent,
            watermarks: buffer === undefined ? undefined : { highBytes: buffer, lowBytes: buffer >> 1 },
          },
          (incoming) => this.#onConnection(bound, incoming),
        );
        bound.socket = socket;
        if (bound.isClosed) socket.close();
        this.#failed.delete(key);
      } catch (error) {
        this.#failed.set(key, messageOf(error));
        context.log.error(`listener "${config.name}" rejected: ${messageOf(error)}`);
        if (this.#sockets.get(key) === bound) this.#sockets.delete(key);
      }
    };
    bound.opening = open();
  }

  #onConnection(bound: BoundSocket, incoming: Incoming): void {
    const { owner } = bound;
    const target = owner.config.handsOff ? (this.findByDestination(incoming.originalDestination) ?? owner) : owner;
    target.accept(incoming, owner.config.handsOff);
  }

  #closeSocket(bound: BoundSocket): void {
    this.#sockets.delete(bound.key);
    bound.isClosed = true;
    bound.socket?.close();
  }

  #retire(listener: Listener, successor: Listener | undefined): void {
    const { drain, context } = this.#options;
    const { name } = listener.config;
    listener.end(drain, successor);
    this.#draining.set(name, (this.#draining.get(name) ?? 0) + 1);
    context.clock.after(drain.timeMs, () => {
      const left = (this.#draining.get(name) ?? 1) - 1;
      if (left > 0) this.#draining.set(name, left);
      else this.#draining.delete(name);
    });
  }

  #tellIfWarm(): void {
    if (this.#warming.size > 0) return;
    for (const done of this.#waiting.splice(0)) done();
  }
}
