/** The JSON schema of lateen.yaml, for the loader and (as schemas/lateen.schema.json) for editors. */

const NAME = "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
const PORT = { type: "integer", minimum: 1, maximum: 65535 };
const LABELS = {
  type: "object",
  additionalProperties: { type: "string" },
  description: "Kubernetes labels; `app` defaults to the service's name.",
};

const COMMAND = {
  description: "What to run: a line that the shell reads, as in a Procfile or Compose file, or a list of words that no shell touches.",
  oneOf: [
    { type: "string", minLength: 1 },
    { type: "array", minItems: 1, items: { type: "string" } },
  ],
};

const PORTS = {
  type: "object",
  description:
    "Port names and numbers. The name tells the protocol, as in Istio: http, http2, grpc, tcp, tls, https, or one of these with a suffix (http-admin).",
  additionalProperties: {
    oneOf: [
      PORT,
      {
        type: "object",
        additionalProperties: false,
        required: ["port"],
        properties: {
          port: { ...PORT, description: "The port that clients use." },
          targetPort: { ...PORT, description: "The port that the command listens on, where it is another." },
        },
      },
    ],
  },
};

const WORKLOAD = {
  type: "object",
  additionalProperties: false,
  required: ["command"],
  properties: {
    command: COMMAND,
    namespace: { type: "string", pattern: NAME, description: "Default: the mesh's namespace." },
    service: {
      description: "The service that this workload stands behind; several may share one. Default: the workload's name. false: none.",
      oneOf: [{ type: "string", pattern: NAME }, { const: false }],
    },
    labels: LABELS,
    serviceAccount: {
      type: "string",
      pattern: NAME,
      description: "Names its identity, spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT. Default: the service's name.",
    },
    replicas: { type: "integer", minimum: 0, maximum: 50, default: 1 },
    ports: PORTS,
    environment: {
      type: "object",
      description: "Environment variables, added to those of `lateen up`.",
      additionalProperties: { type: ["string", "number", "boolean"] },
    },
    directory: { type: "string", description: "Where the command runs. Default: the folder of this file." },
    ready: {
      type: "object",
      description:
        "When the workload counts as ready. Always: it listens on all its ports. With http: and a GET of this path answers 2xx or 3xx.",
      additionalProperties: false,
      properties: {
        http: { type: "string", pattern: "^/" },
        port: PORT,
        timeout: { type: "string", description: 'How long it may take, as "30s" (the default).' },
      },
    },
    restart: { enum: ["always", "never"], default: "always", description: "never: a job, which is done when its command ends." },
    sidecar: { type: "boolean", default: true, description: "false: outside the mesh, without proxy and identity." },
  },
};

const GATEWAY = {
  type: "object",
  additionalProperties: false,
  required: ["listen"],
  properties: {
    listen: {
      type: "object",
      minProperties: 1,
      description:
        'Addresses of this machine ("127.0.0.1:8080", or "8080" for loopback) and the port of the Istio Gateway that answers there.',
      propertyNames: { pattern: "^([0-9.]+:|\\[[0-9a-fA-F:]+\\]:)?[0-9]{1,5}$" },
      additionalProperties: PORT,
    },
    labels: { ...LABELS, description: "What the selector of Istio's Gateway looks for. Default: istio: ingressgateway." },
    namespace: { type: "string", pattern: NAME, description: "Default: the mesh's namespace." },
    serviceAccount: { type: "string", pattern: NAME },
  },
};

/** Draft-07 schema of a mesh description. */
export const DESCRIPTION_SCHEMA = {
  $schema: "http://json-schema.org/draft-07/schema#",
  title: "lateen.yaml",
  description:
    "What runs in a mesh on this machine: workloads, each with a sidecar, and gateways. Istio YAML beside it says how the mesh behaves.",
  type: "object",
  additionalProperties: false,
  required: ["workloads"],
  properties: {
    name: { type: "string", pattern: NAME, description: "Of the mesh. Default: the folder's name." },
    namespace: { type: "string", pattern: NAME, default: "default", description: "Of workloads that name none." },
    meshConfig: { type: "object", description: "Istio's MeshConfig, over Lateen's defaults for `up`." },
    workloads: { type: "object", propertyNames: { pattern: NAME }, minProperties: 1, additionalProperties: WORKLOAD },
    gateways: { type: "object", propertyNames: { pattern: NAME }, additionalProperties: GATEWAY },
  },
} as const;
