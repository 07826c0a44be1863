/** node:tls at its first use: a V8 start-up snapshot cannot be built with it loaded. */
import type tls from "node:tls";

let loaded: typeof tls | undefined;

/** Node's TLS module. Nothing that a snapshot holds may import it by name. */
export function nodeTls(): typeof tls {
  loaded ??= process.getBuiltinModule("node:tls");
  return loaded;
}
