/** Who this proxy is and how it was started. Source: envoy.admin.v3.ServerInfo. */
import { toJson } from "@bufbuild/protobuf";
import { NodeSchema } from "../../gen/envoy/config/core/v3/base_pb.ts";
import { anyTypes } from "../bootstrap/any-types.ts";
import type { AdminSource } from "./admin-source.ts";
import type { Json } from "./lazy-json.ts";

/** The whole message as JSON. */
export function buildServerInfo(source: AdminSource): Json {
  const { flags, clock, startedAtMs, node, version, state } = source;
  const uptime = `${Math.floor((clock.nowMs() - startedAtMs) / 1000)}s`;
  return {
    version: `lateen/${version}`,
    state,
    hot_restart_version: "disabled",
    command_line_options: {
      concurrency: 1,
      ...(flags.configPath ? { config_path: flags.configPath } : {}),
      ...(flags.configYaml ? { config_yaml: "[given]" } : {}),
      allow_unknown_static_fields: flags.allowUnknownStaticFields,
      reject_unknown_dynamic_fields: flags.rejectUnknownDynamicFields,
      ignore_unknown_dynamic_fields: flags.ignoreUnknownDynamicFields,
      log_level: flags.logLevel,
      ...(flags.logPath ? { log_path: flags.logPath } : {}),
      ...(flags.adminAddressPath ? { admin_address_path: flags.adminAddressPath } : {}),
      service_cluster: flags.serviceCluster,
      service_node: flags.serviceNode,
      service_zone: flags.serviceZone,
      drain_time: `${flags.drainTimeMs / 1000}s`,
      drain_strategy: flags.drainStrategy === "immediate" ? "Immediate" : "Gradual",
      mode: flags.mode === "validate" ? "Validate" : "Serve",
      disable_hot_restart: true,
    },
    node: toJson(NodeSchema, node, { registry: anyTypes(), useProtoFieldName: true }),
    uptime_current_epoch: uptime,
    uptime_all_epochs: uptime,
  };
}
