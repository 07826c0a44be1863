/** A whole proxy on a host of the network in memory, from a bootstrap as JSON. */

import type { Clock } from "../../src/base/clock.ts";
import { createSeededRandom } from "../../src/base/random.ts";
import type { Network } from "../../src/net/dial.ts";
import { parseFlags } from "../../src/proxy/bootstrap/flags.ts";
import type { LeveledLog } from "../../src/proxy/bootstrap/log.ts";
import { readBootstrap } from "../../src/proxy/bootstrap/read.ts";
import { ProxyServer } from "../../src/proxy/proxy.ts";

/** A running proxy, its log and its access logs by path. */
export interface TestProxy {
  readonly proxy: ProxyServer;
  readonly lines: string[];
  readonly accessLogs: ReadonlyMap<string, string[]>;
  /** Whether somebody asked it to end. */
  readonly hasQuit: () => boolean;
}

/** Starts one. Rejects as main.ts would end. */
export async function startTestProxy(options: {
  readonly network: Network;
  readonly clock: Clock;
  readonly bootstrap: object;
  readonly args?: readonly string[];
  readonly seed?: number;
}): Promise<TestProxy> {
  const text = JSON.stringify(options.bootstrap);
  const parsed = parseFlags(["--config-yaml", text, ...(options.args ?? [])]);
  if (parsed.kind !== "run") throw new Error(parsed.kind === "usage" ? parsed.message : parsed.text);
  const { bootstrap } = readBootstrap({ path: undefined, text, allowUnknownFields: parsed.flags.allowUnknownStaticFields });
  const lines: string[] = [];
  const add = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  const log: LeveledLog = { level: "info", debug: add("debug"), info: add("info"), warn: add("warning"), error: add("error") };
  const accessLogs = new Map<string, string[]>();
  let hasQuit = false;
  const proxy = new ProxyServer({
    bootstrap,
    flags: parsed.flags,
    environment: { socketMark: undefined, listenFds: new Map(), heapDump: false, embedsIdentity: false, variables: {} },
    clock: options.clock,
    random: createSeededRandom(options.seed ?? 1),
    log,
    network: options.network,
    version: "test",
    accessLogs: {
      open(path) {
        const written = accessLogs.get(path) ?? [];
        accessLogs.set(path, written);
        return { write: (line) => void written.push(line), reopen() {} };
      },
    },
    onQuit: () => {
      hasQuit = true;
    },
  });
  proxy.loadStatic();
  await proxy.start();
  return { proxy, lines, accessLogs, hasQuit: () => hasQuit };
}

/** A listening address in a bootstrap. */
export function socketAddress(address: string, port: number): object {
  return { socket_address: { address, port_value: port } };
}

/** A STATIC cluster in a bootstrap. */
export function staticCluster(name: string, endpoints: readonly (readonly [ip: string, port: number])[], more: object = {}): object {
  return {
    name,
    type: "STATIC",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: endpoints.map(([ip, port]) => ({ endpoint: { address: socketAddress(ip, port) } })) }],
    },
    ...more,
  };
}

/** A tcp_proxy filter in a bootstrap. */
export function tcpFilter(cluster: string, more: object = {}): object {
  return {
    name: "tcp",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
      stat_prefix: "tcp",
      cluster,
      ...more,
    },
  };
}

/** An HttpConnectionManager filter with inline routes in a bootstrap. */
export function httpFilter(virtualHosts: readonly object[], more: object = {}): object {
  return {
    name: "http",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      stat_prefix: "http",
      route_config: { name: "local", virtual_hosts: virtualHosts },
      http_filters: [{ name: "router", typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
      ...more,
    },
  };
}
