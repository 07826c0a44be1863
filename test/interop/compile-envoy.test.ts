/**
 * The real Envoy takes what we compile: every resource of the golden meshes, in one static bootstrap, `--mode validate`. Route
 * configurations and endpoints stand where they would be asked for, so that Envoy looks into them, too.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { type CompiledProxy, json } from "../golden/print.ts";
import { compileAll, readMesh } from "../golden/world.ts";

const root = join(import.meta.dirname, "../..");
const envoy = process.env["ENVOY"] ?? join(root, ".cache/envoy/envoy/_bin/envoy");
const meshes = join(root, "test/golden/meshes");
const skip = existsSync(envoy) ? false : `no Envoy at ${envoy}`;

type Json = Record<string, unknown>;

const SDS = {
  name: "sds-grpc",
  type: "STATIC",
  connect_timeout: "1s",
  load_assignment: { cluster_name: "sds-grpc", endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: "./sds" } } } }] }] },
  typed_extension_protocol_options: {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
      explicit_http_config: { http2_protocol_options: {} },
    },
  },
};

for (const file of readdirSync(meshes).sort()) {
  const { world, proxies } = readMesh(join(meshes, file));
  for (const [name, node] of proxies) {
    test(`Envoy takes what ${name} gets in ${file}`, { skip }, () => {
      const { code, output } = validate(bootstrap(compileAll(world, node)));
      assert.equal(code, 0, output);
    });
  }
}

test("Envoy refuses what is wrong, so that taking it means something", { skip }, () => {
  const { world, proxies } = readMesh(join(meshes, "routes.yaml"));
  const [node] = proxies.values();
  assert.ok(node);
  const broken = bootstrap(compileAll(world, node)) as { static_resources: { clusters: Json[] } };
  broken.static_resources.clusters.push({ name: "bad", type: "STATIC", connect_timeout: "-1s" });
  assert.notEqual(validate(broken).code, 0);
});

function validate(config: Json): { readonly code: number | null; readonly output: string } {
  const directory = mkdtempSync(join(tmpdir(), "compile-envoy-"));
  try {
    const path = join(directory, "bootstrap.json");
    writeFileSync(path, JSON.stringify(config));
    const { status, stderr } = spawnSync(envoy, ["--mode", "validate", "-c", path, "-l", "error"], {
      encoding: "utf8",
      timeout: 60_000,
      // An access log on /dev/stdout is opened, which a pipe of ours is not made for.
      stdio: ["ignore", "ignore", "pipe"],
    });
    return { code: status, output: stderr };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function bootstrap(compiled: CompiledProxy): Json {
  const routes = new Map([...compiled.routes].map(([name, message]) => [name, json(message)]));
  const endpoints = new Map([...compiled.endpoints].map(([name, message]) => [name, json(message)]));
  const clusters = [...compiled.clusters.values()].map((cluster) => withEndpoints(json(cluster) as Json, endpoints));
  const listeners = [...compiled.listeners.values()].map((listener) => inlineRoutes(json(listener), routes) as Json);
  return {
    node: { id: "validate", cluster: "validate" },
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: 0 } } },
    static_resources: { clusters: [SDS, ...clusters], listeners },
  };
}

/** An EDS cluster with its endpoints in place. */
function withEndpoints(cluster: Json, endpoints: ReadonlyMap<string, unknown>): Json {
  if (cluster["type"] !== "EDS") return cluster;
  const { eds_cluster_config: _, ...rest } = cluster;
  const assignment = endpoints.get(String(cluster["name"]));
  assert.ok(assignment, `no endpoints for ${cluster["name"]}`);
  return { ...rest, type: "STATIC", load_assignment: assignment };
}

/** Replaces each "rds" by the route configuration that it asks for. */
function inlineRoutes(value: unknown, routes: ReadonlyMap<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((item) => inlineRoutes(item, routes));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      if (key !== "rds") return [key, inlineRoutes(inner, routes)];
      const name = (inner as { route_config_name: string }).route_config_name;
      assert.ok(routes.has(name), `no routes ${name}`);
      return ["route_config", routes.get(name)];
    }),
  );
}
