/**
 * The workload's own secrets, made in this process: with LATEEN_IDENTITY=embedded the proxy asks the authority itself, and no agent stands beside it.
 * Where the config names the secrets "default" and "ROOTCA", it gets these.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Random } from "../../base/random.ts";
import type { WorkloadCertificate } from "../../identity/certificate-client.ts";
import type { Rotation } from "../../identity/rotation.ts";
import { readIdentityEnvironment, startWorkloadIdentity } from "../../identity/workload-identity.ts";
import type { Network } from "../../net/dial.ts";
import type { Secret, SecretSource } from "../secrets.ts";

/** The names of a workload's certificate and of what it trusts. Source: Istio. */
const NAMES = { certificate: "default", trust: "ROOTCA" } as const;

const KEY_KEPT_MS = 1000;

/** A source of those two secrets, and what keeps them fresh. */
export interface EmbeddedIdentity {
  readonly source: SecretSource;
  readonly names: ReadonlySet<string>;
  close(): void;
}

/**
 * Starts to ask for the certificate. Throws a UserError when the environment does not say whose; the authority's absence is no error: it is asked until
 * it answers.
 */
export function startEmbeddedIdentity(options: {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly directory: string;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly mark: number | undefined;
  /** The identity cannot be had at all: the root of trust is missing. */
  readonly onFail: (message: string) => void;
}): EmbeddedIdentity {
  const environment = readIdentityEnvironment(options.variables, options.directory);
  const watchers = new Map<string, Set<(secret: Secret) => void>>();
  let secrets: readonly Secret[] = [];
  let rotation: Rotation | undefined;
  let isClosed = false;

  const publish = (certificate: WorkloadCertificate): void => {
    const version = String(certificate.notBeforeMs);
    const replaced = secrets;
    // Contexts are made of a key in the turn in which it comes; a moment later nobody needs the old one.
    options.clock.after(KEY_KEPT_MS, () => {
      for (const secret of replaced) if (secret.kind === "key-pair") secret.keyPair.keyPem.fill(0);
    });
    secrets = [
      { kind: "trust", name: NAMES.trust, version, trustPem: certificate.rootPem },
      { kind: "key-pair", name: NAMES.certificate, version, keyPair: { chainPem: certificate.chainPem, keyPem: certificate.keyPem } },
    ];
    for (const secret of secrets) for (const watcher of [...(watchers.get(secret.name) ?? [])]) watcher(secret);
  };

  startWorkloadIdentity({ ...options, environment, onCertificate: publish }).then(
    (started) => {
      rotation = started;
      if (isClosed) started.close();
    },
    (error: unknown) => options.onFail(messageOf(error)),
  );

  return {
    names: new Set(Object.values(NAMES)),
    close() {
      isClosed = true;
      rotation?.close();
    },
    source: {
      get known() {
        return secrets;
      },
      watch(name, onSecret) {
        const set = watchers.get(name) ?? new Set();
        watchers.set(name, set);
        set.add(onSecret);
        const secret = secrets.find((one) => one.name === name);
        if (secret) onSecret(secret);
        return { close: () => set.delete(onSecret) };
      },
    },
  };
}
