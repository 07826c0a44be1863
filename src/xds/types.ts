/** The protocol's nouns: resources are names, versions and bytes; what they mean is for others to know. */

/** The type URLs that a mesh uses. Source: Envoy xDS, api v3. */
export const TypeUrl = {
  cluster: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
  endpoint: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
  listener: "type.googleapis.com/envoy.config.listener.v3.Listener",
  route: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
  virtualHost: "type.googleapis.com/envoy.config.route.v3.VirtualHost",
  secret: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
  extensionConfig: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
} as const;

/** One resource as it travels: `bytes` is the encoded message inside the Any. */
export interface XdsResource {
  readonly name: string;
  /** Changes when and only when the bytes do: the digest of what the resource was made from. */
  readonly version: string;
  readonly bytes: Uint8Array;
}

/** Subscribed names of one type on one stream. Wildcard: all that there are, beside the names. */
export interface Subscription {
  readonly wildcard: boolean;
  readonly names: ReadonlySet<string>;
}

/** The order of types in a push: what is referred to comes before what refers to it. Removals go the other way round. */
export const PUSH_ORDER: readonly string[] = [
  TypeUrl.cluster,
  TypeUrl.endpoint,
  TypeUrl.listener,
  TypeUrl.secret,
  TypeUrl.route,
  TypeUrl.virtualHost,
  TypeUrl.extensionConfig,
];

/**
 * Envoy answers clusters only when those that changed have warmed, that is, when their endpoints came (again, too, where they are as before). So a push
 * sends endpoints behind clusters without waiting for the answer between them.
 * Source: Envoy's cluster manager, which pauses CDS while clusters warm.
 */
export const HOLDS_ANSWER_FOR_CHILDREN: string = TypeUrl.cluster;
/** The type of those children; it follows in PUSH_ORDER. */
export const CHILDREN_OF_HELD: string = TypeUrl.endpoint;
