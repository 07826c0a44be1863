/** Reads lateen.yaml: what runs in a mesh on this machine. */
import { Ajv, type ErrorObject } from "ajv";
import { LineCounter, parseDocument } from "yaml";
import { parseDurationMs } from "../base/duration.ts";
import { UserError } from "../base/errors.ts";
import type { Protocol } from "../model/service.ts";
import { DESCRIPTION_SCHEMA } from "./description-schema.ts";

/** The file's name. */
export const DESCRIPTION_FILES: readonly string[] = ["lateen.yaml", "lateen.yml"];

/** A mesh to be run. */
export interface MeshDescription {
  readonly name: string;
  readonly namespace: string;
  readonly meshConfig: Readonly<Record<string, unknown>>;
  readonly workloads: readonly WorkloadDescription[];
  readonly gateways: readonly GatewayDescription[];
}

/** One workload, of which there may be several replicas. */
export interface WorkloadDescription {
  readonly name: string;
  readonly namespace: string;
  /** Undefined: it stands behind no service. */
  readonly service: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly replicas: number;
  /** argv; a line of text became ["/bin/sh", "-c", line]. */
  readonly command: readonly string[];
  readonly directory: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly ports: readonly PortDescription[];
  readonly readyPath: string | undefined;
  readonly readyPort: number | undefined;
  readonly readyTimeoutMs: number;
  readonly isJob: boolean;
  readonly hasSidecar: boolean;
}

/** A port of a workload and of its service. */
export interface PortDescription {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly targetPort: number;
}

/** A way into the mesh. */
export interface GatewayDescription {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly listen: readonly { readonly host: string; readonly port: number; readonly gatewayPort: number }[];
}

interface RawWorkload {
  command: string | string[];
  namespace?: string;
  service?: string | false;
  labels?: Record<string, string>;
  serviceAccount?: string;
  replicas?: number;
  ports?: Record<string, number | { port: number; targetPort?: number }>;
  environment?: Record<string, string | number | boolean>;
  directory?: string;
  ready?: { http?: string; port?: number; timeout?: string };
  restart?: "always" | "never";
  sidecar?: boolean;
}

interface RawDescription {
  name?: string;
  namespace?: string;
  meshConfig?: Record<string, unknown>;
  workloads: Record<string, RawWorkload>;
  gateways?: Record<
    string,
    { listen: Record<string, number>; labels?: Record<string, string>; namespace?: string; serviceAccount?: string }
  >;
}

const READY_TIMEOUT_MS = 30_000;
const PROTOCOLS: readonly Protocol[] = ["http2", "http", "grpc-web", "grpc", "https", "tls", "tcp"];
const validate = new Ajv({ allErrors: true, allowUnionTypes: true, verbose: true }).compile<RawDescription>(DESCRIPTION_SCHEMA);

/** Reads a description. Throws a UserError that names every fault with file:line:column. `defaultName` is the folder's name. */
export function parseDescription(text: string, file: string, defaultName: string): MeshDescription {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  const position = (path: readonly string[]): string => {
    for (let length = path.length; length >= 0; length--) {
      const node = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
      const range =
        node && typeof node === "object" && "range" in node ? (node.range as [number, number, number] | null | undefined) : undefined;
      if (range) return at(range[0]);
    }
    return file;
  };
  const faults = document.errors.map((error) => `${at(error.pos[0])}: ${error.message}`);
  if (faults.length > 0) throw refusal(file, faults);
  const raw: unknown = document.toJS({ maxAliasCount: 100 });
  if (!validate(raw)) {
    const violations = (validate.errors ?? [])
      .filter((error) => error.keyword !== "oneOf" && error.keyword !== "propertyNames")
      .map((error) => violation(error, position));
    throw refusal(file, [
      ...new Set(violations.length > 0 ? violations : [`${file}: ${validate.errors?.[0]?.message ?? "not a mesh description"}`]),
    ]);
  }
  const description = normalise(raw, defaultName);
  const more = checkMeaning(description, position);
  if (more.length > 0) throw refusal(file, more);
  return description;
}

function refusal(file: string, faults: readonly string[]): UserError {
  return new UserError(faults.join("\n"), {
    hint: `${file} is described in docs/up.md; schemas/lateen.schema.json lets an editor check it.`,
  });
}

function violation(error: ErrorObject, position: (path: readonly string[]) => string): string {
  const path = error.instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const field = path.join(".") || "the file";
  if (error.keyword === "additionalProperties") {
    const name = String(error.params["additionalProperty"]);
    const known = Object.keys((error.parentSchema as { properties?: object } | undefined)?.properties ?? {});
    return `${position([...path, name])}: ${path.length > 0 ? `${field}: ` : ""}unknown field "${name}"${known.length > 0 ? ` (known: ${known.join(", ")})` : ""}`;
  }
  if (error.keyword === "required") return `${position(path)}: ${field}: "${String(error.params["missingProperty"])}" is missing`;
  if (error.propertyName !== undefined)
    return `${position([...path, error.propertyName])}: ${field}: "${error.propertyName}" cannot be a name here (${error.message})`;
  return `${position(path)}: ${field}: ${error.message}`;
}

function normalise(raw: RawDescription, defaultName: string): MeshDescription {
  const namespace = raw.namespace ?? "default";
  return {
    name:
      raw.name ??
      (defaultName
        .toLowerCase()
        .replace(/[^a-z0-9]+/g, "-")
        .replace(/^-|-$/g, "")
        .slice(0, 40) ||
        "mesh"),
    namespace,
    meshConfig: raw.meshConfig ?? {},
    workloads: Object.entries(raw.workloads).map(([name, workload]) => normaliseWorkload(name, workload, namespace)),
    gateways: Object.entries(raw.gateways ?? {}).map(([name, gateway]) => ({
      name,
      namespace: gateway.namespace ?? namespace,
      labels: { app: name, ...(gateway.labels ?? { istio: "ingressgateway" }) },
      serviceAccount: gateway.serviceAccount ?? name,
      listen: Object.entries(gateway.listen).map(([address, gatewayPort]) => ({ ...parseListen(address), gatewayPort })),
    })),
  };
}

function normaliseWorkload(name: string, raw: RawWorkload, defaultNamespace: string): WorkloadDescription {
  const hasSidecar = raw.sidecar ?? true;
  const service = raw.service === false ? undefined : (raw.service ?? name);
  return {
    name,
    namespace: raw.namespace ?? defaultNamespace,
    service: raw.ports && Object.keys(raw.ports).length > 0 ? service : undefined,
    labels: { app: service ?? name, ...raw.labels },
    serviceAccount: raw.serviceAccount ?? service ?? name,
    replicas: raw.replicas ?? 1,
    command: typeof raw.command === "string" ? ["/bin/sh", "-c", raw.command] : raw.command,
    directory: raw.directory,
    environment: Object.fromEntries(Object.entries(raw.environment ?? {}).map(([key, value]) => [key, String(value)])),
    ports: Object.entries(raw.ports ?? {}).map(([portName, value]) => {
      const { port, targetPort } = typeof value === "number" ? { port: value, targetPort: undefined } : value;
      return { name: portName, protocol: protocolOf(portName), port, targetPort: targetPort ?? port };
    }),
    readyPath: raw.ready?.http,
    readyPort: raw.ready?.port,
    readyTimeoutMs: raw.ready?.timeout === undefined ? READY_TIMEOUT_MS : (parseDurationMs(raw.ready.timeout) ?? Number.NaN),
    isJob: raw.restart === "never",
    hasSidecar,
  };
}

/** The protocol that a port's name tells: the name itself or what stands before its first dash. Source: Istio, protocol selection. */
function protocolOf(portName: string): Protocol {
  return PROTOCOLS.find((protocol) => portName === protocol || portName.startsWith(`${protocol}-`)) ?? "tcp";
}

function parseListen(address: string): { host: string; port: number } {
  const colon = address.lastIndexOf(":");
  if (colon < 0) return { host: "127.0.0.1", port: Number(address) };
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(address.slice(colon + 1)) };
}

/** What the schema cannot say. */
function checkMeaning(mesh: MeshDescription, position: (path: readonly string[]) => string): string[] {
  const faults: string[] = [];
  const fault = (path: readonly string[], text: string): void => void faults.push(`${position(path)}: ${path.join(".")}: ${text}`);
  const servicePorts = new Map<string, PortDescription & { workload: string }>();
  for (const workload of mesh.workloads) {
    const path = ["workloads", workload.name];
    if (Number.isNaN(workload.readyTimeoutMs) || workload.readyTimeoutMs <= 0)
      fault([...path, "ready", "timeout"], 'is no duration; write it as "30s"');
    if (workload.readyPath && workload.readyPort === undefined && !workload.ports.some((port) => port.protocol === "http")) {
      fault([...path, "ready", "http"], "needs a port: no port of this workload is named http, so say ready.port");
    }
    const targets = new Set<number>();
    for (const port of workload.ports) {
      if (targets.has(port.targetPort)) fault([...path, "ports", port.name], `port ${port.targetPort} is there twice`);
      targets.add(port.targetPort);
      if (!workload.service) continue;
      const key = `${workload.namespace}/${workload.service}/${port.port}`;
      const other = servicePorts.get(key);
      if (other && (other.name !== port.name || other.targetPort !== port.targetPort)) {
        fault(
          [...path, "ports", port.name],
          `port ${port.port} of service ${workload.service} is "${other.name}" (target ${other.targetPort}) in workload ${other.workload}: a service's ports have one name and one target`,
        );
      }
      servicePorts.set(key, { ...port, workload: workload.name });
    }
    if (workload.command[0] === "") fault([...path, "command"], "is empty");
  }
  const listens = new Map<string, string>();
  for (const gateway of mesh.gateways) {
    for (const { host, port } of gateway.listen) {
      const key = `${host}:${port}`;
      const other = listens.get(key);
      if (other) fault(["gateways", gateway.name, "listen"], `${key} is taken by gateway ${other} already`);
      listens.set(key, gateway.name);
      if (port < 1 || port > 65535) fault(["gateways", gateway.name, "listen"], `${port} is no port`);
    }
    if (mesh.workloads.some((workload) => workload.name === gateway.name))
      fault(["gateways", gateway.name], "a workload has this name already");
  }
  return faults;
}
