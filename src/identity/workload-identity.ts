/**
 * A workload's identity as its environment describes it, kept alive: the same for the agent beside an Envoy and for Lateen's proxy, which needs no agent.
 * Source: Istio pilot-agent's environment (CA_ADDR, TRUST_DOMAIN, POD_NAMESPACE, SERVICE_ACCOUNT, SECRET_TTL ...).
 */

import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { parseDurationMs } from "../base/duration.ts";
import { messageOf, UserError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Random } from "../base/random.ts";
import { splitPem } from "../crypto/der.ts";
import { formatSpiffeId, type SpiffeId } from "../model/identity.ts";
import type { PeerCertificate } from "../net/channel.ts";
import type { Network } from "../net/dial.ts";
import { createGrpcChannel } from "../net/grpc/channel.ts";
import { createClientTls } from "../net/tls/contexts.ts";
import { requestCertificate, type WorkloadCertificate } from "./certificate-client.ts";
import { type Rotation, startRotation } from "./rotation.ts";

/** Whose certificate, from whom. */
export interface IdentityEnvironment {
  readonly identity: SpiffeId;
  readonly caHost: string;
  readonly caPort: number;
  /** DNS name that the authority's certificate must have. */
  readonly caServerName: string;
  readonly tokenFile: string;
  readonly rootFile: string;
  readonly clusterId: string | undefined;
  readonly ttlSeconds: number;
}

const DEFAULT_TTL = "24h";
const REQUEST_TIMEOUT_MS = 10_000;

/** Reads the environment; paths are relative to `directory`, as Istio's are to a pod's root. Throws a UserError that names what is missing. */
export function readIdentityEnvironment(env: Readonly<Record<string, string | undefined>>, directory: string): IdentityEnvironment {
  const need = (name: string): string => {
    const value = env[name];
    if (value) return value;
    throw new UserError(`${name} is not set`, {
      hint: "A workload's identity is described by CA_ADDR, POD_NAMESPACE and SERVICE_ACCOUNT, as for Istio's agent.",
    });
  };
  const address = need("CA_ADDR");
  const colon = address.lastIndexOf(":");
  const caPort = Number(address.slice(colon + 1));
  if (colon <= 0 || !Number.isInteger(caPort) || caPort < 1 || caPort > 65535)
    throw new UserError(`CA_ADDR "${address}" is not of the form host:port`);
  const ttl = env["SECRET_TTL"] || DEFAULT_TTL;
  const ttlMs = parseDurationMs(ttl);
  if (ttlMs === undefined || ttlMs < 60_000) throw new UserError(`SECRET_TTL "${ttl}" must be a duration of at least a minute, as "24h"`);
  return {
    identity: formatSpiffeId({
      trustDomain: env["TRUST_DOMAIN"] || "cluster.local",
      namespace: need("POD_NAMESPACE"),
      serviceAccount: need("SERVICE_ACCOUNT"),
    }),
    caHost: address.slice(0, colon).replace(/^\[|\]$/g, ""),
    caPort,
    caServerName: env["ISTIOD_SAN"] || address.slice(0, colon),
    tokenFile: join(directory, env["LATEEN_TOKEN_FILE"] || "./var/run/secrets/tokens/istio-token"),
    rootFile: join(directory, env["LATEEN_CA_ROOT_FILE"] || "./var/run/secrets/istio/root-cert.pem"),
    clusterId: env["ISTIO_META_CLUSTER_ID"],
    ttlSeconds: Math.floor(ttlMs / 1000),
  };
}

/** Starts asking, and goes on renewing until closed. Rejects when the root of trust cannot be read: without it nobody is asked. */
export async function startWorkloadIdentity(options: {
  readonly environment: IdentityEnvironment;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** SO_MARK of the connection to the authority. */
  readonly mark: number | undefined;
  readonly onCertificate: (certificate: WorkloadCertificate) => void;
}): Promise<Rotation> {
  const { environment, network, clock } = options;
  const rootPem = await readRoot(environment.rootFile);
  const context = createClientTls({
    keyPair: undefined,
    trustPem: rootPem,
    alpn: ["h2"],
    verifyPeer: (peer) => checkAuthority(peer, environment.caServerName),
  });
  const address = await resolveAuthority(environment.caHost, network);
  const channel = createGrpcChannel({
    network,
    target: { host: address, port: environment.caPort },
    tls: { context, serverName: environment.caServerName, alpn: ["h2"] },
    authority: environment.caServerName,
    clock,
    mark: options.mark,
  });
  const rotation = startRotation({
    ...options,
    request: () =>
      requestCertificate({
        channel,
        identity: environment.identity,
        token: () => readToken(environment.tokenFile),
        clusterId: environment.clusterId,
        ttlSeconds: environment.ttlSeconds,
        timeoutMs: REQUEST_TIMEOUT_MS,
      }),
  });
  return {
    get current() {
      return rotation.current;
    },
    close() {
      rotation.close();
      channel.close();
    },
  };
}

async function resolveAuthority(host: string, network: Network): Promise<string> {
  if (/^[\d.]+$/.test(host) || host.includes(":")) return host;
  const { addresses } = await network.resolver.resolve(host, { family: "any" });
  if (!addresses[0]) throw new UserError(`the authority's name ${host} has no address`);
  return addresses[0];
}

function checkAuthority(peer: PeerCertificate, serverName: string): string | undefined {
  return peer.dnsSans.includes(serverName)
    ? undefined
    : `the authority's certificate is for ${peer.dnsSans.join(", ") || "nobody"}, not for ${serverName}`;
}

async function readRoot(file: string): Promise<string> {
  try {
    const text = await readFile(file, "utf8");
    const certificates = splitPem(text);
    if (certificates.length === 0) throw new Error("no certificate in it");
    for (const pem of certificates) new X509Certificate(pem); // Throws for what is none.
    return text;
  } catch (error) {
    throw new UserError(`the authority's root ${file} cannot be read: ${messageOf(error)}`, {
      hint: "It says whom to ask: without it any machine could pose as the authority.",
    });
  }
}

async function readToken(file: string): Promise<string> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    throw new Error(`the service account's token ${file} cannot be read: ${messageOf(error)}`);
  }
}
