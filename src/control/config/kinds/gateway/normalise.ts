/** The normal form of a Gateway. */
import { hostname } from "../../../../model/host.ts";
import { parseProtocol } from "../../rules/protocol.ts";
import type { GatewayServer, GatewaySpec } from "../../types.ts";
import { defineKind, type KindReader, NETWORKING_VERSIONS } from "../kind.ts";
import { gatewaySchema, type RawGateway, type RawGatewayServer } from "./schema.ts";
import { validateGateway } from "./validate.ts";

function normaliseServer({ port, bind, hosts = [], tls }: RawGatewayServer): GatewayServer {
  return {
    port: { number: port.number, name: port.name, protocol: parseProtocol(port.protocol) ?? "unsupported" },
    bind: bind || undefined,
    hosts: hosts.map((host) => hostname(host.slice(host.indexOf("/") + 1))),
    hostNamespaces: hosts.map((host) => (host.includes("/") ? host.slice(0, host.indexOf("/")) : "*")),
    httpsRedirect: tls?.httpsRedirect ?? false,
  };
}

/** Gateway. */
export const gatewayKind: KindReader = defineKind<RawGateway, GatewaySpec>({
  kind: "Gateway",
  apiVersions: NETWORKING_VERSIONS,
  schema: gatewaySchema,
  validate: validateGateway,
  normalise: (raw) => ({ selector: raw.selector ?? {}, servers: (raw.servers ?? []).map(normaliseServer) }),
});
