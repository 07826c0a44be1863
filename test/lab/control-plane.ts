/** Starts Lateen's control plane in its namespace: the folder of cases' YAML, a mesh config, a plug-in authority and a token issuer. */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Pki } from "./pki.ts";
import { CONTROL_PLANE_IP, type Topology } from "./topology.ts";

/** Who issues the workloads' tokens. */
export const TOKEN_ISSUER = "https://lab.internal";
/** Where metrics and readiness are. */
export const MONITORING_PORT = 15014;

const MESH_CONFIG = `trustDomain: cluster.local
rootNamespace: istio-system
accessLogFile: ""
`;

/** Starts it. Its output is in `RUN/cp.control-plane.log`. */
export function startControlPlane(options: { topology: Topology; pki: Pki; lateen: string; configDirectory: string }): ChildProcess {
  const { topology, pki, lateen, configDirectory } = options;
  const directory = join(topology.runDirectory, "cp");
  mkdirSync(directory, { recursive: true });
  const mesh = join(directory, "mesh.yaml");
  writeFileSync(mesh, MESH_CONFIG);
  const flags = {
    "--config": configDirectory,
    "--mesh-config": mesh,
    "--grpc-addr": `${CONTROL_PLANE_IP}:15010`,
    "--secure-grpc-addr": `${CONTROL_PLANE_IP}:15012`,
    "--monitoring-addr": `0.0.0.0:${MONITORING_PORT}`,
    "--domain": "cluster.local",
  };
  return topology.spawn({
    pod: "cp",
    job: "control-plane",
    command: [lateen, "control-plane", ...Object.entries(flags).flat()],
    directory,
    env: {
      PATH: process.env["PATH"],
      HOME: "/tmp",
      LATEEN_NODE: process.execPath,
      POD_NAME: "istiod-0",
      POD_NAMESPACE: "istio-system",
      ROOT_CA_DIR: pki.mesh,
      JWT_RULE: JSON.stringify({ issuer: TOKEN_ISSUER, audiences: ["istio-ca"], jwks_uri: "http://127.0.0.1:8099/jwks" }),
    },
  });
}
