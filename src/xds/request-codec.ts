/**
 * Discovery requests as bytes, both ends: what a client asks for and how it answered. Delta and state of the world become one shape here.
 * Source: Envoy api v3, envoy.service.discovery.v3.{DiscoveryRequest,DeltaDiscoveryRequest}.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Node } from "../gen/envoy/config/core/v3/base_pb.ts";
import { DeltaDiscoveryRequestSchema, DiscoveryRequestSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { XdsNode } from "./server-types.ts";

/** A request of either protocol, read. */
export interface XdsRequest {
  /** The first message of a stream carries it; later ones may leave it out. */
  readonly node: XdsNode | undefined;
  readonly typeUrl: string;
  readonly nonce: string;
  /** The client's words when it refuses the response that `nonce` names; undefined when it does not. */
  readonly error: string | undefined;
  readonly names: XdsRequestNames;
}

/** Which names a request is about: all of them (state of the world), or what changes (delta). */
export type XdsRequestNames =
  | { readonly kind: "all"; readonly names: readonly string[]; readonly version: string }
  | {
      readonly kind: "change";
      readonly subscribe: readonly string[];
      readonly unsubscribe: readonly string[];
      readonly initialVersions: Readonly<Record<string, string>>;
    };

/** Reads a delta request. Throws when the bytes are none. */
export function decodeDeltaRequest(bytes: Uint8Array): XdsRequest {
  const request = fromBinary(DeltaDiscoveryRequestSchema, bytes);
  return {
    node: request.node && readNode(request.node),
    typeUrl: request.typeUrl,
    nonce: request.responseNonce,
    error: request.errorDetail && errorText(request.errorDetail),
    names: {
      kind: "change",
      subscribe: request.resourceNamesSubscribe,
      unsubscribe: request.resourceNamesUnsubscribe,
      initialVersions: request.initialResourceVersions,
    },
  };
}

/** Reads a state-of-the-world request. Throws when the bytes are none. */
export function decodeSotwRequest(bytes: Uint8Array): XdsRequest {
  const request = fromBinary(DiscoveryRequestSchema, bytes);
  return {
    node: request.node && readNode(request.node),
    typeUrl: request.typeUrl,
    nonce: request.responseNonce,
    error: request.errorDetail && errorText(request.errorDetail),
    names: { kind: "all", names: request.resourceNames, version: request.versionInfo },
  };
}

/** What a client writes into a request of either protocol. */
export interface ClientRequest {
  /** The encoded Node, or undefined to leave it out. */
  readonly node: Uint8Array | undefined;
  readonly typeUrl: string;
  readonly nonce: string;
  readonly error: string | undefined;
}

const DELTA = { node: 1, typeUrl: 2, subscribe: 3, unsubscribe: 4, initialVersions: 5, nonce: 6, error: 7 } as const;
const SOTW = { version: 1, node: 2, names: 3, typeUrl: 4, nonce: 5, error: 6 } as const;
const INVALID_ARGUMENT = 3;

/** Writes a delta request. */
export function encodeDeltaRequest(
  request: ClientRequest & {
    readonly subscribe: Iterable<string>;
    readonly unsubscribe: Iterable<string>;
    readonly initialVersions: Iterable<readonly [string, string]>;
  },
): Uint8Array {
  const writer = new BinaryWriter();
  writeNode(writer, DELTA.node, request.node);
  writeText(writer, DELTA.typeUrl, request.typeUrl);
  for (const name of request.subscribe) writeText(writer, DELTA.subscribe, name);
  for (const name of request.unsubscribe) writeText(writer, DELTA.unsubscribe, name);
  for (const [name, version] of request.initialVersions) {
    writer.tag(DELTA.initialVersions, WireType.LengthDelimited).fork();
    writeText(writer, 1, name);
    writeText(writer, 2, version);
    writer.join();
  }
  writeText(writer, DELTA.nonce, request.nonce);
  writeError(writer, DELTA.error, request.error);
  return writer.finish();
}

/** Writes a state-of-the-world request. */
export function encodeSotwRequest(request: ClientRequest & { readonly version: string; readonly names: Iterable<string> }): Uint8Array {
  const writer = new BinaryWriter();
  writeText(writer, SOTW.version, request.version);
  writeNode(writer, SOTW.node, request.node);
  for (const name of request.names) writeText(writer, SOTW.names, name);
  writeText(writer, SOTW.typeUrl, request.typeUrl);
  writeText(writer, SOTW.nonce, request.nonce);
  writeError(writer, SOTW.error, request.error);
  return writer.finish();
}

function writeText(writer: BinaryWriter, field: number, text: string): void {
  if (text !== "") writer.tag(field, WireType.LengthDelimited).string(text);
}

function writeNode(writer: BinaryWriter, field: number, node: Uint8Array | undefined): void {
  if (node) writer.tag(field, WireType.LengthDelimited).bytes(node);
}

/** google.rpc.Status: code 1, message 2. */
function writeError(writer: BinaryWriter, field: number, error: string | undefined): void {
  if (error === undefined) return;
  writer.tag(field, WireType.LengthDelimited).fork();
  writer.tag(1, WireType.Varint).int32(INVALID_ARGUMENT);
  writeText(writer, 2, error);
  writer.join();
}

function errorText(status: { readonly code: number; readonly message: string }): string {
  return status.message || `refused without a word (code ${status.code})`;
}

function readNode(node: Node): XdsNode {
  const { userAgentVersionType: agent } = node;
  const build = agent.case === "userAgentBuildVersion" ? agent.value.version : undefined;
  return {
    id: node.id,
    cluster: node.cluster,
    metadata: node.metadata ?? {},
    userAgentName: node.userAgentName,
    userAgentVersion:
      agent.case === "userAgentVersion" ? agent.value : build ? `${build.majorNumber}.${build.minorNumber}.${build.patch}` : "",
    locality: { region: node.locality?.region ?? "", zone: node.locality?.zone ?? "", subZone: node.locality?.subZone ?? "" },
  };
}
