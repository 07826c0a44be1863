/** The proxy's command line: Envoy's flags, so that it stands in wherever an Envoy is started. Source: Envoy, command line options. */

/** Levels of the log, the most talkative first. */
export const LOG_LEVELS = ["trace", "debug", "info", "warning", "error", "critical", "off"] as const;

/** One of LOG_LEVELS. */
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What the command line says. */
export interface Flags {
  readonly configPath: string | undefined;
  readonly configYaml: string | undefined;
  readonly serviceNode: string;
  readonly serviceCluster: string;
  readonly serviceZone: string;
  readonly concurrency: number;
  readonly logLevel: LogLevel;
  readonly logPath: string | undefined;
  readonly drainTimeMs: number;
  readonly drainStrategy: "gradual" | "immediate";
  readonly allowUnknownStaticFields: boolean;
  readonly rejectUnknownDynamicFields: boolean;
  readonly ignoreUnknownDynamicFields: boolean;
  readonly mode: "serve" | "validate";
  readonly adminAddressPath: string | undefined;
  readonly restartEpoch: number;
  /** Flags that were taken and do nothing here, with the reason. */
  readonly warnings: readonly string[];
}

/** How reading ended: run, or print and leave. */
export type ParsedFlags =
  | { readonly kind: "run"; readonly flags: Flags }
  | { readonly kind: "help"; readonly text: string }
  | { readonly kind: "usage"; readonly message: string };

interface Draft {
  configPath?: string;
  configYaml?: string;
  serviceNode?: string;
  serviceCluster?: string;
  serviceZone?: string;
  concurrency?: number;
  logLevel?: LogLevel;
  logPath?: string;
  drainTimeMs?: number;
  drainStrategy?: "gradual" | "immediate";
  allowUnknownStaticFields?: boolean;
  rejectUnknownDynamicFields?: boolean;
  ignoreUnknownDynamicFields?: boolean;
  mode?: "serve" | "validate";
  adminAddressPath?: string;
  restartEpoch?: number;
  isHelp?: boolean;
  /** Why the flag does nothing here. */
  unused?: string;
}

interface FlagSpec {
  readonly value: string | undefined;
  readonly about: string;
  readonly read: (value: string) => Partial<Draft>;
}

/** A value that is not taken. */
class BadValue extends Error {}

const FLAGS: Readonly<Record<string, FlagSpec>> = {
  "config-path": { value: "FILE", about: "bootstrap, YAML or JSON (short: -c)", read: (v) => ({ configPath: v }) },
  "config-yaml": { value: "TEXT", about: "bootstrap as text, merged over the file's", read: (v) => ({ configYaml: v }) },
  "service-node": { value: "ID", about: "the node's id, before the bootstrap's", read: (v) => ({ serviceNode: v }) },
  "service-cluster": { value: "NAME", about: "the node's cluster, before the bootstrap's", read: (v) => ({ serviceCluster: v }) },
  "service-zone": { value: "ZONE", about: "the node's zone, before the bootstrap's", read: (v) => ({ serviceZone: v }) },
  concurrency: { value: "N", about: "worker threads", read: (v) => ({ concurrency: integer(v) }) },
  "log-level": { value: "LEVEL", about: `${LOG_LEVELS.join(", ")} (short: -l)`, read: (v) => ({ logLevel: readLogLevel(v) }) },
  "log-path": { value: "FILE", about: "where the log goes (default: stderr)", read: (v) => ({ logPath: v }) },
  "drain-time-s": {
    value: "SECONDS",
    about: "how long connections drain (default 600)",
    read: (v) => ({ drainTimeMs: integer(v) * 1000 }),
  },
  "drain-strategy": {
    value: "gradual|immediate",
    about: "how connections drain",
    read: (v) => ({ drainStrategy: oneOf(v, ["gradual", "immediate"]) }),
  },
  "allow-unknown-static-fields": {
    value: undefined,
    about: "warn of unknown fields in the bootstrap instead of refusing it",
    read: () => ({ allowUnknownStaticFields: true }),
  },
  "allow-unknown-fields": {
    value: undefined,
    about: "as --allow-unknown-static-fields",
    read: () => ({ allowUnknownStaticFields: true }),
  },
  "reject-unknown-dynamic-fields": {
    value: undefined,
    about: "refuse xDS resources with unknown fields",
    read: () => ({ rejectUnknownDynamicFields: true }),
  },
  "ignore-unknown-dynamic-fields": {
    value: undefined,
    about: "take xDS resources with unknown fields without a warning",
    read: () => ({ ignoreUnknownDynamicFields: true }),
  },
  mode: {
    value: "serve|validate",
    about: "validate reads the config and leaves",
    read: (v) => ({ mode: oneOf(v, ["serve", "validate"]) }),
  },
  "admin-address-path": { value: "FILE", about: "where the admin's address is written", read: (v) => ({ adminAddressPath: v }) },
  "restart-epoch": { value: "N", about: "0: there is no hot restart", read: (v) => ({ restartEpoch: integer(v) }) },
  "component-log-level": {
    value: "LIST",
    about: "taken and not used",
    read: () => unused("component-log-level", "there is one level for all"),
  },
  "log-format": { value: "FORMAT", about: "taken and not used", read: () => unused("log-format", "the log has one format") },
  "log-format-escaped": {
    value: undefined,
    about: "taken and not used",
    read: () => unused("log-format-escaped", "lines are always escaped"),
  },
  "parent-shutdown-time-s": {
    value: "SECONDS",
    about: "taken and not used",
    read: () => unused("parent-shutdown-time-s", "there is no hot restart"),
  },
  "base-id": { value: "N", about: "taken and not used", read: () => unused("base-id", "no memory is shared between processes") },
  "base-id-path": {
    value: "FILE",
    about: "taken and not used",
    read: () => unused("base-id-path", "no memory is shared between processes"),
  },
  "use-dynamic-base-id": {
    value: undefined,
    about: "taken and not used",
    read: () => unused("use-dynamic-base-id", "no memory is shared between processes"),
  },
  "local-address-ip-version": {
    value: "v4|v6",
    about: "taken and not used",
    read: (v) =>
      oneOf(v, ["v4", "v6"]) === "v4" ? {} : unused("local-address-ip-version", "the local address is of the family of each connection"),
  },
  // What it switches off does not exist, so it is met.
  "disable-hot-restart": { value: undefined, about: "met: there is no hot restart", read: () => ({}) },
  "cpuset-threads": { value: undefined, about: "taken and not used", read: () => unused("cpuset-threads", "give --concurrency") },
  "file-flush-interval-msec": {
    value: "MS",
    about: "taken and not used",
    read: () => unused("file-flush-interval-msec", "access logs are written within a second"),
  },
  "hot-restart-version": { value: undefined, about: 'print "disabled" and leave', read: () => ({ isHelp: true }) },
};

const SHORT: Readonly<Record<string, string>> = { c: "config-path", l: "log-level", h: "help" };

/** Reads arguments as Envoy does: "--flag value", "--flag=value", "-c value". */
export function parseFlags(argv: readonly string[]): ParsedFlags {
  const draft: Draft = {};
  const warnings: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] as string;
    const [, dashes = "", text = "", inline] = /^(--?)([^=]*)(?:=([\s\S]*))?$/.exec(argument) ?? [];
    const name = dashes === "-" ? (SHORT[text] ?? "") : text;
    if (name === "help") return { kind: "help", text: helpText() };
    const spec = Object.hasOwn(FLAGS, name) ? FLAGS[name] : undefined;
    if (!spec) return { kind: "usage", message: `unknown argument "${argument}"\n\n${helpText()}` };
    let value = inline;
    if (spec.value !== undefined && value === undefined) {
      i += 1;
      value = argv[i];
      if (value === undefined) return { kind: "usage", message: `--${name} needs a value: ${spec.value}` };
    }
    if (spec.value === undefined && value !== undefined) return { kind: "usage", message: `--${name} takes no value` };
    try {
      const { unused: warning, ...values } = spec.read(value ?? "");
      Object.assign(draft, values);
      if (warning !== undefined) warnings.push(warning);
    } catch (error) {
      if (error instanceof BadValue) return { kind: "usage", message: `--${name}: ${error.message}` };
      throw error;
    }
  }
  if (draft.isHelp) return { kind: "help", text: "disabled\n" };
  if (draft.configPath === undefined && draft.configYaml === undefined)
    return { kind: "usage", message: `a bootstrap is needed: -c FILE or --config-yaml TEXT\n\n${helpText()}` };
  if (draft.restartEpoch) return { kind: "usage", message: "--restart-epoch: there is no hot restart, so the epoch is 0" };
  const concurrency = draft.concurrency ?? 1;
  if (concurrency > 1) warnings.push(`--concurrency ${concurrency}: one thread is used`);
  return {
    kind: "run",
    flags: {
      configPath: draft.configPath,
      configYaml: draft.configYaml,
      serviceNode: draft.serviceNode ?? "",
      serviceCluster: draft.serviceCluster ?? "",
      serviceZone: draft.serviceZone ?? "",
      concurrency,
      logLevel: draft.logLevel ?? "info",
      logPath: draft.logPath,
      drainTimeMs: draft.drainTimeMs ?? 600_000,
      drainStrategy: draft.drainStrategy ?? "gradual",
      allowUnknownStaticFields: draft.allowUnknownStaticFields ?? false,
      rejectUnknownDynamicFields: draft.rejectUnknownDynamicFields ?? false,
      ignoreUnknownDynamicFields: draft.ignoreUnknownDynamicFields ?? false,
      mode: draft.mode ?? "serve",
      adminAddressPath: draft.adminAddressPath,
      restartEpoch: 0,
      warnings,
    },
  };
}

/** Envoy's names and the short ones. Throws on anything else. */
export function readLogLevel(text: string): LogLevel {
  const level = text === "warn" ? "warning" : text === "err" ? "error" : text;
  return oneOf(level, LOG_LEVELS);
}

function helpText(): string {
  const lines = Object.entries(FLAGS).map(
    ([name, { value, about }]) => `  ${`--${name}${value === undefined ? "" : ` ${value}`}`.padEnd(40)} ${about}`,
  );
  return `usage: lateen proxy -c FILE [flags]\n\n${lines.join("\n")}\n`;
}

function integer(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new BadValue(`"${text}" is no whole number`);
  return Number(text);
}

function oneOf<const T extends string>(text: string, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === text);
  if (found === undefined) throw new BadValue(`"${text}" is none of ${allowed.join(", ")}`);
  return found;
}

function unused(name: string, why: string): Partial<Draft> {
  return { unused: `--${name} is not used: ${why}` };
}
