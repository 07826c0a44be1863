/** How a workload takes mutual TLS. Source: Istio PeerAuthentication: mesh, then namespace, then workload; the oldest of each. */
import type { MeshConfig, MtlsMode, PeerAuthentication } from "../config/types.ts";
import type { MtlsModes } from "./types.ts";
import { selects } from "./visibility.ts";

const NO_PORTS: ReadonlyMap<number, MtlsMode> = new Map();

/** The policies by namespace, oldest first. */
export class MtlsPolicies {
  readonly policies: readonly PeerAuthentication[];
  readonly #root: string;
  readonly #forNamespace = new Map<string, PeerAuthentication>();
  readonly #forWorkloads = new Map<string, PeerAuthentication[]>();

  /** `policies` are oldest first. */
  constructor(policies: readonly PeerAuthentication[], { rootNamespace }: MeshConfig) {
    this.policies = policies;
    this.#root = rootNamespace;
    for (const policy of policies) {
      const { namespace } = policy.meta;
      if (!policy.spec.selector) {
        if (!this.#forNamespace.has(namespace)) this.#forNamespace.set(namespace, policy);
        continue;
      }
      const list = this.#forWorkloads.get(namespace);
      if (list) list.push(policy);
      else this.#forWorkloads.set(namespace, [policy]);
    }
  }

  /** PERMISSIVE unless a policy says otherwise; UNSET inherits. */
  modes(namespace: string, labels: Readonly<Record<string, string>>): MtlsModes {
    let mode: MtlsMode = "PERMISSIVE";
    const inherit = (next: MtlsMode | "UNSET" | undefined): void => {
      if (next !== undefined && next !== "UNSET") mode = next;
    };
    inherit(this.#forNamespace.get(this.#root)?.spec.mode);
    if (namespace === this.#root) return { default: mode, ports: NO_PORTS };
    inherit(this.#forNamespace.get(namespace)?.spec.mode);
    const workload = this.#forWorkloads.get(namespace)?.find(({ spec }) => selects(spec.selector ?? {}, labels));
    if (!workload) return { default: mode, ports: NO_PORTS };
    inherit(workload.spec.mode);
    const ports = [...workload.spec.portLevel].map(([port, own]) => [port, own === "UNSET" ? mode : own] as const);
    return { default: mode, ports: new Map(ports) };
  }
}
