/**
 * The firewall rules that send a workload's traffic through its sidecar: outbound to 15001, inbound to 15006, all but the
 * proxy's own. Written as one script, so that it goes in whole or not at all. Source: Istio's istio-iptables, REDIRECT mode.
 */

/** Ports of a sidecar. Source: Istio. */
export const SidecarPorts = {
  admin: 15000,
  outbound: 15001,
  inbound: 15006,
  hbone: 15008,
  appProbe: 15020,
  health: 15021,
  prometheus: 15090,
} as const;

/** The uid and gid of a proxy, and the socket mark of its connections where there is no such uid. Source: Istio. */
export const PROXY_UID = 1337;

/** What is captured. Ports and ranges as Istio's annotations have them. */
export interface CaptureOptions {
  /**
   * How the proxy's own connections are told apart: by owner (uid and gid 1337, needs root), or by socket mark 1337, which works in a user
   * namespace where that uid does not exist.
   */
  readonly exemptBy: "owner" | "mark";
  /** Inbound ports left alone, beside the proxy's own. Source: traffic.sidecar.istio.io/excludeInboundPorts. */
  readonly excludeInboundPorts?: readonly number[];
  readonly excludeOutboundPorts?: readonly number[];
  /** CIDR ranges. Source: traffic.sidecar.istio.io/excludeOutboundIPRanges. */
  readonly excludeOutboundRanges?: readonly string[];
  readonly family: 4 | 6;
}

/** A script for iptables-restore --noflush (ip6tables-restore for family 6). */
export function buildCaptureRules(options: CaptureOptions): string {
  const { family } = options;
  const loopback = family === 4 ? "127.0.0.1/32" : "::1/128";
  const passthroughSource = family === 4 ? "127.0.0.6/32" : "::6/128";
  const own =
    options.exemptBy === "owner"
      ? [`-m owner --uid-owner ${PROXY_UID}`, `-m owner --gid-owner ${PROXY_UID}`]
      : [`-m mark --mark ${PROXY_UID}`];
  const others = own.map((match) => match.replace(/ --(\S+) /, " ! --$1 "));
  const inboundExclusions = [
    SidecarPorts.hbone,
    SidecarPorts.prometheus,
    SidecarPorts.health,
    SidecarPorts.appProbe,
    ...(options.excludeInboundPorts ?? []),
  ];
  return [
    "*nat",
    ":ISTIO_INBOUND - [0:0]",
    ":ISTIO_IN_REDIRECT - [0:0]",
    ":ISTIO_OUTPUT - [0:0]",
    ":ISTIO_REDIRECT - [0:0]",
    "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
    ...inboundExclusions.map((port) => `-A ISTIO_INBOUND -p tcp -m tcp --dport ${port} -j RETURN`),
    "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
    `-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports ${SidecarPorts.inbound}`,
    // What inbound passthrough sends to the application must not come back.
    `-A ISTIO_OUTPUT -s ${passthroughSource} -o lo -j RETURN`,
    ...own.flatMap((match, i) => [
      // A workload that calls its own service: the proxy's connection to its own address goes in through the inbound side, as any other.
      `-A ISTIO_OUTPUT ! -d ${loopback} -o lo -p tcp -m tcp ! --dport ${SidecarPorts.hbone} ${match} -j ISTIO_IN_REDIRECT`,
      `-A ISTIO_OUTPUT -o lo ${others[i]} -j RETURN`,
      `-A ISTIO_OUTPUT ${match} -j RETURN`,
    ]),
    ...(options.excludeOutboundPorts ?? []).map((port) => `-A ISTIO_OUTPUT -p tcp -m tcp --dport ${port} -j RETURN`),
    ...(options.excludeOutboundRanges ?? []).map((range) => `-A ISTIO_OUTPUT -d ${range} -j RETURN`),
    `-A ISTIO_OUTPUT -d ${loopback} -j RETURN`,
    "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    `-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports ${SidecarPorts.outbound}`,
    "COMMIT",
    "",
  ].join("\n");
}
