/** From text to objects of config: documents, metadata, kinds. What is wrong comes back with file, line and column. */
import { digestOf } from "../../base/digest.ts";
import { Lru } from "../../base/lru.ts";
import { Findings, formatPath, nearestName, type Path, type Problem } from "./finding.ts";
import { destinationRuleKind } from "./kinds/destination-rule/normalise.ts";
import { gatewayKind } from "./kinds/gateway/normalise.ts";
import type { KindReader } from "./kinds/kind.ts";
import { peerAuthenticationKind } from "./kinds/peer-authentication/normalise.ts";
import { serviceEntryKind } from "./kinds/service-entry/normalise.ts";
import { virtualServiceKind } from "./kinds/virtual-service/normalise.ts";
import { workloadEntryKind } from "./kinds/workload-entry/normalise.ts";
import { checkLabels, isDnsLabel, isObjectName } from "./rules/names.ts";
import { checkShape, fields, type JsonSchema, listOf, mapOf, NOT_YET, textSchema, withoutNulls } from "./schema.ts";
import type { AnyConfig, Meta, SourcePosition } from "./types.ts";
import {
  DOCUMENTS_MAX,
  FILE_BYTES_MAX,
  parseYaml,
  splitDocuments,
  type TextChunk,
  type TextPosition,
  type YamlDocument,
} from "./yaml-text.ts";

/** All kinds that are taken, by name. */
export const KINDS: ReadonlyMap<string, KindReader> = new Map(
  [serviceEntryKind, workloadEntryKind, virtualServiceKind, destinationRuleKind, gatewayKind, peerAuthenticationKind].map((reader) => [
    reader.kind,
    reader,
  ]),
);

/** An object and where its fields stand. */
export interface ReadObject {
  /** "kind/namespace/name". */
  readonly key: string;
  readonly object: AnyConfig;
  /** The place of a field (`["spec", "http", 0]`) in the file as it is now. */
  locate(path: Path): SourcePosition;
}

/** One version of a file, whole. */
export interface FileVersion {
  readonly file: string;
  /** The content's hash. */
  readonly digest: string;
  /** Empty when there are errors that hide them. */
  readonly objects: readonly ReadObject[];
  readonly errors: readonly Problem[];
  readonly warnings: readonly Problem[];
}

/** Reads files into objects. Documents that were read before are not read again. */
export interface ConfigReader {
  read(file: string, content: Uint8Array | string): FileVersion;
}

/** How documents are read. */
export interface ConfigReaderOptions {
  /** The DNS suffix of services: "cluster.local". */
  readonly domain: string;
  /** For objects that name no namespace. */
  readonly defaultNamespace?: string;
}

/** How many documents are remembered. */
export const REMEMBERED_DOCUMENTS_MAX = 100_000;

/** What came of one chunk of text, with lines that count from the chunk's start. */
interface ChunkResult {
  readonly objects: readonly {
    readonly object: Omit<Meta, "position">;
    readonly spec: object;
    readonly path: Path;
    readonly document: number;
    readonly at: TextPosition;
  }[];
  readonly problems: readonly (Omit<Problem, "position"> & { readonly at: TextPosition })[];
}

/** Makes a reader. */
export function createConfigReader({ domain, defaultNamespace = "default" }: ConfigReaderOptions): ConfigReader {
  const remembered = new Lru<string, ChunkResult>(REMEMBERED_DOCUMENTS_MAX);
  const readChunk = (chunk: TextChunk): ChunkResult => {
    const key = digestOf(chunk.text);
    const before = remembered.get(key);
    if (before) return before;
    const result = readText(chunk.text, { domain, defaultNamespace });
    remembered.set(key, result);
    return result;
  };
  return {
    read(file, content) {
      const digest = digestOf(content);
      const refuse = (message: string, hint?: string): FileVersion => ({
        file,
        digest,
        objects: [],
        errors: [fileProblem(file, message, hint)],
        warnings: [],
      });
      const bytes = typeof content === "string" ? Buffer.byteLength(content) : content.byteLength;
      if (bytes > FILE_BYTES_MAX) return refuse(`the file has ${bytes} bytes, more than ${FILE_BYTES_MAX}`, "split it into several files");
      const text = typeof content === "string" ? content : decodeUtf8(content);
      if (text === undefined) return refuse("the file is not UTF-8 text");
      const chunks = splitDocuments(text);
      if (chunks.length > DOCUMENTS_MAX) return refuse(`the file has more than ${DOCUMENTS_MAX} documents`, "split it into several files");
      return joinChunks(file, digest, chunks, chunks.map(readChunk));
    },
  };
}

/** A problem of a file as a whole. */
export function fileProblem(file: string, message: string, hint?: string): Problem {
  return {
    severity: "error",
    path: "",
    message,
    ...(hint === undefined ? {} : { hint }),
    object: "",
    position: { file, line: 1, column: 1 },
  };
}

function decodeUtf8(content: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(content);
  } catch {
    return undefined; // The caller says so with the file's name.
  }
}

function joinChunks(file: string, digest: string, chunks: readonly TextChunk[], results: readonly ChunkResult[]): FileVersion {
  const objects: ReadObject[] = [];
  const problems: Problem[] = [];
  const byPlace = ({ position: a }: Problem, { position: b }: Problem): number => a.line - b.line || a.column - b.column;
  for (const [i, { objects: found, problems: wrong }] of results.entries()) {
    const chunk = chunks[i] as TextChunk;
    const place = (at: TextPosition): SourcePosition => ({ file, line: chunk.linesBefore + at.line, column: at.column });
    for (const { at, ...rest } of wrong) problems.push({ ...rest, position: place(at) });
    for (const { object, spec, path, document, at } of found) {
      // Fields are asked for rarely (in messages), so that the tree of nodes is not kept but made again.
      const locate = (inside: Path): SourcePosition => {
        const node = parseYaml(chunk.text)[document];
        return place(node?.kind === "value" ? node.locate([...path, ...inside]) : { line: 1, column: 1 });
      };
      const meta: Meta = { ...object, position: place(at) };
      // Kind and spec come from the same reader.
      objects.push({ key: `${meta.kind}/${meta.namespace}/${meta.name}`, object: { meta, spec } as AnyConfig, locate });
    }
  }
  problems.sort(byPlace);
  return {
    file,
    digest,
    objects,
    errors: problems.filter((p) => p.severity === "error"),
    warnings: problems.filter((p) => p.severity === "warning"),
  };
}

interface ReadOptions {
  readonly domain: string;
  readonly defaultNamespace: string;
}

function readText(text: string, options: ReadOptions): ChunkResult {
  const objects: ChunkResult["objects"][number][] = [];
  const problems: ChunkResult["problems"][number][] = [];
  for (const [index, document] of parseYaml(text).entries()) {
    if (document.kind === "fault") {
      const { message, hint, at } = document;
      problems.push({ severity: "error", path: "", message, ...(hint === undefined ? {} : { hint }), object: "", at });
      continue;
    }
    for (const { value, path } of itemsOf(document)) {
      const findings = new Findings();
      const read = readObject(value, path, options, findings);
      const object = nameOf(value);
      for (const finding of findings.list) {
        const { severity, message, hint } = finding;
        const shown = formatPath(finding.path);
        problems.push({
          severity,
          path: shown,
          message,
          ...(hint === undefined ? {} : { hint }),
          object,
          at: document.locate(finding.path),
        });
      }
      if (read) objects.push({ ...read, path, document: index, at: document.locate(path) });
    }
  }
  return { objects, problems };
}

/** The document, or the items of a `kind: List`. Nothing for an empty document. */
function itemsOf(document: Extract<YamlDocument, { kind: "value" }>): readonly { value: unknown; path: Path }[] {
  const { value } = document;
  if (value === undefined || value === null) return [];
  if (isRecord(value) && value["kind"] === "List" && Array.isArray(value["items"]))
    return value["items"].map((item: unknown, i) => ({ value: item, path: ["items", i] }));
  return [{ value, path: [] }];
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function nameOf(value: unknown): string {
  if (!isRecord(value)) return "";
  const { kind, metadata } = value;
  const { name, namespace } = isRecord(metadata) ? metadata : {};
  if (typeof kind !== "string" || typeof name !== "string") return typeof kind === "string" ? kind : "";
  return `${kind} ${typeof namespace === "string" ? `${namespace}/` : ""}${name}`;
}

/** Kubernetes kinds that users try, each with what to write instead. */
const KUBERNETES_KINDS: Readonly<Record<string, string>> = {
  Service: "files take a ServiceEntry",
  Endpoints: "files take a WorkloadEntry for each address, and a ServiceEntry",
  EndpointSlice: "files take a WorkloadEntry for each address, and a ServiceEntry",
  Pod: "files take a WorkloadEntry",
  Deployment: "files take a WorkloadEntry for each instance",
  StatefulSet: "files take a WorkloadEntry for each instance",
  Namespace: "a namespace needs no declaration: name it in metadata.namespace",
  ServiceAccount: "an account needs no declaration: name it in a WorkloadEntry's serviceAccount",
  ConfigMap: "the mesh config is a file of its own (--mesh-config)",
  Secret: "files take no secrets",
  Ingress: "files take a Gateway and a VirtualService",
};

/** Istio's kinds that are not done yet. */
const NOT_YET_KINDS: ReadonlySet<string> = new Set([
  "AuthorizationPolicy",
  "EnvoyFilter",
  "ProxyConfig",
  "RequestAuthentication",
  "Sidecar",
  "Telemetry",
  "TrafficExtension",
  "WasmPlugin",
  "WorkloadGroup",
]);

const metadataSchema: JsonSchema = fields(
  {
    name: textSchema,
    namespace: textSchema,
    labels: mapOf(textSchema),
    annotations: mapOf(textSchema),
    creationTimestamp: textSchema,
    // Kubernetes's own bookkeeping, as `kubectl get -o yaml` prints it.
    uid: textSchema,
    resourceVersion: textSchema,
    generation: {},
    generateName: textSchema,
    selfLink: textSchema,
    managedFields: listOf({}),
    ownerReferences: listOf({}),
    finalizers: listOf(textSchema),
  },
  { required: ["name"] },
);

interface RawMetadata {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly creationTimestamp?: string;
}

const DOCUMENT_FIELDS: ReadonlySet<string> = new Set(["apiVersion", "kind", "metadata", "spec", "status"]);

function readObject(
  value: unknown,
  path: Path,
  options: ReadOptions,
  findings: Findings,
): { object: Omit<Meta, "position">; spec: object } | undefined {
  if (!isRecord(value)) {
    findings.error(path, "a document must be a map with apiVersion, kind, metadata and spec");
    return undefined;
  }
  const kind = readerOf(value, path, findings);
  if (!kind) return undefined;
  for (const name of Object.keys(value)) {
    if (DOCUMENT_FIELDS.has(name)) continue;
    const near = nearestName(name, DOCUMENT_FIELDS);
    const inSpec = Object.hasOwn(kind.schema.properties ?? {}, name);
    findings.error(
      [...path, name],
      "unknown field",
      inSpec ? "it belongs under spec" : near ? `did you mean ${near}?` : "known here: apiVersion, kind, metadata, spec",
    );
  }
  const meta = readMetadata(value["metadata"], [...path, "metadata"], options, findings);
  const { name = "", namespace = options.defaultNamespace, labels = {} } = meta ?? {};
  const spec = kind.read(value["spec"], { name, namespace, labels, domain: options.domain, path: [...path, "spec"] }, findings);
  return meta && spec && !findings.hasErrors ? { object: { kind: kind.kind, ...meta }, spec } : undefined;
}

function readerOf(value: Readonly<Record<string, unknown>>, path: Path, findings: Findings): KindReader | undefined {
  const { apiVersion, kind } = value;
  const known = `taken are ${[...KINDS.keys()].join(", ")}`;
  if (typeof kind !== "string" || typeof apiVersion !== "string") {
    findings.error([...path, typeof kind === "string" ? "apiVersion" : "kind"], "is required", known);
    return undefined;
  }
  const reader = KINDS.get(kind);
  if (!reader) {
    const instead = Object.hasOwn(KUBERNETES_KINDS, kind) ? KUBERNETES_KINDS[kind] : undefined;
    if (instead) findings.error([...path, "kind"], `${kind} is a kind of Kubernetes, not of Istio`, instead);
    else if (NOT_YET_KINDS.has(kind)) findings.error([...path, "kind"], `${kind} is ${NOT_YET}`, known);
    else {
      const near = nearestName(kind, KINDS.keys());
      findings.error([...path, "kind"], `unknown kind "${kind}"`, near ? `did you mean ${near}?` : known);
    }
    return undefined;
  }
  if (!reader.apiVersions.includes(apiVersion)) {
    findings.error([...path, "apiVersion"], `"${apiVersion}" has no ${kind}`, `one of ${reader.apiVersions.join(", ")}`);
    return undefined;
  }
  return reader;
}

function readMetadata(value: unknown, path: Path, options: ReadOptions, findings: Findings): Omit<Meta, "position" | "kind"> | undefined {
  if (value === undefined || value === null) {
    findings.error(path, "is required", "write metadata.name and metadata.namespace");
    return undefined;
  }
  const plain = withoutNulls(metadataSchema, value);
  if (!checkShape(metadataSchema, plain, path, findings)) return undefined;
  // The schema has just been checked.
  const raw = plain as RawMetadata;
  const namespace = raw.namespace || options.defaultNamespace;
  if (!isObjectName(raw.name)) findings.error([...path, "name"], `"${raw.name}" is no name`, "lower-case letters, digits, dashes and dots");
  if (!isDnsLabel(namespace) || namespace !== namespace.toLowerCase())
    findings.error([...path, "namespace"], `"${namespace}" is no namespace`, "lower-case letters, digits and dashes");
  checkLabels(raw.labels, [...path, "labels"], findings);
  const createdAt = raw.creationTimestamp === undefined ? 0 : Date.parse(raw.creationTimestamp);
  if (Number.isNaN(createdAt))
    findings.error([...path, "creationTimestamp"], `"${raw.creationTimestamp}" is no time`, 'write for example "2026-01-31T12:00:00Z"');
  return { name: raw.name, namespace, labels: raw.labels ?? {}, annotations: raw.annotations ?? {}, createdAt };
}
