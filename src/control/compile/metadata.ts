/** The "istio" metadata that telemetry and istioctl read from clusters, endpoints and routes. Source: Istio, telemetry labels. */
import type { JsonObject, MessageInitShape } from "@bufbuild/protobuf";
import type { MetadataSchema } from "../../gen/envoy/config/core/v3/base_pb.ts";
import type { Service } from "../../model/service.ts";
import type { Kind, Meta } from "../config/types.ts";

/** The namespace of filter metadata that everything here is under. */
export const ISTIO_METADATA = "istio";
/** The namespace by whose values Envoy picks among transport_socket_matches. */
export const TRANSPORT_SOCKET_METADATA = "envoy.transport_socket_match";

/** A service as metric labels name it. */
export interface ServiceLabels {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
}

/** What metrics say of a service. */
export function serviceLabels(service: Pick<Service, "hostname" | "name" | "namespace">): ServiceLabels {
  return { host: service.hostname, name: service.name, namespace: service.namespace };
}

const API: Readonly<Record<Kind, { readonly group: string; readonly kebab: string }>> = {
  ServiceEntry: { group: "networking.istio.io", kebab: "service-entry" },
  WorkloadEntry: { group: "networking.istio.io", kebab: "workload-entry" },
  VirtualService: { group: "networking.istio.io", kebab: "virtual-service" },
  DestinationRule: { group: "networking.istio.io", kebab: "destination-rule" },
  Gateway: { group: "networking.istio.io", kebab: "gateway" },
  PeerAuthentication: { group: "security.istio.io", kebab: "peer-authentication" },
};

/** Where a resource comes from, as istioctl shows it: "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews". */
export function configPath(meta: Pick<Meta, "kind" | "namespace" | "name">): string {
  const { group, kebab } = API[meta.kind];
  return `/apis/${group}/v1/namespaces/${meta.namespace}/${kebab}/${meta.name}`;
}

/** Metadata of one namespace; undefined when it would be empty. */
export function istioMetadata(values: JsonObject): MessageInitShape<typeof MetadataSchema> | undefined {
  return Object.keys(values).length === 0 ? undefined : { filterMetadata: { [ISTIO_METADATA]: values } };
}
