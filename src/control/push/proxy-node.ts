/** The proxy behind an xDS node: Istio's node id and metadata, read once when it connects. Source: Istio pkg/model NodeMetadata. */
import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { messageOf } from "../../base/errors.ts";
import type { Identity } from "../../model/identity.ts";
import { type ProxyNode, parseNodeId, readExplicitAddresses } from "../../model/proxy-node.ts";
import { GrpcError, GrpcStatus } from "../../net/grpc/types.ts";
import type { XdsNode } from "../../xds/server-types.ts";

const LABELS_MAX = 256;
const TEXT_MAX = 1024;

/**
 * The proxy, checked against the identity that its caller has proved (undefined on the port without authentication). Throws a GrpcError: INVALID_ARGUMENT
 * for a node that is not of Istio's form, PERMISSION_DENIED for one that is not the caller's own.
 */
export function readProxyNode(node: XdsNode, proved: Identity | undefined): ProxyNode {
  const { kind, ip, name, namespace } = parseId(node.id);
  const { metadata } = node;
  const declaredNamespace = text(metadata, "NAMESPACE");
  if (declaredNamespace !== "" && declaredNamespace !== namespace) {
    throw invalid(`node id "${node.id}" is of namespace ${namespace}, its metadata of ${declaredNamespace}`);
  }
  const declaredAccount = text(metadata, "SERVICE_ACCOUNT");
  if (proved) checkOwn({ namespace, serviceAccount: declaredAccount }, proved);
  return {
    id: node.id,
    kind,
    ip,
    name,
    namespace,
    labels: labelsOf(metadata["LABELS"]),
    serviceAccount: declaredAccount || proved?.serviceAccount || "",
    workloadName: text(metadata, "WORKLOAD_NAME") || name,
    clusterId: text(metadata, "CLUSTER_ID"),
    network: text(metadata, "NETWORK"),
    locality: { region: node.locality.region, zone: node.locality.zone, subzone: node.locality.subZone },
    interception: interceptionOf(text(metadata, "INTERCEPTION_MODE")),
    isLateen: node.userAgentName === "lateen",
    explicit: readExplicitAddresses(metadata),
  };
}

function parseId(id: string): ReturnType<typeof parseNodeId> {
  try {
    if (id.length > TEXT_MAX) throw new Error(`node id is longer than ${TEXT_MAX} characters`);
    return parseNodeId(id);
  } catch (error) {
    throw invalid(messageOf(error));
  }
}

/** A proxy that does not say its service account has the one that it proved. */
function checkOwn(said: { readonly namespace: string; readonly serviceAccount: string }, proved: Identity): void {
  const isOwn = said.namespace === proved.namespace && (said.serviceAccount === "" || said.serviceAccount === proved.serviceAccount);
  if (isOwn) return;
  const claimed = `${said.namespace}/${said.serviceAccount || "?"}`;
  throw new GrpcError(
    GrpcStatus.PERMISSION_DENIED,
    `the caller proved to be ${proved.namespace}/${proved.serviceAccount} and asks for the config of ${claimed}`,
  );
}

function invalid(why: string): GrpcError {
  return new GrpcError(GrpcStatus.INVALID_ARGUMENT, why);
}

function text(metadata: JsonObject, name: string): string {
  const value = metadata[name];
  return typeof value === "string" && value.length <= TEXT_MAX ? value : "";
}

function labelsOf(value: JsonValue | undefined): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  const labels = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string");
  return Object.fromEntries(labels.slice(0, LABELS_MAX));
}

function interceptionOf(mode: string): ProxyNode["interception"] {
  return mode === "TPROXY" || mode === "NONE" ? mode : "REDIRECT";
}
