/**
 * Who a workload is, as sidecars tell one another: the headers x-envoy-peer-metadata-id and x-envoy-peer-metadata (a protobuf Struct, base64).
 * Believed only from a peer whose certificate was verified. Source: Istio, peer metadata exchange over HTTP headers.
 */
import { fromBinary, fromJson, type JsonObject, toBinary, toJson } from "@bufbuild/protobuf";
import { StructSchema } from "@bufbuild/protobuf/wkt";
import type { PeerInfo } from "./record.ts";

/** What is not known, in metrics. */
export const UNKNOWN = "unknown";

/** A peer that told nothing. */
export const UNKNOWN_PEER: PeerInfo = {
  workload: UNKNOWN,
  namespace: UNKNOWN,
  app: UNKNOWN,
  version: UNKNOWN,
  cluster: UNKNOWN,
  canonicalService: UNKNOWN,
  canonicalRevision: UNKNOWN,
};

/** Longest header that is looked at. */
export const PEER_METADATA_CHARS_MAX = 8192;

/** Longest value that is taken as a label. */
const VALUE_CHARS_MAX = 256;

/** The header's value for this workload. */
export function encodePeerMetadata(peer: PeerInfo): string {
  const labels: Record<string, string> = {};
  const put = (name: string, value: string): void => {
    if (value !== UNKNOWN && value !== "") labels[name] = value;
  };
  put("app", peer.app);
  put("version", peer.version);
  put("service.istio.io/canonical-name", peer.canonicalService);
  put("service.istio.io/canonical-revision", peer.canonicalRevision);
  const json: JsonObject = { WORKLOAD_NAME: peer.workload, NAMESPACE: peer.namespace, CLUSTER_ID: peer.cluster, LABELS: labels };
  return Buffer.from(toBinary(StructSchema, fromJson(StructSchema, json))).toString("base64");
}

/** Reads a header's value; undefined when it is none. Members that are absent are "unknown". */
export function decodePeerMetadata(header: string): PeerInfo | undefined {
  if (header.length > PEER_METADATA_CHARS_MAX || !/^[A-Za-z0-9+/_-]+={0,2}$/.test(header)) return undefined;
  try {
    return peerOf(toJson(StructSchema, fromBinary(StructSchema, Buffer.from(header, "base64"))));
  } catch {
    return undefined; // Bytes that are no Struct tell nothing; the peer stays unknown.
  }
}

/** A peer of its node metadata (WORKLOAD_NAME, NAMESPACE, CLUSTER_ID, LABELS), as JSON. */
export function peerOf(metadata: unknown): PeerInfo {
  const top = memberReader(metadata);
  const labels = memberReader(typeof metadata === "object" && metadata !== null && "LABELS" in metadata ? metadata.LABELS : undefined);
  const workload = top("WORKLOAD_NAME");
  const app = labels("app") ?? labels("app.kubernetes.io/name");
  const version = labels("version") ?? labels("app.kubernetes.io/version");
  return {
    workload: workload ?? UNKNOWN,
    namespace: top("NAMESPACE") ?? UNKNOWN,
    app: app ?? UNKNOWN,
    version: version ?? UNKNOWN,
    cluster: top("CLUSTER_ID") ?? UNKNOWN,
    canonicalService: labels("service.istio.io/canonical-name") ?? app ?? workload ?? UNKNOWN,
    canonicalRevision: labels("service.istio.io/canonical-revision") ?? version ?? "latest",
  };
}

/** The namespace of a SPIFFE id of the mesh ("spiffe://td/ns/NS/sa/SA"). */
export function namespaceOfPrincipal(principal: string): string | undefined {
  return /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/[^/]+$/.exec(principal)?.[1];
}

function memberReader(holder: unknown): (name: string) => string | undefined {
  const members = new Map<string, unknown>(typeof holder === "object" && holder !== null ? Object.entries(holder) : []);
  return (name) => {
    const value = members.get(name);
    return typeof value === "string" && value !== "" ? value.slice(0, VALUE_CHARS_MAX) : undefined;
  };
}
