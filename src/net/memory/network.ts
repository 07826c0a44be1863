/**
 * A network in memory for simulations: hosts with addresses in one process, the same contract as the system's. Latency is nil and
 * the order of events is that of their causes. Capture is a function a host.
 */
import net from "node:net";
import type { Clock } from "../../base/clock.ts";
import { messageOf, UserError } from "../../base/errors.ts";
import { type Address, type CloseReason, MESH_WATERMARKS } from "../channel.ts";
import type { Dialer, DialHandler, DialOptions, Incoming, ListeningSocket, ListenOptions, Network, Resolver } from "../dial.ts";
import { asClientTls } from "../tls/contexts.ts";
import { startClientHandshake } from "../tls/handshake.ts";
import { MemoryChannel } from "./channel.ts";
import { MemoryIncoming } from "./incoming.ts";
import { MemoryEnd } from "./pair.ts";
import { MemoryDuplex, MemoryTlsChannel } from "./tls.ts";
import { Turns } from "./turns.ts";

const PORT_FIRST = 32768;
const PORT_LAST = 60999;
/** Ends of connections that a host holds before it looks which of them are gone. */
const PRUNE_MIN = 64;
const NAME_TTL_MS = 30_000;

/**
 * Capture, as NAT rules do it: where a connection goes instead, undefined for where it meant to. "outbound" is asked of the host
 * that dials (never for a marked dial), "inbound" of the host that is dialled from another one.
 */
export type Redirect = (dial: {
  readonly from: Address;
  readonly to: Address;
  readonly direction: "outbound" | "inbound";
}) => Address | undefined;

/** One machine of the network. */
export interface MemoryHost extends Network {
  readonly ips: readonly string[];
  redirect: Redirect | undefined;
  /** As kill -9 of all that runs there: listeners close, every connection is reset. The host may listen again. */
  crash(): void;
}

/** The whole network. */
export interface MemoryNetwork {
  /** The host of an address, made at the first call. Further addresses of it go with the first. */
  host(ip: string, ...more: readonly string[]): MemoryHost;
  /** Sets what a name resolves to, for all hosts. An empty list: the name is known and has no address. Undefined: forgets it. */
  setName(name: string, addresses: readonly string[] | undefined): void;
}

/** Makes a network without hosts. TLS in it judges certificates by `clock`, and resumes no sessions. */
export function createMemoryNetwork({ clock }: { readonly clock: Clock }): MemoryNetwork {
  const world: World = { clock, turns: new Turns(), hosts: new Map(), names: new Map() };
  return {
    host(ip, ...more) {
      const known = world.hosts.get(ip);
      if (known) return known;
      const host = new Host(world, [ip, ...more]);
      for (const address of host.ips) {
        if (!net.isIP(address)) throw new Error(`"${address}" is no IP address`);
        if (world.hosts.has(address)) throw new Error(`${address} is another host's address`);
        world.hosts.set(address, host);
      }
      return host;
    },
    setName(name, addresses) {
      if (addresses) world.names.set(name.toLowerCase(), addresses);
      else world.names.delete(name.toLowerCase());
    },
  };
}

interface World {
  readonly clock: Clock;
  readonly turns: Turns;
  readonly hosts: Map<string, Host>;
  readonly names: Map<string, readonly string[]>;
}

interface Listener {
  readonly options: ListenOptions;
  readonly address: Address;
  readonly onConnection: (incoming: Incoming) => void;
}

class Host implements MemoryHost {
  readonly ips: readonly string[];
  readonly dialer: Dialer;
  readonly acceptor: Network["acceptor"];
  readonly resolver: Resolver;
  redirect: Redirect | undefined;
  readonly #world: World;
  readonly #listeners = new Map<string, Listener>();
  readonly #ends = new Set<MemoryEnd>();
  #pruneAt = PRUNE_MIN;
  #nextPort = PORT_FIRST;

  constructor(world: World, ips: readonly string[]) {
    this.#world = world;
    this.ips = ips;
    this.dialer = { dial: (options, handler) => this.#dial(options, handler) };
    this.acceptor = { listen: async (options, onConnection) => this.#listen(options, onConnection) };
    this.resolver = { resolve: async (name, { family }) => resolveIn(world, name, family) };
  }

  crash(): void {
    this.#listeners.clear();
    for (const end of this.#ends) end.destroy({ reset: true });
    this.#ends.clear();
  }

  #listen(options: ListenOptions, onConnection: (incoming: Incoming) => void): ListeningSocket {
    const { at } = options;
    if (options.fd !== undefined) throw new UserError("cannot listen on an inherited descriptor: a network in memory has none");
    const isPath = at.host.startsWith("/");
    if (!isPath && !isWildcard(at.host) && !isLoopback(at.host) && !this.ips.includes(at.host)) {
      throw new UserError(`cannot listen on ${keyOf(at)}: no network interface here has that address (EADDRNOTAVAIL)`, {
        hint: `this host has ${this.ips.join(", ")}`,
      });
    }
    const address = isPath || at.port !== 0 ? at : { host: at.host, port: this.#freePort() };
    const key = keyOf(address);
    if (this.#listeners.has(key)) {
      throw new UserError(`cannot listen on ${key}: another process listens there already (EADDRINUSE)`, {
        hint: "stop it, or choose another port",
      });
    }
    const listener: Listener = { options, address, onConnection };
    this.#listeners.set(key, listener);
    return {
      address,
      close: () => {
        if (this.#listeners.get(key) === listener) this.#listeners.delete(key);
      },
    };
  }

  #dial(options: DialOptions, handler: DialHandler): { cancel(): void } {
    const dial = new MemoryDial(options, handler, this.#world);
    this.#world.turns.add(() => dial.connect((end) => this.#connect(options, end)));
    return dial;
  }

  /** Finds who listens and gives it the far end; the addresses as the client sees them, or why there is nobody. */
  #connect(
    { to, from, mark }: DialOptions,
    [near, far]: readonly [MemoryEnd, MemoryEnd],
  ): { local: Address; remote: Address } | CloseReason {
    const isPath = to.host.startsWith("/");
    if (!isPath && !net.isIP(to.host)) return { code: undefined, message: `"${to.host}" is no IP address` };
    const target = isPath || isLoopback(to.host) ? this : this.#world.hosts.get(to.host);
    const local: Address = isPath ? { host: "", port: 0 } : { host: from ?? this.#sourceFor(to.host), port: this.#freePort() };
    let host: Host | undefined = target;
    let actual: Address | undefined =
      mark === undefined && !isPath ? this.redirect?.({ from: local, to, direction: "outbound" }) : undefined;
    if (actual) host = this;
    else if (target && target !== this) actual = target.redirect?.({ from: local, to, direction: "inbound" });
    if (!host) return { code: "EHOSTUNREACH", message: `connect EHOSTUNREACH ${keyOf(to)}` };
    const listener = host.#find(actual ?? to);
    if (!listener) return { code: "ECONNREFUSED", message: `connect ECONNREFUSED ${keyOf(to)}` };
    this.#own(near);
    host.#own(far);
    const { originalDestination, transparent, watermarks } = listener.options;
    const at = transparent ? to : (actual ?? to);
    const incoming = new MemoryIncoming(far, {
      local: at,
      remote: local,
      originalDestination: originalDestination ? to : at,
      clock: this.#world.clock,
      turns: this.#world.turns,
      watermarks,
    });
    this.#world.turns.add(() => listener.onConnection(incoming));
    return { local, remote: to };
  }

  #find(to: Address): Listener | undefined {
    const exact = this.#listeners.get(keyOf(to));
    if (exact || to.host.startsWith("/")) return exact;
    return (
      (net.isIPv4(to.host) ? this.#listeners.get(keyOf({ host: "0.0.0.0", port: to.port })) : undefined) ??
      this.#listeners.get(keyOf({ host: "::", port: to.port }))
    );
  }

  #sourceFor(to: string): string {
    if (isLoopback(to)) return net.isIPv6(to) ? "::1" : "127.0.0.1";
    return this.ips.find((ip) => net.isIP(ip) === net.isIP(to)) ?? this.ips[0] ?? to;
  }

  /** Ephemeral ports go round, so that tests see the same numbers each time. */
  #freePort(): number {
    const port = this.#nextPort;
    this.#nextPort = port === PORT_LAST ? PORT_FIRST : port + 1;
    return port;
  }

  #own(end: MemoryEnd): void {
    this.#ends.add(end);
    if (this.#ends.size < this.#pruneAt) return;
    for (const other of this.#ends) if (other.isClosed) this.#ends.delete(other);
    this.#pruneAt = Math.max(PRUNE_MIN, 2 * this.#ends.size);
  }
}

/** One connection in the making. */
class MemoryDial {
  readonly #options: DialOptions;
  readonly #handler: DialHandler;
  readonly #world: World;
  readonly #timer: { cancel(): void };
  #isDone = false;
  #end: MemoryEnd | undefined;
  #handshake: { cancel(): void } | undefined;

  constructor(options: DialOptions, handler: DialHandler, world: World) {
    this.#options = options;
    this.#handler = handler;
    this.#world = world;
    this.#timer = world.clock.after(options.timeoutMs, () =>
      this.#fail("timeout", { code: "ETIMEDOUT", message: `${keyOf(options.to)} took longer than ${options.timeoutMs} ms` }),
    );
  }

  cancel(): void {
    if (this.#isDone) return;
    this.#finish();
    this.#handshake?.cancel();
    this.#end?.destroy();
  }

  connect(find: (pair: readonly [MemoryEnd, MemoryEnd]) => { local: Address; remote: Address } | CloseReason): void {
    if (this.#isDone) return;
    const pair = MemoryEnd.pair(this.#world.turns);
    const found = find(pair);
    if (!("local" in found)) {
      this.#fail("connect", found);
      return;
    }
    this.#end = pair[0];
    this.#world.turns.add(() => this.#onConnect(pair[0], found));
  }

  #onConnect(end: MemoryEnd, addresses: { readonly local: Address; readonly remote: Address }): void {
    if (this.#isDone) return;
    const { tls, watermarks = MESH_WATERMARKS } = this.#options;
    if (!tls) {
      this.#finish();
      this.#handler.onConnect(new MemoryChannel(end, { ...addresses, watermarks }));
      return;
    }
    try {
      const socket = new MemoryDuplex(end);
      const time = { clock: this.#world.clock, isSimulated: true };
      this.#handshake = startClientHandshake(
        { socket, context: asClientTls(tls.context), serverName: tls.serverName, alpn: tls.alpn, peerKey: keyOf(addresses.remote), time },
        {
          onSecure: (secure, info) => {
            if (this.#isDone) return;
            this.#finish();
            this.#handler.onConnect(new MemoryTlsChannel(secure, socket, { ...addresses, watermarks, tls: info }));
          },
          onFail: (reason) => this.#fail("tls", reason),
        },
      );
    } catch (error) {
      this.#fail("tls", { code: undefined, message: messageOf(error) });
    }
  }

  #fail(phase: "connect" | "tls" | "timeout", reason: CloseReason): void {
    if (this.#isDone) return;
    this.#finish();
    this.#handshake?.cancel();
    this.#end?.destroy();
    this.#handler.onFail({ ...reason, phase });
  }

  #finish(): void {
    this.#isDone = true;
    this.#timer.cancel();
  }
}

function resolveIn(world: World, name: string, family: 4 | 6 | "any"): { addresses: readonly string[]; ttlMs: number } {
  const plain = name.toLowerCase().replace(/\.$/, "");
  const known = net.isIP(plain) ? [plain] : (world.names.get(plain) ?? (plain === "localhost" ? ["127.0.0.1"] : undefined));
  const addresses = (known ?? []).filter((address) => family === "any" || net.isIP(address) === family);
  if (addresses.length > 0) return { addresses: addresses.toSorted((a, b) => net.isIP(a) - net.isIP(b)), ttlMs: NAME_TTL_MS };
  throw Object.assign(new Error(`the name "${name}" cannot be resolved`), { code: known ? "ENODATA" : "ENOTFOUND" });
}

function keyOf({ host, port }: Address): string {
  if (host.startsWith("/")) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function isWildcard(host: string): boolean {
  return host === "0.0.0.0" || host === "::";
}

function isLoopback(host: string): boolean {
  return host === "::1" || host.startsWith("127.");
}
