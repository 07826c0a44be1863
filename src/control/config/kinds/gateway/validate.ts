/** The rules of a Gateway. Source: Istio networking/v1 Gateway. */
import { isHttp } from "../../../../model/service.ts";
import type { Findings, Path } from "../../finding.ts";
import { isIpAddress } from "../../rules/address.ts";
import { checkSelector, checkUnique, isDnsLabel, wildcardHostFault } from "../../rules/names.ts";
import { PROTOCOL_WORDS, parseProtocol } from "../../rules/protocol.ts";
import { checkPort } from "../../rules/values.ts";
import { NOT_YET } from "../../schema.ts";
import type { KindContext } from "../kind.ts";
import type { RawGateway, RawGatewayServer } from "./schema.ts";

/** Reports what is wrong with a Gateway. */
export function validateGateway(raw: RawGateway, { name, path }: KindContext, findings: Findings): void {
  if (!isDnsLabel(name))
    findings.error([...path.slice(0, -1), "metadata", "name"], `"${name}" cannot name a Gateway: no dots, at most 63 characters`);
  const servers = raw.servers ?? [];
  if (servers.length === 0) findings.error([...path, "servers"], "at least one server is required");
  checkSelector(raw.selector, [...path, "selector"], findings);
  checkUnique(
    servers.map((server) => server.port.name),
    (i) => [...path, "servers", i, "port", "name"],
    "port name",
    findings,
  );
  for (const [i, server] of servers.entries()) checkServer(server, [...path, "servers", i], findings);
}

function checkServer(server: RawGatewayServer, path: Path, findings: Findings): void {
  const { port, bind, hosts = [], tls } = server;
  checkPort(port.number, [...path, "port", "number"], findings);
  if (port.name === "") findings.error([...path, "port", "name"], "is required");
  const protocol = parseProtocol(port.protocol);
  const at = [...path, "port", "protocol"];
  if (protocol === undefined || protocol === "unsupported")
    findings.error(at, `"${port.protocol}" is no protocol`, `one of ${PROTOCOL_WORDS.join(", ")}`);
  else if (!isHttp(protocol))
    findings.error(at, `a gateway's server of protocol ${port.protocol} is ${NOT_YET}`, "HTTP, HTTP2, GRPC and GRPC-WEB are");
  if (tls && tls.httpsRedirect === undefined) findings.missing([...path, "tls"], [], "a server of plain HTTP takes httpsRedirect only");
  if (bind?.startsWith("unix://")) findings.error([...path, "bind"], `a gateway on a Unix socket is ${NOT_YET}`);
  else if (bind && !isIpAddress(bind)) findings.error([...path, "bind"], `"${bind}" is no IP address`);
  if (hosts.length === 0) findings.error([...path, "hosts"], "at least one host is required", 'write "*" for all');
  for (const [i, host] of hosts.entries()) checkHost(host, [...path, "hosts", i], findings);
}

function checkHost(host: string, path: Path, findings: Findings): void {
  const slash = host.indexOf("/");
  const namespace = slash === -1 ? "*" : host.slice(0, slash);
  const name = host.slice(slash + 1);
  if (namespace !== "*" && namespace !== "." && !isDnsLabel(namespace))
    findings.error(path, `"${namespace}" is neither "*", "." nor a namespace`);
  const fault = isIpAddress(name) ? undefined : wildcardHostFault(name);
  if (fault) findings.error(path, fault);
  else if (name !== "*" && !name.includes("."))
    findings.error(path, `short names such as "${name}" are not taken here`, "write the full name that clients ask for");
}
