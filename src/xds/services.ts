/** The discovery services that both ends know, by their methods. Source: Envoy api v3, envoy.service.*. */
import { TypeUrl } from "./types.ts";

/** A discovery service: which methods it has, and for which type. */
export interface DiscoveryService {
  readonly sotwMethod: string;
  readonly deltaMethod: string;
  /** Undefined: all types on one stream. */
  readonly onlyType: string | undefined;
}

/** All types on one stream. */
export const ADS: DiscoveryService = {
  sotwMethod: "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
  deltaMethod: "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
  onlyType: undefined,
};

/** Secrets alone: what an agent serves to the proxy beside it. */
export const SDS: DiscoveryService = {
  sotwMethod: "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
  deltaMethod: "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
  onlyType: TypeUrl.secret,
};
