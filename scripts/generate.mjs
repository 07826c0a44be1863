// Generates the protobuf types of src/gen from the .proto files of @grpc/grpc-js-xds and of proto/. Plain Node 20.
// What is generated is the closure of proto/roots.txt, without Envoy's build annotations (they cost memory at rest).
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const MODULES = ["envoy-api", "xds", "googleapis", "protoc-gen-validate"];

/** Writes src/gen anew. `root` is the checkout. Throws with buf's own message when a file does not compile. */
export function generate(root) {
  const work = join(root, ".cache", "protos");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  // buf reads modules from inside its workspace only.
  for (const module of MODULES) cpSync(join(root, "node_modules/@grpc/grpc-js-xds/deps", module), join(work, module), { recursive: true });
  cpSync(join(root, "proto"), join(work, "own"), { recursive: true });
  for (const extra of ["java", "tests"]) rmSync(join(work, "protoc-gen-validate", extra), { recursive: true, force: true });

  // One rule is older in this package than the Envoy files that use it.
  const rules = join(work, "protoc-gen-validate/validate/validate.proto");
  writeFileSync(rules, readFileSync(rules, "utf8").replace("message StringRules {", "$& optional bool ignore_empty = 26;"));

  const roots = readFileSync(join(root, "proto/roots.txt"), "utf8")
    .split("\n")
    .filter((line) => line && !line.startsWith("#"));
  const moduleOf = (file) => (file.startsWith("envoy/") ? "envoy-api" : file.startsWith("istio/") ? "own" : "xds");
  writeFileSync(join(work, "buf.yaml"), ["version: v2", "modules:", ...[...MODULES, "own"].map((m) => `  - path: ${m}`), ""].join("\n"));
  writeFileSync(
    join(work, "buf.gen.yaml"),
    [
      "version: v2",
      "plugins:",
      `  - local: ${JSON.stringify(join(root, "node_modules/.bin/protoc-gen-es"))}`,
      "    out: out",
      "    strategy: all",
      "    include_imports: true",
      "    opt: [target=ts, import_extension=ts, erasable_syntax=true]",
      "inputs:",
      "  - directory: .",
      "    paths:",
      ...roots.map((file) => `      - ${moduleOf(file)}/${file}`),
      '    exclude_types: ["validate.**", "udpa.annotations.**", "xds.annotations.v3.**", "envoy.annotations.**"]',
      "",
    ].join("\n"),
  );
  execFileSync(join(root, "node_modules/.bin/buf"), ["generate"], { cwd: work, stdio: ["ignore", "ignore", "inherit"] });
  rmSync(join(root, "src/gen"), { recursive: true, force: true });
  mkdirSync(join(root, "src"), { recursive: true });
  cpSync(join(work, "out"), join(root, "src/gen"), { recursive: true });
  rmSync(work, { recursive: true, force: true });
}
