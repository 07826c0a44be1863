/** The commands and their options. Each command's own file is loaded when it is run. */
import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import type { AgentOptions } from "./agent.ts";
import type { ControlPlaneOptions } from "./control-plane.ts";
import type { OutputOptions } from "./mesh-status.ts";
import type { UpOptions } from "./up.ts";

const EXIT_USAGE = 2;

/** Runs a command line. Resolves with the exit code; rejects with what a command threw. */
export async function runCli(args: readonly string[]): Promise<number> {
  let code = 0;
  const program = new Command("lateen")
    .description("A service mesh in TypeScript: Istio's YAML, Envoy's xDS, and a whole mesh on this machine with `lateen up`.")
    .version(version(), "-v, --version", "print the version")
    .exitOverride()
    .enablePositionalOptions()
    .showHelpAfterError("(run with --help for what there is)")
    .configureHelp({ sortSubcommands: false });
  const done = (result: Promise<number>): Promise<void> =>
    result.then((value) => {
      code = value;
    });

  program
    .command("up")
    .summary("run a whole mesh on this machine")
    .description(
      "Runs a whole mesh on this machine: control plane, certificate authority, the workloads of lateen.yaml with a sidecar each, and gateways. Stays until Ctrl-C and leaves nothing behind.",
    )
    .argument("[dir]", "folder with lateen.yaml and Istio's YAML, or the description file itself", ".")
    .addOption(new Option("--proxy <which>", "the proxy beside each workload").choices(["lateen", "envoy"]).default("lateen"))
    .addOption(
      new Option("--capture <how>", "namespaces: transparently; explicit: HTTP_PROXY and loopback addresses")
        .choices(["auto", "namespaces", "explicit"])
        .default("auto"),
    )
    .addOption(new Option("-o, --output <format>", "json prints one event a line").choices(["text", "json"]).default("text"))
    .option("--envoy <file>", "the Envoy to run with --proxy envoy (default: $ENVOY, the checkout's, then PATH)")
    .option("--quiet", "leave out what the workloads print")
    .option("--force", "start although the config names hosts, subsets or gateways that nobody declares")
    .option("--until-input-ends", "end when standard input does: for programs that start a mesh")
    .addOption(new Option("--log-level <level>", "of the control plane").choices(["debug", "info", "warn", "error"]).default("warn"))
    .action((dir: string, options: UpOptions) => done(import("./up.ts").then(({ runUp }) => runUp(dir, options))));
  program
    .command("status")
    .description("Shows a running mesh: workloads, addresses, identities.")
    .argument("[mesh]", "its name (default: that of lateen.yaml in this folder)")
    .addOption(new Option("-o, --output <format>").choices(["text", "json"]).default("text"))
    .action((mesh: string | undefined, options: OutputOptions) =>
      done(import("./mesh-status.ts").then(({ runStatus }) => runStatus(mesh, options))),
    );
  program
    .command("stat")
    .description("Shows requests, success and latency of each service, from the sidecars' own metrics.")
    .argument("[mesh]", "its name (default: that of lateen.yaml in this folder)")
    .addOption(new Option("-o, --output <format>").choices(["text", "json"]).default("text"))
    .action((mesh: string | undefined, options: OutputOptions) =>
      done(import("./mesh-status.ts").then(({ runStat }) => runStat(mesh, options))),
    );
  program
    .command("exec")
    .description("Runs a command where a workload of a running mesh runs: its network, its names.")
    .argument("<workload>", "as in `lateen status`")
    .argument("<command...>", "after --")
    .option("--mesh <name>", "the mesh (default: that of lateen.yaml in this folder)")
    .passThroughOptions()
    .action((workload: string, command: string[], options: { mesh?: string }) =>
      done(import("./exec.ts").then(({ runExec }) => runExec(workload, command[0] === "--" ? command.slice(1) : command, options))),
    );
  program
    .command("control-plane")
    .description("Runs the control plane: reads Istio's YAML, serves xDS and certificates.")
    .option("--config <dir>", "folder or file of Istio YAML, watched; may be repeated", collect, [])
    .option("--skip <name>", "name of a file that is no config (lateen.yaml is none); may be repeated", collect, [])
    .option("--mesh-config <file>", "Istio's MeshConfig")
    .option("--grpc-addr <ip:port>", "xDS in plaintext, without authentication (default: off)", "")
    .option("--secure-grpc-addr <ip:port>", "xDS and certificates over TLS", "0.0.0.0:15012")
    .option("--monitoring-addr <ip:port>", "metrics, readiness and, from loopback, debugging", "127.0.0.1:15014")
    .option("--domain <suffix>", "DNS suffix of services", "cluster.local")
    .addOption(new Option("--log-level <level>").choices(["debug", "info", "warn", "error"]).default("info"))
    .action((options: ControlPlaneOptions) => done(import("./control-plane.ts").then(({ runControlPlane }) => runControlPlane(options))));
  program
    .command("agent")
    .description("Stands beside a stock Envoy: gets the workload's certificate and serves it over SDS.")
    .option("--sds-only", "serve SDS and run no proxy (the only way there is today)")
    .action((options: AgentOptions) => done(import("./agent.ts").then(({ runAgent }) => runAgent(options))));
  program
    .command("proxy")
    .summary("run the data plane, with Envoy's flags")
    .description("Runs Lateen's proxy. Takes Envoy's bootstrap and flags: lateen proxy --help shows them.")
    .helpOption(false)
    .allowUnknownOption()
    .argument("[flags...]")
    .action((_flags: string[], _options: unknown, command: Command) =>
      done(import("../proxy/main.ts").then(({ runProxy }) => runProxy(command.args))),
    );
  program
    .command("validate")
    .description("Checks Istio YAML and lateen.yaml without running anything.")
    .argument("<path...>", "files or folders")
    .action((paths: string[]) => done(import("./validate.ts").then(({ runValidate }) => runValidate(paths))));
  program
    .command("version")
    .description("Prints the version.")
    .action(() => {
      process.stdout.write(`${version()}\n`);
    });

  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Commander has printed what there is to say. Asking for help is no error.
    return error.exitCode === 0 ? 0 : EXIT_USAGE;
  }
  return code;
}

function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

function version(): string {
  const at = import.meta.url.endsWith(".ts") ? "../../package.json" : "../../../package.json";
  return (JSON.parse(readFileSync(new URL(at, import.meta.url), "utf8")) as { version: string }).version;
}
