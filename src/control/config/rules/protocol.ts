/** Protocols of ports as users write them. Source: Istio, explicit protocol selection. */
import type { Protocol } from "../../../model/service.ts";

const PROTOCOLS: Readonly<Record<string, Protocol>> = {
  http: "http",
  http2: "http2",
  grpc: "grpc",
  "grpc-web": "grpc-web",
  https: "https",
  tls: "tls",
  tcp: "tcp",
  udp: "udp",
  // Bytes to a proxy without a filter for them.
  mongo: "tcp",
  redis: "tcp",
  mysql: "tcp",
};

/** The protocol of a port; "unsupported" where none is given, undefined for a word that is none. */
export function parseProtocol(text: string | undefined): Protocol | undefined {
  if (!text) return "unsupported";
  const word = text.toLowerCase();
  return Object.hasOwn(PROTOCOLS, word) ? PROTOCOLS[word] : undefined;
}

/** The words, for messages. */
export const PROTOCOL_WORDS: readonly string[] = Object.keys(PROTOCOLS).map((word) => word.toUpperCase());
