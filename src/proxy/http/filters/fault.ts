/**
 * Delays requests and aborts them, as config asks: a delay comes first, then the abort. Source: envoy.extensions.filters.http.fault.v3.HTTPFault,
 * and its x-envoy-fault-* headers where config has header_delay or header_abort.
 */
import { fromBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { HTTPFaultSchema } from "../../../gen/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { compileFault, type FaultRules } from "../../../policy/fault.ts";
import { happens } from "../../../policy/fraction.ts";
import { type FilterStream, type FilterVerdict, type HttpFilterType, isActive } from "../filter.ts";
import type { LocalReply } from "../local-reply.ts";

/** The filter's type. */
export const faultFilter: HttpFilterType = {
  typeName: HTTPFaultSchema.typeName,
  validate(config) {
    compile(config);
  },
  create(config, context) {
    const own = compile(config);
    const delays = context.metrics.envoyCounter(`http.${context.statPrefix}.fault.delays_injected`);
    const aborts = context.metrics.envoyCounter(`http.${context.statPrefix}.fault.aborts_injected`);
    const overflow = context.metrics.envoyCounter(`http.${context.statPrefix}.fault.faults_overflow`);
    const active = context.metrics.envoyGauge(`http.${context.statPrefix}.fault.active_faults`);
    const abortNow = (stream: FilterStream, rules: FaultRules): FilterVerdict => {
      const reply = rules.abort && abortOf(rules.abort, stream, context.random.next());
      if (!reply) return "continue";
      aborts.add();
      return stream.reply(reply);
    };
    return {
      onRequest(stream) {
        const override = stream.overrideOf(context.name);
        const rules = override?.kind === "fault" ? override.rules : own;
        if (!rules || !isActive(override, context) || !isMeant(rules, stream)) return "continue";
        const delayMs = rules.delay ? delayOf(rules.delay, stream, context.random.next()) : 0;
        if (delayMs <= 0) return abortNow(stream, rules);
        if (active.value >= rules.activeMax) {
          overflow.add();
          return "continue";
        }
        delays.add();
        active.add(1);
        stream.record.flags.add("DI");
        stream.wait(delayMs, () => {
          active.add(-1);
          if (stream.isGone) return;
          if (abortNow(stream, rules) === "continue") stream.resume();
        });
        return "pause";
      },
    };
  },
};

function compile(config: Any): FaultRules | undefined {
  return compileFault(fromBinary(HTTPFaultSchema, config.value));
}

function isMeant(rules: FaultRules, stream: FilterStream): boolean {
  if (rules.upstreamCluster !== "" && rules.upstreamCluster !== stream.clusterName) return false;
  if (rules.downstreamNodes.size > 0 && !rules.downstreamNodes.has(stream.head.headers.get("x-envoy-downstream-service-node") ?? ""))
    return false;
  return rules.applies(stream.head);
}

/** Headers may lower a percentage, never raise it. */
function ratioFor(ratio: number, stream: FilterStream, header: string): number {
  const asked = numberOf(stream, header);
  return asked === undefined ? ratio : Math.min(ratio, asked / 100);
}

function delayOf(delay: NonNullable<FaultRules["delay"]>, stream: FilterStream, draw: number): number {
  if (delay.fixedMs !== undefined) return happens(delay.ratio, draw) ? delay.fixedMs : 0;
  const asked = numberOf(stream, "x-envoy-fault-delay-request");
  return asked !== undefined && happens(ratioFor(delay.ratio, stream, "x-envoy-fault-delay-request-percentage"), draw) ? asked : 0;
}

function abortOf(abort: NonNullable<FaultRules["abort"]>, stream: FilterStream, draw: number): LocalReply | undefined {
  const common = { body: "fault filter abort", details: "fault_filter_abort", flag: "FI" } as const;
  if (abort.kind === "http") return happens(abort.ratio, draw) ? { ...common, status: abort.code } : undefined;
  if (abort.kind === "grpc") return happens(abort.ratio, draw) ? { ...common, status: 200, grpcStatus: abort.code } : undefined;
  const status = numberOf(stream, "x-envoy-fault-abort-request");
  const grpc = numberOf(stream, "x-envoy-fault-abort-grpc-request");
  if (!happens(ratioFor(abort.ratio, stream, "x-envoy-fault-abort-request-percentage"), draw)) return undefined;
  if (status !== undefined && status >= 200 && status <= 599) return { ...common, status };
  return grpc === undefined ? undefined : { ...common, status: 200, grpcStatus: grpc };
}

function numberOf(stream: FilterStream, name: string): number | undefined {
  const value = stream.head.headers.get(name);
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : undefined;
}
