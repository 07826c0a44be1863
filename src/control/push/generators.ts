/**
 * Where proxies' resources come from: each session has its proxy and the snapshot that it was pushed last, and the compiler makes the rest. One
 * session is answered from one snapshot until its next push, so that types fit together.
 */
import type { Log } from "../../base/log.ts";
import type { Identity } from "../../model/identity.ts";
import type { ProxyNode } from "../../model/proxy-node.ts";
import type { GrpcCallContext } from "../../net/grpc/types.ts";
import type { XdsSession, XdsSource } from "../../xds/server-types.ts";
import { type Subscription, TypeUrl, type XdsResource } from "../../xds/types.ts";
import type { Compiler, ResourceCache } from "../compile/types.ts";
import type { Snapshot } from "../snapshot/types.ts";
import { ChildFinder } from "./children.ts";
import { readProxyNode } from "./proxy-node.ts";

/** A connected proxy. */
export interface ConnectedProxy {
  readonly session: XdsSession;
  readonly node: ProxyNode;
  /** The state that it is answered from. */
  readonly snapshot: Snapshot;
  readonly label: string;
}

/** Hears of proxies and of what they answer. All calls are synchronous. */
export interface ProxyEvents {
  onConnect(proxy: ConnectedProxy): void;
  onDisconnect(proxy: ConnectedProxy): void;
  onSend(
    proxy: ConnectedProxy,
    typeUrl: string,
    response: { readonly resources: number; readonly removed: number; readonly bytes: number },
  ): void;
  onAck(proxy: ConnectedProxy, typeUrl: string): void;
  onNack(proxy: ConnectedProxy, typeUrl: string, message: string): void;
}

/** What generators are made of. */
export interface GeneratorOptions {
  readonly compiler: Compiler;
  readonly cache: ResourceCache;
  /** The newest published state. */
  readonly current: () => { readonly snapshot: Snapshot; readonly label: string };
  /** Proves the caller of a call on an authenticated port; undefined on a port without authentication. */
  readonly prove: (call: GrpcCallContext) => Promise<Identity | undefined>;
  readonly events: ProxyEvents;
  readonly log: Log;
}

/** An XdsSource over the compiler, and the proxies that are connected to it. */
export interface Generators extends XdsSource {
  readonly proxies: ReadonlyMap<XdsSession, ConnectedProxy>;
}

/** Makes generators. Types that nobody makes (secrets, extension configs, virtual hosts) are answered with nothing. */
export function createGenerators(options: GeneratorOptions): Generators {
  const { compiler, cache, current, events, log } = options;
  const proxies = new Map<XdsSession, { session: XdsSession; node: ProxyNode; snapshot: Snapshot; label: string }>();
  const finder = new ChildFinder();

  return {
    proxies,
    async onConnect(session) {
      const proved = await options.prove(session.call);
      const node = readProxyNode(session.node, proved);
      const proxy = { session, node, ...current() };
      proxies.set(session, proxy);
      log.info("proxy connected", {
        proxy: node.id,
        peer: session.call.peer,
        mode: session.delta ? "delta" : "sotw",
        authenticated: proved !== undefined,
      });
      events.onConnect(proxy);
    },
    onDisconnect(session) {
      const proxy = proxies.get(session);
      if (!proxy) return;
      proxies.delete(session);
      log.info("proxy disconnected", { proxy: proxy.node.id });
      events.onDisconnect(proxy);
    },
    onPush(session) {
      const proxy = proxies.get(session);
      if (proxy) Object.assign(proxy, current());
    },
    label: (session) => proxies.get(session)?.label ?? "",
    resources(session, typeUrl, subscription) {
      const proxy = proxies.get(session);
      return proxy ? compileType(compiler, cache, proxy, typeUrl, subscription) : [];
    },
    children: (_session, typeUrl, resource) => finder.children(typeUrl, resource),
    onSend(session, typeUrl, response) {
      const proxy = proxies.get(session);
      if (proxy) events.onSend(proxy, typeUrl, response);
    },
    onAck(session, typeUrl) {
      const proxy = proxies.get(session);
      if (proxy) events.onAck(proxy, typeUrl);
    },
    onNack(session, typeUrl, message) {
      const proxy = proxies.get(session);
      if (proxy) events.onNack(proxy, typeUrl, message);
    },
  };
}

/** The resources of one type that a proxy sees under a subscription. */
export function compileType(
  compiler: Compiler,
  cache: ResourceCache,
  { node, snapshot }: Pick<ConnectedProxy, "node" | "snapshot">,
  typeUrl: string,
  { wildcard, names }: Subscription,
): readonly XdsResource[] {
  const named = (all: readonly XdsResource[]): readonly XdsResource[] =>
    wildcard ? all : all.filter((resource) => names.has(resource.name));
  switch (typeUrl) {
    case TypeUrl.cluster:
      return named(compiler.clusters(snapshot, node, cache));
    case TypeUrl.listener:
      return named(compiler.listeners(snapshot, node, cache));
    case TypeUrl.endpoint:
      return compiler.endpoints(snapshot, node, names, cache);
    case TypeUrl.route:
      return compiler.routes(snapshot, node, names, cache);
    default:
      return [];
  }
}
