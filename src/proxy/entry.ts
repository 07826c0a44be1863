/** Where the proxy's process begins: at once, or when a V8 start-up snapshot that was made of it is started. */
import { startupSnapshot } from "node:v8";
import { runProxy } from "./main.ts";

if (startupSnapshot.isBuildingSnapshot()) startupSnapshot.setDeserializeMainFunction(() => main(process.argv.slice(1)));
else main(process.argv.slice(2));

/** A process that starts from a snapshot has no script among its arguments. "proxy" is there when the CLI's own were handed on. */
function main(argv: readonly string[]): void {
  const done = runProxy(argv[0] !== undefined && /(^|\/)proxy$/.test(argv[0]) ? argv.slice(1) : argv);
  done.then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`lateen proxy: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exit(70);
    },
  );
}
