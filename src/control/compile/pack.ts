/** Small makers for what every Envoy message is built from: Any, durations, wrapped numbers, addresses. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import { type Any, anyPack, type Duration, DurationSchema } from "@bufbuild/protobuf/wkt";
import { type Address, AddressSchema, SocketAddress_Protocol } from "../../gen/envoy/config/core/v3/address_pb.ts";
import { ApiVersion, type ConfigSource, ConfigSourceSchema } from "../../gen/envoy/config/core/v3/config_source_pb.ts";

/** A message inside an Any. */
export function pack<Desc extends DescMessage>(schema: Desc, init?: MessageInitShape<Desc>): Any {
  return anyPack(schema, create(schema, init));
}

/** The `config_type` of an extension: its message as typed_config. */
export function typedConfig<Desc extends DescMessage>(
  schema: Desc,
  init?: MessageInitShape<Desc>,
): { readonly case: "typedConfig"; readonly value: Any } {
  return { case: "typedConfig", value: pack(schema, init) };
}

/** A protobuf duration of that many milliseconds, which may be a fraction. */
export function durationFromMs(ms: number): Duration {
  const seconds = Math.floor(ms / 1000);
  return create(DurationSchema, { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) });
}

/** An address and port, or with a path that begins with "/" a Unix socket. */
export function address(host: string, port: number): Address {
  if (host.startsWith("/")) return create(AddressSchema, { address: { case: "pipe", value: { path: host } } });
  return create(AddressSchema, {
    address: {
      case: "socketAddress",
      value: { protocol: SocketAddress_Protocol.TCP, address: host, portSpecifier: { case: "portValue", value: port } },
    },
  });
}

/** "Ask the control plane, on the stream that is there." A proxy waits for the answer as long as it takes. */
export function adsSource(): ConfigSource {
  return create(ConfigSourceSchema, {
    configSourceSpecifier: { case: "ads", value: {} },
    initialFetchTimeout: durationFromMs(0),
    resourceApiVersion: ApiVersion.V3,
  });
}
