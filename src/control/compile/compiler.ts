/** Compiles a snapshot for one proxy: what a sidecar or a gateway gets stands in sidecar.ts and gateway.ts. */
import { compileGateway } from "./gateway.ts";
import { createServiceResources } from "./services.ts";
import { compileSidecar } from "./sidecar.ts";
import type { Compiler } from "./types.ts";

/** The compiler. It keeps results by the identity of a snapshot's objects, and forgets them with the snapshot. */
export function createCompiler(): Compiler {
  const services = createServiceResources();
  const sidecar = compileSidecar(services);
  const gateway = compileGateway(services);
  return {
    clusters: (snapshot, node, cache) => of(node).clusters(snapshot, node, cache),
    endpoints: (snapshot, node, names, cache) => of(node).endpoints(snapshot, node, names, cache),
    listeners: (snapshot, node, cache) => of(node).listeners(snapshot, node, cache),
    routes: (snapshot, node, names, cache) => of(node).routes(snapshot, node, names, cache),
  };

  function of(node: { readonly kind: "sidecar" | "router" }): Compiler {
    return node.kind === "router" ? gateway : sidecar;
  }
}
