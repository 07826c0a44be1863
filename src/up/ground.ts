/** What a mesh stands on: namespaces with capture, or this machine's loopback as it is. The rest of `up` is the same on both. */
import type { ChildProcess, StdioOptions } from "node:child_process";
import type { BootstrapOptions } from "../agent/bootstrap.ts";
import type { Clock } from "../base/clock.ts";
import type { MeshStatus } from "./messages.ts";
import type { GatewayInstance, Instance, Plan } from "./plan.ts";

/** Where the control plane is reached, and the name that its certificate has. */
export interface ControlPlaneAddress {
  readonly host: string;
  readonly securePort: number;
  /** host:port of metrics, readiness and debugging. */
  readonly monitoring: string;
  readonly serverName: string;
}

/** See the file's head. */
export interface Ground {
  readonly plan: Plan;
  readonly capture: MeshStatus["capture"];
  readonly controlPlane: ControlPlaneAddress;
  /** Makes what all parts need. Rejects with a UserError when the machine does not let it. */
  prepare(clock: Clock): Promise<void>;
  /** Puts files below options.scratch where only the control plane reads them, and starts it. */
  startControlPlane(
    command: readonly string[],
    env: Readonly<Record<string, string>>,
    files: Readonly<Record<string, string>>,
  ): ChildProcess;
  /** Makes room for a part. `index` is its own number. */
  open(part: Instance | GatewayInstance, index: number): Promise<Place>;
  /** Sends a signal to a process that was started here, and to those that it started where they would outlive it. */
  signal(child: ChildProcess, signal: NodeJS.Signals): void;
}

/** Where the processes of one part run. */
export interface Place {
  /** Process that holds the part's namespaces; 0 where it has none. */
  readonly holderPid: number;
  /** A folder of its own, as the part sees it and as this process does. */
  readonly scratch: { readonly inside: string; readonly here: string };
  /** What the application is told of the mesh by its environment. */
  readonly variables: Readonly<Record<string, string>>;
  /** Address at which the application can be asked without its proxy. */
  readonly appHost: string;
  /** Address of the gateway's listeners. */
  readonly listenHost: string;
  readonly bootstrap: Pick<BootstrapOptions, "bind" | "explicit" | "socketMark">;
  readonly proxyEnvironment: Readonly<Record<string, string>>;
  /** The port on which the application listens for a port that its clients know. */
  appPort(targetPort: number): number;
  /** Ports that something listens on. */
  listening(): ReadonlySet<number>;
  spawn(command: readonly string[], options: PlaceSpawnOptions): ChildProcess;
}

/** How to start a process in a place. */
export interface PlaceSpawnOptions {
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdio: StdioOptions;
  /** undefined: the user of this process. */
  readonly uid?: number | undefined;
}
