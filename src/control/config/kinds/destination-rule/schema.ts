/** The shape of a DestinationRule. Source: Istio networking/v1 DestinationRule. */
import {
  countSchema,
  durationSchema,
  fields,
  flagSchema,
  type JsonSchema,
  listOf,
  mapOf,
  oneOfWords,
  portSchema,
  textSchema,
} from "../../schema.ts";

/** A DestinationRule's spec as written. */
export interface RawDestinationRule {
  readonly host: string;
  readonly trafficPolicy?: RawTrafficPolicy;
  readonly subsets?: readonly {
    readonly name: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly trafficPolicy?: RawTrafficPolicy;
  }[];
  readonly exportTo?: readonly string[];
  readonly workloadSelector?: { readonly matchLabels?: Readonly<Record<string, string>> };
}

/** How clients reach a port. */
export interface RawPortPolicy {
  readonly loadBalancer?: { readonly simple?: "UNSPECIFIED" | "LEAST_CONN" | "RANDOM" | "PASSTHROUGH" | "ROUND_ROBIN" | "LEAST_REQUEST" };
  readonly connectionPool?: RawConnectionPool;
  readonly tls?: RawClientTls;
}

/** How clients reach a host. */
export interface RawTrafficPolicy extends RawPortPolicy {
  readonly portLevelSettings?: readonly (RawPortPolicy & { readonly port?: { readonly number: number } })[];
}

/** Connections to a host. */
export interface RawConnectionPool {
  readonly tcp?: { readonly maxConnections?: number; readonly connectTimeout?: string; readonly idleTimeout?: string };
  readonly http?: {
    readonly http1MaxPendingRequests?: number;
    readonly http2MaxRequests?: number;
    readonly maxRequestsPerConnection?: number;
    readonly maxRetries?: number;
    readonly idleTimeout?: string;
    readonly h2UpgradePolicy?: "DEFAULT" | "DO_NOT_UPGRADE" | "UPGRADE";
    readonly useClientProtocol?: boolean;
    readonly maxConcurrentStreams?: number;
  };
}

/** TLS to a host. */
export interface RawClientTls {
  readonly mode?: "DISABLE" | "SIMPLE" | "ISTIO_MUTUAL";
  readonly sni?: string;
  readonly subjectAltNames?: readonly string[];
  readonly caCertificates?: string;
  readonly insecureSkipVerify?: boolean;
}

const loadBalancer = fields(
  { simple: oneOfWords(["UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"]) },
  { notYet: ["consistentHash", "localityLbSetting", "zoneAwareLbSetting", "warmupDurationSecs", "warmup"] },
);

const connectionPool = fields({
  tcp: fields(
    { maxConnections: countSchema, connectTimeout: durationSchema, idleTimeout: durationSchema },
    { notYet: ["tcpKeepalive", "maxConnectionDuration"] },
  ),
  http: fields(
    {
      http1MaxPendingRequests: countSchema,
      http2MaxRequests: countSchema,
      maxRequestsPerConnection: countSchema,
      maxRetries: countSchema,
      idleTimeout: durationSchema,
      h2UpgradePolicy: oneOfWords(["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]),
      useClientProtocol: flagSchema,
      maxConcurrentStreams: countSchema,
    },
    { notYet: ["http2KeepAlive"] },
  ),
});

const tls = fields(
  {
    mode: oneOfWords(["DISABLE", "SIMPLE", "ISTIO_MUTUAL"], ["MUTUAL"]),
    sni: textSchema,
    subjectAltNames: listOf(textSchema),
    caCertificates: textSchema,
    insecureSkipVerify: flagSchema,
  },
  { notYet: ["clientCertificate", "privateKey", "credentialName", "caCrl"] },
);

const policyFields = { loadBalancer, connectionPool, tls };

const trafficPolicy = fields(
  {
    ...policyFields,
    portLevelSettings: listOf(
      fields(
        { ...policyFields, port: fields({ number: portSchema }, { required: ["number"] }) },
        { required: ["port"], notYet: ["outlierDetection"] },
      ),
    ),
  },
  { notYet: ["outlierDetection", "tunnel", "proxyProtocol", "retryBudget"] },
);

/** The schema of the spec. */
export const destinationRuleSchema: JsonSchema = fields(
  {
    host: textSchema,
    trafficPolicy,
    subsets: listOf(fields({ name: textSchema, labels: mapOf(textSchema), trafficPolicy }, { required: ["name"] })),
    exportTo: listOf(textSchema),
    workloadSelector: fields({ matchLabels: mapOf(textSchema) }),
  },
  { required: ["host"] },
);
