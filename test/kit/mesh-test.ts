/** Tests over a simulated mesh: a failure tells its seed, the command that replays it, and what the parts of the mesh said. */
import { relative } from "node:path";
import { test } from "node:test";
import { createMesh, type Mesh, type MeshOptions } from "./mesh-world.ts";

const DEFAULT_SEED = 1;
const LOG_LINES_SHOWN = 30;

/** The seed of this run. */
export const SEED = Number(process.env["SEED"] ?? DEFAULT_SEED);

/** What is said of a mesh beside its seed. */
export type MeshUnderTest = Omit<MeshOptions, "seed">;

/** Runs `body` with a mesh of its own. */
export function meshTest(name: string, options: MeshUnderTest, body: (mesh: Mesh) => Promise<void>): void {
  test(name, async () => {
    await using held = { mesh: undefined as Mesh | undefined, [Symbol.asyncDispose]: async () => held.mesh?.close() };
    await explained(name, held, async () => {
      held.mesh = await createMesh({ seed: SEED, ...options });
      await body(held.mesh);
    });
  });
}

/** Rules that hold in one mesh, one subtest each. No row may change what another one sees. */
export function meshRules<Row extends { readonly name: string }>(
  name: string,
  options: MeshUnderTest,
  rows: readonly Row[],
  body: (mesh: Mesh, row: Row) => Promise<void>,
): void {
  test(name, async (context) => {
    await using held = { mesh: undefined as Mesh | undefined, [Symbol.asyncDispose]: async () => held.mesh?.close() };
    await explained(name, held, async () => {
      held.mesh = await createMesh({ seed: SEED, ...options });
    });
    const { mesh } = held;
    if (!mesh) return;
    for (const row of rows) await context.test(row.name, () => explained(name, held, () => body(mesh, row)));
  });
}

async function explained(name: string, held: { readonly mesh: Mesh | undefined }, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    const file = relative(process.cwd(), process.argv[1] ?? "");
    const pattern = name.replaceAll(/[^\w ,;:-]/g, ".");
    const said = (held.mesh?.log ?? []).slice(-LOG_LINES_SHOWN).join("\n");
    const told = `\nreplay: SEED=${SEED} node --test --test-name-pattern='${pattern}' ${file}\n${said}`;
    // Both: the stack, which is what is printed, has the message as it was.
    if (error instanceof Error) Object.assign(error, { message: error.message + told, stack: `${error.stack}${told}` });
    throw error;
  }
}
