/** What the two halves of `lateen up` say to each other: the one on the host, and the one inside the mesh's namespaces. JSON lines. */
import type { MeshDescription } from "./description.ts";

/** Which proxy stands beside the workloads. */
export type ProxyFlavour = "lateen" | "envoy";

/** The first line that the inside reads: all that it needs. */
export interface InsideOptions {
  readonly description: MeshDescription;
  /** The folder with lateen.yaml and Istio's YAML. */
  readonly directory: string;
  readonly descriptionFile: string;
  readonly proxy: ProxyFlavour;
  readonly envoyPath: string | undefined;
  /** bin/lateen. */
  readonly lateen: string;
  readonly node: string;
  readonly isRoot: boolean;
  /** The user's own environment for workloads. */
  readonly environment: Readonly<Record<string, string>>;
  /** Inherited listening sockets: "host:port" on the host -> descriptor in the inside process. */
  readonly listeners: readonly {
    readonly host: string;
    readonly port: number;
    readonly gatewayPort: number;
    readonly gateway: string;
    readonly fd: number;
  }[];
  readonly logLevel: string;
  /** A folder of the machine over which the mesh may lay its own memory file system, seen by nobody else. */
  readonly scratch: string;
}

/** What the inside reports. */
export type InsideEvent =
  | {
      readonly event: "step";
      readonly name: string;
      readonly state: "started" | "done" | "failed";
      readonly detail: string;
      readonly ms: number;
    }
  | { readonly event: "log"; readonly from: string; readonly stream: "out" | "err"; readonly line: string }
  | { readonly event: "up"; readonly status: MeshStatus; readonly ms: number }
  | { readonly event: "push"; readonly push: PushReport }
  | { readonly event: "problems"; readonly problems: readonly string[] }
  | { readonly event: "exit"; readonly name: string; readonly detail: string; readonly restartMs: number | undefined }
  | { readonly event: "fatal"; readonly message: string; readonly hint: string | undefined }
  | { readonly event: "reply"; readonly id: number; readonly result?: unknown; readonly error?: string };

/** What the host asks. */
export interface HostRequest {
  readonly id: number;
  readonly op: "status" | "stat" | "stop";
}

/** The state of a running mesh. */
export interface MeshStatus {
  readonly name: string;
  readonly trustDomain: string;
  readonly proxy: ProxyFlavour;
  /** How the proxies' own connections are told apart; none: nothing is captured. */
  readonly capture: "owner" | "mark" | "none";
  readonly controlPlane: { readonly address: string; readonly pid: number | undefined };
  readonly workloads: readonly WorkloadStatus[];
  readonly open: readonly { readonly url: string; readonly gateway: string }[];
}

/** One instance or gateway. Process ids are those inside the mesh's PID namespace. */
export interface WorkloadStatus {
  readonly name: string;
  readonly kind: "workload" | "gateway";
  readonly namespace: string;
  readonly ip: string;
  readonly spiffeId: string | undefined;
  readonly service: string | undefined;
  readonly holderPid: number;
  readonly proxyPid: number | undefined;
  readonly appPid: number | undefined;
  readonly restarts: number;
}

/** How the proxies took a version of the config. */
export interface PushReport {
  readonly version: string;
  readonly reason: string;
  readonly proxies: number;
  readonly acknowledged: number;
  readonly refused: readonly { readonly proxy: string; readonly message: string }[];
  readonly ms: number;
}

/** Figures of one service, from the sidecars' own metrics. */
export interface ServiceFigures {
  readonly service: string;
  readonly requests: number;
  /** 0 to 1: answers below 500. Undefined for TCP. */
  readonly success: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
  /** Share of requests over mutual TLS, 0 to 1. */
  readonly mutualTls: number;
  readonly protocol: "http" | "tcp";
}
