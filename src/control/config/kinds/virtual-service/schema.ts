/** The shape of a VirtualService. Source: Istio networking/v1 VirtualService. */

import type { RawHeaders } from "../../rules/headers.ts";
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

/** A VirtualService's spec as written. */
export interface RawVirtualService {
  readonly hosts?: readonly string[];
  readonly gateways?: readonly string[];
  readonly http?: readonly RawHttpRoute[];
  readonly exportTo?: readonly string[];
}

/** One route. */
export interface RawHttpRoute {
  readonly name?: string;
  readonly match?: readonly RawHttpMatch[];
  readonly route?: readonly RawRouteDestination[];
  readonly redirect?: RawRedirect;
  readonly directResponse?: { readonly status: number; readonly body?: { readonly string?: string } };
  readonly rewrite?: RawRewrite;
  readonly timeout?: string;
  readonly retries?: RawRetry;
  readonly fault?: RawFault;
  readonly headers?: RawHeaders;
}

/** At most one member; none means that any value will do. */
export interface RawStringMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly regex?: string;
}

/** What a request must be like: all of it. */
export interface RawHttpMatch {
  readonly name?: string;
  readonly uri?: RawStringMatch;
  readonly ignoreUriCase?: boolean;
  readonly scheme?: RawStringMatch;
  readonly method?: RawStringMatch;
  readonly authority?: RawStringMatch;
  readonly headers?: Readonly<Record<string, RawStringMatch>>;
  readonly withoutHeaders?: Readonly<Record<string, RawStringMatch | null>>;
  readonly queryParams?: Readonly<Record<string, RawStringMatch>>;
  readonly port?: number;
  readonly sourceLabels?: Readonly<Record<string, string>>;
  readonly sourceNamespace?: string;
  readonly gateways?: readonly string[];
}

/** Where requests go. */
export interface RawRouteDestination {
  readonly destination: { readonly host: string; readonly subset?: string; readonly port?: { readonly number: number } };
  readonly weight?: number;
  readonly headers?: RawHeaders;
}

/** Where clients are sent. */
export interface RawRedirect {
  readonly uri?: string;
  readonly authority?: string;
  readonly port?: number;
  readonly derivePort?: "FROM_PROTOCOL_DEFAULT" | "FROM_REQUEST_PORT";
  readonly scheme?: string;
  readonly redirectCode?: number;
}

/** What the upstream sees instead. */
export interface RawRewrite {
  readonly uri?: string;
  readonly authority?: string;
  readonly uriRegexRewrite?: { readonly match?: string; readonly rewrite?: string };
}

/** Also MeshConfig's defaultHttpRetryPolicy. */
export interface RawRetry {
  readonly attempts?: number;
  readonly perTryTimeout?: string;
  readonly backoff?: string;
  readonly retryOn?: string;
  readonly retryRemoteLocalities?: boolean;
  readonly retryIgnorePreviousHosts?: boolean;
}

/** Faults on purpose. */
export interface RawFault {
  readonly delay?: { readonly fixedDelay: string; readonly percentage?: { readonly value?: number }; readonly percent?: number };
  readonly abort?: { readonly httpStatus?: number; readonly grpcStatus?: string; readonly percentage?: { readonly value?: number } };
}

const stringMatch = fields({ exact: textSchema, prefix: textSchema, regex: textSchema });
// A null in withoutHeaders is presence, in Istio's API too.
const stringMatchOrNull: JsonSchema = { ...stringMatch, type: ["object", "null"] };
const operation = fields({ set: mapOf(textSchema), add: mapOf(textSchema), remove: listOf(textSchema) });
const headers = fields({ request: operation, response: operation });
const percentage = fields({ value: { type: "number" } });

const destination = fields(
  { host: textSchema, subset: textSchema, port: fields({ number: portSchema }, { required: ["number"] }) },
  { required: ["host"] },
);

const match = fields(
  {
    name: textSchema,
    uri: stringMatch,
    ignoreUriCase: flagSchema,
    scheme: stringMatch,
    method: stringMatch,
    authority: stringMatch,
    headers: mapOf(stringMatch),
    withoutHeaders: mapOf(stringMatchOrNull),
    queryParams: mapOf(stringMatch),
    port: portSchema,
    sourceLabels: mapOf(textSchema),
    sourceNamespace: textSchema,
    gateways: listOf(textSchema),
  },
  { notYet: ["statPrefix"] },
);

/** The schema of a retry policy. */
export const retrySchema: JsonSchema = fields({
  attempts: { type: "integer", maximum: 1000 },
  perTryTimeout: durationSchema,
  backoff: durationSchema,
  retryOn: textSchema,
  retryRemoteLocalities: flagSchema,
  retryIgnorePreviousHosts: flagSchema,
});

const route = fields(
  {
    name: textSchema,
    match: listOf(match),
    route: listOf(fields({ destination, weight: { type: "integer", maximum: 2147483647 }, headers }, { required: ["destination"] })),
    redirect: fields(
      {
        uri: textSchema,
        authority: textSchema,
        port: portSchema,
        derivePort: oneOfWords(["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]),
        scheme: textSchema,
        redirectCode: { type: "integer" },
      },
      { notYet: ["prefixRewrite"] },
    ),
    directResponse: fields({ status: countSchema, body: fields({ string: textSchema }, { notYet: ["bytes"] }) }, { required: ["status"] }),
    rewrite: fields({ uri: textSchema, authority: textSchema, uriRegexRewrite: fields({ match: textSchema, rewrite: textSchema }) }),
    timeout: durationSchema,
    retries: retrySchema,
    fault: fields({
      delay: fields(
        { fixedDelay: durationSchema, percentage, percent: { type: "integer" } },
        { required: ["fixedDelay"], notYet: ["exponentialDelay"] },
      ),
      abort: fields({ httpStatus: { type: "integer" }, grpcStatus: textSchema, percentage }, { notYet: ["http2Error"] }),
    }),
    headers,
  },
  { notYet: ["delegate", "mirror", "mirrors", "mirrorPercent", "mirrorPercentage", "corsPolicy"] },
);

/** The schema of the spec. */
export const virtualServiceSchema: JsonSchema = fields(
  { hosts: listOf(textSchema), gateways: listOf(textSchema), http: listOf(route), exportTo: listOf(textSchema) },
  { notYet: ["tls", "tcp"] },
);
