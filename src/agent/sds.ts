/** Secrets as SDS serves them to the proxy beside the agent: the workload's own, and files that the config names. Source: Envoy SDS; Istio's names. */
import { readFile } from "node:fs/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Clock, Timer } from "../base/clock.ts";
import { digestOf } from "../base/digest.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type Secret, SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import type { WorkloadCertificate } from "../identity/certificate-client.ts";
import type { XdsSession, XdsSource } from "../xds/server-types.ts";
import { type Subscription, TypeUrl, type XdsResource } from "../xds/types.ts";

/** The name of the workload's own certificate. Source: Istio. */
export const WORKLOAD_SECRET = "default";
/** The name of what it trusts in its peers. Source: Istio. */
export const ROOT_SECRET = "ROOTCA";

const FILE_POLL_MS = 5000;
const FILES_MAX = 256;

/** The agent's secrets: set the workload's when it comes, files are read when they are asked for and watched from then on. */
export interface SecretStore extends XdsSource {
  setCertificate(certificate: WorkloadCertificate): void;
  close(): void;
}

/** Makes a store. Only the one socket that it is served on may ask: it holds nobody's secrets but the workload's. */
export function createSecretStore(options: { readonly clock: Clock; readonly log: Log }): SecretStore {
  const { clock, log } = options;
  const sessions = new Set<XdsSession>();
  const resources = new Map<string, XdsResource>();
  const files = new Set<string>();
  let timer: Timer | undefined;

  const pushAll = (): void => {
    for (const session of sessions) void session.push("secrets");
  };
  const put = (name: string, secret: Secret): boolean => {
    const bytes = toBinary(SecretSchema, secret);
    const version = digestOf(bytes);
    if (resources.get(name)?.version === version) return false;
    resources.set(name, { name, version, bytes });
    return true;
  };
  const readFiles = async (): Promise<void> => {
    let hasChanged = false;
    for (const name of files) {
      try {
        hasChanged = put(name, await readFileSecret(name)) || hasChanged;
      } catch (error) {
        if (!resources.has(name)) log.warn("a secret that the config names cannot be read", { secret: name, error: messageOf(error) });
      }
    }
    if (hasChanged) pushAll();
  };
  const poll = (): void => {
    timer = clock.after(FILE_POLL_MS, () => void readFiles().then(poll));
  };

  return {
    async onConnect(session) {
      sessions.add(session);
    },
    onDisconnect(session) {
      sessions.delete(session);
    },
    resources(_session, typeUrl, subscription) {
      if (typeUrl !== TypeUrl.secret) return [];
      watchFiles(subscription);
      return [...subscription.names].flatMap((name) => resources.get(name) ?? []);
    },
    setCertificate(certificate) {
      put(WORKLOAD_SECRET, keyPairSecret(WORKLOAD_SECRET, certificate.chainPem, certificate.keyPem));
      put(ROOT_SECRET, trustSecret(ROOT_SECRET, certificate.rootPem));
      pushAll();
    },
    close() {
      timer?.cancel();
    },
  };

  function watchFiles(subscription: Subscription): void {
    const before = files.size;
    for (const name of subscription.names) if (/^file-(cert|root):/.test(name) && files.size < FILES_MAX) files.add(name);
    if (files.size === before) return;
    void readFiles();
    if (!timer) poll();
  }
}

/** "file-cert:CHAIN~KEY" or "file-root:CA". */
async function readFileSecret(name: string): Promise<Secret> {
  const path = name.slice(name.indexOf(":") + 1);
  if (name.startsWith("file-root:")) return trustSecret(name, await readFile(path, "utf8"));
  const [chain = "", key = ""] = path.split("~");
  return keyPairSecret(name, await readFile(chain, "utf8"), await readFile(key));
}

function keyPairSecret(name: string, chainPem: string, keyPem: Buffer): Secret {
  return create(SecretSchema, {
    name,
    type: {
      case: "tlsCertificate",
      value: {
        certificateChain: { specifier: { case: "inlineBytes", value: Buffer.from(chainPem) } },
        privateKey: { specifier: { case: "inlineBytes", value: keyPem } },
      },
    },
  });
}

function trustSecret(name: string, pem: string): Secret {
  return create(SecretSchema, {
    name,
    type: { case: "validationContext", value: { trustedCa: { specifier: { case: "inlineBytes", value: Buffer.from(pem) } } } },
  });
}
