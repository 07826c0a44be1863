/** What all listeners take from the mesh config, as one object that stays the same while the mesh config does. */
import type { MeshConfig } from "../../config/types.ts";
import type { HttpMesh } from "./http-connection-manager.ts";

/** Settings of the mesh that listeners depend on. */
export interface ListenerMesh extends HttpMesh {
  /** How long inspectors may wait for first bytes; 0 is for ever. */
  readonly protocolDetectionTimeoutMs: number;
  readonly outboundTrafficPolicy: MeshConfig["outboundTrafficPolicy"];
  /** The mesh's trust domain, then its aliases. */
  readonly trustDomains: readonly string[];
  readonly tlsMinProtocolVersion: MeshConfig["tlsMinProtocolVersion"];
}

/** Picks them. */
export function listenerMesh(mesh: MeshConfig): ListenerMesh {
  return {
    pathNormalization: mesh.pathNormalization,
    accessLog: { accessLogFile: mesh.accessLogFile, accessLogEncoding: mesh.accessLogEncoding, accessLogFormat: mesh.accessLogFormat },
    protocolDetectionTimeoutMs: mesh.protocolDetectionTimeoutMs,
    outboundTrafficPolicy: mesh.outboundTrafficPolicy,
    trustDomains: [...new Set([mesh.trustDomain, ...mesh.trustDomainAliases])],
    tlsMinProtocolVersion: mesh.tlsMinProtocolVersion,
  };
}
