/**
 * What the admin answers, path by path. Reading is by GET and changes nothing; what changes something is by POST alone.
 * Source: Envoy, Administration interface.
 */
import { X509Certificate } from "node:crypto";
import v8 from "node:v8";
import { RE2JS } from "re2js";
import { messageOf } from "../../base/errors.ts";
import { readLogLevel } from "../bootstrap/flags.ts";
import { addressText } from "../config/address.ts";
import type { AdminSource } from "./admin-source.ts";
import { addressJson, clustersJson, clustersText } from "./cluster-status.ts";
import { buildConfigDump } from "./config-dump.ts";
import type { Json } from "./lazy-json.ts";
import { buildServerInfo } from "./server-info.ts";

/** A request that was read. */
export interface AdminRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
}

/** An answer. */
export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | AsyncIterable<Buffer>;
  /** Called when the answer is with the client. */
  readonly after?: () => void;
}

interface Handler {
  readonly about: string;
  /** Changes something: POST alone. */
  readonly isChange: boolean;
  /** Left out of the list where it is switched off. */
  readonly isShown?: (source: AdminSource) => boolean;
  readonly run: (source: AdminSource, query: URLSearchParams) => AdminAnswer;
}

const FILTER_CHARS_MAX = 1024;

const HANDLERS: Readonly<Record<string, Handler>> = {
  "/certs": read("print certs on machine", (source) => json({ certificates: certificates(source) })),
  "/clusters": read("upstream cluster status", ({ clusters }, query) =>
    query.get("format") === "json" ? json(clustersJson(clusters.active)) : text(clustersText(clusters.active)),
  ),
  "/config_dump": read("dump current configs", configDump),
  "/drain_listeners": change("drain listeners", (source, query) => {
    source.drainListeners({ inboundOnly: query.has("inboundonly"), graceful: query.has("graceful") });
    return text("OK\n");
  }),
  "/healthcheck/fail": change("cause the server to fail health checks", (source) => {
    source.setHealthFailed(true);
    return text("OK\n");
  }),
  "/healthcheck/ok": change("cause the server to pass health checks", (source) => {
    source.setHealthFailed(false);
    return text("OK\n");
  }),
  "/heap_dump": {
    ...read("write a heap snapshot (holds secrets: off unless LATEEN_ADMIN_HEAP_DUMP=on)", heapDump),
    isShown: ({ heapDump: isOn }) => isOn,
  },
  "/help": read("print out list of admin commands", (source) => text(help(source))),
  "/hot_restart_version": read("print the hot restart compatibility version", () => text("disabled")),
  "/init_dump": read("dump what is not ready yet", (source) => json(unready(source))),
  "/listeners": read("print listener info", listeners),
  "/logging": change("query or change the log level", logging),
  "/memory": read("print current allocation/heap usage", () => json(memory())),
  "/quitquitquit": change("exit the server", (source) => ({ ...text("OK\n"), after: () => source.quit() })),
  "/ready": read("print server state, return 200 if LIVE, otherwise 503", ({ state }) => ({
    ...text(`${state}\n`),
    status: state === "LIVE" ? 200 : 503,
  })),
  "/reopen_logs": change("reopen access logs", (source) => {
    source.reopenLogs();
    return text("OK\n");
  }),
  "/reset_counters": change("reset all counters to zero", ({ metrics }) => {
    metrics.resetCounters();
    return text("OK\n");
  }),
  "/runtime": read("print runtime values", (source) => json(runtime(source))),
  "/server_info": read("print server version/status information", (source) => json(buildServerInfo(source))),
  "/stats": read("print server stats", stats),
  "/stats/prometheus": read("print server stats in prometheus format", prometheus),
};

/** Answers a request. */
export function answer(source: AdminSource, request: AdminRequest): AdminAnswer {
  if (request.path === "/") return { status: 200, contentType: "text/html; charset=UTF-8", body: homePage(source) };
  const handler = Object.hasOwn(HANDLERS, request.path) ? HANDLERS[request.path] : undefined;
  if (!handler || handler.isShown?.(source) === false)
    return { ...text(`invalid path. admin commands are:\n${help(source)}`), status: 404 };
  if (request.method !== "GET" && request.method !== "HEAD" && request.method !== "POST")
    return { ...text("Method Not Allowed\n"), status: 405 };
  if (handler.isChange && request.method !== "POST")
    return { ...text(`Method ${request.method} not allowed, POST required.\n`), status: 405 };
  try {
    return handler.run(source, request.query);
  } catch (error) {
    return { ...text(`${messageOf(error)}\n`), status: 400 };
  }
}

function read(about: string, run: Handler["run"]): Handler {
  return { about, isChange: false, run };
}

function change(about: string, run: Handler["run"]): Handler {
  return { about, isChange: true, run };
}

function text(body: string): AdminAnswer {
  return { status: 200, contentType: "text/plain; charset=UTF-8", body };
}

function json(value: Json): AdminAnswer {
  return { status: 200, contentType: "application/json", body: `${JSON.stringify(value, undefined, 1)}\n` };
}

function shownHandlers(source: AdminSource): [string, Handler][] {
  return Object.entries(HANDLERS).filter(([, { isShown }]) => isShown?.(source) !== false);
}

function help(source: AdminSource): string {
  return shownHandlers(source)
    .map(([path, { about, isChange }]) => `  ${path}${isChange ? " (POST)" : ""}: ${about}\n`)
    .join("");
}

function homePage(source: AdminSource): string {
  const rows = shownHandlers(source).map(([path, { about, isChange }]) =>
    isChange
      ? `<tr><td><form action="${path.slice(1)}" method="post"><button>${path.slice(1)}</button></form></td><td>${escapeHtml(about)}</td></tr>`
      : `<tr><td><a href="${path.slice(1)}">${path.slice(1)}</a></td><td>${escapeHtml(about)}</td></tr>`,
  );
  const title = escapeHtml(`Lateen proxy ${source.node.id}`);
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title></head><body><h1>${title}</h1><table>${rows.join("")}</table></body></html>\n`;
}

/** Names come from config and peers: none of them is markup. */
function escapeHtml(value: string): string {
  return value.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function configDump(source: AdminSource, query: URLSearchParams): AdminAnswer {
  const resource = query.get("resource") ?? undefined;
  const dump = buildConfigDump(source, {
    resource,
    mask: query.get("mask") ?? undefined,
    nameRegex: query.get("name_regex") ?? undefined,
    includeEds: query.has("include_eds"),
  });
  return dump === undefined ? { ...text(`${resource} not found in config dump\n`), status: 404 } : json(dump);
}

function listeners({ listeners: all }: AdminSource, query: URLSearchParams): AdminAnswer {
  if (query.get("format") !== "json") {
    return text(
      all.active
        .flatMap(({ listener: { config } }) => config.addresses.map((address) => `${config.name}::${addressText(address)}\n`))
        .join(""),
    );
  }
  return json({
    listener_statuses: all.active.map(({ listener: { config } }): Json => {
      const [first, ...more] = config.addresses;
      return {
        name: config.name,
        ...(first ? { local_address: addressJson(first) } : {}),
        ...(more.length > 0 ? { additional_local_addresses: more.map(addressJson) } : {}),
      };
    }),
  });
}

function stats(source: AdminSource, query: URLSearchParams): AdminAnswer {
  const format = query.get("format");
  if (format === "prometheus") return prometheus(source, query);
  source.listeners.refreshStats();
  const lines = source.metrics.toEnvoyText(statsOptions(query));
  if (format !== "json") return text(lines);
  const entries = lines.split("\n").flatMap((line): Json[] => {
    const colon = line.lastIndexOf(": ");
    if (colon < 0) return [];
    const value = line.slice(colon + 2);
    return [{ name: line.slice(0, colon), value: /^-?\d+$/.test(value) ? Number(value) : value }];
  });
  return json({ stats: entries });
}

function prometheus(source: AdminSource, query: URLSearchParams): AdminAnswer {
  source.listeners.refreshStats();
  return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body: source.metrics.toPrometheus(statsOptions(query)) };
}

function statsOptions(query: URLSearchParams): { usedOnly: boolean; filter?: RegExp } {
  const filter = query.get("filter");
  const usedOnly = query.has("usedonly");
  return filter ? { usedOnly, filter: new LinearRegExp(filter) } : { usedOnly };
}

/** A user's pattern, found anywhere in the text, in time that is linear in it. */
class LinearRegExp extends RegExp {
  readonly #pattern: RE2JS;

  constructor(pattern: string) {
    super("");
    if (pattern.length > FILTER_CHARS_MAX) throw new Error(`a filter has at most ${FILTER_CHARS_MAX} characters`);
    try {
      this.#pattern = RE2JS.compile(pattern);
    } catch (error) {
      throw new Error(`invalid regex: ${messageOf(error)}`);
    }
  }

  override test(value: string): boolean {
    return this.#pattern.matcher(value).find();
  }
}

function logging({ log }: AdminSource, query: URLSearchParams): AdminAnswer {
  const [[name, value] = [undefined, undefined], ...more] = [...query];
  if (name !== undefined && (name !== "level" || more.length > 0)) {
    return { ...text("there is one level for all: POST /logging?level=LEVEL\n"), status: 400 };
  }
  if (value !== undefined) log.level = readLogLevel(value);
  return text(`active loggers:\n  all: ${log.level}\n`);
}

function memory(): Json {
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  return {
    allocated: String(heapUsed + external),
    heap_size: String(heapTotal),
    pageheap_unmapped: "0",
    pageheap_free: String(heapTotal - heapUsed),
    total_thread_cache: "0",
    total_physical_bytes: String(rss),
  };
}

function runtime({ bootstrap }: AdminSource): Json {
  const layers = bootstrap.layeredRuntime?.layers ?? [];
  const entries: Record<string, Json> = {};
  layers.forEach((layer, i) => {
    if (layer.layerSpecifier.case !== "staticLayer") return;
    for (const [key, value] of Object.entries(layer.layerSpecifier.value)) {
      const shown = typeof value === "object" ? JSON.stringify(value) : String(value);
      entries[key] = { final_value: shown, layer_values: layers.map((_, j) => (i === j ? shown : "")) };
    }
  });
  return { layers: layers.map(({ name }) => name), entries };
}

function unready({ clusters, listeners: all }: AdminSource): Json {
  const dump = (name: string, names: readonly string[]): Json[] => (names.length === 0 ? [] : [{ name, target_names: names }]);
  return {
    unready_targets_dumps: [
      ...dump(
        "clusters",
        clusters.warming.map(({ cluster }) => cluster.name),
      ),
      ...dump(
        "listeners",
        all.warming.map(({ listener }) => listener.config.name),
      ),
    ],
  };
}

function certificates({ secrets, clock }: AdminSource): Json[] {
  return secrets.known.map((secret): Json => {
    const pem = secret.kind === "trust" ? secret.trustPem : secret.keyPair.chainPem;
    const details = (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((one) =>
      certificateJson(one, secret.name, clock.nowMs()),
    );
    return secret.kind === "trust" ? { ca_cert: details, cert_chain: [] } : { ca_cert: [], cert_chain: details };
  });
}

function certificateJson(pem: string, name: string, nowMs: number): Json {
  const certificate = new X509Certificate(pem);
  const names = (certificate.subjectAltName ?? "").split(", ").flatMap((entry): Json[] => {
    const [kind, ...rest] = entry.split(":");
    const value = rest.join(":");
    return kind === "URI" ? [{ uri: value }] : kind === "DNS" ? [{ dns: value }] : kind === "IP Address" ? [{ ip_address: value }] : [];
  });
  const untilMs = certificate.validToDate.getTime();
  return {
    path: name,
    serial_number: certificate.serialNumber.toLowerCase(),
    subject_alt_names: names,
    days_until_expiration: String(Math.max(0, Math.floor((untilMs - nowMs) / 86_400_000))),
    valid_from: certificate.validFromDate.toISOString(),
    expiration_time: certificate.validToDate.toISOString(),
  };
}

function heapDump(): AdminAnswer {
  return { status: 200, contentType: "application/octet-stream", body: v8.getHeapSnapshot() };
}
