/**
 * Discovery responses as bytes, both ends. The server's side copies resources that were encoded before and adds only what stands
 * around them. Source: Envoy api v3, envoy.service.discovery.v3.{DiscoveryResponse,DeltaDiscoveryResponse,Resource}.
 */
import { fromBinary } from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { digestOf } from "../base/digest.ts";
import { DeltaDiscoveryResponseSchema, DiscoveryResponseSchema, ResourceSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.ts";
import type { XdsResource } from "./types.ts";

/** One response of one type. */
export interface XdsResponse {
  readonly typeUrl: string;
  /** Delta: system_version_info, a label. State of the world: version_info, which the client echoes. */
  readonly version: string;
  readonly nonce: string;
  readonly resources: readonly XdsResource[];
  /** Delta alone. */
  readonly removed: readonly string[];
  /** Who sends, for the client's logs: ControlPlane.identifier. */
  readonly controlPlane: string;
}

const DELTA = { version: 1, resources: 2, typeUrl: 4, nonce: 5, removed: 6, controlPlane: 7 } as const;
const SOTW = { version: 1, resources: 2, typeUrl: 4, nonce: 5, controlPlane: 6 } as const;
const RESOURCE_TYPE_URL = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/** What stands before a resource's bytes in a delta response, by resource: the same for every client. */
const deltaPrefixes = new WeakMap<XdsResource, Uint8Array>();

/** Writes a delta response. */
export function encodeDeltaResponse(response: XdsResponse): Uint8Array {
  const writer = new BinaryWriter();
  writeText(writer, DELTA.version, response.version);
  for (const resource of response.resources) {
    let prefix = deltaPrefixes.get(resource);
    if (!prefix) {
      prefix = deltaPrefix(resource, response.typeUrl);
      deltaPrefixes.set(resource, prefix);
    }
    writer.raw(prefix).raw(resource.bytes);
  }
  writeText(writer, DELTA.typeUrl, response.typeUrl);
  writeText(writer, DELTA.nonce, response.nonce);
  for (const name of response.removed) writer.tag(DELTA.removed, WireType.LengthDelimited).string(name);
  writeControlPlane(writer, DELTA.controlPlane, response.controlPlane);
  return writer.finish();
}

/** Writes a state-of-the-world response. */
export function encodeSotwResponse(response: XdsResponse): Uint8Array {
  const writer = new BinaryWriter();
  writeText(writer, SOTW.version, response.version);
  for (const resource of response.resources) {
    const type = anyType(response.typeUrl);
    const head = anyValueHead(resource.bytes.length);
    writer.tag(SOTW.resources, WireType.LengthDelimited).uint32(type.length + head.length + resource.bytes.length);
    writer.raw(type).raw(head).raw(resource.bytes);
  }
  writeText(writer, SOTW.typeUrl, response.typeUrl);
  writeText(writer, SOTW.nonce, response.nonce);
  writeControlPlane(writer, SOTW.controlPlane, response.controlPlane);
  return writer.finish();
}

/** Reads a delta response. Throws when the bytes are none, or a resource is of another type than the response. */
export function decodeDeltaResponse(bytes: Uint8Array): XdsResponse {
  const response = fromBinary(DeltaDiscoveryResponseSchema, bytes);
  const resources: XdsResource[] = [];
  for (const { name, version, resource } of response.resources) {
    if (!resource) continue; // A heartbeat: it prolongs a time to live, which is not asked for here.
    checkType(resource.typeUrl, response.typeUrl, name);
    resources.push({ name: name || nameOf(resource.value), version, bytes: resource.value });
  }
  return {
    typeUrl: response.typeUrl,
    version: response.systemVersionInfo,
    nonce: response.nonce,
    resources,
    removed: response.removedResources,
    controlPlane: response.controlPlane?.identifier ?? "",
  };
}

/** Reads a state-of-the-world response. Versions of its resources are digests of their bytes. Throws as decodeDeltaResponse. */
export function decodeSotwResponse(bytes: Uint8Array): XdsResponse {
  const response = fromBinary(DiscoveryResponseSchema, bytes);
  const resources: XdsResource[] = [];
  for (const any of response.resources) {
    const wrapped = any.typeUrl === RESOURCE_TYPE_URL ? fromBinary(ResourceSchema, any.value) : undefined;
    const inner = wrapped ? wrapped.resource : any;
    if (!inner) continue; // A heartbeat, as above.
    const name = wrapped?.name || nameOf(inner.value);
    checkType(inner.typeUrl, response.typeUrl, name);
    resources.push({ name, version: digestOf(inner.value), bytes: inner.value });
  }
  return {
    typeUrl: response.typeUrl,
    version: response.versionInfo,
    nonce: response.nonce,
    resources,
    removed: [],
    controlPlane: response.controlPlane?.identifier ?? "",
  };
}

/** The name of an encoded resource: field 1 of every type that xDS carries. Empty when there is none. */
export function nameOf(bytes: Uint8Array): string {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1 && wireType === WireType.LengthDelimited) return reader.string();
    reader.skip(wireType, field);
  }
  return "";
}

function checkType(typeUrl: string, wanted: string, name: string): void {
  if (typeUrl !== wanted) throw new Error(`resource "${name}" is a ${typeUrl} in a response of ${wanted}`);
}

function deltaPrefix(resource: XdsResource, typeUrl: string): Uint8Array {
  const head = new BinaryWriter();
  // Resource: version 1, resource 2, name 3. The bytes come last, so that all before them is one piece.
  writeText(head, 1, resource.version);
  writeText(head, 3, resource.name);
  const type = anyType(typeUrl);
  const valueHead = anyValueHead(resource.bytes.length);
  head.tag(2, WireType.LengthDelimited).uint32(type.length + valueHead.length + resource.bytes.length);
  const before = head.raw(type).raw(valueHead).finish();
  return new BinaryWriter()
    .tag(DELTA.resources, WireType.LengthDelimited)
    .uint32(before.length + resource.bytes.length)
    .raw(before)
    .finish();
}

function anyType(typeUrl: string): Uint8Array {
  return new BinaryWriter().tag(1, WireType.LengthDelimited).string(typeUrl).finish();
}

function anyValueHead(valueBytes: number): Uint8Array {
  return new BinaryWriter().tag(2, WireType.LengthDelimited).uint32(valueBytes).finish();
}

function writeText(writer: BinaryWriter, field: number, text: string): void {
  if (text !== "") writer.tag(field, WireType.LengthDelimited).string(text);
}

function writeControlPlane(writer: BinaryWriter, field: number, identifier: string): void {
  if (identifier === "") return;
  writer.tag(field, WireType.LengthDelimited).fork();
  writeText(writer, 1, identifier);
  writer.join();
}
