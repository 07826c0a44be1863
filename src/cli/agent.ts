/** `lateen agent`: gets the workload's certificate and serves it over SDS to the Envoy beside it. */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { createSecretStore } from "../agent/sds.ts";
import { systemClock } from "../base/clock.ts";
import { messageOf, UserError } from "../base/errors.ts";
import { createSystemRandom } from "../base/random.ts";
import { readIdentityEnvironment, startWorkloadIdentity } from "../identity/workload-identity.ts";
import { createGrpcServer } from "../net/grpc/server.ts";
import { hardenProcess } from "../net/system/libc.ts";
import { createSystemNetwork } from "../net/system/network.ts";
import { readMark } from "../proxy/bootstrap/environment.ts";
import { createXdsServer } from "../xds/server.ts";
import { SDS } from "../xds/services.ts";
import { createLog } from "./log.ts";

/** As the command line gives them. */
export interface AgentOptions {
  readonly sdsOnly?: boolean;
}

/** Where Istio's proxies look for their secrets, below the working directory. Relative: a socket's path has 107 bytes at most. */
const SOCKET = "./var/run/secrets/workload-spiffe-uds/socket";

/** Runs until SIGTERM. The socket appears once it can serve. */
export async function runAgent(options: AgentOptions): Promise<number> {
  if (!options.sdsOnly)
    throw new UserError("lateen agent serves SDS alone and runs no proxy yet", {
      hint: "Say so: lateen agent --sds-only. Start the Envoy yourself, with its bootstrap's sds-grpc cluster at ./var/run/secrets/workload-spiffe-uds/socket.",
    });
  const log = createLog("info");
  try {
    hardenProcess(); // Not dumpable, no core: the workload's key is in this memory.
  } catch (error) {
    log.warn("the process could not be hardened", { error: messageOf(error) });
  }
  const environment = readIdentityEnvironment(process.env, process.cwd());
  const clock = systemClock;
  const network = createSystemNetwork({ clock });
  const store = createSecretStore({ clock, log });
  const xds = createXdsServer({ source: store, clock, log, services: [SDS] });
  const server = createGrpcServer({ log, clock }, [xds.service]);
  await mkdir(dirname(SOCKET), { recursive: true, mode: 0o700 });

  let close = (): void => {};
  const mark = readMark(process.env["LATEEN_SOCKET_MARK"]);
  const rotation = await startWorkloadIdentity({
    environment,
    network,
    clock,
    random: createSystemRandom(),
    log,
    mark,
    onCertificate: (certificate) => {
      const isFirst = close === unopened;
      store.setCertificate(certificate);
      log.info("certificate received", { identity: environment.identity, notAfter: new Date(certificate.notAfterMs).toISOString() });
      if (isFirst) void open();
    },
  });
  function unopened(): void {}
  close = unopened;
  async function open(): Promise<void> {
    const listening = await network.acceptor.listen({ at: { host: SOCKET, port: 0 } }, (incoming) => server.serve(incoming.accept()));
    close = () => listening.close();
  }

  await new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
    // Timers do not keep a process alive, and until the first certificate there is no socket that would.
    const alive = setInterval(() => {}, 1 << 30);
    process.once("exit", () => clearInterval(alive));
  });
  rotation.close();
  store.close();
  xds.close();
  close();
  process.exit(0);
}
