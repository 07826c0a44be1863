/** What a workload is told of its mesh by environment variables, the same names with and without capture. Source: Kubernetes, service variables. */
import { UserError } from "../base/errors.ts";

/** A service as one workload reaches it. */
export interface ReachedService {
  readonly name: string;
  readonly namespace: string;
  /** A name or an address. */
  readonly host: string;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
}

/** Variables of services: PAYMENT_SERVICE_HOST, PAYMENT_SERVICE_PORT (the first) and PAYMENT_SERVICE_PORT_HTTP. Those of other namespaces say it: PAYMENT_BANK_SERVICE_HOST. */
export function serviceVariables(namespace: string, services: readonly ReachedService[]): Record<string, string> {
  const variables: Record<string, string> = {};
  // The own namespace's last: they keep their names.
  for (const service of [...services].sort((a, b) => Number(a.namespace === namespace) - Number(b.namespace === namespace))) {
    const prefix = upper(service.namespace === namespace ? service.name : `${service.name}_${service.namespace}`);
    variables[`${prefix}_SERVICE_HOST`] = service.host;
    const [first] = service.ports;
    if (first) variables[`${prefix}_SERVICE_PORT`] = String(first.port);
    for (const { name, port } of service.ports) variables[`${prefix}_SERVICE_PORT_${upper(name)}`] = String(port);
  }
  return variables;
}

/** Variables of the ports on which a workload is to listen: PORT (the first) and PORT_HTTP. */
export function portVariables(ports: readonly { readonly name: string; readonly port: number }[]): Record<string, string> {
  const [first] = ports;
  if (!first) return {};
  return { PORT: String(first.port), ...Object.fromEntries(ports.map(({ name, port }) => [`PORT_${upper(name)}`, String(port)])) };
}

/** Values with $NAME and ${NAME} filled in; $$ is a dollar sign. Throws a UserError that names the field for a variable that the mesh does not set. */
export function expandVariables(
  workload: string,
  values: Readonly<Record<string, string>>,
  variables: Readonly<Record<string, string>>,
): Record<string, string> {
  const expand = (key: string, text: string): string =>
    text.replaceAll(
      /\$(?:(\$)|\{(\w+)\}|([A-Za-z_]\w*))/g,
      (_whole, dollar: string | undefined, braced: string | undefined, bare: string | undefined) => {
        const name = braced ?? bare ?? "";
        const value = dollar ?? variables[name];
        if (value !== undefined) return value;
        throw new UserError(
          `workloads.${workload}.environment.${key}: the mesh sets no variable "${name}" (it sets ${Object.keys(variables).join(", ") || "none"})`,
          { hint: "Write $$ for a dollar sign." },
        );
      },
    );
  return Object.fromEntries(Object.entries(values).map(([key, text]) => [key, expand(key, text)]));
}

function upper(name: string): string {
  return name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_");
}
