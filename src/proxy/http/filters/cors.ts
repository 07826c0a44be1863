/**
 * Answers preflights of origins that the route allows, and marks answers to them. Other origins' requests go on as they are: the browser
 * judges. Source: envoy.extensions.filters.http.cors.v3; Fetch standard, CORS protocol.
 */
import { CorsSchema } from "../../../gen/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import type { HeaderList } from "../../../net/http/headers.ts";
import type { CorsRules } from "../../../policy/cors.ts";
import type { FilterStream, HttpFilterType } from "../filter.ts";

/** The filter's type. The rules come from routes and virtual hosts. */
export const corsFilter: HttpFilterType = {
  typeName: CorsSchema.typeName,
  validate() {},
  create(_config, context) {
    const valid = context.metrics.envoyCounter(`http.${context.statPrefix}.cors.origin_valid`);
    const invalid = context.metrics.envoyCounter(`http.${context.statPrefix}.cors.origin_invalid`);
    const rulesOf = (stream: FilterStream): CorsRules | undefined => {
      const override = stream.overrideOf(context.name);
      return override?.kind === "cors" ? override.rules : undefined;
    };
    return {
      onRequest(stream) {
        const rules = rulesOf(stream);
        if (!rules) return "continue";
        const origin = stream.head.headers.get("origin");
        if (!origin) return "continue";
        const isPreflight = stream.head.method === "OPTIONS" && (stream.head.headers.get("access-control-request-method") ?? "") !== "";
        if (!rules.allowsOrigin(origin)) {
          invalid.add();
          if (!isPreflight || rules.forwardsOthers) return "continue";
          return stream.reply({ status: 200, body: "", details: "cors_response", isBare: true });
        }
        valid.add();
        stream.corsOrigin = origin;
        if (!isPreflight) return "continue";
        const headers: [string, string][] = [];
        const put = (name: string, value: string): void => {
          if (value !== "") headers.push([name, value]);
        };
        put("access-control-allow-methods", rules.methods);
        put("access-control-allow-headers", rules.headers);
        put("access-control-max-age", rules.maxAge);
        if (rules.privateNetworkAccess && stream.head.headers.get("access-control-request-private-network") === "true")
          put("access-control-allow-private-network", "true");
        return stream.reply({ status: 200, body: "", details: "cors_response", headers, isBare: true });
      },
      onResponse(stream, head) {
        if (stream.corsOrigin === undefined) return;
        const rules = rulesOf(stream);
        if (rules) markAllowed(head.headers, stream.corsOrigin, rules);
      },
    };
  },
};

function markAllowed(headers: HeaderList, origin: string, rules: CorsRules): void {
  headers.set("access-control-allow-origin", origin);
  if (rules.credentials) headers.set("access-control-allow-credentials", "true");
  if (rules.exposeHeaders !== "") headers.set("access-control-expose-headers", rules.exposeHeaders);
}
