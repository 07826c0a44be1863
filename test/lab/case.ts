/** The cases: Istio YAML, requests with what is expected of them, and the recorded verdicts, read from `cases/NAME/`. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SERVICES } from "./base-config.ts";
import type { LabRequest } from "./client-driver.ts";
import type { Pki, TokenClaims } from "./pki.ts";
import { podNamed } from "./topology.ts";
import type { Expectation, Verdict } from "./verdict.ts";

/** One line of case.json. What is not said: a GET of `/` from `client` to `reviews`, port 80, with the service's name as host. */
export interface Step extends Partial<Omit<LabRequest, "id" | "clientCert">> {
  readonly name: string;
  /** The pod that sends it. */
  readonly from?: string;
  /** A service, a pod or an address; `ip` overrides. */
  readonly to?: string;
  /** The name of a certificate of the lab's external authority. */
  readonly clientCert?: string;
  readonly count?: number;
  readonly parallel?: number;
  /** Another YAML file of the case, to switch to first. Pooled connections stay. */
  readonly apply?: string;
  /** Waits before sending. */
  readonly pauseMs?: number;
  /** Waits before arrivals are counted. */
  readonly settleMs?: number;
  readonly expect?: Expectation;
  /** Paths of the verdict that vary. */
  readonly loose?: readonly string[];
}

/** A case, as it stands in its folder. */
export interface Case {
  readonly name: string;
  readonly checks: string;
  readonly source: string;
  readonly requests: readonly Step[];
  readonly loose?: readonly string[];
  readonly tokens?: Readonly<Record<string, TokenClaims>>;
  /** Pods that cannot see the marker. */
  readonly noMarker?: readonly string[];
  readonly directory: string;
  /** By step's name. */
  readonly verdicts: Readonly<Record<string, Verdict>>;
}

/** The cases of a folder in the order of their names: those whose name contains one of `only`, and of these every Nth. */
export function readCases(folder: string, { only, shard }: { only: readonly string[]; shard: string | undefined }): Case[] {
  const names = readdirSync(folder)
    .filter((name) => existsSync(join(folder, name, "case.json")))
    .filter((name) => only.length === 0 || only.some((text) => name.includes(text)))
    .sort();
  const [index = 1, of = 1] = shard?.split("/").map(Number) ?? [];
  return names
    .filter((_, at) => at % of === index - 1)
    .map((name) => {
      const directory = join(folder, name);
      const read = (file: string): unknown => JSON.parse(readFileSync(join(directory, file), "utf8"));
      const verdicts = existsSync(join(directory, "verdict.json")) ? read("verdict.json") : {};
      return { ...(read("case.json") as object), name, directory, verdicts } as Case;
    });
}

/** Replaces `{{ip.POD}}`, `{{vip.SERVICE}}`, `{{host.SERVICE}}`, `{{certs}}`, `{{jwks}}`, `{{jwks2}}` and `{{token.NAME}}`; others stay for the driver. */
export function expandPlaceholders(text: string, { tokens = {} }: Pick<Case, "tokens">, pki: Pki): string {
  return text.replace(/\{\{([a-z0-9]+)(?:\.([\w-]+))?\}\}/g, (whole: string, kind: string, name = "") => {
    switch (kind) {
      case "ip":
        return podNamed(name).ip;
      case "vip":
        return serviceNamed(name).vip;
      case "host":
        return serviceNamed(name).host;
      case "certs":
        return pki.external;
      case "jwks":
        return pki.jwks("jwt");
      case "jwks2":
        return pki.jwks("jwt2");
      case "token":
        return pki.token(tokens[name] ?? {});
      default:
        return whole;
    }
  });
}

function serviceNamed(name: string): { readonly vip: string; readonly host: string } {
  const service = SERVICES[name];
  if (!service) throw new Error(`no service is called ${name}`);
  return service;
}
