/** The lab's network: a namespace with a bridge, a namespace for the control plane and for each pod, and Istio's capture rules where there is a sidecar. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Pki } from "./pki.ts";
import { PodProcess } from "./pod-process.ts";

/** A machine of the mesh. */
export interface Pod {
  readonly name: string;
  readonly namespace: string;
  readonly ip: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly proxy: "sidecar" | "router" | "none";
  /** Whether the echo app runs here. */
  readonly hasApp: boolean;
}

/** A process of the lab, by pod and job: its output is in `RUN/POD.JOB.log`. */
export interface SpawnOptions {
  readonly pod: string;
  readonly job: string;
  readonly command: readonly [string, ...string[]];
  readonly env?: NodeJS.ProcessEnv;
  readonly directory?: string;
  /** Runs with the proxy's uid and gid, whose connections are not captured. */
  readonly asProxy?: boolean;
  readonly pipes?: boolean;
}

/** The uid and gid of proxies, as in Istio. */
export const PROXY_UID = 1337;
/** Where the control plane and the DNS server are. */
export const CONTROL_PLANE_IP = "198.18.0.2";
const BRIDGE_IP = "198.18.0.1";
const PREFIX = "latlab";
/** `iptables-restore` takes a lock here; the usual place may be missing in a container. */
const RULES_LOCK = "/tmp/lateen-lab-xtables.lock";

const ROUTER = { namespace: "istio-system", proxy: "router", hasApp: false } as const;
const SIDECAR = { namespace: "default", proxy: "sidecar", hasApp: true } as const;
const PLAIN = { serviceAccount: "default", proxy: "none", hasApp: true } as const;

/** Every pod: clients, three versions of reviews, ratings, a workload without sidecar, an external host and two gateways. */
export const PODS: readonly Pod[] = [
  { ...SIDECAR, name: "client", ip: "198.18.0.11", labels: { app: "client" }, serviceAccount: "default" },
  {
    ...SIDECAR,
    name: "client2",
    ip: "198.18.0.12",
    labels: { app: "client2" },
    serviceAccount: "default",
    namespace: "other",
    hasApp: false,
  },
  { ...SIDECAR, name: "reviews-v1", ip: "198.18.0.21", labels: { app: "reviews", version: "v1" }, serviceAccount: "reviews" },
  { ...SIDECAR, name: "reviews-v2", ip: "198.18.0.22", labels: { app: "reviews", version: "v2" }, serviceAccount: "reviews" },
  { ...SIDECAR, name: "reviews-v3", ip: "198.18.0.23", labels: { app: "reviews", version: "v3" }, serviceAccount: "reviews" },
  { ...SIDECAR, name: "ratings-v1", ip: "198.18.0.31", labels: { app: "ratings", version: "v1" }, serviceAccount: "ratings" },
  { ...PLAIN, name: "legacy", ip: "198.18.0.41", labels: { app: "legacy" }, namespace: "legacy" },
  { ...PLAIN, name: "ext", ip: "198.18.0.51", labels: {}, namespace: "" },
  {
    ...ROUTER,
    name: "ingress",
    ip: "198.18.0.61",
    labels: { app: "istio-ingressgateway", istio: "ingressgateway" },
    serviceAccount: "istio-ingressgateway-service-account",
  },
  {
    ...ROUTER,
    name: "egress",
    ip: "198.18.0.62",
    labels: { app: "istio-egressgateway", istio: "egressgateway" },
    serviceAccount: "istio-egressgateway-service-account",
  },
];

/** The pods that have a proxy. */
export const PROXIED = PODS.filter(({ proxy }) => proxy !== "none");

/** The names that the lab's DNS server knows. */
const DNS_RECORDS = {
  "ext.lab.internal": ["198.18.0.51"],
  "dns.example.com": ["198.18.0.51"],
  "legacy.lab.internal": ["198.18.0.41"],
  "both.lab.internal": ["198.18.0.41", "198.18.0.51"],
};

/** The pod of that name; throws where there is none. */
export function podNamed(name: string): Pod {
  const pod = PODS.find((one) => one.name === name);
  if (!pod) throw new Error(`no pod is called ${name}`);
  return pod;
}

/** The rules of Istio's REDIRECT mode: outbound to 15001, inbound to 15006, nothing of the proxy's own. Source: istio-iptables. */
function captureRules(): string {
  const ofProxy = (kind: "uid" | "gid"): string[] => [
    // The proxy calling its own pod by the pod's address comes in like any other client.
    `-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner --${kind}-owner ${PROXY_UID} -j ISTIO_IN_REDIRECT`,
    `-A ISTIO_OUTPUT -o lo -m owner ! --${kind}-owner ${PROXY_UID} -j RETURN`,
    `-A ISTIO_OUTPUT -m owner --${kind}-owner ${PROXY_UID} -j RETURN`,
  ];
  return [
    "*nat",
    ...["ISTIO_INBOUND", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT", "ISTIO_REDIRECT"].map((chain) => `:${chain} - [0:0]`),
    "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    "-A OUTPUT -j ISTIO_OUTPUT",
    ...[15008, 15090, 15021, 15020].map((port) => `-A ISTIO_INBOUND -p tcp -m tcp --dport ${port} -j RETURN`),
    "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
    "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
    // 127.0.0.6 is the source address of inbound passthrough.
    "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN",
    ...ofProxy("uid"),
    ...ofProxy("gid"),
    "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
    "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
    "COMMIT",
    "",
  ].join("\n");
}

/** Namespaces and the processes in them. `close` ends and removes all of it. */
export class Topology {
  readonly runDirectory: string;
  readonly #id: string;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #pods = new Map<string, PodProcess>();
  #isClosing = false;

  constructor(id: string, runDirectory: string) {
    this.#id = id;
    this.runDirectory = runDirectory;
  }

  /** The network namespace of a pod, as `ip netns` knows it. */
  namespaceOf(pod: string): string {
    return `${PREFIX}${this.#id}-${pod}`;
  }

  /** The echo app and client driver of a pod, or of the control plane's namespace `cp`. */
  pod(name: string): PodProcess {
    const found = this.#pods.get(name);
    if (!found) throw new Error(`no pod is called ${name}`);
    return found;
  }

  /** Makes the network and starts the pods' own processes. Resolves once they listen. */
  async open(pki: Pki): Promise<void> {
    this.#addNamespace("br");
    this.#ip("br", "link", "add", "br0", "type", "bridge");
    this.#ip("br", "addr", "add", `${BRIDGE_IP}/24`, "dev", "br0");
    this.#ip("br", "link", "set", "br0", "up");
    // Virtual addresses exist for proxies alone: what is really sent to one is answered with "host unreachable" at once.
    this.#run("br", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0"]);
    this.#ip("br", "route", "add", "unreachable", "240.0.0.0/4");

    this.#addNamespace("cp");
    this.#connect("cp", CONTROL_PLANE_IP, 0);
    for (const [i, pod] of PODS.entries()) {
      this.#addNamespace(pod.name);
      this.#connect(pod.name, pod.ip, i + 1);
      if (pod.proxy === "sidecar")
        this.#run(pod.name, ["env", `XTABLES_LOCKFILE=${RULES_LOCK}`, "iptables-restore", "--noflush"], captureRules());
    }

    this.#startPod("cp", pki, {
      hasApp: false,
      files: { port: 8099, byPath: { "/jwks": pki.jwks("sa"), "/user-jwks": pki.jwks("jwt") } },
      dns: DNS_RECORDS,
    });
    for (const { name, hasApp } of PODS) this.#startPod(name, pki, { hasApp });
    await Promise.all([...this.#pods.values()].map((pod) => pod.ready()));
  }

  /** Starts a command in a pod's namespace. */
  spawn({ pod, job, command, env = process.env, directory, asProxy = false, pipes = false }: SpawnOptions): ChildProcess {
    const log = join(this.runDirectory, `${pod}.${job}.log`);
    const output = openSync(log, "a");
    const drop = asProxy ? ["setpriv", `--reuid=${PROXY_UID}`, `--regid=${PROXY_UID}`, "--clear-groups"] : [];
    const child = spawn("ip", ["netns", "exec", this.namespaceOf(pod), ...drop, ...command], {
      cwd: directory,
      env,
      stdio: pipes ? ["pipe", "pipe", output] : ["ignore", output, output],
    });
    child.on("error", (error) => console.error(`lab: ${pod}.${job} could not be started: ${error.message}`));
    child.on("exit", (code, signal) => {
      if (!this.#isClosing) console.error(`lab: ${pod}.${job} ended early (${code ?? signal}); see ${log}`);
    });
    this.#children.push(child);
    return child;
  }

  /** Cuts the connections between pods, so that none that was pooled outlives the policy under which it was made. */
  cutConnections(): void {
    for (const { name } of PROXIED) this.#run(name, ["sh", "-c", "ss -K -t state established sport = :15006 >/dev/null 2>&1 || true"]);
  }

  /** Ends every process and removes every namespace. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const left = this.#children.filter((child) => child.exitCode === null && child.signalCode === null && child.pid !== undefined);
    const gone = left.map((child) => new Promise((resolve) => child.once("exit", resolve)));
    for (const child of left) child.kill("SIGTERM");
    const force = setTimeout(() => {
      for (const child of left) child.kill("SIGKILL");
    }, 3000);
    await Promise.all(gone);
    clearTimeout(force);
    for (const namespace of this.#namespaces.reverse()) removeNamespace(namespace);
  }

  #addNamespace(pod: string): void {
    const namespace = this.namespaceOf(pod);
    execFileSync("ip", ["netns", "add", namespace]);
    this.#namespaces.push(namespace);
    const etc = join("/etc/netns", namespace);
    mkdirSync(etc, { recursive: true });
    writeFileSync(join(etc, "resolv.conf"), `nameserver ${CONTROL_PLANE_IP}\noptions timeout:1 attempts:1\n`);
    const ipv6 = ["all", "default"].map((which) => `net.ipv6.conf.${which}.disable_ipv6=1`);
    this.#run(pod, ["sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=0", ...ipv6]);
    this.#ip(pod, "link", "set", "lo", "up");
  }

  #connect(pod: string, address: string, index: number): void {
    const link = `v${index}`;
    execFileSync("ip", [
      "link",
      "add",
      link,
      "netns",
      this.namespaceOf("br"),
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      this.namespaceOf(pod),
    ]);
    this.#ip("br", "link", "set", link, "master", "br0", "up");
    this.#ip(pod, "addr", "add", `${address}/24`, "dev", "eth0");
    this.#ip(pod, "link", "set", "eth0", "up");
    this.#ip(pod, "route", "add", "default", "via", BRIDGE_IP);
  }

  #startPod(name: string, pki: Pki, rest: { hasApp: boolean; files?: unknown; dns?: unknown }): void {
    const settings = JSON.stringify({ pod: name, certificates: pki.external, ...rest });
    const script = fileURLToPath(new URL("./pod.ts", import.meta.url));
    const command = [process.execPath, "--disable-warning=ExperimentalWarning", script, settings] as const;
    this.#pods.set(name, new PodProcess(name, this.spawn({ pod: name, job: "app", command: [...command], pipes: true })));
  }

  #ip(pod: string, ...args: string[]): void {
    execFileSync("ip", ["-n", this.namespaceOf(pod), ...args], { stdio: ["ignore", "ignore", "pipe"] });
  }

  #run(pod: string, command: readonly string[], input?: string): void {
    execFileSync("ip", ["netns", "exec", this.namespaceOf(pod), ...command], { input, stdio: ["pipe", "pipe", "pipe"] });
  }
}

/** Removes what labs left behind that were killed outright; a lab's id is its process id in base 36. Gives the namespaces removed. */
export function removeLeftovers(): string[] {
  const list = execFileSync("ip", ["netns", "list"], { encoding: "utf8" });
  const left = [...list.matchAll(new RegExp(`^${PREFIX}([0-9a-z]+)-[\\w-]+`, "gm"))].filter(
    ([, id = ""]) => !existsSync(`/proc/${Number.parseInt(id, 36)}`),
  );
  for (const [namespace] of left) {
    const pids = execFileSync("ip", ["netns", "pids", namespace], { encoding: "utf8" }).split("\n").filter(Boolean);
    for (const pid of pids) process.kill(Number(pid), "SIGKILL");
    removeNamespace(namespace);
  }
  return left.map(([namespace]) => namespace);
}

function removeNamespace(namespace: string): void {
  try {
    execFileSync("ip", ["netns", "del", namespace], { stdio: "pipe" });
  } catch (error) {
    console.error(`lab: ${namespace} could not be removed: ${error instanceof Error ? error.message.trim() : String(error)}`);
  }
  rmSync(join("/etc/netns", namespace), { recursive: true, force: true });
}
