/** `lateen control-plane`: reads Istio's YAML and serves xDS and certificates, until it is told to stop. */
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { basename, join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { parseTokenRule, type TokenRule } from "../control/ca/authenticate.ts";
import { type AuthorityFiles, createSelfSignedRoot } from "../control/ca/authority.ts";
import { formatProblem } from "../control/config/finding.ts";
import { defaultMeshConfig, parseMeshConfig } from "../control/config/mesh-config.ts";
import { nodeFileSystem } from "../control/config/sources/file-system.ts";
import { createFileSource } from "../control/config/sources/files.ts";
import type { MeshConfig } from "../control/config/types.ts";
import { startControlPlane } from "../control/main.ts";
import type { Address } from "../net/channel.ts";
import { hardenProcess } from "../net/system/libc.ts";
import { createSystemNetwork } from "../net/system/network.ts";
import { DESCRIPTION_FILES } from "../up/description.ts";
import { createLog } from "./log.ts";

/** As the command line gives them. An empty address is off. */
export interface ControlPlaneOptions {
  readonly config: readonly string[];
  /** Names of files that are no config. */
  readonly skip?: readonly string[];
  readonly meshConfig?: string;
  readonly grpcAddr: string;
  readonly secureGrpcAddr: string;
  readonly monitoringAddr: string;
  readonly domain: string;
  readonly logLevel: string;
}

/** Istio's name of the control plane's service, whatever the namespace: proxies of an existing mesh ask for it. */
const SERVICE_NAMES = ["istiod", "lateen"];

/** Runs until SIGTERM or SIGINT; gives the exit code. Rejects with a UserError when it cannot start. */
export async function runControlPlane(options: ControlPlaneOptions): Promise<number> {
  const log = createLog(options.logLevel);
  if (options.config.length === 0) throw new UserError("no config is named", { hint: "Name a folder of Istio's YAML: --config DIR" });
  harden(log);
  const { env } = process;
  const clock = systemClock;
  const mesh = readMesh(options, log);
  const network = createSystemNetwork({ clock });
  const secureAt = parseAddress("--secure-grpc-addr", options.secureGrpcAddr);
  const plane = await startControlPlane({
    version: version(),
    mesh,
    sources: (reader) => [
      createFileSource({
        paths: options.config,
        reader,
        fileSystem: nodeFileSystem,
        clock,
        log,
        // A description of workloads beside the YAML is for `lateen up`.
        skip: (path) => DESCRIPTION_FILES.includes(basename(path)) || (options.skip ?? []).includes(basename(path)),
      }),
    ],
    grpcAddr: parseAddress("--grpc-addr", options.grpcAddr),
    secure: secureAt && {
      at: secureAt,
      authority: await readAuthority(env, mesh, log),
      serverNames: serverNames(env["POD_NAMESPACE"] || mesh.rootNamespace, options.domain),
      tokenRule: readTokenRule(env["JWT_RULE"]),
    },
    monitoringAddr: parseAddress("--monitoring-addr", options.monitoringAddr),
    debugToken: env["LATEEN_DEBUG_TOKEN"] || undefined,
    network,
    clock,
    log,
  });
  const signal = await untilSignal();
  log.info("the control plane stops", { signal });
  await plane.close();
  return 0;
}

function harden(log: Log): void {
  try {
    hardenProcess(); // Not dumpable, no core: the authority's key is in this memory.
  } catch (error) {
    log.warn("the process could not be hardened", { error: messageOf(error) });
  }
}

function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve(signal));
  });
}

function readMesh({ meshConfig, domain }: ControlPlaneOptions, log: Log): MeshConfig {
  if (!meshConfig) return defaultMeshConfig(domain);
  const { mesh, errors, warnings } = parseMeshConfig(readText(meshConfig, "the mesh config"), { file: meshConfig, domain });
  if (!mesh) throw new UserError(errors.map(formatProblem).join("\n"), { hint: "Mend the mesh config, then start again." });
  for (const warning of warnings) log.warn("The mesh config is taken, with a warning.", { problem: formatProblem(warning) });
  return mesh;
}

function readTokenRule(text: string | undefined): TokenRule | undefined {
  if (!text) return undefined;
  try {
    return parseTokenRule(text);
  } catch (error) {
    throw new UserError(messageOf(error), { hint: "JWT_RULE is JSON as istiod takes it: issuer, audiences, jwks_uri or jwks." });
  }
}

/** The plug-in authority of ROOT_CA_DIR (Istio's file names), else a root of our own that is made once and kept. */
async function readAuthority(env: NodeJS.ProcessEnv, mesh: MeshConfig, log: Log): Promise<AuthorityFiles> {
  const plugIn = env["ROOT_CA_DIR"];
  if (plugIn) return readAuthorityFiles(plugIn);
  const state = env["LATEEN_STATE_DIR"] || join(env["XDG_STATE_HOME"] || join(homedir(), ".local/state"), "lateen");
  const directory = join(state, "ca");
  if (existsSync(join(directory, "ca-key.pem"))) return readAuthorityFiles(directory);
  const files = await createSelfSignedRoot(mesh.trustDomain, systemClock);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  chmodSync(directory, 0o700);
  // The key last: a start that was cut off before it makes a new root.
  for (const [name, text] of [
    ["root-cert.pem", files.rootCertPem],
    ["ca-cert.pem", files.caCertPem],
    ["cert-chain.pem", files.certChainPem],
    ["ca-key.pem", files.caKeyPem],
  ] as const) {
    const file = join(directory, name);
    writeFileSync(`${file}.new`, text, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  log.info("a root of trust was made", { directory, trustDomain: mesh.trustDomain });
  return files;
}

function readAuthorityFiles(directory: string): AuthorityFiles {
  const read = (name: string): string => readText(join(directory, name), "the certificate authority");
  return {
    caCertPem: read("ca-cert.pem"),
    caKeyPem: read("ca-key.pem"),
    certChainPem: existsSync(join(directory, "cert-chain.pem")) ? read("cert-chain.pem") : "",
    rootCertPem: read("root-cert.pem"),
  };
}

function readText(file: string, what: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError(`${what} cannot be read: ${messageOf(error)}`);
  }
}

function serverNames(namespace: string, domain: string): string[] {
  const namespaces = [...new Set([namespace, "istio-system", "lateen-system"])];
  return SERVICE_NAMES.flatMap((name) => namespaces.flatMap((ns) => [`${name}.${ns}.svc`, `${name}.${ns}.svc.${domain}`, `${name}.${ns}`]));
}

/** "IP:port", "[IPv6]:port", or empty for off. */
function parseAddress(option: string, text: string): Address | undefined {
  if (text === "") return undefined;
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) throw new UserError(`${option} "${text}" is not of the form IP:port`);
  return { host: match[1] ?? (match[2] || "0.0.0.0"), port };
}

function version(): string {
  const at = import.meta.url.endsWith(".ts") ? "../../package.json" : "../../../package.json";
  const { version: text } = JSON.parse(readFileSync(new URL(at, import.meta.url), "utf8")) as { readonly version: string };
  return text;
}
